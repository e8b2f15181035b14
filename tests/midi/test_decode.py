from __future__ import annotations

import mido
from hypothesis import given
from hypothesis import strategies as st

from demond.midi.decode import (
    ChannelPressure,
    Clock,
    ClockKind,
    ControlChange,
    Event,
    KeyPressure,
    NoteOff,
    NoteOn,
    Other,
    PitchBend,
    ProgramChange,
    SysEx,
    decode,
)
from demond.midi.encode import bend, control_change, note_on


def test_each_channel_message_is_decoded_with_channels_from_one() -> None:
    assert decode(b"\xb0\x07\x40") == ControlChange(1, 7, 64)
    assert decode(b"\x9f\x3c\x01") == NoteOn(16, 60, 1)
    assert decode(b"\x8a\x3c\x40") == NoteOff(11, 60, 64)
    assert decode(b"\xc0\x05") == ProgramChange(1, 5)
    assert decode(b"\xe8\x00\x40") == PitchBend(9, 8192)
    assert decode(b"\xd0\x7f") == ChannelPressure(1, 127)
    assert decode(b"\xa0\x3c\x10") == KeyPressure(1, 60, 16)


def test_a_note_on_without_velocity_is_a_note_off() -> None:
    assert decode(b"\x90\x3c\x00") == NoteOff(1, 60, 0)


def test_what_is_no_whole_channel_message_is_other() -> None:
    for data in (
        b"",
        b"\xfe",
        b"\xf8\x00",
        b"\xf0\x01",
        b"\xb0\x07",
        b"\xb0\x07\x80",
        b"\x07\x40\x01",
        b"\xb0\x07\x40\x41",
        b"\xc0\x01\x02",
    ):
        assert decode(data) == Other(data)


def from_mido(data: bytes) -> Event:
    """The same message as mido, which nobody here wrote, understands it."""
    message = mido.Message.from_bytes(data)
    channel = message.channel + 1
    match message.type:
        case "control_change":
            return ControlChange(channel, message.control, message.value)
        case "note_on" if message.velocity:
            return NoteOn(channel, message.note, message.velocity)
        case "note_on" | "note_off":
            return NoteOff(channel, message.note, message.velocity)
        case "program_change":
            return ProgramChange(channel, message.program)
        case "pitchwheel":
            return PitchBend(channel, message.pitch + 8192)
        case "aftertouch":
            return ChannelPressure(channel, message.value)
    return KeyPressure(channel, message.note, message.value)


data_byte = st.integers(0, 127)


@given(st.integers(0x80, 0xEF), data_byte, data_byte)
def test_every_channel_message_means_what_mido_says(status: int, first: int, second: int) -> None:
    data = bytes([status, first]) if 0xC0 <= status < 0xE0 else bytes([status, first, second])
    assert decode(data) == from_mido(data)


@given(st.binary(max_size=8))
def test_any_bytes_are_an_event(data: bytes) -> None:
    event = decode(data)
    if isinstance(event, Other | SysEx):
        assert event.data == data
    elif not isinstance(event, Clock):
        assert 1 <= event.channel <= 16


def test_a_sequencers_time_is_told_apart_from_its_notes() -> None:
    assert decode(b"\xf8") == Clock(ClockKind.TICK)
    assert decode(b"\xfa") == Clock(ClockKind.START)
    assert decode(b"\xfb") == Clock(ClockKind.CONTINUE)
    assert decode(b"\xfc") == Clock(ClockKind.STOP)
    assert decode(b"\xf2\x10\x01") == Clock(ClockKind.POSITION, 144)


def test_a_system_exclusive_message_is_whole_or_nothing() -> None:
    assert decode(b"\xf0\x7f\x7f\x06\x02\xf7") == SysEx(b"\xf0\x7f\x7f\x06\x02\xf7")
    assert decode(b"\xf0\x7f\x80\x06\x02\xf7") == Other(b"\xf0\x7f\x80\x06\x02\xf7")
    assert decode(b"\xf0\x7f\x7f\x06\x02") == Other(b"\xf0\x7f\x7f\x06\x02")


channel = st.integers(1, 16)


@given(channel, data_byte, data_byte)
def test_what_is_encoded_is_decoded_as_the_same(channel: int, number: int, value: int) -> None:
    assert decode(control_change(channel, number, value)) == ControlChange(channel, number, value)
    expected = NoteOn(channel, number, value) if value else NoteOff(channel, number, 0)
    assert decode(note_on(channel, number, value)) == expected
    assert decode(bend(channel, number << 7 | value)) == PitchBend(channel, number << 7 | value)
