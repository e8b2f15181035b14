"""The tempo and the beat, whoever says them: MIDI clock, JACK's transport, taps, or a number.

It lives in the daemon's event loop; every time is given in nanoseconds of the monotonic clock, and nothing is asked
of a clock here. Without a clock that leads the beat goes on by itself, and so it does while one drops out.
"""

from __future__ import annotations

import math
from enum import StrEnum

from demond.control import RefusedError
from demond.messages import TransportPlace
from demond.scenes.follower import FASTEST_BPM, LOST_SECONDS, SLOWEST_BPM, TICKS_PER_BEAT, Follower
from demond.scenes.scene import Span
from demond.scenes.tap import Taps

DEFAULT_BPM = 120.0
BEATS_PER_BAR = 4
METER_LIMIT = 32
GONE_SECONDS = 2.0
"""After this long without a tick, taps and numbers count again, and another port may lead."""
_NEAR_BEATS = 1e-6


class Sync(StrEnum):
    """Who may say the tempo."""

    MIDI = "midi"
    """MIDI clock while there is one, and else taps and numbers."""
    JACK = "jack"
    """JACK's transport: its place, and its tempo where it has a timebase master; without one, taps and numbers."""
    TAP = "tap"
    """Taps and numbers."""
    NONE = "none"
    """Numbers alone."""


class Transport:
    """Where in the beat everything is."""

    def __init__(self, now_ns: int) -> None:
        """It plays from beat 0 at :data:`DEFAULT_BPM`."""
        self.bpm = DEFAULT_BPM
        self.beats_per_bar = BEATS_PER_BAR
        self.playing = True
        self.sync = Sync.MIDI
        self.start_stop = True
        """Whether the beat starts and stops with the clock or the transport that leads it."""
        self._beat, self._since_ns = 0.0, float(now_ns)
        self._follower, self._taps = Follower(), Taps()
        self._port = ""
        self._tick_ns: int | None = None
        self._ticks = 0
        """Ticks since the beat that :attr:`_base` is."""
        self._base: float | None = None
        self._place: TransportPlace | None = None
        """What JACK's transport said last."""

    # -- where it is --------------------------------------------------------------------------------------------

    def beat_at(self, time_ns: float) -> float:
        """The beats since the start at `time_ns`, with a fraction."""
        if not self.playing:
            return self._beat
        return self._beat + (time_ns - self._since_ns) * self.bpm / 60e9

    def time_of(self, beat: float) -> float:
        """When `beat` is, at the present tempo; infinity while nothing plays."""
        return self._since_ns + (beat - self._beat) * 60e9 / self.bpm if self.playing else math.inf

    def next_on(self, grid: Span, time_ns: float) -> float:
        """The first beat of `grid`, which is counted in beats or bars, that is not before `time_ns`."""
        step = grid.beats(self.beats_per_bar)
        return math.ceil(self.beat_at(time_ns) / step - _NEAR_BEATS) * step

    def follows(self, now_ns: int) -> str:
        """Who says the tempo now: `midi PORT`, `jack`, or nothing."""
        if self._is_followed(now_ns):
            return f"midi {self._port}"
        return "jack" if self._has_jack_tempo(now_ns) else ""

    def hears_jack(self, now_ns: int) -> bool:
        """Whether JACK's transport is followed, and there."""
        place = self._place
        return self.sync is Sync.JACK and place is not None and now_ns - place.time_ns < GONE_SECONDS * 1e9

    # -- who says it --------------------------------------------------------------------------------------------

    def set_bpm(self, bpm: float, now_ns: int) -> float:
        """From now on the tempo is `bpm`, moved into 20 to 400. Raises :class:`RefusedError` while a clock leads."""
        self._refuse_while_followed(now_ns)
        self._anchor(self.beat_at(now_ns), now_ns)
        self.bpm = _within(bpm)
        return self.bpm

    def tap(self, now_ns: int) -> None:
        """A beat is now. Raises :class:`RefusedError` while a clock leads, and where taps do not count."""
        if self.sync is Sync.NONE:
            raise RefusedError(409, "busy", "taps do not count while transport/sync is none")
        self._refuse_while_followed(now_ns)
        bpm = self._taps.tap(now_ns)
        if bpm:
            beat = self.beat_at(now_ns)
            self.bpm = bpm
            self._anchor(float(round(beat)), now_ns)

    def play(self, now_ns: int) -> None:
        """The beat goes on."""
        if not self.playing:
            self._since_ns, self.playing = float(now_ns), True

    def stop(self, now_ns: int) -> None:
        """The beat stands still."""
        self._anchor(self.beat_at(now_ns), now_ns)
        self.playing = False

    def clock(self, port: str, kind: str, sixteenths: int, time_ns: int) -> bool:
        """MIDI clock from `port`; False if it does not count, because another port leads or clocks do not.

        `kind` is `tick`, `start`, `continue`, `stop`, or `position` with the `sixteenths` since the start.
        """
        if self.sync is not Sync.MIDI or (port != self._port and self._is_followed(time_ns)):
            return False
        self._port = port
        match kind:
            case "tick":
                self._tick(time_ns)
            case "start":
                self._goto(0.0, time_ns)
                self.playing = self.playing or self.start_stop
            case "continue":
                self._goto(self.beat_at(time_ns), time_ns)
                self.playing = self.playing or self.start_stop
            case "stop" if self.start_stop:
                self.stop(time_ns)
                self._base = None
            case "position":
                self._goto(sixteenths / 4, time_ns)
        return True

    def jack(self, place: TransportPlace) -> bool:
        """JACK's transport is at `place`; False if it is not followed.

        Its beat is taken while it rolls, and also where it stopped. Without a timebase master it says no beat: then
        the beat is put to its place at the tempo that holds, whenever it starts or is put elsewhere.
        """
        if self.sync is not Sync.JACK:
            return False
        self._place = place
        beat = self.beat_at(place.time_ns)
        if place.bpm is not None and place.beat is not None:
            self.bpm = _within(place.bpm)
            if place.beats_per_bar and place.beats_per_bar == int(place.beats_per_bar):
                self.beats_per_bar = int(place.beats_per_bar)
        if place.rolling or self.start_stop:
            if place.beat is not None:
                beat = place.beat
            elif place.moved:
                beat = place.seconds * self.bpm / 60
            self.playing = place.rolling if self.start_stop else self.playing
        self._anchor(beat, place.time_ns)
        return True

    def choose(self, sync: Sync, now_ns: int) -> None:
        """Who may say the tempo from now on; it stays what it is until they do."""
        self._anchor(self.beat_at(now_ns), now_ns)
        self.sync = sync
        self._tick_ns, self._base, self._place = None, None, None

    def _tick(self, time_ns: int) -> None:
        passed = self._follower.tick(time_ns)
        dropped_out = self._tick_ns is not None and time_ns - self._tick_ns > LOST_SECONDS * 1e9
        if dropped_out and self._ticks >= 0:
            self._base = None
        self._tick_ns = time_ns
        period = self._follower.period_ns
        if self._base is None or not self.playing:
            # A clock without a start may be anywhere in its piece: it says the tempo, and the beats stay ours.
            self._base, self._ticks = self.beat_at(time_ns), 0
        else:
            self._ticks = self._ticks + passed if self._ticks >= 0 else 0
        beat = self._base + self._ticks / TICKS_PER_BEAT
        if period:
            self._anchor(beat, self._follower.phase_ns)
            self.bpm = self._follower.bpm
        else:
            self._anchor(beat, time_ns)

    def _goto(self, beat: float, time_ns: int) -> None:
        self._anchor(beat, time_ns)
        self._base, self._ticks = beat, -1  # the next tick is the first

    def _anchor(self, beat: float, time_ns: float) -> None:
        self._beat, self._since_ns = beat, float(time_ns)

    def _is_followed(self, now_ns: int) -> bool:
        return self.sync is Sync.MIDI and self._tick_ns is not None and now_ns - self._tick_ns < GONE_SECONDS * 1e9

    def _has_jack_tempo(self, now_ns: int) -> bool:
        return self.hears_jack(now_ns) and self._place is not None and self._place.bpm is not None

    def _refuse_while_followed(self, now_ns: int) -> None:
        who = ""
        if self._is_followed(now_ns):
            who = f"MIDI clock from {self._port}"
        elif self._has_jack_tempo(now_ns):
            who = "the timebase master of JACK's transport"
        if who:
            raise RefusedError(409, "busy", f"{who} says the tempo; /demond/transport/sync tap or none frees it")


def _within(bpm: float) -> float:
    return min(max(bpm, SLOWEST_BPM), FASTEST_BPM)
