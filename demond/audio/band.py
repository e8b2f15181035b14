"""The part of the loop that is played, as every process computes it from one word of the shared loop.

`band_of` and `inside` in `demond/_loop.h` are the same in C, and a test compares them.
"""

from __future__ import annotations

from typing import Final

SHORTEST_SECONDS: Final = 0.25
"""A band is at least this long: room for the engine to write in, and far more than the crossfade at its end."""

_ONE = 1 << 31
_HALF = 1 << 30


def packed(a: float, b: float) -> int:
    """Both ends, as shares of the loop (0–1), in the one word that crosses to the other processes."""
    return round(a * _ONE) << 32 | round(b * _ONE)


def band_of(shares: int, frames: int, rate: int) -> tuple[int, int]:
    """The positions a and b (not included) of a word of :func:`packed` in a loop of `frames` at `rate` Hz.

    A band shorter than :data:`SHORTEST_SECONDS`, or one that ends before it begins, is made as long by moving its
    end, and at the loop's end its beginning; a shorter loop is played as a whole.
    """
    least = max(1, rate // 4)
    a, b = ((share * frames + _HALF) // _ONE for share in (shares >> 32, shares & 0xFFFFFFFF))
    b = max(b, a + least)
    if b > frames:
        a, b = min(a, max(0, frames - least)), frames
    return a, b


def inside(band: tuple[int, int], position: int, frames: int) -> int:
    """Where in the band a position of the loop belongs: itself when it is inside.

    From outside, the band's length is taken away from the way since its beginning until the rest lies inside. So a
    beat goes on as if the band had been played all the time, and playing on before or after leads to the same place.
    """
    a, b = band
    return a + (position - a) % frames % (b - a)
