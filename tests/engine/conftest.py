"""Small real parts: a transformer with random weights, and a session of the embedded model over two seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import save_file
from torch import Tensor

from engine import Session, embedded
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.guide import Guides
from engine.model.checkpoint import read_transformer_sizes
from tests.engine import playing
from tests.engine.parts import FRAMES, gaussian, random_backend, random_guides, random_source, single_threaded
from tests.engine.playing import Player, session_of

single_threaded()


@pytest.fixture(scope="session", autouse=True)
def _encoded(tmp_path_factory: pytest.TempPathFactory) -> None:
    playing.ENCODED = tmp_path_factory.mktemp("encoded")


@pytest.fixture(scope="session")
def backend() -> EagerBackend:
    return random_backend()


@pytest.fixture
def guides(backend: EagerBackend, source: Tensor) -> Guides:
    return random_guides(backend, source)


@pytest.fixture(scope="session")
def source() -> Tensor:
    return random_source()


@pytest.fixture(scope="session")
def curves(backend: EagerBackend) -> Curves:
    """None drawn."""
    return Curves(FRAMES, backend.device)


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole ACE-Step checkpoint, small and random."""
    from tests.engine import tiny_ace_step  # imports both libraries, which takes seconds

    return tiny_ace_step.write(tmp_path_factory.mktemp("checkpoints") / "tiny-turbo")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The checkpoint again, to be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "damaged"))


def _part(folder: Path, first: int, frames: int) -> Path:
    """Of the built-in clip."""
    audio, rate = soundfile.read(embedded.CLIP, start=first, frames=frames, dtype="float32")
    soundfile.write(folder / "part.wav", np.asarray(audio), rate, subtype="FLOAT")
    return folder / "part.wav"


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another part of the built-in clip, and shorter: a second and a half."""
    return _part(tmp_path_factory.mktemp("other"), 240_000, 72_000)


@pytest.fixture(scope="session")
def six_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough for windows."""
    return _part(tmp_path_factory.mktemp("long"), 0, 288_000)


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Changes every layer's own queries, and its keys and values for the prompt, of the built-in model."""
    sizes = read_transformer_sizes(embedded.CHECKPOINT)
    tensors = {}
    for layer in range(sizes.num_hidden_layers):
        for name in ("self_attn.to_q", "cross_attn.to_k", "cross_attn.to_v"):
            rows = sizes.head_dim * (sizes.num_attention_heads if name[-1] == "q" else sizes.num_key_value_heads)
            stem = f"layers.{layer}.{name}"
            tensors[f"{stem}.lora_A.weight"] = gaussian(4, sizes.hidden_size, seed=layer) / 16
            tensors[f"{stem}.lora_B.weight"] = gaussian(rows, 4, seed=100 + layer) / 16
    path = tmp_path_factory.mktemp("lora") / "warm.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture
def player(two_seconds: Path) -> Iterator[Player]:
    """A session of its own that plays."""
    session = session_of(source=two_seconds)
    yield Player(session)
    session.close()
