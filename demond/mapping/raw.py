"""Controls that no profile describes: one message, as a control of a device that the mapping describes itself.

Used by learning, in the daemon's event loop. A controller becomes a knob of 7 bits, a note a button, and so on: what
the message says of itself, and nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from demond.mapping.profile import DeviceControl, Key, Word, controls_of
from demond.mapping.profile_schema import ControlEntry
from demond.mapping.transfer import Encoding
from demond.midi.decode import (
    ChannelPressure,
    ControlChange,
    Event,
    KeyPressure,
    NoteOff,
    NoteOn,
    PitchBend,
    ProgramChange,
)

Entry = dict[str, Any]
"""A control as a profile writes it."""
_KINDS = {Word.NOTE: "button", Word.PROGRAM: "button", Word.BEND: "fader"}
_MOVES = re.compile(r"\[\d+\]|(?<= )\d+:\d+$")
"""What differs each time in ALSA's names: `nano [20] (capture): MIDI 1`, `nano MIDI 1 20:0`."""


def key_of(event: Event) -> Key | None:
    """Which control sends `event`; None for what no learned control sends, such as sysex."""
    match event:
        case ControlChange(channel, number, _):
            return Word.CC, channel, number
        case NoteOn(channel, note, _) | NoteOff(channel, note, _):
            return Word.NOTE, channel, note
        case PitchBend(channel, _):
            return Word.BEND, channel, 0
        case ChannelPressure(channel, _):
            return Word.PRESSURE, channel, 0
        case KeyPressure(channel, note, _):
            return Word.KEY_PRESSURE, channel, note
        case ProgramChange(channel, program):
            return Word.PROGRAM, channel, program
    return None


def described(
    key: Key, kind: str = "", encoding: Encoding = Encoding.ABSOLUTE, lsb: int | None = None, fine: bool = False
) -> tuple[str, Entry]:
    """A name and the entry of a profile for the control that sends `key`; `kind` and the rest if they are known.

    `lsb` is the controller of the low half of 14 bits; `fine` says that a registered parameter has 14.
    """
    word, channel, number = key
    kind = kind or _KINDS.get(Word(word), "knob")
    entry: Entry = {}
    match word:
        case Word.BEND:
            entry["bend"], called = True, "bend"
        case Word.PRESSURE:
            entry["pressure"], called = "channel", "pressure"
        case Word.KEY_PRESSURE:
            entry["pressure"], called = {"note": number}, f"pressure{number}"
        case _:
            entry[str(word)], called = number, f"{word}{number}"
    if channel != 1:
        entry["channel"] = channel
        called += f"_ch{channel}"
    if encoding is not Encoding.ABSOLUTE:
        entry["encoding"] = encoding.value
    if lsb is not None:
        entry |= {"bits": 14, "lsb": lsb}
    if fine:
        entry["bits"] = 14
    return f"{kind}_{called}", entry


def control(name: str, entry: Entry) -> DeviceControl:
    """The control that :func:`described` speaks of. Raises `ValueError` if the entry contradicts itself."""
    wrong: list[str] = []
    found = controls_of({name: ControlEntry.model_validate(entry)}, lambda path, message: wrong.append(message))
    if wrong:
        raise ValueError(wrong[0])
    return found[name]


def device_name(port: str, taken: Collection[str]) -> str:
    """A name for the device at `port`, as mappings call devices, which is not `taken`."""
    words = re.sub(r"[^a-z0-9]+", "_", _MOVES.sub("", port).partition(":")[0].lower()).strip("_")[:40]
    name = words if words[:1].isalpha() and words != "osc" else f"device_{words}".rstrip("_")
    number, found = 2, name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def glob(port: str) -> str:
    """A pattern for the name of `port` that fits it after a replug, too."""
    parts = _MOVES.split(port)
    return "*".join(re.sub(r"[*?\[]", r"[\g<0>]", part) for part in parts)


def known_device(port: str, devices: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which of `devices`, as a learned file has them, is the one at `port`."""
    wanted = glob(port)
    return next((name for name, entry in devices.items() if entry.get("match", {}).get("name") == wanted), None)
