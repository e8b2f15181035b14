"""A playback loop in memory, with a playhead that moves when it is told to.

Used to render without JACK, and by the tests. Its clock is its playhead, so that everything which is measured against
it is the same in every run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.fades import crossfade

Block = NDArray[np.float32]

JUMP = 0.010
"""Seconds of the crossfade at the band's end and into another band."""

GLIDE = 0.020
"""Seconds in which `dry_wet` reaches a new value."""


class VirtualPort:
    """A `engine.playback.LoopPort` that nobody listens to but the caller of :meth:`play`."""

    def __init__(self, rate: int = 48_000, period: int = 256, port_latency: int = 0) -> None:
        """An empty loop; `replace` fills it."""
        self.rate, self.period, self.port_latency = rate, period, port_latency
        self.loop: Block = np.zeros((1, 2), np.float32)
        self.dry: Block = self.loop
        """The source of `loop`, frame by frame beside it."""
        self.ends: tuple[float, float] = (0.0, 1.0)
        """The band as shares of the loop."""
        self.dry_wet = 1.0
        """From the source (0) to the loop (1)."""
        self._playhead = self._position = 0
        self._wet = 1.0
        self._ahead: Block = self.loop[:0]
        """The rest of a crossfade into the frames from the playhead on."""

    @property
    def frames(self) -> int:
        """Frames in the loop."""
        return len(self.loop)

    def clock(self) -> int:
        """Nanoseconds of music played."""
        return self._playhead * 1_000_000_000 // self.rate

    def play(self, frames: int) -> Block:
        """Consumes the next `frames` and returns what was heard [frames,2].

        Jumps into the band, fades and mixes as the JACK port does.
        """
        glide = int(GLIDE * self.rate)
        shares = np.full((frames, 1), self.dry_wet)
        shares[:glide, 0] = np.linspace(self._wet, self.dry_wet, glide + 1)[1:][:frames]
        wet, dry = self._consumed(frames), self.dry_wet < 1 or self._wet < 1
        self._wet = float(shares[-1, 0]) if frames else self._wet
        heard = shares * wet[:, :2] + (1 - shares) * wet[:, 2:] if dry else wet[:, :2]
        return np.ascontiguousarray(heard, dtype=np.float32)

    def place(self) -> tuple[int, int]:
        """See `LoopPort`."""
        return self._playhead, self._position

    def band(self) -> tuple[int, int]:
        """See `LoopPort`. The caller answers for a length that makes sense."""
        a, b = (int(share * self.frames + 0.5) for share in self.ends)
        return a, b

    def read(self, position: int, count: int) -> Block:
        """See `LoopPort`."""
        return self.loop[np.arange(position, position + count) % self.frames]

    def commit(self, position: int, block: Block) -> None:
        """See `LoopPort`."""
        self.loop[np.arange(position, position + len(block)) % self.frames] = block

    def replace(self, rate: int, content: Block, dry: Block) -> None:
        """See `LoopPort`. Fades from nothing: nobody swaps the loop of a render."""
        self._position = self._position * len(content) // self.frames % len(content)
        self.rate, self.loop, self.dry = rate, content.copy(), dry
        self._ahead = self._ahead[:0]

    def _consumed(self, frames: int) -> Block:
        """The next frames of loop and source [frames,4]."""
        (a, b), parts = self.band(), []
        self._playhead += frames
        while frames:
            count = frames
            if len(self._ahead):
                count = min(count, len(self._ahead))
                part, self._ahead = self._ahead[:count], self._ahead[count:]
            else:
                place = a + (self._position - a) % self.frames % (b - a)
                if place != self._position:
                    fade = int(JUMP * self.rate)
                    old, new = self._both(self._position, fade), self._both(place, fade)
                    pairs = [crossfade(old[:, i : i + 2], new[:, i : i + 2])[0] for i in (0, 2)]
                    self._ahead, self._position = np.concatenate(pairs, axis=1), place
                    continue
                if b - a < self.frames:
                    count = min(count, b - place)
                part = self._both(place, count)
            self._position = (self._position + count) % self.frames
            parts.append(part)
            frames -= count
        return np.concatenate(parts) if parts else np.zeros((0, 4), np.float32)

    def _both(self, position: int, count: int) -> Block:
        at = np.arange(position, position + count) % self.frames
        return np.concatenate((self.loop[at], self.dry[at]), axis=1)
