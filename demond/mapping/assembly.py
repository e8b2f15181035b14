"""From MIDI events to what a hand did: positions, steps and presses of the controls that a profile describes.

Called by the mapper in the daemon for each message. Values that take several messages (14-bit controllers, NRPN and
RPN, programs of a bank) are put together here, and only where the profile declares them: a device that sends CC 98
from a knob, or CC 38 from a button, is understood to do just that.
NRPN, RPN, data entry, increment and bank select: MIDI 1.0 Detailed Specification 4.2, table III and page 16 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from demond.mapping.profile import DeviceControl, Key, Word, keys_of
from demond.mapping.transfer import Encoding, detents
from demond.midi.decode import (
    ChannelPressure,
    ControlChange,
    Event,
    KeyPressure,
    NoteOff,
    NoteOn,
    PitchBend,
    ProgramChange,
    SysEx,
)

_BANK_MSB, _BANK_LSB = 0, 32
DATA_MSB, _DATA_LSB, _INCREMENT, _DECREMENT = 6, 38, 96, 97
SELECT = {98: (Word.NRPN, False), 99: (Word.NRPN, True), 100: (Word.RPN, False), 101: (Word.RPN, True)}
"""The controllers that select a parameter: which kind, and whether they carry the high half."""
_NULL = (127, 127)
"""The RPN that selects nothing."""


class Position(NamedTuple):
    """A control stands at `value`, 0 to 2 to the power of its bits, less 1."""

    control: DeviceControl
    value: int


class Steps(NamedTuple):
    """An endless control was turned by `steps`; below 0 is down."""

    control: DeviceControl
    steps: int


class Press(NamedTuple):
    """A button, pad or touch sensor was pressed with `strength` (0–1), or released (0)."""

    control: DeviceControl
    strength: float


class Half(NamedTuple):
    """A part of a value has come; the rest is awaited."""

    control: DeviceControl


class Selection(NamedTuple):
    """It was said which parameter or bank the next messages are about."""


Gesture = Position | Steps | Press | Half | Selection


@dataclass(frozen=True)
class Layout:
    """The controls of a profile by what they send. Made once when a mapping is loaded; never changed."""

    plain: dict[Key, tuple[DeviceControl, bool]] = field(default_factory=dict)
    """By key: the control, and whether the message carries the low half of its value."""
    patterns: tuple[tuple[re.Pattern[bytes], DeviceControl], ...] = ()
    registered: frozenset[int] = frozenset()
    """The channels on which some control sends NRPN or RPN."""
    banked: frozenset[int] = frozenset()
    """The channels on which some control sends programs of a bank."""


def layout(controls: Iterable[DeviceControl]) -> Layout:
    """The look-up tables for `controls`."""
    every = list(controls)
    return Layout(
        {
            key: (control, control.lsb is not None and key != control.key)
            for control in every
            if control.key[0] != Word.SYSEX
            for key in keys_of(control)
        },
        tuple((_compiled(control.pattern), control) for control in every if control.pattern),
        frozenset(control.key[1] for control in every if control.key[0] in (Word.NRPN, Word.RPN)),
        frozenset(control.key[1] for control in every if control.key[0] == Word.BANK),
    )


def _compiled(pattern: str) -> re.Pattern[bytes]:
    parts = {"??": b".", "*": b".*"}
    return re.compile(b"".join(parts.get(one) or re.escape(bytes.fromhex(one)) for one in pattern.split()), re.DOTALL)


@dataclass(slots=True)
class _Selected:
    """The parameter that data entry goes to on one channel, and the halves of its value."""

    word: Word = Word.NRPN
    msb: int | None = None
    lsb: int | None = None

    def number(self) -> int | None:
        """The parameter's number; None while it is not or not wholly known."""
        if self.msb is None or self.lsb is None or (self.msb, self.lsb) == _NULL:
            return None
        return self.msb << 7 | self.lsb


class Assembler:
    """What is remembered of one device at one port between its messages."""

    def __init__(self, layout: Layout) -> None:
        """Nothing has come yet."""
        self._layout = layout
        self._halves: dict[Key, tuple[int, int]] = {}
        """High and low half of 14-bit values, by the control's key."""
        self._known: set[Key] = set()
        """Registered parameters whose value has come, so that it can be counted up and down."""
        self._selected: dict[int, _Selected] = {}
        self._banks: dict[int, tuple[int, int]] = {}

    def feed(self, event: Event) -> Gesture | None:
        """What the hand did; None if no control of the device sends such a message."""
        match event:
            case ControlChange(channel, number, value):
                if channel in self._layout.registered and (number in SELECT or number in _DATA):
                    return self._registered(channel, number, value)
                if channel in self._layout.banked and number in (_BANK_MSB, _BANK_LSB):
                    high, low = self._banks.get(channel, (0, 0))
                    self._banks[channel] = (value, low) if number == _BANK_MSB else (high, value)
                    return Selection()
                return self._cc((Word.CC, channel, number), value)
            case NoteOn(channel, note, velocity):
                return self._press((Word.NOTE, channel, note), velocity / 127)
            case NoteOff(channel, note, _):
                return self._press((Word.NOTE, channel, note), 0.0)
            case PitchBend(channel, value):
                return self._whole((Word.BEND, channel, 0), value)
            case ChannelPressure(channel, value):
                return self._whole((Word.PRESSURE, channel, 0), value)
            case KeyPressure(channel, note, value):
                return self._whole((Word.KEY_PRESSURE, channel, note), value)
            case ProgramChange(channel, program):
                high, low = self._banks.get(channel, (0, 0))
                bank = (Word.BANK, channel, (high << 7 | low) << 7 | program)
                return self._press(bank, 1.0) or self._press((Word.PROGRAM, channel, program), 1.0)
            case SysEx(data):
                for pattern, control in self._layout.patterns:
                    if pattern.fullmatch(data):
                        return Press(control, 1.0)
        return None

    def _cc(self, key: Key, value: int) -> Gesture | None:
        found = self._layout.plain.get(key)
        if found is None:
            return None
        control, low = found
        if control.lsb is None:
            return _gesture(control, value)
        return self._half(control, low, value)

    def _whole(self, key: Key, value: int) -> Gesture | None:
        found = self._layout.plain.get(key)
        return None if found is None else _gesture(found[0], value)

    def _press(self, key: Key, strength: float) -> Gesture | None:
        found = self._layout.plain.get(key)
        return None if found is None else Press(found[0], strength)

    def _half(self, control: DeviceControl, is_low: bool, value: int) -> Gesture:
        """One half of a 14-bit value. The half that the device sends last completes it.

        A device that leaves out an unchanged first half is understood, since the first half is remembered.
        """
        high, low = self._halves.get(control.key, (0, 0))
        self._halves[control.key] = (high, value) if is_low else (value, low)
        if is_low == control.lsb_first:
            return Half(control)
        high, low = self._halves[control.key]
        return _gesture(control, high << 7 | low)

    def _registered(self, channel: int, number: int, value: int) -> Gesture | None:
        """The controllers that select a parameter and carry its value. A selection holds until the next one."""
        chosen = self._selected.setdefault(channel, _Selected())
        if number in SELECT:
            word, high = SELECT[number]
            if chosen.word is not word:
                chosen.word, chosen.msb, chosen.lsb = word, None, None
            if high:
                chosen.msb = value
            else:
                chosen.lsb = value
            return Selection()
        parameter = chosen.number()
        found = None if parameter is None else self._layout.plain.get((chosen.word, channel, parameter))
        if found is None:
            return None
        control = found[0]
        if number in (_INCREMENT, _DECREMENT):
            return self._count(control, 1 if number == _INCREMENT else -1)
        if control.encoding is Encoding.DATA_STEP:
            return None
        if control.bits == 14:
            gesture = self._half(control, number == _DATA_LSB, value)
            if not isinstance(gesture, Half):
                self._known.add(control.key)
            return gesture
        if number == _DATA_LSB:
            return None
        self._halves[control.key] = (value, 0)
        self._known.add(control.key)
        return _gesture(control, value)

    def _count(self, control: DeviceControl, way: int) -> Gesture | None:
        """Data increment or decrement: a step of an endless control, or one more or less than the value that came."""
        if control.encoding is Encoding.DATA_STEP:
            return Steps(control, way)
        if control.encoding is not Encoding.ABSOLUTE or control.key not in self._known:
            return None
        high, low = self._halves[control.key]
        value = (high << 7 | low) if control.bits == 14 else high
        value = min(max(value + way, 0), (1 << control.bits) - 1)
        self._halves[control.key] = (value >> 7, value & 127) if control.bits == 14 else (value, 0)
        return _gesture(control, value)


_DATA = (DATA_MSB, _DATA_LSB, _INCREMENT, _DECREMENT)


def _gesture(control: DeviceControl, value: int) -> Gesture:
    if control.kind.pressed:
        # A pedal or a pressure pad sweeps; half way is where it counts as pressed.
        most = (1 << control.bits) - 1
        return Press(control, value / most if 2 * value > most else 0.0)
    if control.encoding is not Encoding.ABSOLUTE:
        return Steps(control, detents(value, control.encoding))
    return Position(control, value)
