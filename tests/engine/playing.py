"""A session played through a port that keeps what was heard, for the tests of live changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import Knobs, Session, rig
from engine.fades import Block, crossfade
from engine.offline import VirtualPort
from engine.performance import Step
from tests.listening import clicks, longest_silence

ENCODED: Path | None = None
"""Where sessions of these tests keep the clips that they have encoded; `tests.engine.conftest` makes it. An encoded
clip is bit for bit what a session without the folder would encode (`test_clips`), and a big share of its start.
"""
KNOBS = Knobs(denoise=0.8, version=1)
STEP = 1_920
DEADLINE = 60.0


class Port(VirtualPort):
    """Fades to another loop as the JACK port does; `full` has no room for one."""

    full = False

    def replace(self, rate: int, content: Block, dry: Block) -> None:
        if self.full:
            raise OSError("/dev/shm is full")
        old = self._both(self.place()[1], 480)
        super().replace(rate, content, dry)
        self._ahead = crossfade(old, self._both(self.place()[1], 480))[0]


class Player:
    """A session that plays into a port, 40 ms a step, and everything that was heard."""

    def __init__(self, session: Session) -> None:
        self.session, self.port, self.knobs = session, Port(), KNOBS
        self.heard: list[NDArray[np.float32]] = []
        self.steps: list[Step] = []
        session.attach(self.port)

    def step(self) -> Step:
        self.steps.append(self.session.step(self.knobs))
        self.heard.append(self.port.play(STEP))
        return self.steps[-1]

    def until(self, reached: Callable[[], object], asked: Future[str] | None = None) -> None:
        deadline = time.monotonic() + DEADLINE
        while not reached():
            assert time.monotonic() < deadline
            if self.step().idle and asked:
                wait([asked], timeout=STEP / 48_000)  # as long as what was played lasts

    def after(self, asked: Future[str]) -> str:
        """Plays until the answer is there."""
        self.until(asked.done, asked)
        return asked.result()

    def settled(self) -> str:
        """Plays until nothing changes any more; the digest of the latent that it came to."""
        quiet = 0
        for _ in range(600):
            step = self.step()
            quiet = quiet + 1 if step.idle and not step.writes else 0
            if quiet > 2 * self.session.frames:
                return digest(self.session)
        raise AssertionError("it did not come to rest")

    def sounds_whole(self) -> None:
        """No click and no hole in anything that was heard."""
        audio = np.concatenate(self.heard)
        assert clicks(audio, 48_000) == []
        assert longest_silence(audio, 48_000) < 0.02


def digest(session: Session) -> str:
    performance = session._performance
    assert performance is not None
    assert performance.result is not None
    return performance.result.digest()


def session_of(**asked: object) -> Session:
    """A session on one thread of the CPU."""
    return Session(**{"device": "cpu", "threads": 1, "cache": ENCODED, **asked})  # type: ignore[arg-type]


def fresh(knobs: Knobs = KNOBS, curves: dict[str, list[float]] | None = None, **asked: object) -> str:
    """The digest of a session that was started in this way."""
    session = session_of(**asked)
    try:
        player = Player(session)
        player.knobs = knobs
        for name, values in (curves or {}).items():
            session.set_curve(name, values)
        return player.settled()
    finally:
        session.close()


class Gate:
    """Holds a checkpoint's loading in its middle until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        load = rig.load_vae

        def held(*arguments: object) -> object:
            self.reached.set()
            assert self.open.wait(DEADLINE)
            return load(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(rig, "load_vae", held)
