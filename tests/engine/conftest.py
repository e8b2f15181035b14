"""Small real parts: a transformer with random weights, and a session of the embedded model over two seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from engine import Session, embedded
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.guide import Guides
from tests.engine.parts import FRAMES, random_backend, random_guides, random_source, single_threaded

single_threaded()


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A session flushes denormals in its thread, which the floats of property tests do not bear."""
    yield
    torch.set_flush_denormal(False)


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
