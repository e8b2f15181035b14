"""Which mode and takeover a line of `maps` has, and whether its other keys fit them. Used by `binding` alone.

A mistake is noted at its place with what would be right, and the answer is None or False.
"""

from __future__ import annotations

import math

from demond.knobs import Form
from demond.mapping.binding import Action, Mode, positioned
from demond.mapping.fields import Note
from demond.mapping.profile import DeviceControl
from demond.mapping.schema import MapEntry, TargetEntry
from demond.mapping.takeover import Takeover
from demond.mapping.transfer import Encoding

_FIRES = (Mode.TRIGGER, Mode.HOLD_LONG, Mode.DOUBLE)
_NEEDS_RELEASE = (Mode.MOMENTARY, Mode.HOLD_LONG)


def mode_of(entry: MapEntry, control: DeviceControl | None, actions: list[Action], note: Note) -> Mode | None:
    """The line's mode: the one that it names, else the one that its other keys mean."""
    resets = [action.reset for action in actions]
    if any(resets) and not all(resets):
        note(("to",), "a reset and a setting cannot share a line; write two, the second with also: true")
        return None
    if control is not None and not control.kind.pressed:
        return _moved(entry, control, actions, note)
    return _pressed(entry, control, actions, note)


def _moved(entry: MapEntry, control: DeviceControl, actions: list[Action], note: Note) -> Mode | None:
    where = ("mode",) if entry.mode else ()
    valued = entry.value is not None or any(action.value is not None for action in actions)
    if actions[0].reset or entry.mode not in (None, "set") or valued:
        words = "sets its position; values, resets and the other modes are for buttons and pads"
        note(where, f"a {control.kind} {words}")
        return None
    if _stepped(entry) and control.encoding is Encoding.ABSOLUTE:
        note(("step",) if entry.step is not None else ("to",), "a step is for endless encoders; use a range here")
        return None
    return Mode.SET


def _pressed(entry: MapEntry, control: DeviceControl | None, actions: list[Action], note: Note) -> Mode | None:
    chosen = Mode(entry.mode) if entry.mode else None
    where = ("mode",) if entry.mode else ()
    what = control.kind if control else "surface"
    fixed = all(action.value is not None for action in actions)
    if _stepped(entry) and chosen is not Mode.INCREMENT:
        note(("step",) if entry.step is not None else ("to",), "a step is for endless encoders and mode: increment")
        return None
    if control is not None and control.pulse and chosen in _NEEDS_RELEASE:
        note(where, f"{control.name} tells of no release, which mode: {chosen} needs")
        return None
    if any(action.value is not None for action in actions) and not fixed:
        note(("to",), "give each of the knobs a value, or none of them")
        return None
    if actions[0].reset:
        if chosen not in (None, *_FIRES):
            words = "a reset is fired, by mode: trigger, hold_long or double"
            note(where, words)
            return None
        return chosen or Mode.TRIGGER
    if entry.value == "velocity":
        if chosen not in (None, Mode.SET) or (control is not None and control.pulse):
            note(("value",), "value: velocity is for pads and keys, with mode: set")
            return None
        return Mode.SET
    if chosen is Mode.TRIGGER:
        note(where, "mode: trigger is for actions, and the only one for them; an action is written as denoise/reset")
        return None
    switches = all(action.knob.form is Form.BOOL for action in actions)
    ranged = entry.range is not None or switches or _all_ranged(entry)
    if chosen is None:
        return _unsaid(control, fixed, switches, what, note)
    wrong = _wrong(chosen, control, fixed, ranged, what)
    if wrong is not None:
        note(where, wrong)
        return None
    return chosen


def _unsaid(control: DeviceControl | None, fixed: bool, switches: bool, what: str, note: Note) -> Mode | None:
    if fixed or control is None:
        return Mode.SET
    if switches:
        return Mode.TOGGLE
    note((), f"what does the {what} do? Add a value to set, or mode: toggle or momentary with a range")
    return None


def _wrong(chosen: Mode, control: DeviceControl | None, fixed: bool, ranged: bool, what: str) -> str | None:
    if chosen is Mode.SET and control is not None and not fixed:
        return f"a {what} sets a value; say which with value"
    if chosen in (Mode.RADIO, Mode.HOLD_LONG, Mode.DOUBLE) and not fixed:
        return f"mode: {chosen} needs a value" + ("" if chosen is Mode.RADIO else ", or a reset as target")
    if chosen is Mode.INCREMENT and fixed:
        return "mode: increment adds a step; leave the value out"
    if chosen is Mode.TOGGLE and (fixed or not ranged):
        return "mode: toggle changes between the two ends of a range; give a range, and no value"
    if chosen is Mode.MOMENTARY and not fixed and not ranged:
        return "mode: momentary needs a value to hold, or a range to go up and down"
    return None


def settings_fit(entry: MapEntry, control: DeviceControl | None, mode: Mode, note: Note) -> bool:
    """Whether the keys that only some lines have a use for stand in one of those."""
    stepping = mode is Mode.INCREMENT or (control is not None and control.encoding is not Encoding.ABSOLUTE)
    if entry.wrap and not stepping:
        note(("wrap",), "wrap is for steps: endless encoders and mode: increment")
        return False
    if entry.after is not None and mode not in (Mode.HOLD_LONG, Mode.DOUBLE):
        note(("after",), "after is for mode: hold_long and mode: double")
        return False
    moves = mode is Mode.SET and (control is None or not control.kind.pressed)
    if entry.smooth is not None and not moves:
        note(("smooth",), "smooth is for what is moved: faders, knobs and encoders")
        return False
    pressing = control.kind.pressed if control is not None else mode is not Mode.SET or entry.value is not None
    if entry.quantize is not None and (not pressing or mode is Mode.MOMENTARY):
        words = "quantize goes with a scene or a press that is not momentary; what is moved is heard at once"
        note(("quantize",), words)
        return False
    return _travel_fits(
        entry, control, moves and entry.value is None and (control is None or positioned(control)), note
    )


def _travel_fits(entry: MapEntry, control: DeviceControl | None, stands: bool, note: Note) -> bool:
    """Whether `travel` and `out_of_range` stand in the line of what has a position, and what they say is right."""
    for word in ("travel", "out_of_range"):
        if getattr(entry, word) is not None and not stands:
            note((word,), f"{word} is for what has a position: faders and knobs")
            return False
    if entry.travel is None:
        if entry.out_of_range is not None and control is not None:
            note(("out_of_range",), "a control cannot go beyond its ends; say with travel which part of it counts")
            return False
        return True
    low, high = entry.travel
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        note(("travel",), "travel is two numbers that differ, such as [0.1, 0.9]")
        return False
    if control is not None and not (0 <= low <= 1 and 0 <= high <= 1):
        note(("travel",), "a control goes from 0 to 1, whatever its data; take shares such as [0.1, 0.9]")
        return False
    return True


def takeover_of(entry: MapEntry, control: DeviceControl | None, mode: Mode, note: Note) -> Takeover | None:
    """Pick-up for whatever stands somewhere and cannot be moved by demond; a touch screen is known to jump."""
    stands = positioned(control)
    if entry.takeover is None:
        chosen = Takeover.PICKUP if control is not None and stands and not control.follows else Takeover.OFF
    else:
        chosen = Takeover(entry.takeover)
    if chosen is not Takeover.OFF and (mode is not Mode.SET or not (stands or control is None)):
        note(("takeover",), f"takeover: {chosen} is for controls with a position: faders and knobs")
        return None
    if entry.tolerance is not None and chosen not in (Takeover.PICKUP, Takeover.PICKUP_TOLERANT):
        note(("tolerance",), "a tolerance is for takeover: pickup and pickup_tolerant")
        return None
    return chosen


def _stepped(entry: MapEntry) -> bool:
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    return entry.step is not None or any(isinstance(t, TargetEntry) and t.step is not None for t in targets)


def _all_ranged(entry: MapEntry) -> bool:
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    return all(isinstance(target, TargetEntry) and target.range is not None for target in targets)
