"""Regions of a long loop: which part a slot covers, and how two neighbouring parts join.

Owned by the ring. The loop is cut into equal parts of at most half a window. The region of a part begins a quarter of
a window before it and reaches beyond its end, so the network hears what is around; only the part itself is the
region's to say. Under constant settings a new region goes on from what its neighbours have said: their frames are
held as in inpainting, and the hold is let go over the last frames before the part begins.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engine.settings import Settings
from engine.slot import Hold

SHORTEST = 100
"""Frames of the shortest window: 4 s, of which 1 s is heard before a part begins."""
RAMP = 12
"""Frames over which a hold is let go."""


class Windows:
    """The regions of a loop of `loop` frames, for a window of so many frames."""

    def __init__(self, loop: int, window: int | None, device: torch.device) -> None:
        """No window, or one that is not shorter than the loop, makes the whole loop the only region.

        Raises `ValueError` for a window below :data:`SHORTEST`.
        """
        if window is not None and window < SHORTEST:
            raise ValueError(f"a window has at least {SHORTEST} frames, not {window}")
        self.loop, self._device = loop, device
        self.many = window is not None and window < loop
        self.length = window if window is not None and self.many else loop
        self.before = self.length // 4 if self.many else 0
        """Frames of a region before its part."""
        count = -(-2 * loop // self.length) if self.many else 1
        self._starts = [part * loop // count for part in range(count)]
        self._index = lru_cache(maxsize=64)(self._frames)

    def first(self, at: int) -> int:
        """The first frame of the region whose part holds the loop's frame `at`."""
        if not self.many:
            return 0
        return (self._starts[bisect_right(self._starts, at % self.loop) - 1] - self.before) % self.loop

    def part(self, first: int) -> tuple[int, int]:
        """The part of the region that begins at `first`: its first frame in the loop, and how many."""
        if not self.many:
            return 0, self.loop
        start = (first + self.before) % self.loop
        number = self._starts.index(start)
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.loop
        return start, end - start

    def frames(self, first: int) -> Tensor | None:
        """The region's frames of the loop as an index [length]; none when it is the whole loop."""
        return self._index(first) if self.many else None

    def at(self, first: int) -> Tensor:
        """The region's frames of the loop as an index [length]."""
        return self._index(first)

    def _frames(self, first: int) -> Tensor:
        return torch.arange(first, first + self.length, device=self._device) % self.loop


class Canvas:
    """What the regions have said under the present settings."""

    def __init__(self, source: Tensor) -> None:
        """`source` [T,64] gives the shape."""
        self._latent = torch.zeros_like(source)
        self._said = np.zeros(len(source), dtype=bool)
        self._settings: Settings | None = None

    def paint(self, windows: Windows, first: int, latent: Tensor, settings: Settings) -> None:
        """Takes in the part of a result [length,64] of the region that begins at `first`."""
        if settings is not self._settings:
            self._settings = settings
            self._said[:] = False
        start, count = windows.part(first)
        self._latent[start : start + count] = latent[windows.before : windows.before + count]
        self._said[start : start + count] = True

    def hold(self, windows: Windows, first: int, settings: Settings) -> Hold | None:
        """What a new slot of the region that begins at `first` goes on from; none while neither neighbour is said."""
        _, count = windows.part(first)
        around = (first + np.arange(windows.length)) % windows.loop
        said = self._said[around] & (settings is self._settings)
        share = np.zeros(windows.length, dtype=np.float32)
        ramp = (np.arange(RAMP, 0, -1) - 0.5) / RAMP
        begin, end = windows.before, windows.before + count
        if said[:begin].all():
            share[:begin] = 1
            share[begin - RAMP : begin] = ramp
        behind = windows.length - end
        if behind >= RAMP and said[end:].all():
            share[end:] = 1
            share[end : end + RAMP] = ramp[::-1]
        if not share.any():
            return None
        held = torch.from_numpy(share)[:, None].to(self._latent.device)
        return Hold(held, self._latent[windows.at(first)])
