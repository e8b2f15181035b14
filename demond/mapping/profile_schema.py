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
    note: DataNumbers | None = None
    channel: Channels | None = None
    on: Byte = 127
    off: Byte = 0


class RingEntry(Strict):
    """Lamps around or beside a control that show a position: `low` to `high` is sent as the data of the message."""

    cc: DataNumbers | None = None
    channel: Channels | None = None
    low: Byte = 0
    high: Byte = 127


class ArrowsEntry(Strict):
    """Lamps that say which way a waiting control must be moved: controls of the profile that have a `led`."""

    up: ControlRow
    down: ControlRow


class ControlEntry(Strict):
    """What one control of a device sends, or a row of them, and what it can show."""

    cc: DataNumbers | None = None
    note: DataNumbers | None = None
    bend: Literal[True] | None = None
    program: DataNumbers | None = None
    bank: Annotated[int, Field(ge=0, le=16_383)] | None = None
    """Only the programs of this bank (CC 0 times 128 plus CC 32)."""
    pressure: Literal["channel"] | PressureEntry | None = None
    nrpn: LongNumbers | None = None
    rpn: LongNumbers | None = None
    sysex: TextRow | None = None
    """Bytes in hex, `??` for any one and `*` for any number of them."""
    mmc: TextRow | None = None
    channel: Channels = Field(default_factory=lambda: [1])
    kind: KindName | None = None
    encoding: EncodingName = "absolute"
    bits: Literal[7, 14] = 7
    lsb: DataNumbers | None = None
    order: Literal["msb_first", "lsb_first"] = "msb_first"
    touch: ControlRow | None = None
    """The control that is pressed while a hand is on this one."""
    follows: bool = False
    """It takes on the position that is sent to it: a motor fader, or an endless encoder that sends positions."""
    led: LedEntry | None = None
    ring: RingEntry | None = None
    arrows: ArrowsEntry | None = None


class FeedbackEntry(Strict):
    """How the device wants to be answered."""

    echo: Literal["always", "on_release", "never"] = "on_release"
    """Whether a control that follows is sent its own moves: at once, when the hand has let go, or not at all."""
    resend_on: Literal["never", "release"] = "never"
    """`release`: the device changes a lamp by itself when its button is used, so it is lit again afterwards."""


class ProfileFile(Strict):
    """A device profile."""

    profile: ProfileName
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
    on_connect: TextRow | None = None
    """Messages in hex that put the device into the mode described here."""
    controls: Annotated[dict[str, ControlEntry], Field(min_length=1)]
