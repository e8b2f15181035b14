"""Puts pydantic's errors into words for the person who wrote the file. Used by `demond.strict_yaml` alone.

An error's `loc` runs through the model: besides keys and positions it names the member of a union that was tried.
Here it is brought back to the way through the user's data, and the members that do not fit the shape of what the
user wrote are left out, so that one mistake is one sentence.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from demond.knobs import did_you_mean

ERROR_LIMIT = 5_000
"""Errors that are looked at; far more than are shown."""

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence about the value at `path`, or about the key itself if `at_key`."""

    path: Steps
    message: str
    at_key: bool = False
    missing: str = ""
    """The key that is not there, if that is the mistake."""
    meant: str = ""
    """The key that an unknown one is most like."""

    def with_path(self) -> str:
        """The sentence, led by where it belongs, for data that has no lines."""
        place = ".".join(str(step) for step in self.path[:-1])
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True, slots=True)
class _Error:
    """An error on its way through the user's data, with the union members that were tried on the way."""

    details: ErrorDetails
    path: Steps
    tried: tuple[tuple[Steps, str], ...]
    """Where a union was met, and which member this error comes from."""


def explain(error: ValidationError, model: type[BaseModel], data: object) -> list[Said]:
    """One sentence per mistake in `data`, which is not a `model`."""
    errors = [_locate(details, data) for details in error.errors(include_url=False)[:ERROR_LIMIT]]
    said = list(dict.fromkeys(_sentences(errors, 0, model)))
    # A key that was only misspelt is not missing as well.
    meant = {(one.path[:-1], one.meant) for one in said if one.meant}
    return [one for one in said if not (one.missing and (one.path[:-1], one.missing) in meant)]


def _locate(details: ErrorDetails, data: object) -> _Error:
    path: list[str | int] = []
    tried: list[tuple[Steps, str]] = []
    here = data
    steps = details["loc"]
    for i, step in enumerate(steps):
        if isinstance(here, BaseModel):
            here = here.__dict__
        if (isinstance(here, dict) and step in here) or (
            isinstance(here, list | tuple) and isinstance(step, int) and 0 <= step < len(here)
        ):
            here = here[step]  # type: ignore[index]
            path.append(step)
        elif details["type"] == "missing" and i == len(steps) - 1:
            path.append(step)
        elif step != "[key]":
            tried.append((tuple(path), str(step)))
    return _Error(details, tuple(path), tuple(tried))


_SHAPE = re.compile(r".*_(type|parsing|from_float|attributes_type)|none_required|int_parsing_size")


def _sentences(errors: list[_Error], level: int, model: type[BaseModel]) -> Iterable[Said]:
    unions: dict[Steps, list[_Error]] = {}
    for error in errors:
        if len(error.tried) > level:
            unions.setdefault(error.tried[level][0], []).append(error)
        else:
            yield _sentence(error, model)
    for path, group in unions.items():
        members: dict[str, list[_Error]] = {}
        for error in group:
            members.setdefault(error.tried[level][1], []).append(error)
        fitting = [tried for tried in members.values() if not any(_wrong_shape(error, path) for error in tried)]
        if fitting:
            nearest = min(fitting, key=len)
            yield from _sentences(nearest, level + 1, model)
            continue
        wanted = dict.fromkeys(_requirement(error.details) for error in group if error.path == path)
        alternatives = [words.removeprefix("must be ") for words in wanted]
        yield Said(path, f"{_name(path)} must be {' or '.join(alternatives)}{_not(group[0].details)}")


def _wrong_shape(error: _Error, path: Steps) -> bool:
    kind, given = error.details["type"], error.details["input"]
    if kind in ("literal_error", "enum"):
        return error.path == path and isinstance(given, list | tuple | dict)
    return error.path == path and _SHAPE.fullmatch(kind) is not None


def _sentence(error: _Error, model: type[BaseModel]) -> Said:
    details, path = error.details, error.path
    kind = details["type"]
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        hint = did_you_mean(str(path[-1]), known) or (f"; known here: {', '.join(known)}" if known else "")
        meant = next((key for key in known if hint.endswith(f"did you mean {key!r}?")), "")
        return Said(path, f"unknown key {path[-1]!r}{hint}", at_key=True, meant=meant)
    if kind == "missing":
        what = f"entry {path[-1] + 1}" if isinstance(path[-1], int) else f"the key {path[-1]!r}"
        return Said(path, f"{_name(path[:-1])} needs {what}", missing=str(path[-1]))
    if kind in ("value_error", "assertion_error"):
        text = str(details.get("ctx", {}).get("error", "is not valid"))
        leads = text.startswith(("must ", "is ", "needs ", "wants ", "has "))
        return Said(path, f"{_name(path)} {text}" if leads else text)
    at_key = "[key]" in details["loc"][-1:]
    return Said(path, f"{_name(path)} {_requirement(details)}{_not(details)}", at_key)


def _name(path: Steps, top: str = "the file") -> str:
    """What a reader calls the value: its key, or its number in a list."""
    if not path:
        return top
    if isinstance(path[-1], int):
        return f"entry {path[-1] + 1} of {_name(path[:-1], 'the list')}"
    return repr(path[-1])


_REQUIREMENTS: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "string_type": "must be text",
    "string_sub_type": "must be text",
    "string_too_short": lambda c: f"must have at least {_count(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"must have at most {_count(c['max_length'], 'character')}",
    "string_pattern_mismatch": lambda c: f"must look like {c['pattern']}",
    "literal_error": lambda c: f"must be {c['expected'].replace(chr(39), '')}",
    "enum": lambda c: f"must be {c['expected'].replace(chr(39), '')}",
    "greater_than": lambda c: f"must be more than {c['gt']}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "multiple_of": lambda c: f"must be a multiple of {c['multiple_of']}",
    "too_short": lambda c: f"must have at least {_count(c['min_length'], 'entry')}",
    "too_long": lambda c: f"must have at most {_count(c['max_length'], 'entry')}",
    "finite_number": "must be a finite number",
    "none_required": "must be empty",
    "path_type": "must be the path of a file",
    "union_tag_invalid": lambda c: f"must be {c['expected_tags'].replace(chr(39), '')}",
    "union_tag_not_found": lambda c: f"needs the key {c['discriminator']}",
}
_BEGINNINGS = (
    (("int", "whole"), "must be a whole number"),
    (("float", "decimal"), "must be a number"),
    (("bool",), "must be true or false"),
    (("list", "tuple", "set", "frozen_set", "iterable"), "must be a list"),
    (("dict", "mapping", "model", "dataclass"), "must be a group of keys"),
)


def _requirement(details: ErrorDetails) -> str:
    """What would be right, beginning with `must`."""
    known = _REQUIREMENTS.get(details["type"])
    if known is not None:
        return known if isinstance(known, str) else known(details.get("ctx", {}))
    for beginnings, requirement in _BEGINNINGS:
        if details["type"].startswith(beginnings):
            return requirement
    said = details["msg"].replace("Input should be", "must be").replace("Value is not", "must be")
    return said if said.startswith("must") else f"cannot be used: {said[:1].lower()}{said[1:]}"


def _not(details: ErrorDetails) -> str:
    """What the user wrote, if it is short enough to show, and the nearest right word where there is one."""
    given = details["input"]
    if details["type"] in ("too_short", "too_long") or not (given is None or isinstance(given, str | int | float)):
        return ""
    if given is None:
        shown = "nothing"
    elif isinstance(given, bool):
        shown = str(given).lower()
    else:
        shown = repr(given) if len(repr(given)) <= 60 else f"{repr(given)[:57]}..."
    hint = ""
    if details["type"] in ("literal_error", "enum") and isinstance(given, str):
        hint = did_you_mean(given[:60], re.findall(r"'([^']*)'", details.get("ctx", {})["expected"]))
    elif details["type"] == "string_type":
        hint = "; put quotes around it"
    return f", not {shown}{hint}"


def _count(number: int, thing: str) -> str:
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing[:-1]}ies" if thing.endswith("y") else f"{number} {thing}s"


def _keys_at(model: type[BaseModel], path: Steps) -> list[str]:
    """The keys that may stand at `path`."""
    found: list[Any] = [model]
    for step in path:
        found = [inner for annotation in found for inner in _inside(annotation, step)]
    return [
        info.alias or name
        for annotation in found
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        for name, info in annotation.model_fields.items()
    ]


def _inside(annotation: Any, step: str | int) -> list[Any]:
    """The types that a value at `step` inside an `annotation` may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if step in (name, info.alias):
                return _members(info.annotation)
        return []
    arguments = typing.get_args(annotation)
    if not arguments:
        return []
    if isinstance(step, int):
        return [member for argument in arguments if argument is not ... for member in _members(argument)]
    return _members(arguments[-1])


def _members(annotation: Any) -> list[Any]:
    """`annotation` without `Annotated`, and a union as its members."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for argument in typing.get_args(annotation) for member in _members(argument)]
    return [annotation]
