"""What gestures do to knobs: positions, turns and presses of one control, for the lines that count.

Used by the mapper, in the daemon's event loop. Nothing is set here: what is to change is put into a
:class:`~demond.mapping.state.Pending`, and why something does not is said in the message's record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from demond.control import Origin
from demond.knobs import Form
from demond.mapping.beats import Beats
from demond.mapping.binding import Action, Binding, Mode
from demond.mapping.cues import play
from demond.mapping.fingers import Fingers
from demond.mapping.glide import Glide, Glides
from demond.mapping.journal import Journal
from demond.mapping.situation import Situation
from demond.mapping.state import Down, Grip, GripKey, Pending, PortState
from demond.mapping.stroke import Stroke
from demond.mapping.takeover import rule
from demond.mapping.touch import Touches
from demond.mapping.transfer import part_of, travel_at, value_at


class Strokes:
    """Plays gestures. It owns who has touched what, and which knobs glide."""

    def __init__(self, situation: Situation) -> None:
        """Nothing is touched, nothing glides."""
        self._situation = situation
        self.touches = Touches()
        self.glides = Glides()
        self.fingers = Fingers(situation, self.touches, self.glides)
        self.beats = Beats(situation)
        self.pickups: dict[str, int] = {}
        """Which way a control must be moved to pick its knob up: 1 up, -1 down; by knob, while it waits."""
        self.hear_pickup: Callable[[str], None] = lambda knob: None

    # -- what moves ---------------------------------------------------------------------------------------------

    def position(self, stroke: Stroke, bindings: Iterable[Binding], travel: float) -> int:
        """A control stands at `travel` (0–1). Returns which way it must go to pick up: 1 up, -1 down, 0 none.

        `travel` may be any number, where a line says which ones count.
        """
        way = 0
        for binding in bindings:
            part = part_of(travel, *binding.travel, binding.beyond)
            if part is None:
                stroke.record.reason = f"{travel:.4g} is beyond the travel that counts, and ignored"
                continue
            if binding.cue:
                stroke.record.reason = play(self._situation.control, binding, part)
            for action in binding.actions:
                way = self._to(stroke, binding, action, part) or way
        return way

    def _to(self, stroke: Stroke, binding: Binding, action: Action, travel: float) -> int:
        name = action.knob.name
        grip = _grip(stroke.state, binding, name)
        now = self._now(stroke.pending, name)
        holds = grip.given == now
        stands = grip.aim if holds else travel_at(now, action.low, action.high, action.curve)
        wanted = grip.rule.move(travel, stands, holds, stroke.now_ns)
        if wanted is None:
            way = 1 if stands > travel else -1
            self._waits(name, way)
            stroke.record.reason = (
                f"waits to pick up {name}: move {'up' if way > 0 else 'down'} from {travel:.2f} to {stands:.2f} "
                "of the travel"
            )
            return way
        self._waits(name, 0)
        if not self._may(stroke, name):
            return 0
        grip.aim = wanted
        value = value_at(wanted, action.low, action.high, action.curve)
        grip.given = self._go(stroke, binding, action, value, wanted)
        return 0

    def _waits(self, knob: str, way: int) -> None:
        if self.pickups.get(knob, 0) != way:
            self.pickups[knob] = way
            if not way:
                del self.pickups[knob]
            self.hear_pickup(knob)

    def forget_pickups(self) -> None:
        """No control waits any more, as with another mapping."""
        for knob in list(self.pickups):
            self._waits(knob, 0)

    def turn(self, stroke: Stroke, bindings: Iterable[Binding], steps: int) -> None:
        """An endless control was turned by `steps`."""
        for binding in bindings:
            for action in binding.actions:
                if self._may(stroke, action.knob.name):
                    self._add(stroke, binding, action, steps)

    def _add(self, stroke: Stroke, binding: Binding, action: Action, steps: int) -> None:
        name = action.knob.name
        grip = _grip(stroke.state, binding, name)
        now = self._now(stroke.pending, name)
        direction = 1 if action.high > action.low else -1
        value = (grip.aim if grip.given == now else now) + direction * steps * action.step
        low, high = min(action.low, action.high), max(action.low, action.high)
        if binding.wrap:
            span = high - low + (1 if action.knob.form is not Form.FLOAT else 0)
            value = low + (value - low) % span
            value = min(math.floor(value + 0.5), high) if action.knob.form is not Form.FLOAT else value
        else:
            value = min(max(value, low), high)
        grip.aim = value
        grip.given = self._go(stroke, binding, action, value, travel_at(value, action.low, action.high, action.curve))

    def _go(self, stroke: Stroke, binding: Binding, action: Action, value: float, travel: float) -> float:
        """Sets the knob, or sends it on its way; returns what it has, or will have."""
        name = action.knob.name
        if not binding.smooth_ns:
            self.glides.stop(name)
            return stroke.put(action, value)
        target = action.knob.clamp(value)
        start = travel_at(self._situation.control.value(name), action.low, action.high, action.curve)
        glide = Glide(start, travel, stroke.now_ns, binding.smooth_ns)
        self.glides.start(name, glide, (action, stroke.origin))
        stroke.record.changes[name] = target
        return target

    def _may(self, stroke: Stroke, knob: str) -> bool:
        other = self.touches.moved(knob, stroke.hand, stroke.now_ns)
        if other is None:
            return True
        stroke.record.reason = self.touches.taken(knob, other)
        return False

    # -- what is pressed ----------------------------------------------------------------------------------------

    def press(self, stroke: Stroke, bindings: tuple[Binding, ...], strength: float) -> Down:
        """A button goes down. Returns what its release needs to know."""
        long = tuple(b for b in bindings if b.mode is Mode.HOLD_LONG)
        held = stroke.state.down.get(stroke.control)
        down = Down(bindings, stroke.now_ns, long=long)
        if held is not None:  # pressed again without a release: what was before the first press counts
            down.before = held.before
        deferred = []
        for binding in bindings:
            if binding.mode is Mode.HOLD_LONG:
                continue
            if binding.mode is Mode.DOUBLE:
                self._double(stroke, binding)
            elif long and binding.mode is not Mode.MOMENTARY:
                deferred.append(binding)
            else:
                self._act(stroke, binding, down, strength)
        down.deferred = tuple(deferred)
        if any(binding.mode is Mode.DOUBLE for binding in bindings):
            first = stroke.state.pressed_ns.get(stroke.control)
            within = max(b.after_ns for b in bindings if b.mode is Mode.DOUBLE)
            second = first is not None and stroke.now_ns - first <= within
            if second:
                del stroke.state.pressed_ns[stroke.control]
            else:
                stroke.state.pressed_ns[stroke.control] = stroke.now_ns
        if (deferred or long) and not stroke.record.changes:
            stroke.record.reason = "waits to see how long it is held"
        stroke.state.down[stroke.control] = down
        return down

    def release(self, stroke: Stroke) -> None:
        """A button comes up."""
        self.fingers.lifted(stroke)
        down = stroke.state.down.pop(stroke.control, None)
        if down is None:
            stroke.record.reason = "released"
            return
        for binding in down.deferred:
            self._act(stroke, binding, down, 1.0)
        for binding in down.bindings:
            if binding.mode is Mode.MOMENTARY:
                self._let_go(stroke, binding, down)
        if not stroke.record.changes and not stroke.record.reason:
            stroke.record.reason = "released"

    def held(self, stroke: Stroke, down: Down) -> None:
        """A button has been held long enough."""
        for binding in down.long:
            self._act(stroke, binding, down, 1.0)
        down.long, down.deferred = (), ()

    def _double(self, stroke: Stroke, binding: Binding) -> None:
        first = stroke.state.pressed_ns.get(stroke.control)
        if first is not None and stroke.now_ns - first <= binding.after_ns:
            self._act(stroke, binding, Down((), stroke.now_ns), 1.0)
        else:
            stroke.record.reason = "waits for a second press"

    def _act(self, stroke: Stroke, binding: Binding, down: Down, strength: float) -> None:
        if binding.layer:
            self._switch_layer(stroke, binding)
            return
        if binding.cue:
            stroke.record.reason = play(self._situation.control, binding, 1.0)
            return
        if binding.quantize and (words := self.beats.waits(stroke, binding, strength)):
            stroke.record.reason = words
            return
        self.do(stroke, binding, down, strength)

    def do(self, stroke: Stroke, binding: Binding, down: Down, strength: float) -> None:
        """Does to its knobs what a press does."""
        for action in binding.actions:
            name = action.knob.name
            self.touches.pressed(name, stroke.hand, stroke.now_ns)
            if binding.mode is Mode.INCREMENT:
                self._add(stroke, binding, action, 1)
                continue
            now = self._now(stroke.pending, name)
            if binding.mode is Mode.RADIO and now == action.value:
                stroke.record.reason = f"{name} is {now:g} already"
                continue
            if binding.mode is Mode.MOMENTARY and action.value is not None:
                down.before.setdefault((binding.id, name), now)
            self.glides.stop(name)
            stroke.put(action, _pressed_value(binding, action, now, strength))

    def _let_go(self, stroke: Stroke, binding: Binding, down: Down) -> None:
        if binding.layer:
            self._situation.layers.discard(binding.layer)
            stroke.record.reason = f"layer {binding.layer} off"
            return
        for action in binding.actions:
            before = down.before.pop((binding.id, action.knob.name), None)
            value = action.low if action.value is None else before
            if value is not None:
                stroke.put(action, value)

    def _switch_layer(self, stroke: Stroke, binding: Binding) -> None:
        layers = self._situation.layers
        if binding.mode is Mode.RADIO:
            layers.clear()
            layers.add(binding.layer)
        elif binding.mode is Mode.TOGGLE and binding.layer in layers:
            layers.discard(binding.layer)
        else:
            layers.add(binding.layer)
        stroke.record.reason = f"layer {binding.layer} {'on' if binding.layer in layers else 'off'}"

    def on_beats(self, now_ns: int, pending: Pending, journal: Journal) -> None:
        """Does what waited for a beat that has come."""
        for one in self.beats.due(now_ns):
            before = one.stroke
            record = journal.begin(now_ns, before.state.name, "beat")
            record.control, record.lines = before.control, (one.binding.id,)
            origin = Origin(before.origin.kind, before.origin.detail, now_ns)
            stroke = Stroke(before.state, before.control, origin, record, pending)
            self.do(stroke, one.binding, Down((), now_ns), one.strength)

    # -- what time does -----------------------------------------------------------------------------------------

    def glide(self, now_ns: int) -> list[tuple[Origin, str, float]]:
        """Where gliding knobs have come to by now, each with whoever sent it on its way."""
        found = []
        for name, travel, owner in self.glides.step(now_ns):
            assert isinstance(owner, tuple)  # noqa: S101 - as `_go` gave it
            action, origin = owner
            value = action.knob.clamp(value_at(travel, action.low, action.high, action.curve))
            found.append((origin, name, value))
        return found

    def _now(self, pending: Pending, knob: str) -> float:
        """The knob's value, counting what is pending and where it glides to."""
        value = pending.values.get(knob)
        if value is not None:
            return value
        gliding = self.glides.aim(knob)
        if gliding is not None:
            travel, owner = gliding
            assert isinstance(owner, tuple)  # noqa: S101 - as `_go` gave it
            action = owner[0]
            return float(action.knob.clamp(value_at(travel, action.low, action.high, action.curve)))
        return self._situation.control.value(knob)


def _grip(state: PortState, binding: Binding, knob: str) -> Grip:
    key: GripKey = (binding.id, knob)
    grip = state.grips.get(key)
    if grip is None:
        grip = state.grips[key] = Grip(rule(binding.takeover, binding.tolerance))
    return grip


def _pressed_value(binding: Binding, action: Action, now: float, strength: float) -> float:
    if action.reset:
        return action.knob.default
    if binding.velocity:
        return value_at(strength, action.low, action.high, action.curve)
    if binding.mode is Mode.TOGGLE:
        return action.low if abs(now - action.high) <= abs(now - action.low) else action.high
    return action.high if action.value is None else action.value
