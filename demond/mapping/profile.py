"""Device profiles: what each control of a controller sends, under a name. Used by the loader in the daemon.

A profile holds facts about hardware only; what a control does is said by mappings, which name it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from demond.mapping.schema import ControlEntry, ProfileFile
from demond.mapping.transfer import Encoding
from demond.strict_yaml import Document


class ControlKind(StrEnum):
    """What a hand does with a control."""

    FADER = "fader"
    KNOB = "knob"
    ENCODER = "encoder"
    BUTTON = "button"
    PAD = "pad"

    @property
    def pressed(self) -> bool:
        """Whether it is pressed and released, rather than moved."""
        return self in (ControlKind.BUTTON, ControlKind.PAD)


class Part(StrEnum):
    """Which part of a control's position a message carries."""

    WHOLE = "whole"
    MSB = "msb"
    LSB = "lsb"


Key = tuple[str, int, int]
"""What tells one message from another: `cc`, `note` or `bend`; channel 1–16; number 0–127 (0 for bend)."""


@dataclass(frozen=True, slots=True)
class DeviceControl:
    """One fader, knob, encoder, button or pad."""

    name: str
    kind: ControlKind
    key: Key
    bits: int = 7
    encoding: Encoding = Encoding.ABSOLUTE
    lsb: int | None = None
    """The controller number of the low 7 bits, where `bits` is 14 and the message is a CC."""
    lsb_first: bool = False

    def messages(self) -> list[tuple[Key, Part]]:
        """The messages that this control sends."""
        if self.lsb is None:
            return [(self.key, Part.WHOLE)]
        return [(self.key, Part.MSB), ((self.key[0], self.key[1], self.lsb), Part.LSB)]


@dataclass(frozen=True, slots=True)
class Profile:
    """A model of controller."""

    name: str
    setup: str
    controls: dict[str, DeviceControl]


_ROW = re.compile(r"([a-z][a-z0-9_]*?)([0-9]{1,3})\.\.([0-9]{1,3})")
_ONE = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[a-z]+")


def expand(file: ProfileFile, document: Document) -> Profile:
    """`file` with rows such as `fader1..8` spelled out. Mistakes are noted in `document`."""
    controls: dict[str, DeviceControl] = {}
    senders: dict[Key, str] = {}
    for row, entry in file.controls.items():
        for control in _expand_row(row, entry, document):
            if control.name in controls:
                document.problem(("controls", row), f"the control {control.name!r} is described twice")
            for key, _ in control.messages():
                other = senders.setdefault(key, control.name)
                if other != control.name:
                    what = (
                        f"{key[0]} {key[2]} on channel {key[1]}" if key[0] != "bend" else f"bend on channel {key[1]}"
                    )
                    document.problem(("controls", row), f"{control.name!r} and {other!r} both send {what}")
            controls[control.name] = control
    return Profile(file.profile, file.setup, controls)


def _expand_row(row: str, entry: ControlEntry, document: Document) -> list[DeviceControl]:
    path = ("controls", row)
    if span := _ROW.fullmatch(row):
        names = [f"{span[1]}{i}" for i in range(int(span[2]), int(span[3]) + 1)]
    else:
        names = [row] if _ONE.fullmatch(row) else []
    if not names:
        document.problem(path, f"a control is called like fader1, or a row fader1..8, not {row[:60]!r}")
        return []
    sent = [word for word in ("cc", "note", "bend") if getattr(entry, word) is not None]
    if len(sent) != 1:
        document.problem(path, "a control sends one of cc, note or bend; give just that one")
        return []
    kind = _kind(names[0], entry, sent[0])
    if kind is None:
        document.problem(path, "what is it? Add kind: fader, knob, encoder, button or pad")
        return []
    wrong = _contradiction(entry, sent[0], kind)
    if wrong is not None:
        document.problem(path, wrong)
        return []
    count = len(names)
    numbers = entry.cc or entry.note or [0]
    columns = {sent[0]: numbers, "channel": entry.channel, **({"lsb": entry.lsb} if entry.lsb else {})}
    for word, column in columns.items():
        if len(column) != count and (len(column) != 1 or word == "lsb"):
            document.problem((*path, word), f"{row} are {count} controls, but {word} gives {len(column)} numbers")
            return []
    if count > 1 and len(numbers) == 1 and len(entry.channel) == 1:
        document.problem((*path, sent[0]), f"{row} are {count} controls, but they all send the same")
        return []
    fourteen = entry.bits == 14 or sent[0] == "bend"
    return [
        DeviceControl(
            name,
            kind,
            (sent[0], entry.channel[i % len(entry.channel)], numbers[i % len(numbers)]),
            14 if fourteen else 7,
            Encoding(entry.encoding),
            entry.lsb[i] if entry.lsb else None,
            entry.order == "lsb_first",
        )
        for i, name in enumerate(names)
    ]


def _kind(name: str, entry: ControlEntry, sent: str) -> ControlKind | None:
    if entry.kind is not None:
        return ControlKind(entry.kind)
    word = _WORD.match(name)
    if word and word[0] in ControlKind.__members__.values():
        return ControlKind(word[0])
    return ControlKind.BUTTON if sent == "note" else None


def _contradiction(entry: ControlEntry, sent: str, kind: ControlKind) -> str | None:
    if entry.encoding != "absolute" and (sent != "cc" or kind is not ControlKind.ENCODER or entry.bits == 14):
        return f"the encoding {entry.encoding} is for encoders that send a 7-bit cc"
    if sent == "note" and not kind.pressed:
        return f"a note comes from a button or a pad, not from a {kind}"
    if (entry.bits == 14 and sent == "cc") != (entry.lsb is not None):
        return "a cc of 14 bits has bits: 14 and the lsb's number; give both or neither"
    if entry.bits == 14 and sent == "note":
        return "a note has no 14 bits"
    return None
