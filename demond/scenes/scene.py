"""Scenes as plain data: what a recall brings about, and in which time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from demond.knobs import CURVES, Form, Knob
from demond.session import Session
from demond.setting import SLOTS, SetCurve, SetPrompt, SetSteps, Setting

RESERVED = frozenset(
    {"current", "index", "morph", "list", "store", "remove", "undo", "quantize", "next", "previous", "recall"}
)
"""Names that no scene may have, since `/demond/scene/NAME` means something else."""
NAME_LIMIT = 64
_NAME = re.compile(rf"[A-Za-z0-9_.+~-]{{1,{NAME_LIMIT}}}")
NAME_WORDS = "letters, digits and _ . + ~ -"
PROGRAM_LIMIT = 127
LONGEST_SECONDS = 3_600.0
LONGEST_BEATS = 4_096.0
NEVER_STORED = frozenset({"volume_db", "mute"})
"""Knobs that belong to the room and not to the piece."""


class Unit(StrEnum):
    """What a span of time is counted in."""

    SECONDS = "s"
    BEATS = "beats"
    BARS = "bars"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time, in seconds or by the tempo."""

    amount: float
    unit: Unit = Unit.SECONDS

    def seconds(self, bpm: float, beats_per_bar: int) -> float:
        """How long it is at this tempo."""
        return self.amount if self.unit is Unit.SECONDS else self.beats(beats_per_bar) * 60 / bpm

    def beats(self, beats_per_bar: int) -> float:
        """The beats of a span that is counted in beats or bars."""
        if self.unit is Unit.SECONDS:
            raise ValueError("this span is counted in seconds")
        return self.amount * (beats_per_bar if self.unit is Unit.BARS else 1)

    def __str__(self) -> str:
        """As a person writes it, and as :func:`read_span` reads it."""
        unit = self.unit.value.removesuffix("s") if self.amount == 1 and self.unit is not Unit.SECONDS else self.unit
        return f"{self.amount:.10g} {unit}"


_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(ms|s|beats?|bars?)?")
_SPAN_WORDS = "a time such as 4 bars, 2 beats, 1.5 s or 500 ms"


def read_span(text: str) -> Span:
    """The span that `text` says; a bare number is seconds. Raises `ValueError` with what would be right."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"must be {_SPAN_WORDS}, not {text[:60]!r}")
    amount, unit = float(found[1]), found[2] or "s"
    if unit == "ms":
        amount, unit = amount / 1000, "s"
    span = Span(amount, Unit(unit if unit in ("s", "beats", "bars") else f"{unit}s"))
    longest = LONGEST_SECONDS if span.unit is Unit.SECONDS else LONGEST_BEATS
    if amount > longest:
        raise ValueError(f"must be at most {longest:g} {span.unit}, not {text[:60]!r}")
    return span


IMMEDIATE = "immediate"


def read_grid(text: str) -> Span | None:
    """The grid that `immediate`, `beat`, `bar` or `N bars` stands for; None is none. Raises `ValueError`."""
    if text == IMMEDIATE:
        return None
    try:
        span = read_span({"beat": "1 beat", "bar": "1 bar"}.get(text, text))
    except ValueError:
        span = Span(0)
    if span.unit is Unit.SECONDS or span.amount <= 0:
        raise ValueError(f"must be immediate, beat, bar, or a number of them such as 4 bars, not {text[:60]!r}")
    return span


def told_grid(grid: Span | None) -> str:
    """What :func:`read_grid` reads."""
    return IMMEDIATE if grid is None else str(grid).removeprefix("1 ")


class Curve(StrEnum):
    """How a morph covers its way in its time."""

    SMOOTH = "smooth"
    """Sets out and arrives gently."""
    LINEAR = "linear"


class Discrete(StrEnum):
    """When choices, switches, whole numbers and settings change, which have no way between."""

    AT_START = "at_start"
    HALF = "half"
    AT_END = "at_end"


@dataclass(frozen=True, slots=True)
class Scene:
    """A state of the instrument, or of a part of it, under a name."""

    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    """Knobs in their own units; those that are not here are left alone."""
    settings: tuple[Setting, ...] = ()
    """What else is asked for."""
    program: int | None = None
    time: Span = Span(0)
    """How long the morph takes; 0 is at once."""
    curve: Curve = Curve.SMOOTH
    discrete: Discrete = Discrete.AT_START
    skip: frozenset[str] = frozenset()
    """Knobs that a recall of this scene leaves alone."""
    quantize: Span | None = None
    """The grid on which it begins; None is at once."""
    stored: bool = False
    """It was stored while playing, and does not come from a file of the user's."""


def is_name(name: str) -> bool:
    """Whether a scene may be called `name`."""
    return _NAME.fullmatch(name) is not None and name not in RESERVED


def is_discrete(knob: Knob) -> bool:
    """Whether a knob has no values between."""
    return knob.form is not Form.FLOAT


def setting_of(session: Session, key: str) -> Setting:
    """What holds for `key` now, said as a setting even where it is the default. `KeyError` for keys of no scene."""
    head, _, name = key.partition("/")
    if head == "prompt" and name in SLOTS:
        return SetPrompt(slot=name, prompt=session.prompt(name))
    if head == "curve" and name in CURVES:
        return SetCurve(name=name, values=session.curve(name))
    if key == "source":
        return session.source
    if key == "steps":
        return SetSteps(count=session.steps)
    raise KeyError(key)


SETTING_KEYS = (*(f"prompt/{slot}" for slot in SLOTS), "source", "steps", *(f"curve/{name}" for name in CURVES))
"""The settings that a scene may hold."""
