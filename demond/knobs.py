"""The knobs: the one table that MIDI, OSC, mappings, the CLI, the engine and the reference pages read.

Called by every part of the daemon, and by the engine process for the order of values in shared memory.
It promises that a value which left :meth:`Knob.clamp` is finite, in range and, where the knob is, whole.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """When a knob takes effect, which is what a performer feels of it."""

    SHARED = "shared"
    """Read by every slot in flight at its next step: one tick."""
    SLOT = "slot"
    """Read when a slot is admitted: one schedule."""
    OUTPUT = "output"
    """Read by the audio process in its next cycle: one period."""


class Form(StrEnum):
    """The values a knob may hold."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"


class Curve(StrEnum):
    """How the normalised travel 0–1 of a fader covers the range."""

    LINEAR = "linear"
    EXP = "exp"
    """Equal ratios for equal travel; the range must be positive."""


class KnobValueError(ValueError):
    """The value is no finite number. What the user can do: send one inside the range."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One thing a performer can turn, with all that a surface needs to show it."""

    name: str
    kind: Kind
    minimum: float
    maximum: float
    default: float
    unit: str
    text: str
    form: Form = Form.FLOAT
    curve: Curve = Curve.LINEAR

    def clamp(self, value: float) -> float:
        """`value` inside the range, rounded to a whole number where the form asks for it.

        Raises :class:`KnobValueError` for NaN and infinities: they are mistakes, not extremes.
        """
        if not math.isfinite(value):
            raise KnobValueError(f"{self.name} wants a finite number, got {value}")
        value = min(max(value, self.minimum), self.maximum)
        if self.form is Form.FLOAT:
            return value
        if self.form is Form.BOOL:
            return 1.0 if value >= 0.5 else 0.0
        return float(math.floor(value + 0.5))

    def from_norm(self, norm: float) -> float:
        """The value at travel `norm` (0–1, clamped) of a fader over the whole range."""
        if not math.isfinite(norm):
            raise KnobValueError(f"{self.name}/norm wants a finite number, got {norm}")
        norm = min(max(norm, 0.0), 1.0)
        if self.curve is Curve.EXP:
            return self.clamp(self.minimum * (self.maximum / self.minimum) ** norm)
        return self.clamp(self.minimum + norm * (self.maximum - self.minimum))

    def to_norm(self, value: float) -> float:
        """The travel (0–1) at which a fader over the whole range stands for `value`."""
        value = self.clamp(value)
        if self.curve is Curve.EXP:
            return math.log(value / self.minimum) / math.log(self.maximum / self.minimum)
        return (value - self.minimum) / (self.maximum - self.minimum)

    def format(self, value: float) -> str:
        """`value` as a person reads it, with its unit."""
        if self.form is Form.BOOL:
            return "on" if value else "off"
        number = f"{value:.0f}" if self.form is Form.INT else f"{value:.4g}"
        return f"{number} {self.unit}".rstrip()


_S, _L, _O = Kind.SHARED, Kind.SLOT, Kind.OUTPUT

KNOBS: tuple[Knob, ...] = (
    Knob("denoise", _S, 0, 1, 0.7, "", "How far the music moves from the source: 0 is the source untouched"),
    Knob("velocity_scale", _S, 0, 2, 1, "", "Scales every denoising step: below 1 softer, above 1 harsher"),
    Knob("source_lock", _S, 0, 1, 0, "", "Pulls the second half of the schedule back towards the source"),
    Knob("prompt_blend", _S, 0, 1, 0, "", "Crossfades from prompt A (0) to prompt B (1)"),
    Knob("hint_strength", _S, 0, 1, 1, "", "How strictly the rhythm and harmony of the source are followed"),
    Knob("seed", _L, 0, 2**32 - 1, 1, "", "The noise that new music starts from", Form.INT),
    Knob("feedback", _L, 0, 1, 0, "", "Feeds earlier results back in as the source of new ones"),
    Knob("feedback_depth", _L, 1, 8, 1, "results", "How many results back the feedback reaches", Form.INT),
    Knob("shift", _L, 1, 6, 3, "", "Where the schedule spends its steps; turbo checkpoints know 1 to 3"),
    Knob("volume_db", _O, -60, 6, 0, "dB", "Output level; the lowest value is silence"),
    Knob("mute", _O, 0, 1, 0, "", "Silences the output", Form.BOOL),
)
"""Every knob there is. The position is the knob's index in shared memory, so append, never reorder."""

INDEX: dict[str, int] = {knob.name: i for i, knob in enumerate(KNOBS)}


class UnknownKnobError(KeyError):
    """No knob has this name; the message offers the nearest one."""

    def __str__(self) -> str:  # KeyError's own puts quotes around the sentence
        """The sentence, unquoted."""
        return str(self.args[0])


def knob(name: str) -> Knob:
    """The knob called `name`. Raises :class:`UnknownKnobError` with a suggestion."""
    try:
        return KNOBS[INDEX[name]]
    except KeyError:
        raise UnknownKnobError(f"no knob is called {name!r}{did_you_mean(name, INDEX)}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when one of `known` is near to `word`, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
