"""How far ahead of the playhead the engine writes, computed from what was measured.

Owned by playback, read by whoever shows it. A pure object: it is told durations, late writes and the passing of
frames, and has no clock of its own. Everything it gives is in frames at the port's rate, in whole periods.

- `write_ahead` is the distance from the playhead, when decoding begins, to the first frame that is rewritten: one
  period (which JACK may be reading just now), the 99th percentile of decoding and copying, and the stall reserve.
- `lead` is what a performer feels after the engine has read a knob: the ticks until the next write, at their 99th
  percentile, then `write_ahead`, then the port's own latency.
- The stall reserve jumps up by the lateness of a late write, is raised by a tick that is slower than the blocks allow
  for, before that makes a gap, by work that is about to share the machine, and halves every eight seconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

HALF_LIFE = 8.0
"""Seconds of music in which the stall reserve halves."""

RESERVE_MOST = 0.5
"""The largest stall reserve in seconds; a machine that stalls for longer plays stale music instead."""

_OBSERVED = 256
"""Durations that the percentiles are taken of."""

_FORGOTTEN = 1e-3
"""A reserve below this many seconds is none."""


@dataclass(frozen=True, slots=True)
class Lead:
    """A reading of the lead controller: frames at the port's rate, durations in milliseconds."""

    write_ahead: int
    lead: int
    reserve: int
    write_interval: int
    """Frames that pass between two writes, at the 99th percentile."""
    tick_p50_ms: float
    tick_p95_ms: float
    tick_p99_ms: float
    decode_p50_ms: float
    decode_p95_ms: float
    decode_p99_ms: float
    late_writes: int


class _Durations:
    """The last durations of one kind and their percentiles (the next higher observation, never a mean of two)."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_OBSERVED)
        self.p50 = self.p95 = self.p99 = 0.0

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self.p50, self.p95, self.p99 = (
            float(q) for q in np.quantile(self._seconds, (0.5, 0.95, 0.99), method="higher")
        )


class LeadController:
    """See the module. All observations are in seconds or frames and may come in any order."""

    def __init__(self, rate: int, period: int, port_latency: int, loop: int) -> None:
        """Geometry of the port: see :meth:`configure`."""
        self._ticks, self._decodes = _Durations(), _Durations()
        self._reserve = 0.0
        self._late_writes = 0
        self._ticks_between = self._ticks_to_write = 1
        self.configure(rate, period, port_latency, loop)

    def configure(self, rate: int, period: int, port_latency: int, loop: int) -> None:
        """`rate` in Hz; `period`, `port_latency` and what is played of the `loop` in frames.

        Measured durations are kept. Raises `ValueError` for a rate, period or loop that is not positive.
        """
        if min(rate, period, loop) <= 0 or port_latency < 0:
            raise ValueError(f"no such port: rate {rate}, period {period}, latency {port_latency}, loop {loop}")
        self._rate, self._period, self._port_latency, self._loop = rate, period, port_latency, loop

    def scheduled(self, ticks_between: int, ticks_to_write: int) -> None:
        """`ticks_between` two writes at most, and how many ticks a knob read now waits for the next one."""
        self._ticks_between, self._ticks_to_write = ticks_between, ticks_to_write

    def ticked(self, seconds: float) -> None:
        """A tick took `seconds`. Blocks are long enough for ticks at the 99th percentile so far; a slower one raises
        the reserve by what it took beyond that.
        """
        if self._ticks.p99 > 0:
            self._reserve = min(RESERVE_MOST, max(self._reserve, seconds - self._ticks.p99))
        self._ticks.add(seconds)

    def decoded(self, seconds: float) -> None:
        """Decoding, resampling, fading and copying one window took `seconds`."""
        self._decodes.add(seconds)

    def late(self, frames: int) -> None:
        """The playhead was `frames` past where a write should have begun."""
        self._late_writes += 1
        self._reserve = min(RESERVE_MOST, self._reserve + (frames + self._period) / self._rate)

    def brace(self) -> None:
        """Other work is about to share the machine with the ticks: the reserve is raised by what a write that takes
        twice as long would be late.
        """
        expected = self._ticks_between * self._ticks.p99 + self._decodes.p99
        self._reserve = min(RESERVE_MOST, max(self._reserve, expected))

    def consumed(self, frames: int) -> None:
        """The playhead went on by `frames`: the reserve decays with the music, not with the wall clock."""
        self._reserve *= 0.5 ** (frames / self._rate / HALF_LIFE)
        if self._reserve < _FORGOTTEN:
            self._reserve = 0.0

    @property
    def write_ahead(self) -> int:
        """Frames, a whole number of periods: at least the floor, at most half the loop (but never under a period)."""
        most = max(self._period, self._loop // 2 // self._period * self._period)
        return min(most, self._periods(self._period + (self._decodes.p99 + self._reserve) * self._rate))

    @property
    def write_interval(self) -> int:
        """Frames between two writes: the ticks between them and a decode, at the 99th percentile."""
        return math.ceil((self._ticks_between * self._ticks.p99 + self._decodes.p99) * self._rate)

    @property
    def wait(self) -> int:
        """Frames until the next scheduled write begins to be made, at the 99th percentile."""
        return self.after(self._ticks_to_write)

    def after(self, ticks: int) -> int:
        """Frames that `ticks` ticks last, at the 99th percentile."""
        return math.ceil(ticks * self._ticks.p99 * self._rate)

    def read(self) -> Lead:
        """Everything, for displays and traces."""
        wait = self._ticks_between * self._ticks.p99 * self._rate
        return Lead(
            write_ahead=self.write_ahead,
            lead=self._periods(wait + self.write_ahead + self._port_latency),
            reserve=math.ceil(self._reserve * self._rate),
            write_interval=self.write_interval,
            tick_p50_ms=1e3 * self._ticks.p50,
            tick_p95_ms=1e3 * self._ticks.p95,
            tick_p99_ms=1e3 * self._ticks.p99,
            decode_p50_ms=1e3 * self._decodes.p50,
            decode_p95_ms=1e3 * self._decodes.p95,
            decode_p99_ms=1e3 * self._decodes.p99,
            late_writes=self._late_writes,
        )

    def _periods(self, frames: float) -> int:
        """`frames` rounded up to whole periods."""
        return math.ceil(frames / self._period) * self._period
