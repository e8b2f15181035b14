"""JACK's transport: what the audio process tells of it, and the time in which others are told of the daemon's beat.

Owned by the audio process and called on its main thread alone. It is not read in the process callback: a query costs
half a microsecond and touches nothing but JACK's shared memory, so any thread may make it, and as a position comes
with the time of the cycle that it belongs to, a poll is as exact as the callback would be. The callback in C stays as
it is, and the one in Python is spared.
"""

from __future__ import annotations

import ctypes
import math
import time

import jack

from demond.audio.player import libjack
from demond.messages import TransportPlace

POLL_SECONDS = 0.01
"""How often to look: a start, a stop or another tempo is known this much later."""
_TELL_NS = 200_000_000
"""While nothing happens it is told so often, for the clocks of JACK and of the system drift apart."""
_MOVED_FRAMES = 2
"""A place this far from where it should be has moved; it is counted in frames, so it is exact but for rounding."""
_SKEW_TRIES = 3

libjack.jack_get_time.restype = ctypes.c_uint64


class TransportWatch:
    """What was seen of the transport of one client's server."""

    def __init__(self, client: jack.Client) -> None:
        """`client` must be open as long as :meth:`look` is called."""
        self._client = client
        self._told: TransportPlace | None = None
        self._frame = self._usecs = 0

    def look(self, latency_frames: int) -> TransportPlace | None:
        """Where it is, if there is news. `latency_frames` pass from the cycle that takes a frame to the ear."""
        state, position = self._client.transport_query_struct()
        if not position.usecs:
            return None  # no cycle has passed yet
        rate = self._client.samplerate
        time_ns = 1000 * position.usecs + _skew_ns() + round(latency_frames / rate * 1e9)
        rolling = state == jack.ROLLING
        bpm, beat, meter = _bbt(position, rate)
        place = TransportPlace(
            time_ns=time_ns,
            rolling=rolling,
            moved=self._has_moved(rolling, position, rate),
            seconds=position.frame / rate,
            bpm=bpm,
            beat=beat,
            beats_per_bar=meter,
        )
        self._frame, self._usecs = position.frame, position.usecs
        if not self._is_news(place):
            return None
        self._told = place
        return place

    def _has_moved(self, rolling: bool, position: jack._ffi.CData, rate: int) -> bool:
        if self._told is None or self._told.rolling != rolling:
            return True
        passed = position.usecs - self._usecs if rolling else 0
        # Cycles begin when they can: their times wander by up to a period, their frames do not.
        slack = max(_MOVED_FRAMES, self._client.blocksize) if rolling else 0
        return bool(abs(position.frame - self._frame - passed * rate / 1e6) > slack)

    def _is_news(self, place: TransportPlace) -> bool:
        told = self._told
        return (
            told is None
            or place.moved
            or (place.bpm, place.beats_per_bar) != (told.bpm, told.beats_per_bar)
            or place.time_ns - told.time_ns >= _TELL_NS
        )


def jacks_usecs(heard_ns: int, latency_frames: int, rate: int) -> float:
    """When, by JACK's clock, the cycle begins whose first frame is heard at `heard_ns` of Python's."""
    latency_ns = latency_frames / rate * 1e9 if rate else 0.0
    return (heard_ns - latency_ns - _skew_ns()) / 1000


def _skew_ns() -> int:
    """How far Python's monotonic clock is ahead of JACK's, which may leave the kernel's corrections out.

    Whoever is put aside by the kernel between the two readings gets a wrong one, so the quickest try counts.
    """
    tries: list[tuple[int, int]] = []
    for _ in range(_SKEW_TRIES):
        before = time.monotonic_ns()
        jacks = 1000 * libjack.jack_get_time()
        after = time.monotonic_ns()
        tries.append((after - before, (before + after) // 2 - jacks))
    return min(tries)[1]


def _bbt(position: jack._ffi.CData, rate: int) -> tuple[float, float, float] | tuple[None, None, None]:
    """Tempo, beats since the beginning and beats of a bar, of a `jack_position_t`; None where they make no sense.

    Bars and beats count from 1. With an offset they belong to a frame so many before the position's.
    """
    bpm, meter, ticks = position.beats_per_minute, position.beats_per_bar, position.ticks_per_beat
    if not position.valid & jack.POSITION_BBT or not all(
        math.isfinite(each) and each > 0 for each in (bpm, meter, ticks)
    ):
        return None, None, None
    beat = (position.bar - 1) * meter + (position.beat - 1) + position.tick / ticks
    if position.valid & jack.POSITION_BBT_FRAME_OFFSET:
        beat += position.bbt_offset / rate * bpm / 60
    return bpm, beat, meter
