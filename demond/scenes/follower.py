"""A small phase-locked loop that follows MIDI clock: 24 ticks a beat, late by turns, and some of them lost.

A g-h filter with growing memory: its gains are those of a least-squares line through all ticks so far, until the last
:data:`MEMORY` ticks count, and from there on they stay (E. Brookner, Tracking and Kalman Filtering Made Easy, 1998,
chapter 1.2.10: expanding-memory filter). So it knows the tempo after some ticks, and after two beats it evens out
what a cable, a driver and a poll every millisecond do to the times.
"""

from __future__ import annotations

TICKS_PER_BEAT = 24
SLOWEST_BPM, FASTEST_BPM = 20.0, 400.0
MEMORY = 48
"""Ticks that count: two beats."""
LOST_SECONDS = 1.0
"""After a silence of this length, ticks are those of a new clock."""
_ASTRAY = 0.25
"""A tick that is further from its place, in periods, speaks for another tempo; so many in a row prove it."""
_PATIENCE = 3
_SURE = 8
_LONGEST_NS = 60e9 / SLOWEST_BPM / TICKS_PER_BEAT
_SHORTEST_NS = 60e9 / FASTEST_BPM / TICKS_PER_BEAT


class Follower:
    """The tempo and the phase of one clock."""

    def __init__(self) -> None:
        """No tick has come."""
        self.period_ns = 0.0
        """Between two ticks; 0 while it is unknown."""
        self.phase_ns = 0.0
        """When the last tick was due."""
        self._count = 0
        self._last_ns = 0
        self._owed = 0
        """Ticks that were counted as lost, and may only be late."""
        self._astray = 0

    @property
    def bpm(self) -> float:
        """The tempo; 0 while it is unknown."""
        return 60e9 / (self.period_ns * TICKS_PER_BEAT) if self.period_ns else 0.0

    def tick(self, time_ns: int) -> int:
        """A tick has come; returns how many ticks have passed with it: more than 1 if some were lost."""
        gap = time_ns - self._last_ns
        before, self._last_ns = self._count, time_ns
        if before == 0 or gap > LOST_SECONDS * 1e9:
            self._begin(time_ns)
            return 1
        if not self.period_ns:
            if not _SHORTEST_NS <= gap <= _LONGEST_NS:
                self._begin(time_ns)
                return 1
            self._restart(time_ns, gap)
            return 1
        # Before the tempo is sure, a long gap speaks for another tempo and not for lost ticks.
        passed = round((time_ns - self.phase_ns) / self.period_ns) if self._count >= _SURE else 1
        if passed < 1 and self._owed:
            self._owed -= 1
            return 0
        passed = max(passed, 1)
        self._owed = passed - 1 if passed > 1 else 0
        self._correct(time_ns, gap, passed)
        return passed

    def _begin(self, time_ns: int) -> None:
        self._count, self.period_ns, self.phase_ns, self._owed, self._astray = 1, 0.0, float(time_ns), 0, 0

    def _restart(self, time_ns: int, gap: float) -> None:
        self._count, self.period_ns, self.phase_ns, self._astray = 2, float(gap), float(time_ns), 0

    def _correct(self, time_ns: int, gap: float, passed: int) -> None:
        due = self.phase_ns + passed * self.period_ns
        error = time_ns - due
        self._astray = self._astray + 1 if abs(error) > _ASTRAY * self.period_ns else 0
        if self._astray >= _PATIENCE and _SHORTEST_NS <= gap / passed <= _LONGEST_NS:
            self._restart(time_ns, gap / passed)
            return
        n = min(self._count, MEMORY)
        self.phase_ns = due + error * 2 * (2 * n + 1) / ((n + 1) * (n + 2))
        self.period_ns += error / passed * 6 / ((n + 1) * (n + 2))
        self.period_ns = min(max(self.period_ns, _SHORTEST_NS), _LONGEST_NS)
        self._count += 1
