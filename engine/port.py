"""What playback writes into, and what it says of a block that it wrote.

The port is the daemon's shared loop, a virtual loop of renders and rehearsals, or that of a bench.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LoopPort(Protocol):
    """The playback loop as the engine sees it. Frames are stereo float32 at the port's own rate."""

    @property
    def rate(self) -> int:
        """JACK's sample rate in Hz."""

    @property
    def frames(self) -> int:
        """Frames in the loop."""

    @property
    def period(self) -> int:
        """Frames in one of JACK's periods."""

    @property
    def port_latency(self) -> int:
        """Frames from the callback to the ear, as JACK reports them."""

    def place(self) -> tuple[int, int]:
        """Frames consumed so far, and the position in the loop of the next one."""

    def band(self) -> tuple[int, int]:
        """The positions a and b (not included), a < b, between which the playhead goes round; all by default.

        At b it jumps to a, and from outside to (position - a) modulo (b - a) after a; it fades from what lies beyond.
        """

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """A copy [count,2] from `position`, wrapping."""

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        """Writes `block` [count,2] at `position`, wrapping. An engine that dies in here leaves no half sample."""

    def replace(self, rate: int, content: NDArray[np.float32], dry: NDArray[np.float32]) -> None:
        """Makes `content` [frames,2] at `rate` the whole loop, and `dry` [frames,2] the source that it is made from.

        The playhead keeps its share of the loop, and what was heard before is faded from.
        """


@dataclass(frozen=True, slots=True)
class Write:
    """One block that was placed into the loop."""

    start_playhead: int
    """Absolute frame at which its first new sample will be consumed."""
    position: int
    """Position of that sample in the loop."""
    frames: int
    knob_version: int
    """Version of the knobs at the last step of the latent."""
    admitted_version: int
    result: int
    """Id of the latent's result."""
    decode_ms: float
    """Decoding, resampling, fading and copying."""
    tick: int
    """The tick that finished the latent, and when it began: with the reading of the knobs."""
    tick_started_ns: int
    latent_ready_ns: int
    written_ns: int
    late_frames: int
    """How far the playhead had passed the intended start; these frames were left as they were."""
    correlated: bool
    """Whether the block was faded in as the same music (linear) or as other music (equal power)."""
