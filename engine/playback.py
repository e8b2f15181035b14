"""Places finished latents into the playback loop, just ahead of the playhead and sample-exact.

Owned by the session's one thread, in the engine process; JACK's thread reads the same loop from another process. Only
the frames that will be heard next are decoded. Every block is faded into what the loop holds at both of its ends, so
whatever comes late or not at all, the loop plays on without a click: stale music at worst.

Places in the music are absolute: frames consumed since the port was opened. The loop repeats every `port.frames`, or
what `port.band()` leaves of it. A latent may cover a region of a long loop only; it is never written elsewhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.fades import Block, crossfade
from engine.geometry import SAMPLE_RATE, hop_at
from engine.lead import LeadController
from engine.placement import Loop, Piece, Placement, placed
from engine.port import LoopPort, Write
from engine.stream import Result
from engine.stretches import Stretches
from engine.vae import Vae, begin_window

FADE = 0.025
"""Seconds of the fade at either end of a block."""

BEYOND = 0.020
"""Seconds beyond the band's end that may be heard: a crossfade of the port's, and one that it finishes before."""

KEEP = 9
"""Latent frames that a block covers at least."""

FILL = 25
"""Latent frames that a block covers while the rest of the loop is brought up to date."""

SEAM = 4
"""Latent frames beyond its part that a region may be written for: what the fades of a block at its end need."""

_MARGIN = 1
"""Latent frames around a window that hide the resampler's ends; its filter is far shorter than 40 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A block that is being decoded."""

    result: Result
    loop: Loop
    start: int
    position: int
    placement: Placement
    audio: list[Callable[[], Block]]
    """Of each piece, once it is waited for."""
    urgent: bool
    tick: tuple[int, int]
    ready_ns: int
    begun_ns: int


class Playback:
    """Writes latents of one loop into one port."""

    def __init__(
        self,
        vae: Vae,
        port: LoopPort,
        source: Tensor,
        clock: Callable[[], int] = time.monotonic_ns,
        keep: bool = False,
        behind: bool = False,
    ) -> None:
        """Fills the port's loop with `source` audio [2,N] at 48 kHz, or keeps what an earlier engine left in it.

        `clock` gives nanoseconds. Blocks that are decoded `behind` the ticks are written by :meth:`finish`; else they
        are waited for at once. Raises `RateError` when the port's rate cannot hold whole latent frames.
        """
        self._vae, self._port, self._source, self._clock, self._behind = vae, port, source, clock, behind
        self._rate = port.rate
        self._hop = hop_at(self._rate)
        if not (keep and port.frames == source.shape[1] * self._rate // SAMPLE_RATE):
            loop = _at_rate(source, self._rate)
            port.replace(self._rate, loop, loop)
        self.lead = LeadController(port.rate, port.period, port.port_latency, self._length)
        self._result: Result | None = None
        self._music: object = None
        self._block: _Block | None = None
        self._tick, self._ready_ns = (0, 0), 0
        self._fresh = Stretches(port.frames)
        self._playhead = port.place()[0]

    @property
    def fresh(self) -> bool:
        """Whether all that is played holds the music of the present latents."""
        band = self._port.band()
        return self._result is not None and self._fresh.way_to_stale(band[0], band) is None

    def swap(self, vae: Vae, source: Tensor, content: Tensor | None = None) -> None:
        """Another loop takes the place of the present one: `source` audio [2,N] at 48 kHz, any N of whole frames.

        `content` [2,N] is what is heard until its first latent is written, by default the source. The playhead keeps
        its share of the loop; the port fades from the old one. From now on only latents of the new loop may be given
        to :meth:`write`; a block of the old one that is still in the making is not written any more. The source that
        plays already, and no content, leave the loop as it is: another `vae` goes on from there.
        """
        if content is not None and content.shape != source.shape:
            raise ValueError(f"content is as long as its source {tuple(source.shape)}, not {tuple(content.shape)}")
        if source is not self._source or content is not None:
            dry = _at_rate(source, self._rate)
            self._port.replace(self._rate, dry if content is None else _at_rate(content, self._rate), dry)
        self._vae, self._source = vae, source
        self._result = self._music = None
        self._fresh = Stretches(self._port.frames)
        self.follow()

    def follow(self) -> None:
        """Takes in what the port has done since: the playhead's way, a new band, period or latency, a new rate.

        After a change of rate the loop is resampled as it is. Raises `RateError` as the constructor does.
        """
        port = self._port
        if port.rate != self._rate:
            hop = hop_at(port.rate)
            content = _resampled_loop(port.read(0, port.frames), self._rate, port.rate)
            port.replace(port.rate, content, _at_rate(self._source, port.rate))
            self._rate, self._hop = port.rate, hop
            self._fresh = Stretches(port.frames)
            self._playhead = port.place()[0]
        self.lead.configure(port.rate, port.period, port.port_latency, self._length)
        playhead = port.place()[0]
        self.lead.consumed(max(0, playhead - self._playhead))
        self._playhead = playhead

    def write(self, result: Result, music: object = None, tick: tuple[int, int] = (0, 0)) -> Write | None:
        """Places the music of `result` that will be heard next; none when the playhead was faster, or when that is
        not in the result's part of the loop. `tick` is the number and the beginning of the one that finished it.

        Results of several regions that are given with the same object as `music` are parts of one music: they leave
        each other fresh, and only what is stale of the part is written. Anything else makes all of the loop stale,
        unless it is the same latent of the whole loop again. A result that does not fit the loop is ignored.
        """
        if not 0 < result.region[1] == result.latent.shape[0] <= self._frames:
            return None
        before, self._result, self._tick, self._ready_ns = self._result, result, tick, self._clock()
        others, self._music = self._music, music
        again = before is not None and before.region == result.region and _equal(before.latent, result.latent)
        if music is not None and music is others:
            if not again:
                return self.fill()
        elif not again or (others is not None and result.region[1] < self._frames):
            self._fresh.clear()
        needed = self.lead.write_interval + 2 * self._fade + 2 * self._port.period
        return self._place(self._soonest, max(KEEP, math.ceil(needed / self._hop) + 1))

    def top_up(self) -> Write | None:
        """Decodes the present latent further if the playhead would reach the end of it before the next write."""
        start = self._stale()
        if start is None or start > self._soonest + self.lead.wait or not self._reaches(start):
            return None
        return self._place(start, KEEP)

    def fill(self) -> Write | None:
        """Brings one more part of the band up to date with the present latent.

        None when there is nothing to do, when the playhead must move on first, or when :meth:`wanted_frame` is.
        """
        start = self._stale()
        if start is None or not self._reaches(start):
            return None
        return self._place(start, FILL, urgent=False)

    def next_frame(self, ticks: int = 0) -> int:
        """The latent frame of the loop in which a write made `ticks` ticks from now begins: for the ring's `at`."""
        return self._needed(self._beginning(self._soonest + self.lead.after(ticks)))

    def wanted_frame(self) -> int | None:
        """The latent frame of the loop from which on another part is wanted, so that :meth:`fill` can go on.

        None while the present latent reaches what is stale next, and when nothing is: :attr:`fresh` tells which.
        """
        start = self._stale()
        if start is None or self._reaches(start):
            return None
        return self._needed(self._beginning(start))

    # -- inside -----------------------------------------------------------------------------------------------------

    @property
    def _fade(self) -> int:
        return int(FADE * self._rate)

    @property
    def _frames(self) -> int:
        """Latent frames of the loop."""
        return self._port.frames // self._hop

    @property
    def _length(self) -> int:
        a, b = self._port.band()
        return b - a

    @property
    def _loop(self) -> Loop:
        port = self._port
        return Loop(port.frames, port.band(), self._fade, int(BEYOND * self._rate))

    @property
    def _margin(self) -> int:
        """Latent frames on either side of a window that are decoded or resampled with it."""
        return self._vae.reach + (0 if self._rate == SAMPLE_RATE else _MARGIN)

    @property
    def _soonest(self) -> int:
        """Where a block may begin whose decoding begins now."""
        return self._port.place()[0] + self.lead.write_ahead

    def _position(self, frame: int) -> int:
        """The position in the loop of an absolute frame."""
        playhead, at = self._port.place()
        return self._loop.position(at, frame - playhead)

    def _stale(self) -> int | None:
        """Where a block must begin that makes the next stale frame fresh, its fade being over there; none when all
        that is played is fresh.
        """
        loop, start, fade = self._loop, self._soonest, self._fade
        b = loop.band[1]
        if loop.jumps and (until := b - self._position(start)) < 2 * fade:
            start += until - fade  # nothing is written any more before b
        way = self._fresh.way_to_stale(self._position(start + fade), loop.band)
        if way is None:
            return None
        start += way
        if loop.jumps:
            start -= max(0, fade - (b - self._position(start + fade)))
        return start

    def _beginning(self, start: int) -> int:
        """The position of the first sample that a block from the absolute frame `start` on will touch."""
        position, loop = self._position(start), self._loop
        a, b = loop.band
        return (a - self._fade) % loop.frames if loop.jumps and b - position < 2 * self._fade else position

    def _needed(self, position: int) -> int:
        return position // self._hop % self._frames

    def _reaches(self, start: int) -> bool:
        """Whether the present latent holds enough for a block from `start` on to make progress."""
        position, loop = self._beginning(start), self._loop
        until = loop.band[1] - position
        needed = 4 * self._fade
        if loop.jumps and 0 < until <= needed:
            needed = until + loop.beyond + self._fade
        return self._available(position) >= needed

    def _available(self, position: int) -> int:
        """Frames that can be decoded from `position` on without a gap."""
        if self._result is None:
            return 0
        first, count = self._result.region
        if count == self._frames:
            return self._port.frames
        frame, offset = divmod(position, self._hop)
        start, own = self._result.part
        after, inside = (frame - start) % self._frames, (frame - first) % self._frames
        left = min(own + SEAM - after, count - self._margin - inside)
        return left * self._hop - offset if left > 0 and inside >= self._margin else 0

    def _place(self, start: int, count: int, *, urgent: bool = True) -> Write | None:
        """Decodes `count` frames for the absolute frame `start` and fades them into the loop."""
        result, port, begun = self._result, self._port, self._clock()
        if result is None:
            return None
        loop, fade, position = self._loop, self._fade, self._position(start)
        kept = 2 * port.period + (loop.beyond if loop.jumps else 0)
        room = self._length - (start - port.place()[0]) - kept
        offset = position % self._hop
        samples = min(count, (room + offset) // self._hop) * self._hop - offset
        if samples < 4 * fade:  # a short band has no room for whole latent frames
            samples = min(room, count * self._hop - offset)
        placement = placed(loop, position, samples, self._available)
        if placement is None:
            return None
        start += placement.skipped
        self._block = _Block(
            result=result,
            loop=loop,
            start=start,
            position=self._position(start),
            placement=placement,
            audio=[self._decoded(result, piece) for piece in placement.pieces],
            urgent=urgent,
            tick=self._tick,
            ready_ns=self._ready_ns,
            begun_ns=begun,
        )
        return None if self._behind else self.finish()

    def finish(self) -> Write | None:
        """Waits for the block that is being decoded, and writes it; none when there is none, or no place for it."""
        block, self._block = self._block, None
        if block is None:
            return None
        audio = [wait() for wait in block.audio]
        start, position, placement, port = block.start, block.position, block.placement, self._port
        if self._result is not block.result or self._loop != block.loop or self._position(start) != position:
            return None  # another loop or another band: this is no place for the block any more
        late = max(0, port.place()[0] + port.period - start)
        if late:
            self.lead.late(late)
            rest = placed(block.loop, self._position(start + late), placement.frames - late, self._available)
            if rest is None:
                return None
            start += late + rest.skipped
            position, placement = self._position(start), rest
        alike = self._commit(placement, audio)
        written = self._clock()
        if block.urgent:  # the long windows of filling say nothing about the others
            self.lead.decoded((written - block.begun_ns) / 1e9)
        return Write(
            start_playhead=start,
            position=position,
            frames=placement.frames,
            knob_version=block.result.version,
            admitted_version=block.result.admitted_version,
            result=block.result.id,
            decode_ms=(written - block.begun_ns) / 1e6,
            tick=block.tick[0],
            tick_started_ns=block.tick[1],
            latent_ready_ns=block.ready_ns,
            written_ns=written,
            late_frames=late,
            correlated=alike > 0.5,
        )

    def _commit(self, placement: Placement, blocks: list[Block]) -> float:
        """Fades the ends of the blocks, of which each piece takes the last frames, into the loop.

        Returns how alike the music before and after the first of these fades is.
        """
        port, fade = self._port, self._fade
        met = []
        for piece, decoded in zip(placement.pieces, blocks[-len(placement.pieces) :], strict=True):
            block = decoded[-piece.frames :]
            old = port.read(piece.position, len(block))
            block[:fade], alike = crossfade(old[:fade], block[:fade])
            block[-fade:], _ = crossfade(block[-fade:], old[-fade:])
            port.commit(piece.position, block)
            self._fresh.add((piece.position + fade) % port.frames, piece.frames - 2 * fade)
            met.append(alike)
        return met[0]

    def _decoded(self, result: Result, piece: Piece) -> Callable[[], Block]:
        """Begins to decode the music of a piece [frames,2] at the port's rate."""
        first, offset = divmod(piece.position, self._hop)
        count = -(-(offset + piece.frames) // self._hop)
        inside, margin = (first - result.region[0]) % self._frames, 0 if self._rate == SAMPLE_RATE else _MARGIN
        rate, hop = self._rate, self._hop
        wait = begin_window(self._vae, result.latent, inside - margin, count + 2 * margin)

        def decoded() -> Block:
            audio = wait() if rate == SAMPLE_RATE else soxr.resample(wait(), SAMPLE_RATE, rate)[margin * hop :]
            return np.ascontiguousarray(audio[offset : offset + piece.frames], dtype=np.float32)

        return decoded


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two latents are known to be the same. On a GPU a comparison would wait for the device."""
    return a is b or (not a.is_cuda and torch.equal(a, b))


def _at_rate(audio: Tensor, rate: int) -> Block:
    """A loop [2,N] at 48 kHz as [frames,2] at another rate."""
    return _resampled_loop(audio.T.numpy(), SAMPLE_RATE, rate)


def _resampled_loop(loop: NDArray[np.float32], rate: int, new_rate: int) -> Block:
    """The loop [frames,2] at another rate, its ends hearing each other."""
    if rate == new_rate:
        return np.ascontiguousarray(loop, dtype=np.float32)
    hop, new_hop = hop_at(rate), hop_at(new_rate)
    frames = loop.shape[0] // hop
    around = np.concatenate((loop[-_MARGIN * hop :], loop, loop[: _MARGIN * hop]))
    resampled = soxr.resample(around, rate, new_rate)
    return np.ascontiguousarray(resampled[_MARGIN * new_hop : (_MARGIN + frames) * new_hop], dtype=np.float32)
