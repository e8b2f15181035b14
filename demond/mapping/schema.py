"""The YAML of mapping files, as pydantic models. Used by the loader in this package.

Shapes and single values are judged here; what needs the knob table, a profile or another file is judged by the
loader. Unknown keys are mistakes, so a key stands here only if demond acts on it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from demond.mapping.fields import Id, Milliseconds, Name, ProfileName, Range, Share, Strict, TextRow, Value, matches
from demond.mapping.profile_schema import ControlEntry
from demond.scenes.schema import SCENE_LIMIT, GridText, LfoEntry, SceneEntry

CONTROL_LIMIT = 1_024
"""Controls, or rows of them, that a mapping may describe itself."""
CurveName = Literal["linear", "exp", "log"]
TakeoverName = Literal["off", "pickup", "pickup_tolerant", "parallel", "scale", "slow"]
BeyondName = Literal["clamp", "min", "ignore"]
ModeName = Literal["set", "toggle", "momentary", "radio", "trigger", "increment", "hold_long", "double"]
UsbId = Annotated[
    str, matches(re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}"), "a USB id such as 0944:0117, as lsusb says it")
]
UsbPath = Annotated[
    str, matches(re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*"), "a USB path such as 1-1.2, the socket's place")
]


class Match(Strict):
    """How a device is told from other MIDI ports: everything that is given must fit."""

    name: Annotated[TextRow, Field()] | None = None
    """Globs for the port's name, in any case of letters; without it, those of the profile."""
    usb: UsbId | None = None
    """Vendor and product, as `lsusb` says them: `0944:0117`. Known with ALSA alone."""
    path: UsbPath | None = None
    """The socket that it is plugged into: `1-1.2`. Known with ALSA alone."""
    order: Annotated[int, Field(ge=1, le=32)] | None = None
    """Of several ports that fit, the first, second and so on by name."""


class DeviceEntry(Strict):
    """A controller that a mapping speaks of."""

    profile: ProfileName | None = None
    """What it is, by its place below `devices/` without the ending."""
    match: Match = Match()
    """How it is told from other MIDI ports."""
    controls: Annotated[dict[str, ControlEntry], Field(max_length=CONTROL_LIMIT)] = Field(default_factory=dict)
    """Controls of a device without a profile, or more than its profile has, written as in one."""
    on_connect: Annotated[Literal["repaint", "keep"] | TextRow, Field(union_mode="left_to_right")] = "repaint"
    """When it comes: `repaint` puts it into its mode and shows on it what the knobs are; `keep` sends nothing until
    something changes; messages in hex are sent instead of the profile's."""
    missing: Literal["ignore", "warn", "error"] = "ignore"
    """When it is not there: `warn` says so in the log; `error` ends demond if it does not come within 5 s of the
    start, and later says so in the log."""


class LayerEntry(Strict):
    """A layer: another meaning of the controls, while it is on."""


class WhenEntry(Strict):
    """Conditions of a line: it counts while all of them hold."""

    layer: Name | Annotated[list[Name], Field(min_length=1)] | None = None
    """This layer is on, or any of these."""
    knob: str | None = None
    """The knob that `above`, `below` and `at` speak of."""
    above: float | None = None
    """It has more than this."""
    below: float | None = None
    """It has less than this."""
    at: Value | None = None
    """It has exactly this."""


class TargetEntry(Strict):
    """A knob with its own range, curve, value or step, where one control moves several."""

    knob: str
    range: Range | None = None
    curve: CurveName | None = None
    value: Value | None = None
    step: float | None = None


class MapEntry(Strict):
    """One line of `maps`: a control, and what it moves."""

    source: Annotated[str, Field(alias="from")]
    """A device and its control, as in `nk2/fader1`, or an OSC address, as in `osc:/1/fader1`."""
    to: str | TargetEntry | Annotated[list[str | TargetEntry], Field(min_length=1)]
    """A knob, `KNOB/reset`, `layer/NAME`, `scene/NAME`, `transport/tap`, `trigger/reseed`, or a list of knobs."""
    range: Range | None = None
    """What the two ends of the travel mean, in the knob's unit; the greater may come first."""
    curve: CurveName | None = None
    """How the travel covers the range."""
    travel: Range | None = None
    """Which part of the control's way counts, as shares such as [0.1, 0.9]; of an OSC source the numbers that it
    sends at its ends, such as [0, 127]."""
    out_of_range: BeyondName | None = None
    """Beyond that part: `clamp` takes its nearer end, `min` its low end, `ignore` leaves the knob alone."""
    takeover: TakeoverName | None = None
    """What happens while the control does not stand where its knob is."""
    tolerance: Share | None = None
    """With `pickup` and `pickup_tolerant`: how near counts as there, as a share of the travel."""
    smooth: Milliseconds | None = None
    """The time in which the knob glides to where the control says."""
    mode: ModeName | None = None
    """What a press does."""
    value: Value | Literal["velocity"] | None = None
    """What a press sets; `velocity`: how hard it was pressed, over the range."""
    step: float | None = None
    """What one detent of an encoder, or one press with `increment`, adds in the knob's unit."""
    wrap: bool = False
    """With steps: beyond one end of the range it goes on at the other."""
    after: Milliseconds | None = None
    """With `hold_long`: how long it must be held. With `double`: within which time the second press must come."""
    when: WhenEntry | None = None
    """Conditions. A line whose conditions hold goes before a line of the same control that has none."""
    quantize: GridText | None = None
    """With a scene or a press: when it is heard, as `immediate`, `beat`, `bar` or `4 bars`; else a scene says so
    itself, and a press is heard at once."""
    id: Id | None = None
    """What the line is called, to switch it on and off; by default `DEVICE/CONTROL/KNOB`."""
    tags: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list)
    """Names to switch several lines on and off together."""
    enabled: bool = True
    """Whether the line counts before it is switched."""
    also: bool = False
    """Says that a second line for the same control is meant."""


class MappingFile(Strict):
    """A mapping file."""

    demond: Literal[1]
    """The version of this language."""
    include: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=100)] = Field(default_factory=list)
    """Other mapping files, by their place relative to this one; what is said here wins over them."""
    devices: dict[Name, DeviceEntry] = Field(default_factory=dict)
    """The controllers, under names of one's own."""
    layers: dict[Name, LayerEntry] = Field(default_factory=dict)
    """The layers that lines speak of."""
    maps: list[MapEntry] = Field(default_factory=list)
    """The lines."""
    scenes: Annotated[dict[str, SceneEntry], Field(max_length=SCENE_LIMIT)] = Field(default_factory=dict)
    """States of the instrument that a name or a program number recalls."""
    recall_safe: list[str] = Field(default_factory=list)
    """Knobs that no recall changes."""
    lfos: dict[str, LfoEntry] = Field(default_factory=dict)
    """Knobs that move by themselves, and how."""
