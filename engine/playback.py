"""Places finished latents into the playback loop, just ahead of the playhead and sample-exact.

Owned by the session's one thread, in the engine process; JACK's thread reads the same loop from another process. Only
the frames that will be heard next are decoded. Every block is faded into what the loop holds at both of its ends, so
whatever comes late or not at all, the loop plays on without a click: stale music at worst.

Places in the music are absolute: frames consumed since the port was opened. The loop repeats every `port.frames`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.fades import Block, crossfade
from engine.geometry import SAMPLE_RATE, hop_at
from engine.lead import LeadController
from engine.stream import Result
from engine.vae import Vae, decode_window

FADE = 0.025
"""Seconds of the fade at either end of a block."""

KEEP = 9
"""Latent frames that a block covers at least."""

FILL = 25
"""Latent frames that a block covers while the rest of the loop is brought up to date."""

_MARGIN = 1
"""Latent frames around a window that hide the resampler's ends; its filter is far shorter than 40 ms."""


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

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """A copy [count,2] from `position`, wrapping."""

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        """Writes `block` [count,2] at `position`, wrapping. An engine that dies in here leaves no half sample."""

    def replace(self, rate: int, content: NDArray[np.float32]) -> None:
        """Makes `content` [frames,2] at `rate` the whole loop."""


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
    latent_ready_ns: int
    written_ns: int
    late_frames: int
    """How far the playhead had passed the intended start; these frames were left as they were."""
    correlated: bool
    """Whether the block was faded in as the same music (linear) or as other music (equal power)."""


class Playback:
    """Writes latents of one loop into one port."""

    def __init__(
        self,
        vae: Vae,
        port: LoopPort,
        source: Tensor,
        clock: Callable[[], int] = time.monotonic_ns,
        keep: bool = False,
    ) -> None:
        """Fills the port's loop with `source` audio [2,N] at 48 kHz, or keeps what an earlier engine left in it.

        `clock` gives nanoseconds. Raises `RateError` when the port's rate cannot hold whole latent frames.
        """
        self._vae, self._port, self._clock = vae, port, clock
        self._rate = port.rate
        self._hop = hop_at(self._rate)
        if not (keep and port.frames == source.shape[1] * self._rate // SAMPLE_RATE):
            port.replace(self._rate, _resampled_loop(source.T.numpy(), SAMPLE_RATE, self._rate))
        self.lead = LeadController(port.rate, port.period, port.port_latency, port.frames)
        self._result: Result | None = None
        self._ready_ns = 0
        self._fresh_from = self._fresh_to = 0
        self._playhead = port.place()[0]

    @property
    def fresh(self) -> bool:
        """Whether the whole loop holds the present latent."""
        return self._result is not None and self._fresh_to - self._fresh_from >= self._port.frames + self._fade

    @property
    def _fade(self) -> int:
        return int(FADE * self._rate)

    def follow(self) -> None:
        """Takes in what the port has done since: the playhead's way, a new period or latency, a new rate.

        After a change of rate the loop is resampled as it is. Raises `RateError` as the constructor does.
        """
        port = self._port
        if port.rate != self._rate:
            hop = hop_at(port.rate)
            content = _resampled_loop(port.read(0, port.frames), self._rate, port.rate)
            port.replace(port.rate, content)
            self._rate, self._hop = port.rate, hop
            self._fresh_from = self._fresh_to = self._playhead = port.place()[0]
        self.lead.configure(port.rate, port.period, port.port_latency, port.frames)
        playhead = port.place()[0]
        self.lead.consumed(max(0, playhead - self._playhead))
        self._playhead = playhead

    def write(self, result: Result) -> Write | None:
        """Places the part of `result` that will be heard next; none when the playhead was faster."""
        same = self._result is not None and torch.equal(self._result.latent, result.latent)
        self._result, self._ready_ns = result, self._clock()
        start = self._port.place()[0] + self.lead.write_ahead
        if not same:
            self._fresh_from = self._fresh_to = start
        needed = self.lead.write_interval + 2 * self._fade + 2 * self._port.period
        return self._place(start, max(KEEP, math.ceil(needed / self._hop) + 1))

    def top_up(self) -> Write | None:
        """Decodes the present latent further if the playhead would reach the end of it before the next write."""
        next_start = self._port.place()[0] + self.lead.wait + self.lead.write_ahead
        if self._result is None or next_start + self._fade < self._fresh_to:
            return None
        return self._place(self._next, KEEP)

    def fill(self) -> Write | None:
        """Brings one more part of the loop up to date with the present latent; none when there is nothing to do."""
        return None if self._result is None or self.fresh else self._place(self._next, FILL, urgent=False)

    @property
    def _next(self) -> int:
        """Where the present latent ends in the loop, or where writing may begin if the playhead has passed that."""
        return max(self._fresh_to - self._fade, self._port.place()[0] + self.lead.write_ahead)

    def _place(self, start: int, count: int, *, urgent: bool = True) -> Write | None:
        """Decodes `count` frames for the absolute frame `start` and fades them into the loop."""
        result, port, begun = self._result, self._port, self._clock()
        if result is None:
            return None
        playhead, at = port.place()
        position = (at + start - playhead) % port.frames
        room = port.frames - (start - playhead) - 2 * port.period
        first, offset = divmod(position, self._hop)
        count = min(count, (room + offset) // self._hop)
        if count * self._hop - offset < 4 * self._fade:
            return None
        block = self._decoded(result.latent, first, count)[offset:]

        playhead, _ = port.place()
        late = max(0, playhead + port.period - start)
        if late:
            self.lead.late(late)
            if len(block) - late < 4 * self._fade:
                return None
            block, start, position = block[late:], start + late, (position + late) % port.frames
        old, fade = port.read(position, len(block)), self._fade
        block[:fade], alike = crossfade(old[:fade], block[:fade])
        block[-fade:], _ = crossfade(block[-fade:], old[-fade:])
        port.commit(position, block)

        if start > self._fresh_to or self._fresh_from == self._fresh_to:
            self._fresh_from = start + fade
        self._fresh_to = max(self._fresh_to, start + len(block) - fade)
        written = self._clock()
        if urgent:  # the long windows of filling say nothing about the others
            self.lead.decoded((written - begun) / 1e9)
        return Write(
            start_playhead=start,
            position=position,
            frames=len(block),
            knob_version=result.version,
            admitted_version=result.admitted_version,
            result=result.id,
            decode_ms=(written - begun) / 1e6,
            latent_ready_ns=self._ready_ns,
            written_ns=written,
            late_frames=late,
            correlated=alike > 0.5,
        )

    def _decoded(self, latent: Tensor, first: int, count: int) -> Block:
        """`count` latent frames from frame `first` of the loop as a block [count*hop,2] at the port's rate."""
        if self._rate == SAMPLE_RATE:
            return np.ascontiguousarray(decode_window(self._vae, latent, first, count).T.cpu().numpy())
        audio = decode_window(self._vae, latent, first - _MARGIN, count + 2 * _MARGIN).T.cpu().numpy()
        block = soxr.resample(audio, SAMPLE_RATE, self._rate)
        return np.ascontiguousarray(block[_MARGIN * self._hop : (_MARGIN + count) * self._hop], dtype=np.float32)


def _resampled_loop(loop: NDArray[np.float32], rate: int, new_rate: int) -> Block:
    """The loop [frames,2] at another rate, its ends hearing each other."""
    if rate == new_rate:
        return np.ascontiguousarray(loop, dtype=np.float32)
    hop, new_hop = hop_at(rate), hop_at(new_rate)
    frames = loop.shape[0] // hop
    around = np.concatenate((loop[-_MARGIN * hop :], loop, loop[: _MARGIN * hop]))
    resampled = soxr.resample(around, rate, new_rate)
    return np.ascontiguousarray(resampled[_MARGIN * new_hop : (_MARGIN + frames) * new_hop], dtype=np.float32)
