"""One ring playing into one loop: a tick and its writes, or the idle top-up.

Used by the session, once for the port it is attached to and once for every render; both run the same code, only the
port and the clock differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.curves import Curves
from engine.guide import Guide, Guides
from engine.knobs import Knobs
from engine.playback import LoopPort, Playback, Write
from engine.stream import Ring
from engine.vae import Vae


@dataclass(frozen=True, slots=True)
class Step:
    """What one call of `Session.step` did."""

    ticked: bool
    tick: int
    """Ticks done since the ring was made."""
    tick_ms: float
    """The network's part of this step; 0 when no tick was run."""
    writes: tuple[Write, ...]
    idle: bool
    """Nothing that is asked for could change the music. With no writes either, the caller may sleep."""


class Performance:
    """Drives a ring by knobs and a playback by its results."""

    def __init__(
        self,
        ring: Ring,
        guides: Guides,
        curves: Curves,
        vae: Vae,
        port: LoopPort,
        source: Tensor,
        clock: Callable[[], int] = time.monotonic_ns,
        keep: bool = False,
    ) -> None:
        """`source` audio [2,N] at 48 kHz is what the loop holds first, unless it is to `keep` what it has.

        Raises `RateError`.
        """
        self._ring, self._guides, self._clock = ring, guides, clock
        self.curves = curves
        self.playback = Playback(vae, port, source, clock, keep)
        self._settled: tuple[Knobs, Guide] | None = None
        self._ticks_between = math.ceil(ring.steps / ring.depth)

    @torch.inference_mode()
    def step(self, knobs: Knobs) -> Step:
        """One tick and its writes; when nothing can change any more, a part of the loop brought up to date."""
        playback, ring = self.playback, self._ring
        playback.follow()
        guide = self._guides.at(knobs, self.curves)
        if self._settled and self._settled[1] is guide and self._settled[0].sounds_like(knobs):
            filled = playback.fill()
            return Step(False, ring.ticks, 0.0, (filled,) if filled else (), idle=True)
        begun = self._clock()
        results = ring.tick(knobs, guide, self.curves)
        seconds = (self._clock() - begun) / 1e9
        if ring.load == ring.depth:  # a ring that is filling up, or at strength 0, says nothing about a full one
            playback.lead.ticked(seconds)
        playback.lead.scheduled(self._ticks_between, ring.ticks_to_result())
        if results:
            self._settled = (knobs, guide) if results[-1].settled else None
            write = playback.write(results[-1])
        else:
            write = playback.top_up()
        return Step(True, ring.ticks, 1e3 * seconds, (write,) if write else (), idle=False)
