"""The kinds of values in mapping files and device profiles. Used by the two schemas of this package.

Each is a pydantic type that says in words what would be right, and describes itself in the JSON Schema for editors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Note = Callable[[tuple[str | int, ...], str], None]
"""`note(path, message)` reports a mistake at `path` inside of what is read."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ID = re.compile(r"[A-Za-z0-9_./:+~-]{1,200}")
_PROFILE = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
_SPAN = re.compile(r"([0-9]{1,5})\.\.([0-9]{1,5})")
_CONTROL_ROW = re.compile(r"[a-z][a-z0-9_]*(\.\.[0-9]{1,3})?")
_TIME = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s)")
_SHARE = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")
_LONGEST_MS = 10_000.0


class Strict(BaseModel):
    """A model that takes no key that it does not know, and never changes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=False, use_attribute_docstrings=True
    )


def matches(pattern: re.Pattern[str], words: str) -> BeforeValidator:
    """A validator for text that must match the whole `pattern`, with the `words` for what that means."""

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
        if last - first >= 128:
            raise ValueError(f"must be a span of at most 128 numbers, not {value!r}")
        return list(range(first, last + 1))
    if isinstance(value, str):
        raise ValueError(f"must be a number, a span such as 0..7 or a list, not {value[:60]!r}")
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _one_text_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _milliseconds(value: Any) -> Any:
    """`20ms` or `0.5s` as milliseconds."""
    if isinstance(value, str) and (found := _TIME.fullmatch(value)):
        time = float(found[1]) * (1 if found[2] == "ms" else 1000)
        if time > _LONGEST_MS:
            raise ValueError(f"must be at most {_LONGEST_MS / 1000:g} s, not {value!r}")
        return time
    raise ValueError(f"must be a time such as 20ms or 0.5s, not {str(value)[:60]!r}")


def _share(value: Any) -> Any:
    """`3/128` or `0.02` as a number."""
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)) and int(found[2]):
        return int(found[1]) / int(found[2])
    if isinstance(value, str):
        raise ValueError(f"must be a share of the travel such as 3/128 or 0.02, not {value[:60]!r}")
    return value


_ROW_INPUT = int | str | list[int]


def numbers(highest: int, lowest: int = 0) -> Any:
    """The type of one number, a span of numbers or a list of them, each from `lowest` to `highest`."""
    return Annotated[
        list[Annotated[int, Field(ge=lowest, le=highest)]],
        BeforeValidator(_one_or_more, json_schema_input_type=_ROW_INPUT),
        Field(min_length=1, max_length=128),
    ]


TextRow = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=400)]],
    BeforeValidator(_one_text_or_more, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=128),
]
Name = Annotated[str, matches(_NAME, "a name of small letters, digits and _")]
Id = Annotated[str, matches(_ID, "letters, digits and . _ / : + ~ -")]
ProfileName = Annotated[str, matches(_PROFILE, "a profile's name such as korg/nanokontrol2")]
ControlRow = Annotated[str, matches(_CONTROL_ROW, "a control such as touch1, or a row such as touch1..8")]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Value = Annotated[bool | float, BeforeValidator(_switch, json_schema_input_type=bool | float | str)]
Milliseconds = Annotated[float, BeforeValidator(_milliseconds, json_schema_input_type=str), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_share, json_schema_input_type=float | str), Field(gt=0, le=0.5)]
