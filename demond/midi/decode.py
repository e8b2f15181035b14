"""MIDI 1.0 messages as typed events. Called by `demond.mapping` in the daemon, for each message.

Channels are 1–16, as on every device's display; everything else is as sent, 0–127. The input is one whole message, as
rtmidi delivers it: no running status. No bytes whatever raise; what is no message is :class:`Other`. Nothing here
depends on earlier messages: values of several messages are put together by `demond.mapping.assembly`.
Status bytes and data layout: MIDI 1.0 Detailed Specification 4.2, tables II to VI.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ControlChange(NamedTuple):
    """A controller (0–127) was moved to `value` (0–127)."""

    channel: int
    control: int
    value: int


class NoteOn(NamedTuple):
    """A key or pad was pressed; `velocity` is 1–127."""

    channel: int
    note: int
    velocity: int


class NoteOff(NamedTuple):
    """A key or pad was released, said as note off or as note on with velocity 0."""

    channel: int
    note: int
    velocity: int


class ProgramChange(NamedTuple):
    """Program 0–127 was chosen."""

    channel: int
    program: int


class PitchBend(NamedTuple):
    """The wheel, or a motor fader, is at `value` (0–16383; 8192 is the middle)."""

    channel: int
    value: int


class ChannelPressure(NamedTuple):
    """All held keys are pressed with `pressure` (0–127)."""

    channel: int
    pressure: int


class KeyPressure(NamedTuple):
    """One held key is pressed with `pressure` (0–127)."""

    channel: int
    note: int
    pressure: int


class ClockKind(StrEnum):
    """What a sequencer says of its time."""

    TICK = "tick"
    """One 24th of a quarter note has passed."""
    START = "start"
    """The next tick is the first of the piece."""
    CONTINUE = "continue"
    STOP = "stop"
    POSITION = "position"
    """The piece stands at `sixteenths`; playing goes on from there."""


class Clock(NamedTuple):
    """MIDI clock, start, continue, stop and song position. `sixteenths` is 0 but for positions (0–16383)."""

    kind: ClockKind
    sixteenths: int = 0


class SysEx(NamedTuple):
    """A whole system exclusive message, from F0 to F7."""

    data: bytes


class Other(NamedTuple):
    """Other system messages, and bytes that are no MIDI message."""

    data: bytes


ChannelEvent = ControlChange | NoteOn | NoteOff | ProgramChange | PitchBend | ChannelPressure | KeyPressure
Event = ChannelEvent | Clock | SysEx | Other

_CLOCK = {
    0xF8: ClockKind.TICK,
    0xFA: ClockKind.START,
    0xFB: ClockKind.CONTINUE,
    0xFC: ClockKind.STOP,
}


def decode(data: bytes) -> Event:
    """The event that one message stands for."""
    status = data[0] if data else 0
    if status >= 0xF0:
        return _system(status, data)
    length = 2 if 0xC0 <= status < 0xE0 else 3
    if status < 0x80 or len(data) != length or data[1] > 127 or data[-1] > 127:
        return Other(data)
    channel, first, last = (status & 0x0F) + 1, data[1], data[-1]
    match status & 0xF0:
        case 0xB0:
            return ControlChange(channel, first, last)
        case 0x90 if last:
            return NoteOn(channel, first, last)
        case 0x80 | 0x90:
            return NoteOff(channel, first, last)
        case 0xE0:
            return PitchBend(channel, first | last << 7)
        case 0xC0:
            return ProgramChange(channel, first)
        case 0xD0:
            return ChannelPressure(channel, first)
    return KeyPressure(channel, first, last)


def _system(status: int, data: bytes) -> Event:
    if status in _CLOCK and len(data) == 1:
        return Clock(_CLOCK[status])
    if status == 0xF2 and len(data) == 3 and max(data[1:]) < 128:
        return Clock(ClockKind.POSITION, data[1] | data[2] << 7)
    if status == 0xF0 and len(data) >= 3 and data[-1] == 0xF7 and max(data[1:-1]) < 128:
        return SysEx(data)
    return Other(data)
