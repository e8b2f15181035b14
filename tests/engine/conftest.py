"""Small real parts: a transformer with random weights, and a session of the embedded model over two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from engine import Session, embedded
from engine.backends.eager import EagerBackend
from engine.conditioning import Condition
from engine.curves import Curves
from engine.guide import Guides, PromptSlot
from engine.model.dit import DiT, Sizes

torch.set_num_threads(1)

SIZES = Sizes(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    encoder_hidden_size=24,
)
FRAMES = 50


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A session flushes denormals in its thread, which the floats of property tests do not bear."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def backend() -> EagerBackend:
    """An eager backend over a random transformer whose velocities are as large as real ones."""
    model = DiT(SIZES)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
            elif "norm" not in name:
                parameter.zero_()
    backend = EagerBackend(model.eval().requires_grad_(False))
    backend.prepare(4, FRAMES, 6)
    return backend


@pytest.fixture
def guides(backend: EagerBackend, source: Tensor) -> Guides:
    conditions: dict[PromptSlot, Condition] = {
        "a": Condition(gaussian(1, 6, 24, seed=1)),
        "b": Condition(gaussian(1, 4, 24, seed=2)),
        "negative": Condition(gaussian(1, 1, 24, seed=8)),
    }
    return Guides(backend, source, gaussian(FRAMES, 64, seed=3), torch.zeros(FRAMES, 64), conditions)


@pytest.fixture(scope="session")
def curves(backend: EagerBackend) -> Curves:
    """None drawn."""
    return Curves(FRAMES, backend.device)


@pytest.fixture(scope="session")
def source() -> Tensor:
    return gaussian(FRAMES, 64, seed=4)


@pytest.fixture(scope="session")
def two_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first bar of the built-in clip."""
    audio, rate = soundfile.read(embedded.CLIP, frames=96_000, dtype="float32")
    path = tmp_path_factory.mktemp("source") / "bar.wav"
    soundfile.write(path, np.asarray(audio), rate, subtype="FLOAT")
    return path


@pytest.fixture(scope="session")
def session(two_seconds: Path) -> Iterator[Session]:
    session = Session(source=two_seconds, device="cpu", threads=1)
    yield session
    session.close()
