"""What the gate asks for: every style at four tempos and a fifth that suits another style, each in four keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.embedded.music import STYLES
from engine.embedded.music.theory import ROOTS

FIRST_SEED = 3_000_000_000
"""Pieces that the gate renders as sources are made from seeds that training never meets."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as text and as facts."""

    style: str
    bpm: float
    root: int
    mode: str
    seed: int

    @property
    def text(self) -> str:
        """As a performer writes it."""
        return f"{self.style}, {self.bpm:g} bpm, {ROOTS[self.root]} {self.mode}"


def requests(count: int = 160) -> list[Asked]:
    """The first `count` of 160 requests: styles take turns, so that a short list holds all of them."""
    asked = []
    names = tuple(STYLES)
    for turn in range(20):
        for number, name in enumerate(names):
            rng = np.random.default_rng((turn, number, 3))
            low, high = STYLES[name].bpm
            bpm = round(float(rng.uniform(low, high)))
            if turn % 5 == 4:
                bpm = round(float(rng.uniform(70, 170)))
            mode = STYLES[name].modes[turn % len(STYLES[name].modes)]
            asked.append(Asked(name, float(bpm), int(rng.integers(12)), mode, 1_000 * turn + number + 1))
    return asked[:count]
