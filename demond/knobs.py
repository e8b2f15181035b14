"""The knobs: the one table that MIDI, OSC, mappings, the CLI, the engine and the reference pages read.

Called by every part of the daemon, and by the engine process for the order of values in shared memory.
It promises that a value which left :meth:`Knob.clamp` is finite, in range and, where the knob is, whole.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    """When a knob takes effect, which is what a performer feels of it."""

    SHARED = "shared"
    """Read by every slot in flight at its next step: one tick."""
    SLOT = "slot"
    """Read when a slot is born: three ticks, at which slots in flight are born anew; in full after one schedule."""
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
    per_frame: bool = False
    """Whether a curve over the loop may stand in for the one value."""
    choices: tuple[str, ...] = ()
    """What the whole numbers from 0 on are called, where they are a choice and no amount."""

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

    def read(self, text: str) -> float:
        """The value that `text` stands for: a number, or the name of a choice; `on` and `off` of a switch.

        It is not clamped. Raises :class:`KnobValueError` with what would be right.
        """
        names = self.choices or (("off", "on") if self.form is Form.BOOL else ())
        if text in names:
            return float(names.index(text))
        number = read_number(text)
        if number is not None:
            return number
        if names:
            hint = did_you_mean(text[:40], names)
            raise KnobValueError(f"{self.name} is {', '.join(names[:-1])} or {names[-1]}, not {text[:40]!r}{hint}")
        raise KnobValueError(f"{self.name} wants a finite number, not the text {text[:40]!r}")

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
        if self.choices:
            return self.choices[int(value)]
        number = f"{value:.0f}" if self.form is Form.INT else f"{value:.4g}"
        return f"{number} {self.unit}".rstrip()


_S, _L, _O = Kind.SHARED, Kind.SLOT, Kind.OUTPUT

CHANNEL_GROUPS = 8
"""Groups of eight neighbouring latent channels, with a gain each."""
KEYSTONES = (13, 14, 19, 23, 29, 56)
"""Latent channels with a gain of their own, which multiplies that of their group."""


def _gain(name: str, text: str) -> Knob:
    return Knob(name, _S, 0, 3, 1, "", text, per_frame=True)


KNOBS: tuple[Knob, ...] = (
    Knob("denoise", _S, 0, 1, 0.7, "", "How far the music moves from the source: 0 is the source untouched"),
    Knob(
        "velocity_scale",
        _S,
        0,
        2,
        1,
        "",
        "Scales every denoising step: below 1 softer, above 1 harsher",
        per_frame=True,
    ),
    Knob(
        "source_lock",
        _S,
        0,
        1,
        0,
        "",
        "Pulls the second half of the schedule back to the lock target",
        per_frame=True,
    ),
    Knob("prompt_blend", _S, 0, 1, 0, "", "Crossfades from prompt A (0) to prompt B (1)", per_frame=True),
    Knob(
        "hint_strength",
        _S,
        0,
        1,
        1,
        "",
        "How strictly the rhythm and harmony of the source are followed",
        per_frame=True,
    ),
    Knob("seed", _L, 0, 2**32 - 1, 1, "", "The noise that new music starts from", Form.INT),
    Knob("feedback", _L, 0, 1, 0, "", "Feeds earlier results back in as the source of new ones"),
    Knob("feedback_depth", _L, 1, 8, 1, "results", "How many results back the feedback reaches", Form.INT),
    Knob("shift", _L, 1, 6, 3, "", "Where the schedule spends its steps; turbo checkpoints know 1 to 3"),
    Knob("volume_db", _O, -60, 6, 0, "dB", "Output level; the lowest value is silence"),
    Knob("mute", _O, 0, 1, 0, "", "Silences the output", Form.BOOL),
    Knob("sde", _S, 0, 1, 0, "", "Steps with fresh noise instead of straight on, so that sde_amp acts", Form.BOOL),
    Knob("sde_amp", _S, 0, 1, 1, "", "With sde: how far the model leads, 0 being the source", per_frame=True),
    Knob("sde_rate", _S, 0, 12.5, 0, "Hz", "With sde: how often sde_amp swells and falls along the loop"),
    Knob("ode_noise", _S, 0, 1, 0, "", "Adds fresh noise after every step, less towards the end", per_frame=True),
    Knob("lock_gate", _S, 0, 1, 0, "", "Share of the schedule after which a source_lock curve begins to pull"),
    Knob(
        "protect", _S, 0, 1, 0, "", "Keeps the source as it is; draw a curve to keep some bars only", per_frame=True
    ),
    Knob(
        "guidance_mode",
        _L,
        0,
        3,
        0,
        "",
        "How the model is pushed away from what is not asked for; turbo checkpoints want it off",
        Form.INT,
        choices=("off", "full", "initialize", "self"),
    ),
    Knob(
        "guidance_scale", _S, 1, 15, 7, "", "With guidance_mode: how hard it pushes; 1 is not at all", per_frame=True
    ),
    Knob("guidance_rescale", _S, 0, 1, 0, "", "With guidance_mode: gives back the loudness it adds", per_frame=True),
    Knob(
        "apg_momentum", _S, -1, 1, -0.75, "", "With guidance_mode: how much of the push before is added to this one"
    ),
    Knob(
        "dcw_mode",
        _S,
        0,
        4,
        0,
        "",
        "Wavelet correction of every step: of which part of the music",
        Form.INT,
        choices=("off", "low", "high", "double", "pix"),
    ),
    Knob("dcw_low", _S, 0, 0.5, 0.05, "", "With dcw_mode low, double, pix: how strongly", per_frame=True),
    Knob("dcw_high", _S, 0, 0.5, 0.02, "", "With dcw_mode high, double: how strongly", per_frame=True),
    Knob("dcw_soft", _S, 0, 1, 0, "", "With dcw_mode: leaves differences smaller than this alone"),
    Knob("dcw_ratio", _S, 0, 1, 0, "", "With dcw_mode: corrects in proportion to what is there instead of by adding"),
    Knob("dcw_magnitude", _S, 0, 1, 0, "", "With dcw_mode: corrects how much there is and keeps its shape"),
    *(
        _gain(f"ch_g{group}", f"What the model hears of latent channels {8 * group} to {8 * group + 7}")
        for group in range(CHANNEL_GROUPS)
    ),
    *(
        _gain(f"ch{channel}", f"What the model hears of latent channel {channel}, times its group's")
        for channel in KEYSTONES
    ),
    Knob(
        "structure_blend",
        _S,
        0,
        1,
        1,
        "",
        "From the source's structure to that of the structure clip",
        per_frame=True,
    ),
    Knob("timbre_strength", _S, 0, 1, 1, "", "How much of the timbre clip's sound is taken"),
    Knob("prompt_a_from", _S, 0, 1, 0, "", "Share of the schedule at which prompt A begins to act"),
    Knob("prompt_a_to", _S, 0, 1, 1, "", "Share of the schedule at which prompt A ends to act"),
    Knob("prompt_b_from", _S, 0, 1, 0, "", "Share of the schedule at which prompt B begins to act"),
    Knob("prompt_b_to", _S, 0, 1, 1, "", "Share of the schedule at which prompt B ends to act"),
    Knob("dry_wet", _O, 0, 1, 1, "", "Crossfades from the source (0) to the generated music (1)"),
    Knob("loop_a", _O, 0, 1, 0, "", "Where the part of the loop that is played begins"),
    Knob("loop_b", _O, 0, 1, 1, "", "Where the part of the loop that is played ends"),
)
"""Every knob there is. The position is the knob's index in shared memory, so append, never reorder."""

CURVES: tuple[str, ...] = (*(knob.name for knob in KNOBS if knob.per_frame), "initial_noise")
"""What may be drawn over the loop. `initial_noise` is a curve only: the share of noise (the rest is source) that each
frame of a new slot is born with, whatever `denoise` says."""

INDEX: dict[str, int] = {knob.name: i for i, knob in enumerate(KNOBS)}


def described(knob: Knob) -> dict[str, object]:
    """`knob` as plain JSON values, by the names of its fields."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(knob).items()}


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


# Python's own float() takes "nan", "1_000" and blanks, too.
_NUMBER = re.compile(r"[-+]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][-+]?[0-9]{1,3})?")


def read_number(text: str) -> float | None:
    """The finite number that `text` spells, or None."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when one of `known` is near to `word`, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
