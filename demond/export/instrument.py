"""What a surface shows: the knobs, scenes, LoRAs and layers of a running daemon, or the knobs of demond's own table.

Called by `demond export`. A daemon may be of another version, and what answers on its port may be none at all, so
nothing that it says is believed before it was looked at: an address that reaches a file from here is one that demond
could have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from demond.client import Client
from demond.knobs import KNOBS, Curve, Form, Kind, Knob
from demond.osc.codec import Argument
from demond.osc.namespace import target_of
from demond.scenes.scene import is_name

OWN_TABLE = "demond's own table"
KNOB_LIMIT = 1_000
"""Knobs that are believed of a daemon."""
_WORD = "^[a-z][a-z0-9_]{0,63}$"


class StrangeAnswerError(ConnectionError):
    """Something answers, and it is no demond that this version understands; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """All that pages are made of."""

    knobs: tuple[Knob, ...] = KNOBS
    scenes: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    """Names of those that are on."""
    layers: tuple[str, ...] = ()
    origin: str = OWN_TABLE
    """Where this is known from, as a person reads it."""


class _Row(BaseModel):
    """One knob as `/demond/knobs/table` describes it. What a newer daemon adds is left aside."""

    name: Annotated[str, Field(pattern=_WORD)]
    kind: Kind
    minimum: FiniteFloat
    maximum: FiniteFloat
    default: FiniteFloat
    unit: Annotated[str, Field(max_length=16)]
    text: Annotated[str, Field(max_length=1_000)]
    form: Form
    curve: Curve
    per_frame: bool
    choices: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=64)]

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if not self.minimum <= self.default <= self.maximum or self.minimum == self.maximum:
            raise ValueError("the range is none")
        if self.curve is Curve.EXP and self.minimum <= 0:
            raise ValueError("an exponential range has to be positive")
        return self


def read_knobs(rows: object) -> tuple[Knob, ...]:
    """The knobs that a daemon described. Raises :class:`StrangeAnswerError`."""
    if not isinstance(rows, list) or not 0 < len(rows) <= KNOB_LIMIT:
        raise StrangeAnswerError(f"the table of knobs is no list of 1 to {KNOB_LIMIT}")
    try:
        knobs = [Knob(**dict(_Row.model_validate(row))) for row in rows]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "a row"
        raise StrangeAnswerError(f"the table of knobs is not understood: {where}: {first['msg']}") from None
    return tuple({knob.name: knob for knob in knobs}.values())


def read_scenes(rows: object) -> tuple[str, ...]:
    """The names of the scenes that a daemon listed; what could be none is left out."""
    names = [row.get("name") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and is_name(name)))


def read_named(address: str, found: Iterable[str]) -> tuple[str, ...]:
    """The names that stand for the `*` of `address` in those of `found` that demond takes."""
    before, after = address.split("*")
    names = (
        each[len(before) : len(each) - len(after)]
        for each in found
        if each.startswith(before) and each.endswith(after) and target_of(each) is not None
    )
    return tuple(dict.fromkeys(name for name in names if "/" not in name))


def of_daemon(client: Client, where: str) -> Instrument:
    """What the daemon behind `client`, which a person knows as `where`, has now.

    Raises :class:`demond.client.NoAnswerError` where nobody answers, and :class:`StrangeAnswerError`.
    """
    knobs = read_knobs(_told(client, "/demond/knobs/table"))
    scenes = read_scenes(_told(client, "/demond/scene/list"))
    loras = read_named("/demond/lora/*/strength", _answers(client, "/demond/loras"))
    layers = read_named("/demond/layer/*", _answers(client, "/demond/dump", "/demond/layer/*"))
    return Instrument(knobs, scenes, loras, layers, f"the daemon at {where}")


def _answers(client: Client, address: str, *arguments: Argument) -> list[str]:
    """The addresses of what is answered; an older daemon answers that it knows no such thing."""
    return [reply.address for reply in client.ask(address, *arguments)]


def _told(client: Client, address: str) -> Any:
    for reply in client.ask(address):
        if reply.address == f"{address}.reply" and reply.arguments and isinstance(reply.arguments[0], str):
            try:
                return json.loads(reply.arguments[0])
            except (ValueError, RecursionError):
                break
    words = f"it does not tell {address} as this version of demond does; with --offline it is not asked"
    raise StrangeAnswerError(words)
