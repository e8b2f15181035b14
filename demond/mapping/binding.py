"""Bindings: one line of `maps`, with its control and knobs looked up and every default filled in.

Made by the loader, which notes the mistakes; read by :class:`demond.mapping.mapper.Mapper` for each message. All of
it is frozen, so a binding that a reload did not touch equals its former self, and keeps its takeover.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from demond.knobs import Form, Knob, UnknownKnobError, did_you_mean, knob
from demond.mapping.profile import DeviceControl
from demond.mapping.schema import MapEntry, TargetEntry
from demond.mapping.transfer import Curve, Encoding

Note = Callable[[tuple[str | int, ...], str], None]
"""`note(path, message)` reports a mistake at `path` inside the line."""


class Mode(StrEnum):
    """What a control's messages do."""

    SET = "set"
    """The position, or for a button `value` on each press."""
    TOGGLE = "toggle"
    """Each press changes between the two ends of the range."""
    MOMENTARY = "momentary"
    """`value` (or the range's high end) while pressed; on release what was before (or the low end)."""
    TRIGGER = "trigger"
    """Each press fires the action."""


class Takeover(StrEnum):
    """What happens while a control does not stand where its knob is."""

    OFF = "off"
    """The knob jumps to the control."""
    PICKUP = "pickup"
    """The knob waits for the control."""


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
    """What one detent of an endless encoder adds, in the knob's unit."""
    reset: bool
    """The action sets the knob to its default, and uses nothing else of this."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A control and what it moves."""

    id: str
    source: str
    """`nk2/fader1`, or `osc:/1/fader1`."""
    mode: Mode
    takeover: Takeover
    encoding: Encoding
    actions: tuple[Action, ...]


_TARGET = re.compile(r"(?:/demond/knob/)?([A-Za-z0-9_]+)(/reset)?")
_BLEND = ("prompt/blend", "/demond/prompt/blend")


def bind(entry: MapEntry, source: str, control: DeviceControl | None, note: Note) -> Binding | None:
    """The binding that `entry` describes; `control` is None for an OSC source. None after a mistake was noted."""
    actions: list[Action] = []
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    complete = True
    for i, target in enumerate(targets):
        path: tuple[str | int, ...] = ("to", i) if isinstance(entry.to, list) else ("to",)
        action = _action(entry, target, path, note)
        complete = complete and action is not None
        if action is not None:
            actions.append(action)
    if not complete:
        return None
    if len({(action.knob.name, action.reset) for action in actions}) < len(actions):
        note(("to",), "the same knob is named twice")
        return None
    mode = _mode(entry, control, actions, note)
    if mode is None:
        return None
    takeover = _takeover(entry, control, mode, note)
    if takeover is None:
        return None
    names = "+".join(f"{action.knob.name}/reset" if action.reset else action.knob.name for action in actions)
    encoding = control.encoding if control else Encoding.ABSOLUTE
    return Binding(entry.id or f"{source}/{names}", source, mode, takeover, encoding, tuple(actions))


def _action(entry: MapEntry, target: str | TargetEntry, path: tuple[str | int, ...], note: Note) -> Action | None:
    own = target if isinstance(target, TargetEntry) else None
    name = target.knob if isinstance(target, TargetEntry) else target
    inside = (*path, "knob") if own else path
    found = _TARGET.fullmatch("prompt_blend" if name in _BLEND else name)
    try:
        turned = knob(found[1] if found else name[:60])
    except UnknownKnobError as error:
        note(inside, str(error))
        return None
    reset = bool(found and found[2])

    def given(word: str) -> tuple[object, tuple[str | int, ...]]:
        """The target's own setting, else the line's, with the place to blame."""
        if own is not None and getattr(own, word) is not None:
            return getattr(own, word), (*path, word)
        return getattr(entry, word), (word,)

    if reset:
        for word in ("range", "curve", "value", "step"):
            setting, where = given(word)
            if setting is not None:
                note(where, f"{name} takes no {word}: it sets the default")
                return None
    span, where_range = given("range")
    low, high = (float(span[0]), float(span[1])) if isinstance(span, list) else (turned.minimum, turned.maximum)
    if not all(turned.minimum <= end <= turned.maximum for end in (low, high)):
        note(where_range, f"{turned.name} goes from {turned.minimum:g} to {turned.maximum:g}; this range leaves it")
        return None
    if low == high:
        note(where_range, "both ends of the range are the same")
        return None
    chosen, where_curve = given("curve")
    curve = Curve(chosen) if isinstance(chosen, str) else Curve(turned.curve.value)
    if curve is not Curve.LINEAR and min(low, high) <= 0:
        hint = f"[{turned.maximum / 100:g}, {turned.maximum:g}]"
        note(where_curve, f"the curve {curve} needs a range above 0; add one such as range: {hint}, or take linear")
        return None
    value, where_value = given("value")
    number = float(value) if isinstance(value, bool | int | float) else None
    if number is not None and not turned.minimum <= number <= turned.maximum:
        words = f"{turned.name} goes from {turned.minimum:g} to {turned.maximum:g}; {number:g} is outside"
        note(where_value, words)
        return None
    step, where_step = given("step")
    if isinstance(step, int | float) and not 0 < abs(step) <= abs(high - low):
        note(where_step, "a step is more than 0 and at most the whole range (below 0 it turns the other way)")
        return None
    default_step = 1.0 if turned.form is Form.INT else abs(high - low) / 127
    return Action(
        turned, low, high, curve, number, float(step) if isinstance(step, int | float) else default_step, reset
    )


def _mode(entry: MapEntry, control: DeviceControl | None, actions: list[Action], note: Note) -> Mode | None:
    chosen = Mode(entry.mode) if entry.mode else None
    resets = [action.reset for action in actions]
    pressed = control is None or control.kind.pressed
    fixed = all(action.value is not None for action in actions)
    some_fixed = any(action.value is not None for action in actions)
    switches = all(action.knob.form is Form.BOOL for action in actions)
    where = ("mode",) if entry.mode else ()
    what = control.kind if control else "surface"
    if any(resets) and not all(resets):
        note(("to",), "a reset and a setting cannot share a line; write two, the second with also: true")
        return None
    if not pressed and (all(resets) or chosen not in (None, Mode.SET) or some_fixed):
        note(where, f"a {what} sets its position; values, resets and the other modes are for buttons and pads")
        return None
    if not pressed:
        return _check_step(entry, control, actions, note)
    if entry.step is not None:
        note(("step",), "a step is for endless encoders")
        return None
    if all(resets) or chosen is Mode.TRIGGER:
        if not all(resets) or chosen not in (None, Mode.TRIGGER):
            note(
                where,
                "mode: trigger is for actions, and the only one for them; an action is written as denoise/reset",
            )
            return None
        return Mode.TRIGGER
    if some_fixed and not fixed:
        note(("to",), "give each of the knobs a value, or none of them")
        return None
    ranged = entry.range is not None or switches or _all_ranged(entry)
    if chosen is None:
        if fixed or control is None:
            return Mode.SET
        if switches:
            return Mode.TOGGLE
        note((), f"what does the {what} do? Add a value to set, or mode: toggle or momentary with a range")
        return None
    if chosen is Mode.SET and control is not None and not fixed:
        note(where, f"a {what} sets a value; say which with value")
        return None
    if chosen is Mode.TOGGLE and (fixed or not ranged):
        note(where, "mode: toggle changes between the two ends of a range; give a range, and no value")
        return None
    if chosen is Mode.MOMENTARY and not fixed and not ranged:
        note(where, "mode: momentary needs a value to hold, or a range to go up and down")
        return None
    return chosen


def _all_ranged(entry: MapEntry) -> bool:
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    return all(isinstance(target, TargetEntry) and target.range is not None for target in targets)


def _check_step(entry: MapEntry, control: DeviceControl | None, actions: list[Action], note: Note) -> Mode | None:
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    stepped = entry.step is not None or any(isinstance(t, TargetEntry) and t.step is not None for t in targets)
    if stepped and (control is None or control.encoding is Encoding.ABSOLUTE):
        note(("step",) if entry.step is not None else ("to",), "a step is for endless encoders; use a range here")
        return None
    return Mode.SET


def _takeover(entry: MapEntry, control: DeviceControl | None, mode: Mode, note: Note) -> Takeover | None:
    """Pick-up for whatever has a position that may differ from its knob's; a touch screen is known to jump."""
    positioned = control is not None and not control.kind.pressed and control.encoding is Encoding.ABSOLUTE
    if entry.takeover is None:
        return Takeover.PICKUP if positioned else Takeover.OFF
    if entry.takeover == "pickup" and (mode is not Mode.SET or not (positioned or control is None)):
        note(("takeover",), "takeover: pickup is for controls with a position: faders and knobs")
        return None
    return Takeover(entry.takeover)


def unknown_control(name: str, known: dict[str, DeviceControl], profile: str) -> str:
    """The sentence for a control that a profile does not have."""
    return f"{profile} has no control {name[:60]!r}{did_you_mean(name[:60], known)}"
