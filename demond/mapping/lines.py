"""Lines of `maps` to bindings: names looked up, defaults filled in, mistakes noted. Used by the loader."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from demond.knobs import Form, UnknownKnobError, did_you_mean, knob
from demond.mapping import modes
from demond.mapping.binding import Action, Binding, Condition, Mode
from demond.mapping.cues import PLAYS_NO_KNOB, cue_binding, cue_of
from demond.mapping.fields import Note
from demond.mapping.profile import DeviceControl
from demond.mapping.schema import MapEntry, TargetEntry, WhenEntry
from demond.mapping.takeover import Takeover
from demond.mapping.transfer import Beyond, Curve

HOLD_LONG_MS, DOUBLE_MS = 500.0, 300.0
_TARGET = re.compile(r"(?:/demond/knob/)?([A-Za-z0-9_]+)(/reset)?")
_LAYER = re.compile(r"(?:/demond/)?layer/(.*)")
_BLEND = ("prompt/blend", "/demond/prompt/blend")


def bind(
    entry: MapEntry, source: str, control: DeviceControl | None, layers: Collection[str], note: Note
) -> Binding | None:
    """The binding that `entry` describes; `control` is None for an OSC source. None after a mistake was noted.

    `layers` are the names that may be switched and asked for.
    """
    when = _condition(entry.when, layers, note) if entry.when is not None else None
    if entry.when is not None and when is None:
        return None
    if isinstance(entry.to, str) and (found := _LAYER.fullmatch(entry.to)):
        if entry.quantize is not None:
            note(("quantize",), "a layer is switched at once; quantize goes with a scene or a press")
            return None
        return _layer_binding(entry, source, control, found[1], layers, when, note)
    cue = cue_of(entry)
    if cue is not None:
        played = cue_binding(entry, source, control, cue, note)
        tags = tuple(entry.tags)
        return played and replace(
            played, id=entry.id or _default_id(source, cue, entry), when=when, tags=tags, enabled=entry.enabled
        )
    actions = _actions(entry, note)
    if actions is None:
        return None
    mode = modes.mode_of(entry, control, actions, note)
    if mode is None or not modes.settings_fit(entry, control, mode, note):
        return None
    takeover = modes.takeover_of(entry, control, mode, note)
    if takeover is None:
        return None
    names = "+".join(f"{action.knob.name}/reset" if action.reset else action.knob.name for action in actions)
    return Binding(
        entry.id or _default_id(source, names, entry),
        source,
        mode,
        takeover,
        tuple(actions),
        tolerance=entry.tolerance,
        smooth_ns=round((entry.smooth or 0) * 1e6),
        velocity=entry.value == "velocity",
        wrap=entry.wrap,
        after_ns=_after_ns(entry, mode),
        when=when,
        tags=tuple(entry.tags),
        enabled=entry.enabled,
        quantize=entry.quantize or "",
        travel=(entry.travel[0], entry.travel[1]) if entry.travel is not None else (0.0, 1.0),
        beyond=Beyond(entry.out_of_range or "clamp"),
    )


def _after_ns(entry: MapEntry, mode: Mode) -> int:
    default = {Mode.HOLD_LONG: HOLD_LONG_MS, Mode.DOUBLE: DOUBLE_MS}.get(mode, 0.0)
    return round((entry.after or default) * 1e6)


def _default_id(source: str, names: str, entry: MapEntry) -> str:
    """`nk2/fader1/denoise`, with the layers of its condition, which are what tells it from its siblings."""
    layers = entry.when.layer if entry.when is not None else None
    shown = [layers] if isinstance(layers, str) else layers or []
    return "+".join([f"{source}/{names}", *shown])


def _layer_binding(
    entry: MapEntry,
    source: str,
    control: DeviceControl | None,
    name: str,
    layers: Collection[str],
    when: Condition | None,
    note: Note,
) -> Binding | None:
    if name not in layers:
        note(("to",), f"no layer is called {name[:60]!r}{did_you_mean(name[:60], layers)}; name it under layers:")
        return None
    pressed = control is None or control.kind.pressed
    if not pressed:
        note(("to",), f"a layer is switched by a button or a pad, not by a {control.kind if control else ''}")
        return None
    mode = (
        Mode(entry.mode) if entry.mode else Mode.TOGGLE if control is not None and control.pulse else Mode.MOMENTARY
    )
    if mode not in (Mode.MOMENTARY, Mode.TOGGLE, Mode.RADIO):
        note(
            ("mode",),
            "a layer is on while pressed (momentary), until pressed again (toggle) or instead of others (radio)",
        )
        return None
    if mode is Mode.MOMENTARY and control is not None and control.pulse:
        note(("mode",), f"{control.name} tells of no release; take mode: toggle")
        return None
    for word in PLAYS_NO_KNOB:
        if getattr(entry, word) is not None:
            note((word,), f"a layer takes no {word}: it is on or off")
            return None
    return Binding(
        entry.id or _default_id(source, f"layer/{name}", entry),
        source,
        mode,
        Takeover.OFF,
        (),
        layer=name,
        when=when,
        tags=tuple(entry.tags),
        enabled=entry.enabled,
    )


def _condition(entry: WhenEntry, layers: Collection[str], note: Note) -> Condition | None:
    named = [entry.layer] if isinstance(entry.layer, str) else entry.layer or []
    for name in named:
        if name not in layers:
            words = f"no layer is called {name!r}{did_you_mean(name, layers)}; name it under layers:"
            note(("when", "layer"), words)
            return None
    compared = [word for word in ("above", "below", "at") if getattr(entry, word) is not None]
    if (entry.knob is None) != (not compared):
        note(("when",), "a knob is asked for with above, below or at, as in {knob: denoise, above: 0.5}")
        return None
    if not named and entry.knob is None:
        note(("when",), "a condition names a layer or a knob")
        return None
    if entry.knob is not None:
        try:
            knob(entry.knob)
        except UnknownKnobError as error:
            note(("when", "knob"), str(error))
            return None
    at = None if entry.at is None else float(entry.at)
    return Condition(tuple(named), entry.knob or "", entry.above, entry.below, at)


def _actions(entry: MapEntry, note: Note) -> list[Action] | None:
    """What the line does to each of its knobs; None after a mistake was noted."""
    targets = entry.to if isinstance(entry.to, list) else [entry.to]
    found = [
        _action(entry, target, ("to", i) if isinstance(entry.to, list) else ("to",), note)
        for i, target in enumerate(targets)
    ]
    actions = [action for action in found if action is not None]
    if len(actions) < len(found):
        return None
    if len({(action.knob.name, action.reset) for action in actions}) < len(actions):
        note(("to",), "the same knob is named twice")
        return None
    return actions


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


def unknown_control(name: str, known: dict[str, DeviceControl], profile: str) -> str:
    """The sentence for a control that a profile does not have."""
    return f"{profile} has no control {name[:60]!r}{did_you_mean(name[:60], known)}"


def surface_address(address: str) -> str | None:
    """What is wrong with an address that a surface is said to send."""
    if not address.startswith("/") or len(address) < 2:
        return "an OSC source is written as osc:/1/fader1"
    if address == "/demond" or address.startswith("/demond/"):
        return f"{address[:60]} works without a mapping; surfaces send to it directly"
    if any(not 0x21 <= ord(letter) <= 0x7E or letter in "#*,?[]{}" for letter in address):
        return "an OSC address has no blanks and none of # * , ? [ ] { }"
    return None
