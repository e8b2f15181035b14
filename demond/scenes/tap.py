"""Tempo from taps of a finger, of which some miss."""

from __future__ import annotations

from statistics import fmean, median

from demond.scenes.follower import FASTEST_BPM, SLOWEST_BPM

TAPS = 9
"""The taps that count."""
_NEAR = 0.2
"""An interval further than this from the middle one, as a share of it, is a slip."""


class Taps:
    """The last taps."""

    def __init__(self) -> None:
        """None."""
        self._times: list[int] = []

    def tap(self, time_ns: int) -> float:
        """A tap has come; returns the tempo in beats a minute, or 0 while it is unknown.

        A missed tap counts as two beats; a stray one is left out. After three seconds without a tap, or two beats at
        another tempo, a new tempo begins.
        """
        if self._times and time_ns - self._times[-1] > 60e9 / SLOWEST_BPM:
            self._times.clear()
        self._times = [*self._times[-(TAPS - 1) :], time_ns]
        gaps = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        if len(gaps) > 3 and _near(gaps[-1], gaps[-2]) and not any(_near(gap, gaps[-1]) for gap in _beats(gaps[:-2])):
            self._times = self._times[-3:]
            gaps = gaps[-2:]
        beats = _beats(gaps)
        if not beats:
            return 0.0
        return min(max(60e9 / fmean(beats), SLOWEST_BPM), FASTEST_BPM)


def _beats(gaps: list[int]) -> list[float]:
    """`gaps` without slips; those over a missed tap as two."""
    if not gaps:
        return []
    middle = median(gaps)
    found: list[float] = []
    for gap in gaps:
        if _near(gap, middle):
            found.append(gap)
        elif _near(gap / 2, middle):
            found += [gap / 2, gap / 2]
    return found


def _near(gap: float, middle: float) -> bool:
    return abs(gap - middle) <= _NEAR * middle
