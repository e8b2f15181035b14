"""The YAML of mapping files and device profiles, as pydantic models. Used by the loader in this package.

Shapes and single values are judged here; what needs the knob table, a profile or another file is judged by the
loader. Unknown keys are mistakes, so a key stands here only if demond acts on it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ID = re.compile(r"[A-Za-z0-9_./:+~-]{1,200}")
_PROFILE = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
_SPAN = re.compile(r"([0-9]{1,3})\.\.([0-9]{1,3})")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)


def _matches(pattern: re.Pattern[str], words: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, str) and not pattern.fullmatch(value):
            raise ValueError(f"must be {words}, not {value[:60]!r}")
        return value

    return BeforeValidator(check)


def _switch(value: Any) -> Any:
    """`on` and `off` are words in this YAML; as the value of a switch they mean what they say."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:
    """`5`, `0..7` or `[16, 20, 24]` as a list of numbers."""
    if isinstance(value, str) and (span := _SPAN.fullmatch(value)):
        first, last = int(span[1]), int(span[2])
        if first >= last:
            raise ValueError(f"must count upwards, as in 0..7, not {value!r}")
        return list(range(first, last + 1))
    if isinstance(value, str):
        raise ValueError(f"must be a number, a span such as 0..7 or a list, not {value[:60]!r}")
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _one_text_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


DataNumbers = Annotated[
    list[Annotated[int, Field(ge=0, le=127)]], BeforeValidator(_one_or_more), Field(min_length=1, max_length=128)
]
Channels = Annotated[
    list[Annotated[int, Field(ge=1, le=16)]], BeforeValidator(_one_or_more), Field(min_length=1, max_length=128)
]
Name = Annotated[str, _matches(_NAME, "a name of small letters, digits and _")]
ProfileName = Annotated[str, _matches(_PROFILE, "a profile's name such as korg/nanokontrol2")]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Value = Annotated[bool | float, BeforeValidator(_switch)]
CurveName = Literal["linear", "exp", "log"]
EncodingName = Literal["absolute", "twos_complement", "offset_binary", "signed_bit", "signed_bit_mackie"]
KindName = Literal["fader", "knob", "encoder", "button", "pad"]


class Match(_Strict):
    """How a device is told from the names of MIDI ports: any of these globs, in any case of letters."""

    name: Annotated[
        list[Annotated[str, Field(min_length=1)]], BeforeValidator(_one_text_or_more), Field(min_length=1)
    ]


class DeviceEntry(_Strict):
    """A controller that a mapping speaks of."""

    profile: ProfileName
    match: Match


class TargetEntry(_Strict):
    """A knob with its own range, curve, value or step, where one control moves several."""

    knob: str
    range: Range | None = None
    curve: CurveName | None = None
    value: Value | None = None
    step: float | None = None


class MapEntry(_Strict):
    """One line of `maps`: a control, and what it moves."""

    source: Annotated[str, Field(alias="from")]
    to: str | TargetEntry | Annotated[list[str | TargetEntry], Field(min_length=1)]
    range: Range | None = None
    curve: CurveName | None = None
    takeover: Literal["off", "pickup"] | None = None
    mode: Literal["set", "toggle", "momentary", "trigger"] | None = None
    value: Value | None = None
    step: float | None = None
    id: Annotated[str, _matches(_ID, "letters, digits and . _ / : + ~ -")] | None = None
    also: bool = False


class MappingFile(_Strict):
    """A mapping file."""

    demond: Literal[1]
    include: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=100)] = []
    devices: dict[Name, DeviceEntry] = {}
    maps: list[MapEntry] = []


class ControlEntry(_Strict):
    """What one control of a device sends, or a row of them."""

    cc: DataNumbers | None = None
    note: DataNumbers | None = None
    bend: Literal[True] | None = None
    channel: Channels = [1]
    kind: KindName | None = None
    encoding: EncodingName = "absolute"
    bits: Literal[7, 14] = 7
    lsb: DataNumbers | None = None
    order: Literal["msb_first", "lsb_first"] = "msb_first"


class ProfileFile(_Strict):
    """A device profile."""

    profile: ProfileName
    source: Annotated[str, Field(min_length=1)]
    """Where the numbers come from: a manual, a measurement, another project's file."""
    setup: Annotated[str, Field(min_length=1)]
    """What a person has to do with the device first, in human words."""
    controls: Annotated[dict[str, ControlEntry], Field(min_length=1)]
