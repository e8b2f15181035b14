"""A playback loop in memory, with a playhead that moves when it is told to.

Used to render without JACK, and by the tests. Its clock is its playhead, so that everything which is measured against
it is the same in every run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class VirtualPort:
    """A `engine.playback.LoopPort` that nobody listens to but the caller of :meth:`play`."""

    def __init__(self, rate: int = 48_000, period: int = 256, port_latency: int = 0) -> None:
        """An empty loop; `replace` fills it."""
        self.rate, self.period, self.port_latency = rate, period, port_latency
        self.loop: NDArray[np.float32] = np.zeros((1, 2), np.float32)
        self._playhead = self._position = 0

    @property
    def frames(self) -> int:
        """Frames in the loop."""
        return len(self.loop)

    def clock(self) -> int:
        """Nanoseconds of music played."""
        return self._playhead * 1_000_000_000 // self.rate

    def play(self, frames: int) -> NDArray[np.float32]:
        """Consumes the next `frames` and returns what was heard [frames,2]."""
        heard = self.read(self._position, frames)
        self._playhead += frames
        self._position = (self._position + frames) % self.frames
        return heard

    def place(self) -> tuple[int, int]:
        """See `LoopPort`."""
        return self._playhead, self._position

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """See `LoopPort`."""
        return self.loop[np.arange(position, position + count) % self.frames]

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        """See `LoopPort`."""
        self.loop[np.arange(position, position + len(block)) % self.frames] = block

    def replace(self, rate: int, content: NDArray[np.float32]) -> None:
        """See `LoopPort`. The playhead keeps its share of the loop."""
        self._position = self._position * len(content) // self.frames % len(content)
        self.rate, self.loop = rate, content.copy()
