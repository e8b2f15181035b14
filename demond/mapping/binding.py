"""Bindings: one line of `maps`, with its control and knobs looked up and every default filled in.

Made by `demond.mapping.lines` for the loader; read by :class:`demond.mapping.mapper.Mapper` for each message. All of
it is frozen, so a binding that a reload did not touch equals its former self, and keeps its takeover.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from demond.knobs import Knob
from demond.mapping.profile import DeviceControl
from demond.mapping.takeover import Takeover
from demond.mapping.transfer import Beyond, Curve, Encoding


class Mode(StrEnum):
    """What a control's messages do."""

    SET = "set"
    """The position, or for a button `value` on each press."""
    TOGGLE = "toggle"
    """Each press changes between the two ends of the range."""
    MOMENTARY = "momentary"
    """`value` (or the range's high end) while pressed; on release what was before (or the low end)."""
    RADIO = "radio"
    """A press chooses `value` among the other buttons of the knob; pressed again, it does nothing."""
    TRIGGER = "trigger"
    """Each press fires the action."""
    INCREMENT = "increment"
    """Each press adds `step`."""
    HOLD_LONG = "hold_long"
    """Sets or fires once the button was held for `after`; a shorter press is left to the control's other lines."""
    DOUBLE = "double"
    """Sets or fires on the second of two presses within `after`."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a binding does to one knob."""

    knob: Knob
    low: float
    high: float
    curve: Curve
    value: float | None
    """What a press sets; None if it sets an end of the range."""
    step: float
    """What one detent or one press adds, in the knob's unit."""
    reset: bool
    """The action sets the knob to its default, and uses nothing else of this."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When a binding counts: one of `layers` is on (if there are any), and the knob is where it should be."""

    layers: tuple[str, ...] = ()
    knob: str = ""
    above: float | None = None
    below: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """A control and what it moves."""

    id: str
    source: str
    """`nk2/fader1`, or `osc:/1/fader1`."""
    mode: Mode
    takeover: Takeover
    actions: tuple[Action, ...]
    """Empty for a line that switches a layer or plays on the stage."""
    layer: str = ""
    cue: str = ""
    """What the line plays on the stage, such as `scene/drop`; empty for one that moves knobs."""
    quantize: str = ""
    """With a scene or a press: its grid; empty leaves it to the scene, and does a press at once."""
    travel: tuple[float, float] = (0.0, 1.0)
    """Where the control is at the two ends of its travel."""
    beyond: Beyond = Beyond.CLAMP
    tolerance: float | None = None
    smooth_ns: int = 0
    velocity: bool = False
    """A press sets the travel to how hard it was."""
    wrap: bool = False
    after_ns: int = 0
    when: Condition | None = None
    tags: tuple[str, ...] = ()
    enabled: bool = True


def positioned(control: DeviceControl | None) -> bool:
    """Whether a control stands somewhere, so that it may stand elsewhere than its knob."""
    return control is not None and not control.kind.pressed and control.encoding is Encoding.ABSOLUTE
