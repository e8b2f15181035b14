"""MIDI 1.0 channel messages as bytes: the other way of `demond.midi.decode`. Used for what controllers are shown.

Channels are 1–16; data is 0–127, of a bend 0–16383. Layout: MIDI 1.0 Detailed Specification 4.2, table II.
"""

from __future__ import annotations


def control_change(channel: int, control: int, value: int) -> bytes:
    """A controller is at `value`."""
    return bytes((0xB0 | channel - 1, control, value))


def note_on(channel: int, note: int, velocity: int) -> bytes:
    """A key is pressed, or a lamp lit; velocity 0 releases it."""
    return bytes((0x90 | channel - 1, note, velocity))


def bend(channel: int, value: int) -> bytes:
    """The wheel, or a motor fader, is at `value`."""
    return bytes((0xE0 | channel - 1, value & 0x7F, value >> 7))
