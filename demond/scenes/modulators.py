"""All LFOs and gestures, at most one on a knob. Used by `demond.scenes.stage`, which says the time and sets knobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from demond.control import RefusedError
from demond.knobs import knob
from demond.scenes.arbiter import Arbiter
from demond.scenes.modulate import Gesture, Lfo, Modulator, Recording
from demond.scenes.scene import Span
from demond.scenes.transport import Transport

Value = Callable[[str], float]


class Modulators:
    """What moves knobs by itself, and what is being recorded to do so."""

    def __init__(self, transport: Transport, arbiter: Arbiter, value: Value, held: Callable[[str], bool]) -> None:
        """Nothing does. `value` tells what a knob has now, `held` whether a finger lies upon it."""
        self._transport, self._arbiter, self._value, self._held = transport, arbiter, value, held
        self._at_work: dict[str, Modulator] = {}
        self._recordings: dict[str, Recording] = {}

    @property
    def busy(self) -> bool:
        """Whether there is a next step."""
        return bool(self._at_work or self._recordings)

    def lfo(self, name: str) -> Lfo | None:
        """The LFO on a knob."""
        found = self._at_work.get(name)
        return found.what if found is not None and isinstance(found.what, Lfo) else None

    def gesture(self, name: str) -> str:
        """`recording`, `looping` or `off`."""
        if name in self._recordings:
            return "recording"
        found = self._at_work.get(name)
        return "looping" if found is not None and isinstance(found.what, Gesture) else "off"

    def start(self, name: str, what: Lfo | Gesture, now_ns: int) -> None:
        """From now on `what` moves the knob, instead of whatever did."""
        self._at_work[name] = Modulator(knob(name), what, now_ns / 1e9, self._transport.beat_at(now_ns))

    def stop(self, name: str) -> None:
        """The knob stays where it is, and nothing is recorded."""
        self._at_work.pop(name, None)
        self._recordings.pop(name, None)

    def record(self, name: str, length: Span, now_ns: int) -> None:
        """Records what the knob is moved to for so long, and then repeats it. Raises :class:`RefusedError`."""
        if length.amount <= 0:
            raise RefusedError(400, "bad_args", "a gesture has a length, such as 2 bars or 4 s")
        if length.unit != "s" and not self._transport.playing:
            raise RefusedError(409, "busy", "the beat stands still; /demond/transport/play, or record seconds")
        self.stop(name)
        turned = knob(name)
        position = self._transport.beat_at(now_ns) if length.unit != "s" else now_ns / 1e9
        travel = turned.to_norm(self._value(name))
        self._recordings[name] = Recording(turned, length, position, travel, self._transport.beats_per_bar)

    def moved(self, changes: Mapping[str, float], now_ns: int) -> None:
        """Somebody else has set knobs: what moves them rests, and what records them hears it."""
        for name, value in changes.items():
            if (recording := self._recordings.get(name)) is not None:
                recording.put(self._position(recording, now_ns), recording.knob.to_norm(value))
            if (modulator := self._at_work.get(name)) is not None:
                modulator.rest()

    def step(self, now_ns: int) -> tuple[dict[str, dict[str, float]], list[str]]:
        """What knobs are to have now, by the kind of what moves them; and those whose recording has ended."""
        ended = [
            name for name, recording in self._recordings.items() if recording.done(self._position(recording, now_ns))
        ]
        for name in ended:
            self.start(name, self._recordings.pop(name).gesture(), now_ns)
        found: dict[str, dict[str, float]] = {}
        seconds, beat = now_ns / 1e9, self._transport.beat_at(now_ns)
        for name, modulator in self._at_work.items():
            if now_ns >= self._arbiter.held_until_ns(name) and not self._held(name):
                value = modulator.value(seconds, beat, self._value(name))
                found.setdefault(modulator.kind, {})[name] = value
        return found, ended

    def _position(self, recording: Recording, now_ns: int) -> float:
        return self._transport.beat_at(now_ns) if recording.by_beat else now_ns / 1e9

    def status(self) -> dict[str, object]:
        """What moves which knob, as plain values."""
        told: dict[str, object] = dict.fromkeys(self._recordings, "recording")
        for name, modulator in self._at_work.items():
            what = modulator.what
            told[name] = "gesture" if isinstance(what, Gesture) else f"lfo {told_lfo(what)}"
        return told

    @property
    def knobs(self) -> Collection[str]:
        """The knobs that are moved or recorded."""
        return self._at_work.keys() | self._recordings.keys()


def told_lfo(lfo: Lfo) -> str:
    """One line: `sine 0.5 hz`, `saw 4 beats`."""
    return f"{lfo.shape.value} {lfo.rate:g} {lfo.unit.value}"
