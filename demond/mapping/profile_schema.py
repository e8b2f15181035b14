"""The YAML of device profiles, as pydantic models. Used by `demond.mapping.profile`.

Shapes and single values are judged here; what needs a look at other values is judged in `profile`. Unknown keys are
mistakes, so a key stands here only if demond acts on it, or a reader needs it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from demond.mapping.fields import ControlRow, ProfileName, Strict, TextRow, numbers

DataNumbers: Any = numbers(127)
LongNumbers: Any = numbers(16_383)
Channels: Any = numbers(16, 1)
Byte = Annotated[int, Field(ge=0, le=127)]
EncodingName = Literal["absolute", "twos_complement", "offset_binary", "signed_bit", "signed_bit_mackie", "data_step"]
KindName = Literal["fader", "knob", "encoder", "button", "pad", "touch", "jog"]
MMC = {
    "stop": 1, "play": 2, "deferred_play": 3, "fast_forward": 4, "rewind": 5, "record_strobe": 6, "record_exit": 7,
    "record_pause": 8, "pause": 9, "eject": 10, "chase": 11, "reset": 13,
}  # fmt: skip
"""Commands of MIDI Machine Control 1.0 that have no data of their own."""


class PressureEntry(Strict):
    """Pressure on single keys."""

    note: DataNumbers


class LedEntry(Strict):
    """A lamp at a control: the message that lights it, by default the same that the control sends."""

    cc: DataNumbers | None = None
    """The controller that lights it."""
    note: DataNumbers | None = None
    """The note that lights it."""
    channel: Channels | None = None
    """The channel of that, by default the control's."""
    on: Byte = 127
    """The data that lights it, which for some devices is a colour."""
    off: Byte = 0
    """The data that puts it out."""


class RingEntry(Strict):
    """Lamps around or beside a control that show a position: `low` to `high` is sent as the data of the message."""

    cc: DataNumbers | None = None
    """The controller that sets it, by default the control's own."""
    channel: Channels | None = None
    """The channel of that, by default the control's."""
    low: Byte = 0
    """The data for the low end of the travel."""
    high: Byte = 127
    """The data for the high end."""


class ArrowsEntry(Strict):
    """Lamps that say which way a waiting control must be moved: controls of the profile that have a `led`."""

    up: ControlRow
    """Lit while it must be moved up."""
    down: ControlRow
    """Lit while it must be moved down."""


class ControlEntry(Strict):
    """What one control of a device sends, or a row of them, and what it can show."""

    cc: DataNumbers | None = None
    """The number of the controller that it sends; for a row a span such as 0..7, or a list."""
    note: DataNumbers | None = None
    """The note that it sends; velocity 0 is a release."""
    bend: Literal[True] | None = None
    """It sends pitch bend, a position of 14 bits."""
    program: DataNumbers | None = None
    """It is a button that sends this program (0 to 127), and tells of no release."""
    bank: Annotated[int, Field(ge=0, le=16_383)] | None = None
    """Only the programs of this bank (CC 0 times 128 plus CC 32)."""
    pressure: Literal["channel"] | PressureEntry | None = None
    """It sends pressure: `channel`, or of keys, as in {note: 60}."""
    nrpn: LongNumbers | None = None
    """The non-registered parameter that it sends, 0 to 16383: CC 99 times 128 plus CC 98."""
    rpn: LongNumbers | None = None
    """The registered parameter that it sends: CC 101 times 128 plus CC 100."""
    sysex: TextRow | None = None
    """Bytes in hex, `??` for any one and `*` for any number of them."""
    mmc: TextRow | None = None
    """The command of MIDI Machine Control that it sends, such as `stop` or `play`."""
    channel: Channels = Field(default_factory=lambda: [1])
    """Its channel, 1 to 16; for a row one for all, a span or a list."""
    kind: KindName | None = None
    """What a hand does with it; a name that begins with the word says it already."""
    encoding: EncodingName = "absolute"
    """What its data say: a position, or steps in one of the encodings below."""
    bits: Literal[7, 14] = 7
    """How fine it is."""
    lsb: DataNumbers | None = None
    """Of a controller with 14 bits: the number of the one that carries the low 7."""
    order: Literal["msb_first", "lsb_first"] = "msb_first"
    """Which half of 14 bits comes first. The other one completes the value."""
    touch: ControlRow | None = None
    """The control that is pressed while a hand is on this one."""
    follows: bool = False
    """It takes on the position that is sent to it: a motor fader, or an endless encoder that sends positions."""
    led: LedEntry | None = None
    """It has a lamp, lit while its knob is as a press makes it."""
    ring: RingEntry | None = None
    """It has lamps that show where its knob stands."""
    arrows: ArrowsEntry | None = None
    """Which lamps say which way to move it while it waits to pick its knob up: {up: CONTROLS, down: CONTROLS}."""


class FeedbackEntry(Strict):
    """How the device wants to be answered."""

    echo: Literal["always", "on_release", "never"] = "on_release"
    """Whether a control that follows is sent its own moves: at once, when the hand has let go, or not at all."""
    resend_on: Literal["never", "release"] = "never"
    """`release`: the device changes a lamp by itself when its button is used, so it is lit again afterwards."""


class ProfileFile(Strict):
    """A device profile."""

    profile: ProfileName
    """Its name, which is its place below `devices/` without the ending."""
    source: Annotated[str, Field(min_length=1)]
    """Where the numbers come from: a manual, a measurement, another project's file."""
    setup: Annotated[str, Field(min_length=1)]
    """What a person has to do with the device first, in human words."""
    notes: Annotated[str, Field(min_length=1)] | None = None
    """What is not certain, or worth knowing."""
    ports: TextRow | None = None
    """Globs for the names of the device's ports."""
    identity: Annotated[str, Field(min_length=1)] | None = None
    """The pattern of its answer to a universal identity request, where that is known."""
    feedback: FeedbackEntry = FeedbackEntry()
    """How the device wants to be answered."""
    on_connect: TextRow | None = None
    """Messages in hex that put the device into the mode described here."""
    controls: Annotated[dict[str, ControlEntry], Field(min_length=1)]
    """Its controls by name, such as `fader1`, or rows of them, such as `fader1..8`."""
