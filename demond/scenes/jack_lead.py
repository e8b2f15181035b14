"""JACK's transport behind the daemon's beat: other clients follow its tempo and bars. Owned by the stage.

Whatever leads the beat (MIDI clock, taps, a number) so leads JACK, too. The audio process goes on from the last
message by itself, so one is sent only when it would go wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from demond.control import RefusedError
from demond.messages import LeadTransport
from demond.scenes.transport import Sync, Transport

ASTRAY_BEATS = 0.002
"""At 120 a minute this is a millisecond."""


class JackLead:
    """Whether others follow, and what they were told last."""

    def __init__(self, transport: Transport, clock: Callable[[], int]) -> None:
        """Nobody follows."""
        self._transport, self._clock = transport, clock
        self._told: LeadTransport | None = None
        self.tell: Callable[[LeadTransport], None] = lambda lead: None
        """Called with what the audio process is to say."""
        self.roll: Callable[[bool], None] = lambda on: None
        """Called to start JACK's transport, or to stop it."""

    @property
    def on(self) -> bool:
        """Whether others are to follow."""
        return self._told is not None

    def choose(self, on: bool) -> None:
        """Whether others are to follow. Raises :class:`RefusedError` while the transport is what is followed here."""
        if on and self._transport.sync is Sync.JACK:
            words = "the beat follows JACK's transport; choose another /demond/transport/sync before it can lead"
            raise RefusedError(409, "busy", words)
        if on:
            self._say()
        elif self.on:
            self._told = None
            self.tell(LeadTransport(on=False))

    def beat_changed(self) -> None:
        """To be called after each change of the tempo, the beat or the meter while :attr:`on`."""
        told, transport, now = self._told, self._transport, self._clock()
        if told is None:
            return
        expected = told.beat + told.rolls * (now - told.time_ns) * told.bpm / 60e9
        same = (told.bpm, told.beats_per_bar, told.rolls) == (
            transport.bpm,
            float(transport.beats_per_bar),
            transport.playing,
        )
        if same and abs(transport.beat_at(now) - expected) <= ASTRAY_BEATS:
            return
        rolled = told.rolls
        self._say()
        if transport.start_stop and rolled != transport.playing:
            self.roll(transport.playing)

    def _say(self) -> None:
        transport, now = self._transport, self._clock()
        self._told = LeadTransport(
            on=True,
            beat=transport.beat_at(now),
            time_ns=now,
            bpm=transport.bpm,
            beats_per_bar=transport.beats_per_bar,
            rolls=transport.playing,
        )
        self.tell(self._told)
