"""Device profiles: what each control of a controller sends and shows, under a name. Used by the loader in the daemon.

A profile holds facts about hardware only; what a control does is said by mappings, which name it. Nothing is ever
guessed from what arrives: numbers that look like a 14-bit pair or an NRPN are that only if the profile says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from demond.mapping.fields import Note
from demond.mapping.profile_schema import MMC, ControlEntry, ProfileFile
from demond.mapping.transfer import Encoding
from demond.strict_yaml import Document


class ControlKind(StrEnum):
    """What a hand does with a control."""

    FADER = "fader"
    KNOB = "knob"
    ENCODER = "encoder"
    BUTTON = "button"
    PAD = "pad"
    TOUCH = "touch"
    """A surface that notices a hand, such as the cap of a motor fader."""
    JOG = "jog"

    @property
    def pressed(self) -> bool:
        """Whether it is pressed and released, rather than moved."""
        return self in (ControlKind.BUTTON, ControlKind.PAD, ControlKind.TOUCH)


class Word(StrEnum):
    """The kind of message that a control sends."""

    CC = "cc"
    NOTE = "note"
    BEND = "bend"
    PROGRAM = "program"
    BANK = "bank"
    """A program of one bank."""
    PRESSURE = "pressure"
    KEY_PRESSURE = "key_pressure"
    NRPN = "nrpn"
    RPN = "rpn"
    SYSEX = "sysex"

    @property
    def pulse(self) -> bool:
        """Whether the message tells of a press and never of a release."""
        return self in (Word.PROGRAM, Word.BANK, Word.SYSEX)


Key = tuple[str, int, int]
"""What tells one message from another: a :class:`Word`; channel 1–16; number. The number is 0 where there is none,
and bank times 128 plus program for banks. Sysex has channel and number 0 and is told by its pattern."""


@dataclass(frozen=True, slots=True)
class Show:
    """A lamp, a ring or a motor: the message that sets it, and the data for its two ends."""

    word: Literal["cc", "note", "bend"]
    channel: int
    number: int
    low: int
    high: int
    bits: int = 7
    lsb: int | None = None
    lsb_first: bool = False


@dataclass(frozen=True, slots=True)
class DeviceControl:
    """One fader, knob, encoder, button, pad, touch sensor or jog wheel."""

    name: str
    kind: ControlKind
    key: Key
    bits: int = 7
    encoding: Encoding = Encoding.ABSOLUTE
    lsb: int | None = None
    """The controller number of the low 7 bits, where `bits` is 14 and the message is a CC."""
    lsb_first: bool = False
    pattern: str = ""
    """Of a system exclusive message."""
    touch: str = ""
    """The control that is pressed while a hand is on this one."""
    follows: bool = False
    """It takes on the position that is sent to it."""
    led: Show | None = None
    position: Show | None = None
    """Where its position is shown: its ring, or itself if it follows."""
    arrows: tuple[str, str] | None = None
    """The controls whose lamps say: move up, move down."""

    @property
    def pulse(self) -> bool:
        """Whether it is a button that tells of no release."""
        return Word(self.key[0]).pulse


@dataclass(frozen=True, slots=True)
class Profile:
    """A model of controller."""

    name: str
    setup: str
    controls: dict[str, DeviceControl]
    ports: tuple[str, ...] = ()
    """Globs for port names, in small letters."""
    echo: Literal["always", "on_release", "never"] = "on_release"
    resend_on_release: bool = False
    on_connect: tuple[bytes, ...] = ()


_ROW = re.compile(r"([a-z][a-z0-9_]*?)([0-9]{1,3})\.\.([0-9]{1,3})")
_ONE = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[a-z]+")
_HEX = re.compile(r"([0-9A-Fa-f]{2})( [0-9A-Fa-f]{2})*")
_PATTERN = re.compile(r"F0( ([0-9A-Fa-f]{2}|\?\?|\*))* F7")
_SENT = ("cc", "note", "bend", "program", "pressure", "nrpn", "rpn", "sysex", "mmc")
_DATA_ENTRY = (6, 38, 96, 97, 98, 99, 100, 101)
"""The controllers that select and carry registered and non-registered parameters (MIDI 1.0, table III)."""


def expand(file: ProfileFile, document: Document) -> Profile:
    """`file` with rows such as `fader1..8` spelled out. Mistakes are noted in `document`."""
    return Profile(
        file.profile,
        file.setup,
        controls_of(file.controls, document.problem),
        tuple(glob.lower() for glob in file.ports or ()),
        file.feedback.echo,
        file.feedback.resend_on == "release",
        messages_of(file.on_connect or (), document.problem),
    )


def controls_of(entries: Mapping[str, ControlEntry], note: Note) -> dict[str, DeviceControl]:
    """The controls that `entries` describe, by name, with rows spelled out. Mistakes are noted below `controls`."""
    controls: dict[str, DeviceControl] = {}
    rows: dict[str, str] = {}
    for row, entry in entries.items():
        for control in _Row(row, entry, note).controls():
            if control.name in controls:
                note(("controls", row), f"the control {control.name!r} is described twice")
            controls[control.name] = control
            rows[control.name] = row
    _judge_senders(controls, rows, note)
    _judge_names(controls, rows, note)
    return controls


def messages_of(texts: Iterable[str], note: Note) -> tuple[bytes, ...]:
    """The messages that are written in hex below `on_connect`. Mistakes are noted there."""
    found = []
    for i, text in enumerate(texts):
        if _HEX.fullmatch(text):
            found.append(bytes.fromhex(text))
        else:
            note(("on_connect", i), f"a message is written in hex, as in F0 7E 7F 06 01 F7, not {text[:60]!r}")
    return tuple(found)


def keys_of(control: DeviceControl) -> list[Key]:
    """The messages that are this control's alone."""
    if control.lsb is None:
        return [control.key]
    return [control.key, (control.key[0], control.key[1], control.lsb)]


def _judge_senders(controls: dict[str, DeviceControl], rows: dict[str, str], note: Note) -> None:
    senders: dict[tuple[Key, str], str] = {}
    registered = {c.key[1]: c.name for c in controls.values() if c.key[0] in (Word.NRPN, Word.RPN)}
    banks = {c.key[1]: c.name for c in controls.values() if c.key[0] == Word.BANK}
    for control in controls.values():
        where = ("controls", rows[control.name])
        for key in keys_of(control):
            other = senders.setdefault((key, control.pattern), control.name)
            if other != control.name:
                note(where, f"{control.name!r} and {other!r} both send {_spoken(key, control.pattern)}")
            if key[0] == Word.CC and key[1] in registered and key[2] in _DATA_ENTRY:
                owner = registered[key[1]]
                words = f"{control.name!r} sends {_spoken(key)}, which {owner!r} needs for its number or data"
                note(where, words)
            if key[0] == Word.CC and key[1] in banks and key[2] in (0, 32):
                note(where, f"{control.name!r} sends {_spoken(key)}, which {banks[key[1]]!r} needs for its bank")


def _judge_names(controls: dict[str, DeviceControl], rows: dict[str, str], note: Note) -> None:
    for control in controls.values():
        where = ("controls", rows[control.name])
        if control.touch and (control.touch not in controls or not controls[control.touch].kind.pressed):
            note((*where, "touch"), f"touch names a control that is pressed; {control.touch!r} is none")
        for lamp in control.arrows or ():
            if lamp not in controls or controls[lamp].led is None:
                note((*where, "arrows"), f"arrows name controls that have a led; {lamp!r} has none")


def _spoken(key: Key, pattern: str = "") -> str:
    if pattern:
        return pattern
    word = key[0].replace("_", " ")
    return f"{word} on channel {key[1]}" if key[0] in ("bend", "pressure") else f"{word} {key[2]} on channel {key[1]}"


def names_in(row: str) -> list[str]:
    """`fader1..8` as eight names; one name as itself; nothing for what is neither."""
    if span := _ROW.fullmatch(row):
        return [f"{span[1]}{i}" for i in range(int(span[2]), int(span[3]) + 1)]
    return [row] if _ONE.fullmatch(row) else []


class _Row:
    """One entry of `controls`, on its way to one or more controls."""

    def __init__(self, row: str, entry: ControlEntry, note: Note) -> None:
        self._row, self._entry, self._note = row, entry, note
        self._names = names_in(row)
        self._sent = [word for word in _SENT if getattr(entry, word) is not None]

    def controls(self) -> list[DeviceControl]:
        """The controls; none after a mistake was noted."""
        row, entry = self._row, self._entry
        if not self._names:
            return self._wrong(f"a control is called like fader1, or a row fader1..8, not {row[:60]!r}")
        if len(self._sent) != 1:
            return self._wrong(f"a control sends one of {', '.join(_SENT[:-1])} or mmc; give just that one")
        kind = self._kind()
        if kind is None:
            return self._wrong("what is it? Add kind: fader, knob, encoder, button, pad, touch or jog")
        wrong = _contradiction(entry, self._sent[0], kind)
        if wrong is not None:
            return self._wrong(wrong)
        columns = self._columns()
        if columns is None or not self._fits(columns):
            return []
        try:
            return [self._one(i, kind, columns) for i in range(len(self._names))]
        except ValueError as error:
            return self._wrong(str(error))

    def _wrong(self, message: str, *inside: str) -> list[DeviceControl]:
        self._note(("controls", self._row, *inside), message)
        return []

    def _kind(self) -> ControlKind | None:
        if self._entry.kind is not None:
            return ControlKind(self._entry.kind)
        word = _WORD.match(self._names[0])
        if word and word[0] in list(ControlKind):
            return ControlKind(word[0])
        return ControlKind.BUTTON if self._sent[0] in ("note", "program", "sysex", "mmc") else None

    def _columns(self) -> dict[str, list[int] | list[str]] | None:
        """What differs along the row, by key; one value stands for all."""
        entry, sent = self._entry, self._sent[0]
        columns: dict[str, list[int] | list[str]] = {"channel": entry.channel}
        given: Any = getattr(entry, sent)
        if sent == "pressure":
            columns[sent] = [0] if given == "channel" else given.note
        elif sent == "bend":
            columns[sent] = [0]
        elif sent == "mmc":
            unknown = [name for name in given if name not in MMC]
            if unknown:
                self._wrong(f"mmc has no command {unknown[0][:60]!r}; there are {', '.join(MMC)}", "mmc")
                return None
            columns[sent] = [f"F0 7F ?? 06 {MMC[name]:02X} F7" for name in given]
        else:
            columns[sent] = list(given)
        if entry.lsb:
            columns["lsb"] = entry.lsb
        if entry.touch:
            columns["touch"] = names_in(entry.touch)
        if entry.arrows:
            columns["up"], columns["down"] = names_in(entry.arrows.up), names_in(entry.arrows.down)
        return columns

    def _fits(self, columns: dict[str, list[int] | list[str]]) -> bool:
        count, row, sent = len(self._names), self._row, self._sent[0]
        for word, column in columns.items():
            if len(column) != count and (len(column) != 1 or word in ("lsb", "touch")):
                place = "arrows" if word in ("up", "down") else word
                self._wrong(f"{row} are {count} controls, but {place} gives {len(column)} numbers", place)
                return False
        if count > 1 and len(columns[sent]) == 1 and len(self._entry.channel) == 1:
            self._wrong(f"{row} are {count} controls, but they all send the same", sent)
            return False
        for word in ("led", "ring"):
            shown = getattr(self._entry, word)
            for part in ("cc", "note", "channel"):
                given = getattr(shown, part, None)
                if given and len(given) not in (1, count):
                    self._wrong(f"{row} are {count} controls, but {part} gives {len(given)} numbers", word, part)
                    return False
        return True

    def _one(self, i: int, kind: ControlKind, columns: dict[str, list[int] | list[str]]) -> DeviceControl:
        entry, sent = self._entry, self._sent[0]
        channel, given = int(_at(columns["channel"], i)), _at(columns[sent], i)
        pattern = ""
        if isinstance(given, str):
            pattern, word, number, channel = given.upper(), Word.SYSEX, 0, 0
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"a sysex pattern is written as F0 7F ?? 06 02 F7, not {given[:60]!r}")
        elif sent == "pressure":
            word, number = (Word.PRESSURE, 0) if entry.pressure == "channel" else (Word.KEY_PRESSURE, given)
        elif sent == "program" and entry.bank is not None:
            word, number = Word.BANK, entry.bank << 7 | given
        else:
            word, number = Word(sent), given
        fourteen = entry.bits == 14 or sent == "bend"
        control = DeviceControl(
            self._names[i],
            kind,
            (word, channel, number),
            14 if fourteen else 7,
            Encoding(entry.encoding),
            entry.lsb[i] if entry.lsb else None,
            entry.order == "lsb_first",
            pattern,
            str(_at(columns["touch"], i)) if "touch" in columns else "",
            entry.follows,
            arrows=(str(_at(columns["up"], i)), str(_at(columns["down"], i))) if "up" in columns else None,
        )
        return _with_shows(control, entry, i)


def _at(column: list[int] | list[str], i: int) -> int | str:
    return column[i % len(column)]


def _with_shows(control: DeviceControl, entry: ControlEntry, i: int) -> DeviceControl:
    """`control` with its lamp and its ring or motor. Raises `ValueError` in words."""
    word, channel, number = control.key
    led = position = None
    if entry.led is not None:
        if entry.led.cc and entry.led.note:
            raise ValueError("a led is lit by a cc or a note; give just one")
        sent, numbers = ("cc", entry.led.cc) if entry.led.cc else ("note", entry.led.note)
        if not numbers:
            sent, numbers = word, [number]
        if sent not in ("cc", "note"):
            raise ValueError("this control sends neither a cc nor a note; say which of them lights its led")
        where = int(_at(entry.led.channel, i)) if entry.led.channel else channel
        led = Show(sent, where, int(_at(numbers, i)), entry.led.off, entry.led.on)  # type: ignore[arg-type]
    if entry.ring is not None and entry.follows:
        raise ValueError("what follows shows its position itself; leave out ring or follows")
    if entry.ring is not None:
        if not entry.ring.cc and word != "cc":
            raise ValueError("this control sends no cc; say which cc sets its ring")
        numbers = entry.ring.cc or [number]
        where = int(_at(entry.ring.channel, i)) if entry.ring.channel else channel
        position = Show("cc", where, int(_at(numbers, i)), entry.ring.low, entry.ring.high)
    elif entry.follows:
        if word not in ("cc", "bend"):
            raise ValueError("what follows is sent its position as a cc or a bend, so it must send one of them")
        most = (1 << control.bits) - 1
        position = Show(word, channel, number, 0, most, control.bits, control.lsb, control.lsb_first)  # type: ignore[arg-type]
    return replace(control, led=led, position=position)


def _contradiction(entry: ControlEntry, sent: str, kind: ControlKind) -> str | None:
    relative = entry.encoding != "absolute"
    turned = kind in (ControlKind.ENCODER, ControlKind.JOG)
    if entry.encoding == "data_step" and sent not in ("nrpn", "rpn"):
        return "the encoding data_step is for controls that send an nrpn or rpn with data increment and decrement"
    if relative and (sent not in ("cc", "nrpn", "rpn") or not turned or entry.bits == 14):
        return f"the encoding {entry.encoding} is for encoders that send a 7-bit cc, nrpn or rpn"
    if kind is ControlKind.JOG and not relative:
        return "a jog wheel has no ends; say which encoding it sends"
    if sent == "note" and not kind.pressed:
        return f"a note comes from a button, a pad or a touch sensor, not from a {kind}"
    if sent in ("program", "sysex", "mmc") and kind is not ControlKind.BUTTON:
        return f"a {sent} comes from a button, not from a {kind}"
    if sent == "pressure" and kind.pressed:
        return f"pressure is a position; a {kind} is pressed or not. Take kind: knob"
    if (entry.bits == 14 and sent == "cc") != (entry.lsb is not None):
        return "a cc of 14 bits has bits: 14 and the lsb's number; give both or neither"
    if entry.bits == 14 and sent not in ("cc", "nrpn", "rpn", "bend"):
        return f"a {sent} has no 14 bits"
    if entry.bank is not None and sent != "program":
        return "a bank is for controls that send a program"
    if entry.follows and (relative or kind.pressed):
        return "what follows has a position: a fader, a knob or an encoder that sends positions"
    if entry.ring is not None and kind.pressed:
        return f"a ring shows a position, which a {kind} has not; take led"
    if entry.arrows is not None and (kind.pressed or relative):
        return "arrows are for controls with a position"
    return None
