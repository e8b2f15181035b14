"""Where in the loop a block of music goes: split at the end of the band, and cut where its latent ends.

Pure arithmetic on frames at the port's rate, called by playback. A band is played from a up to b and then from a
again; the port fades from what lies beyond b while it plays on at a. So a block that passes b becomes two pieces:
one that goes on beyond b for as long as that fade may last, and one that begins at a. Each piece is faded into the
loop at both ends. Of the two that meet at b these fades lie outside of the band, so that all inside is new music and
the loop has no seam when the band is opened again. Nothing else outside of the band is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Band = tuple[int, int]
"""Positions a and b (not included)."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What a placement must know of the loop; all in frames."""

    frames: int
    band: Band
    fade: int
    """Of the fade at either end of a piece."""
    beyond: int
    """How far beyond b the port may be heard."""

    @property
    def jumps(self) -> bool:
        """Whether the port is taken to jump at b. A gap from b to a that cannot hold the fades is written through."""
        return self.gap >= 2 * self.fade + self.beyond

    @property
    def gap(self) -> int:
        """Frames from b to a that are not played."""
        a, b = self.band
        return self.frames - (b - a)

    def position(self, at: int, way: int) -> int:
        """Where in the band the port is `way` frames after it was at `at`, which may lie outside."""
        a, b = self.band
        return a + ((at - a) % self.frames + way) % (b - a)


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames that are written at one go from `position` on, modulo the loop; all new but for a fade at both ends."""

    position: int
    frames: int


@dataclass(frozen=True, slots=True)
class Placement:
    """How a block is written."""

    skipped: int
    """Frames at its beginning that are left out, because b is too near for a piece of its own."""
    frames: int
    """Frames of music that it covers after that, as they are played."""
    pieces: tuple[Piece, ...]
    """In the order in which they are heard."""


def placed(loop: Loop, position: int, count: int, available: Callable[[int], int]) -> Placement | None:
    """`count` frames of music from `position` (in the band) on; none when that would be too little to be faded.

    `available(p)` frames of music can be had from position `p` on, without a gap. What is not available is left out
    at the end.
    """
    fade, until = loop.fade, loop.band[1] - position
    if loop.jumps:
        beyond = loop.beyond + fade
        if count < until:
            count = min(count, available(position))
        elif until >= 2 * fade and available(position) < until + beyond:
            count = min(until - 1, available(position))
        else:
            return _split(loop, position, count - until, available)
        pieces = (Piece(position, count),)
    else:
        gap = loop.gap
        if count >= until and available(position) < count + gap:
            count = available(position) - gap if available(position) >= until + gap else until - 1
        count = min(count, available(position))
        pieces = (Piece(position, count + (gap if count >= until else 0)),)
    return Placement(0, count, pieces) if count >= 4 * fade else None


def _split(loop: Loop, position: int, rest: int, available: Callable[[int], int]) -> Placement | None:
    """A block that passes b, and lasts for `rest` more after it."""
    (a, b), fade = loop.band, loop.fade
    until, before_a = b - position, (a - fade) % loop.frames
    rest = min(rest, available(before_a) - fade)
    pieces, skipped, frames = [], 0, 0
    if until >= 2 * fade:
        pieces.append(Piece(position, until + loop.beyond + fade))
        frames = until
    else:
        skipped = until
    if rest >= 2 * fade:
        pieces.append(Piece(before_a, fade + rest))
        frames += rest
    return Placement(skipped, frames, tuple(pieces)) if pieces else None
