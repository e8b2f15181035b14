"""The search for the control that a hand moves, while a mapping line is learned.

A search hears every message, from its start to its end. It tells a hand from what only makes noise: controls that
were busy before it began, that tremble, that were heard of once; the echo of what demond itself has sent; a touch
sensor beside its fader; what cannot play the target. It lives in the daemon's event loop; the mapper feeds it, and
:mod:`demond.mapping.lesson` asks it what it has found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from demond.mapping import guess, raw
from demond.mapping.assembly import DATA_MSB, SELECT, Gesture, Position, Press, Steps
from demond.mapping.candidate import VALUES_LIMIT, Candidate
from demond.mapping.profile import DeviceControl, Key, Word
from demond.mapping.transfer import travel_of_bits
from demond.midi.decode import ControlChange, Event, NoteOn, PitchBend

ECHO_NS = 300_000_000
"""What a device sends within this time after it was sent the very same is its echo, in ns."""
SETTLE_NS = 500_000_000
"""A control that was busy when the search began is heard again after it was still for this long, in ns, at least."""
CANDIDATE_LIMIT = 512
PAIR_NS = 20_000_000
"""The halves of a 14-bit value come within this time, in ns."""
_SENT_LIMIT = 4_096

Fits = Callable[[str, DeviceControl | None], bool]
"""`fits(name, control)`: whether a line from that control to the target would be a right one."""
Who = tuple[str, str]
"""A control: its port or sender, and its name, or what it sends."""


@dataclass(slots=True)
class Busy:
    """A control that was heard of just before the search began, and may move by itself."""

    last_ns: int
    settle_ns: int = SETTLE_NS
    """How long it must be still: twice as long as it was between any two messages."""

    def before(self, time_ns: int, next_ns: int) -> None:
        """It was heard of at `time_ns`, and then at `next_ns`."""
        self.settle_ns = max(self.settle_ns, 2 * (next_ns - time_ns))


@dataclass(slots=True)
class _Pair:
    """Two controllers that may be the halves of one value."""

    following: int = 0
    values: list[int] = field(default_factory=list)
    """Of the lower half."""


@dataclass(slots=True)
class _Parameter:
    """The registered parameters that data entry on one channel of a port seems to be for."""

    word: Word = Word.NRPN
    halves: dict[bool, int] = field(default_factory=dict)
    selected_ns: int = 0
    numbers: dict[tuple[Word, int], None] = field(default_factory=dict)
    """Those that data came for, at least once right after the selection."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate as a line would name it."""

    candidate: Candidate
    name: str
    """`nk2/fader1`, `osc:/1/fader1`; of a control that no profile describes, its name alone."""
    entry: raw.Entry | None
    """How such a control is described in a mapping."""
    why: str
    """What its numbers look like, if that is worth saying."""
    why_not: str
    """What speaks against it; empty for what a hand has moved."""


class Search:
    """One search."""

    def __init__(self, fits: Fits, busy: Mapping[Who, Busy], guessing: bool = False) -> None:
        """`busy` are the controls that were heard of just before the start."""
        self._fits, self._busy, self._guessing = fits, dict(busy), guessing
        self._candidates: dict[Who, Candidate] = {}
        self._fitting: dict[str, bool] = {}
        self._sent: dict[tuple[str, bytes], int] = {}
        self._pairs: dict[tuple[str, Key], _Pair] = {}
        self._before: dict[str, tuple[Key, int]] = {}
        """The last controller of each port, and when it came."""
        self._parameters: dict[tuple[str, int], _Parameter] = {}
        self._raw: dict[Key, DeviceControl] = {}
        """Controls that no profile describes, by what they send."""

    # -- what is heard ------------------------------------------------------------------------------------------

    def sent(self, port: str, messages: Iterable[bytes], now_ns: int) -> None:
        """demond has sent `messages` to the device at `port`, which may send them back."""
        if len(self._sent) >= _SENT_LIMIT:
            self._sent.clear()
        for message in messages:
            self._sent[port, message] = now_ns

    def gesture(self, port: str, name: str, gesture: Gesture, data: bytes, now_ns: int) -> bool:
        """A control that a profile describes was used. True if it is searched for and must not act meanwhile."""
        assert isinstance(gesture, Position | Steps | Press)  # noqa: S101 - halves are no gestures yet
        control = gesture.control
        found = self._candidate(port, name, control, None, data, now_ns)
        if found is None:
            return False
        if isinstance(gesture, Position):
            found.moved(travel_of_bits(gesture.value, control.bits), now_ns)
            self._beside(found)
        elif isinstance(gesture, Steps):
            found.turned(gesture.steps, now_ns)
        else:
            found.pressed(gesture.strength, now_ns)
        return self._may(name, control)

    def undescribed(self, port: str, event: Event, data: bytes, now_ns: int) -> None:
        """Something came that no profile describes."""
        key = raw.key_of(event)
        if key is None:
            return
        control = self._raw.get(key)
        if control is None:
            if len(self._raw) >= CANDIDATE_LIMIT:
                return
            control = self._raw[key] = raw.control(*raw.described(key))
        found = self._candidate(port, control.name, control, key, data, now_ns)
        if found is None:
            return
        if found.is_pressed:
            found.pressed(event.velocity / 127 if isinstance(event, NoteOn) else float(control.pulse), now_ns)
            return
        if isinstance(event, ControlChange):
            self._note_pair(port, event, key, now_ns)
            self._note_parameter(port, event, now_ns)
        value = event[-1]
        assert isinstance(value, int)  # noqa: S101 - the other events have no key
        found.moved(travel_of_bits(value, 14 if isinstance(event, PitchBend) else 7), now_ns, value)
        self._beside(found)

    def surface(self, sender: str, address: str, travel: float, now_ns: int) -> bool:
        """An address of a surface was sent a position (0–1), or 1 and 0 by a button. True if it is searched for."""
        found = self._candidate(sender, f"osc:{address}", None, None, b"", now_ns)
        if found is not None:
            found.moved(travel, now_ns)
        return found is not None and self._may(found.name, None)

    def _candidate(
        self, port: str, name: str, control: DeviceControl | None, key: Key | None, data: bytes, now_ns: int
    ) -> Candidate | None:
        """The candidate that is meant; None for noise."""
        who = (port, name)
        if data and now_ns - self._sent.get((port, data), -ECHO_NS) < ECHO_NS:
            return None
        busy = self._busy.get(who)
        if busy is not None:
            still_ns, busy.last_ns = now_ns - busy.last_ns, now_ns
            if still_ns < busy.settle_ns:
                return None
            del self._busy[who]
        found = self._candidates.get(who)
        if found is None:
            if len(self._candidates) >= CANDIDATE_LIMIT:
                return None
            found = self._candidates[who] = Candidate(port, name, control, key)
        return found

    def _may(self, name: str, control: DeviceControl | None) -> bool:
        if name not in self._fitting:
            self._fitting[name] = self._fits(name, control)
        return self._fitting[name]

    def _beside(self, moved: Candidate) -> None:
        """Whatever is held at this port while `moved` moves may be its touch sensor."""
        for one in self._candidates.values():
            if one.down and one.port == moved.port and one is not moved:
                one.held_beside = True

    def _note_pair(self, port: str, event: ControlChange, key: Key, now_ns: int) -> None:
        """Whether a controller comes right after the one 32 below, again and again: the lower half of its value."""
        before, self._before[port] = self._before.get(port), (key, now_ns)
        word, channel, number = key
        if not 32 <= number < 64 or before is None:
            return
        upper = (word, channel, number - 32)
        pair = self._pairs.setdefault((port, upper), _Pair())
        if len(pair.values) < VALUES_LIMIT:
            pair.values.append(event.value)
            pair.following += before[0] == upper and now_ns - before[1] <= PAIR_NS

    def _note_parameter(self, port: str, event: ControlChange, now_ns: int) -> None:
        """Whether data entry comes right after the selection of a registered parameter (MIDI 1.0, table III)."""
        if event.control not in (*SELECT, DATA_MSB):
            return
        parameter = self._parameters.setdefault((port, event.channel), _Parameter())
        if event.control in SELECT:
            word, high = SELECT[event.control]
            if parameter.word is not word:
                parameter.word, parameter.halves = word, {}
            parameter.halves[high] = event.value
            parameter.selected_ns = now_ns
        elif len(parameter.halves) == 2 and now_ns - parameter.selected_ns <= PAIR_NS:
            number = parameter.halves[True] << 7 | parameter.halves[False]
            parameter.numbers[parameter.word, number] = None

    # -- what is found ------------------------------------------------------------------------------------------

    def found(self) -> list[Found]:
        """What a hand has moved, the one that was begun last first. That is the best: who errs goes on to another."""
        lower = self._lower_halves()
        right = []
        for one in self._candidates.values():
            if (one.port, one.name) in lower or self._touch_of_moved(one):
                continue
            found = self._explained(one)
            if not found.why_not:
                right.append(found)
        return sorted(right, key=lambda found: found.candidate.began_ns, reverse=True)

    def heard(self) -> list[str]:
        """Why what else was heard of is none, for a person who waits in vain."""
        every = [self._explained(one) for one in self._candidates.values()]
        return [f"{one.name} {one.why_not}{f' ({one.why})' if one.why else ''}" for one in every if one.why_not]

    def _explained(self, one: Candidate) -> Found:
        """`one` as it would be written, with what is proposed for it and what speaks against it."""
        if one.key is None:
            why_not = one.why_not() or ("" if self._may(one.name, one.control) else "cannot play that")
            return Found(one, one.name, None, "", why_not)
        (name, entry), why, sure = self._described(one, one.key)
        why_not = "" if sure else one.why_not()
        if not why_not and not self._may(name, None if name in self._fitting else raw.control(name, entry)):
            why_not = "cannot play that"
        return Found(one, name, entry, why, why_not)

    def _described(self, one: Candidate, key: Key) -> tuple[tuple[str, raw.Entry], str, bool]:
        """How a control without a profile is written, why, and whether its numbers alone show that it was used."""
        plain = raw.described(key)
        if key[0] != Word.CC:
            return plain, "", False
        pair = self._pair_of(one) is not None
        parameter = self._parameters.get((one.port, key[1]))
        if key[2] == DATA_MSB and parameter is not None and len(parameter.numbers) == 1:
            [(word, number)] = parameter.numbers
            words = f"it is data for the {word} {number}, which is selected each time"
            return (raw.described((word, key[1], number), fine=pair) if self._guessing else plain), words, False
        if pair:
            words = f"controller {key[2] + 32} follows each time, so it may be one value of 14 bits"
            return (raw.described(key, "fader", lsb=key[2] + 32) if self._guessing else plain), words, False
        seen = guess.of_values(one.values)
        if seen is None:
            turned = guess.one_way(one.values)
            return plain, "it may be an endless encoder; turn it both ways" if turned else "", False
        if self._guessing:
            return raw.described(key, seen.kind, seen.encoding), seen.why, True
        return plain, f"{seen.why}; with --guess it is taken for a {seen.kind}", False

    def _pair_of(self, one: Candidate) -> _Pair | None:
        pair = self._pairs.get((one.port, one.key)) if one.key is not None else None
        return pair if pair is not None and guess.is_pair(one.values, pair.values, pair.following) else None

    def _lower_halves(self) -> set[Who]:
        """The candidates that are the lower half of another one's value."""
        found: set[Who] = set()
        for one in self._candidates.values():
            if one.key is not None and self._pair_of(one) is not None:
                word, channel, number = one.key
                found.add((one.port, raw.described((word, channel, number + 32))[0]))
        return found

    def _touch_of_moved(self, one: Candidate) -> bool:
        """Whether it is the touch sensor of a control that was moved."""
        device, _, sensor = one.name.partition("/")
        return (
            one.is_pressed
            and one.key is None
            and any(
                other.port == one.port
                and other.control is not None
                and other.control.touch == sensor
                and other.name.partition("/")[0] == device
                for other in self._candidates.values()
            )
        )
