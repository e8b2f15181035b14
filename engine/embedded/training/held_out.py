"""What the codec's training is judged by: the gate's rows of the codec, over clips that it never meets.

Called by `training.vae`. The clips are made once, of other seeds than the gate's own, so that the gate stays a judge
of weights that were not chosen by its clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.embedded.gate.outside import returned, sounds
from engine.embedded.gate.player import Codec
from engine.embedded.gate.rows import HARMONY, Row, codec_rows, outside_rows, style_rows, survived
from engine.embedded.judge import fidelity
from engine.embedded.music import STYLES, Request, compose, render

SEED = 2_000_000_000
"""Seeds from here on are not trained on."""
_SLACK = 0.05
"""Of its limit: so much may a row lose for the sake of another."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Clips on one device."""

    music: dict[str, Tensor]
    """Of every style [clips,2,N]."""
    outside: dict[str, Tensor]
    """Of every family of sounds from outside [clips,2,N]."""

    @classmethod
    def make(cls, device: torch.device, clips: int, seconds: float) -> HeldOut:
        """`clips` of every style and twice as many of every family."""
        music = {}
        for name in STYLES:
            pieces = [compose(Request(style=name), SEED + i, seconds) for i in range(clips)]
            music[name] = render(pieces, seconds, device)
        return cls(music, sounds(SEED, device, 2 * clips, seconds))

    def rows(self, codec: Codec) -> list[Row]:
        """The gate's rows of the codec, and what is reported beside them."""
        styles = {name: survived(codec, clips) for name, clips in self.music.items()}
        return [
            *codec_rows(fidelity.mean([each for clips in styles.values() for each in clips])),
            *style_rows({name: fidelity.mean(clips) for name, clips in styles.items()}),
            *outside_rows(returned(codec, self.outside)),
        ]


def margins(rows: Sequence[Row]) -> dict[str, float]:
    """How far each row that has a limit is on the right side of it, in shares of the limit."""
    found = {}
    for row in rows:
        if row.passed is not None:
            sign, limit = row.gate.split()
            better = 1 if sign == ">=" else -1
            found[row.measure] = better * (row.numbers["value"] - float(limit)) / float(limit)
    return found


def better(rows: Sequence[Row], best: Sequence[Row], start: Sequence[Row]) -> bool:
    """Whether own files' harmony is above that of `best`, and no row clearly under what it was at the `start`."""
    now, before = margins(rows), margins(start)
    kept = all(now[name] >= before[name] - _SLACK for name in now)
    return kept and now[HARMONY] > margins(best)[HARMONY]
