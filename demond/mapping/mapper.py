"""The mapper: messages in, knob changes out. It lives in the daemon's event loop and answers within microseconds.

It owns what depends on the past: where each control was last, which binding holds which knob, and the halves of
14-bit values. What is mapped comes from a :class:`~demond.mapping.loader.Mapping`, which can be replaced at any time;
bindings that the new one has as well keep their takeover.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field

from demond.control import Control, Origin, RefusedError
from demond.knobs import KnobValueError, UnknownKnobError
from demond.mapping.binding import Action, Binding, Mode, Takeover
from demond.mapping.loader import Device, Mapping
from demond.mapping.profile import DeviceControl, Key, Part
from demond.mapping.transfer import Encoding, Pickup, detents, travel_at, travel_of_bits, value_at
from demond.midi.decode import ControlChange, NoteOff, NoteOn, PitchBend, decode
from demond.osc.codec import Argument, Impulse, OscError
from demond.osc.namespace import number

SOURCE_LIMIT = 128
"""Ports and OSC senders whose state is remembered; beyond, the one longest known is forgotten."""


@dataclass(frozen=True, slots=True)
class LastMessage:
    """Why the last control message did what it did, for a person who wonders."""

    source: str
    """The port or OSC sender."""
    message: str
    """The bytes in hex, or the OSC address."""
    control: str
    """`nk2/fader1`, or nothing if no device has such a control."""
    outcome: str
    """`denoise = 0.4`, or why nothing happened."""


_Held = tuple[str, str]
"""A binding's id and the name of one of its knobs."""


@dataclass(slots=True)
class _State:
    """What is remembered of one port or OSC sender."""

    devices: tuple[Device, ...] = ()
    pickups: dict[_Held, Pickup] = field(default_factory=dict)
    given: dict[_Held, float] = field(default_factory=dict)
    """What a binding last gave a knob: while the knob still has it, the control holds the knob."""
    before: dict[_Held, float] = field(default_factory=dict)
    """What a knob had before a momentary button was pressed."""
    halves: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """MSB and LSB of 14-bit controls, by the key of the MSB."""


class Mapper:
    """Turns what players do into knob changes on a :class:`~demond.control.Control`."""

    def __init__(self, mapping: Mapping, control: Control) -> None:
        """Starts with `mapping`; nothing is held and every takeover is armed."""
        self._mapping, self._control = mapping, control
        self._states: dict[str, _State] = {}
        self._last: tuple[str, bytes | str, str, str | dict[str, float]] | None = None
        self._waiting: dict[str, int] = {}

    @property
    def mapping(self) -> Mapping:
        """What is mapped now."""
        return self._mapping

    def replace(self, mapping: Mapping) -> None:
        """Maps by `mapping` from the next message on."""
        old = {binding.id: binding for binding in _bindings(self._mapping)}
        kept = {binding.id for binding in _bindings(mapping) if old.get(binding.id) == binding}
        self._mapping = mapping
        for source, state in self._states.items():
            state.devices = self._devices_at(source)
            state.pickups = {key: one for key, one in state.pickups.items() if key[0] in kept}
            state.given = {key: one for key, one in state.given.items() if key[0] in kept}
            state.before = {key: one for key, one in state.before.items() if key[0] in kept}
        for knob in tuple(self._waiting):
            self._waits(knob, 0)

    def rearm(self, port: str) -> None:
        """Forgets where the controls of `port` stood, as after a replug: each must pick its knob up again."""
        self._states.pop(port, None)

    @property
    def last(self) -> LastMessage | None:
        """The last message and what came of it."""
        if self._last is None:
            return None
        source, message, control, outcome = self._last
        if isinstance(outcome, dict):
            outcome = ", ".join(f"{name} = {value:g}" for name, value in outcome.items())
        return LastMessage(source, message.hex(" ") if isinstance(message, bytes) else message, control, outcome)

    def pickup(self, knob: str) -> int:
        """Which way the control that waited last to pick `knob` up has to be turned: -1 down, 1 up; 0 for none."""
        return self._waiting.get(knob, 0)

    # -- MIDI ---------------------------------------------------------------------------------------------------

    def midi(self, port: str, data: bytes, time_ns: int) -> None:
        """One MIDI message from `port`, received at `time_ns` on the monotonic clock. Never raises."""
        key, value = _read(data)
        if key is None:
            return
        state = self._state(port)
        for device in state.devices:
            found = device.controls.get(key)
            if found is not None:
                self._from_device(state, port, data, time_ns, device, *found, value)
                return
        self._last = (port, data, "", "no device at this port has such a control")

    def _from_device(
        self,
        state: _State,
        port: str,
        data: bytes,
        time_ns: int,
        device: Device,
        control: DeviceControl,
        part: Part,
        value: int,
    ) -> None:
        name = f"{device.id}/{control.name}"
        bindings = device.bindings.get(control.name)
        if bindings is None:
            self._last = (port, data, name, "this control is not mapped")
            return
        whole = value if part is Part.WHOLE else _join(state, control, part, value)
        if whole is None:
            return
        changes: dict[str, float] = {}
        reason = ""
        for binding in bindings:
            if control.kind.pressed:
                # A pedal or a pressure pad sweeps; half way is where it counts as pressed. A note is pressed at any.
                pressed = value > 0 if control.key[0] == "note" else 2 * whole >= 1 << control.bits
                self._press(state, binding, pressed, changes)
            elif binding.encoding is not Encoding.ABSOLUTE:
                self._turn(binding, detents(whole, binding.encoding), changes)
            else:
                travel = travel_of_bits(whole, control.bits)
                reason = self._move(state, binding, travel, time_ns, changes) or reason
        outcome = self._set(changes, Origin("midi", name, time_ns)) if changes else reason or "released"
        self._last = (port, data, name, outcome or changes)

    # -- OSC ----------------------------------------------------------------------------------------------------

    def osc(
        self, address: str, arguments: tuple[Argument, ...], origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """One OSC message; True if its address is mapped. With `changes`, knobs are put there and not set.

        Raises :class:`OscError` for arguments that are no position.
        """
        bindings = self._mapping.osc.get(address)
        if bindings is None:
            # TouchOSC says on ADDRESS/z when a finger touches a control; no knob has a use for that.
            return address.endswith("/z") and address[:-2] in self._mapping.osc
        pressed, travel = _position(address, arguments)
        state = self._state(f"osc:{origin.detail}")
        found: dict[str, float] = {} if changes is None else changes
        reason = ""
        for binding in bindings:
            if binding.mode is not Mode.SET or binding.actions[0].value is not None:
                self._press(state, binding, pressed, found)
            elif travel is None:
                raise OscError(400, "bad_args", address, "a position from 0 to 1 is wanted")
            else:
                reason = self._move(state, binding, travel, origin.received_ns, found) or reason
        outcome = ""
        if changes is None and found:
            outcome = self._set(found, Origin("osc", f"{origin.detail} {address}", origin.received_ns))
        self._last = (origin.detail, address, bindings[0].source, outcome or dict(found) or reason or "released")
        return True

    # -- what bindings do ---------------------------------------------------------------------------------------

    def _move(self, state: _State, binding: Binding, travel: float, time_ns: int, changes: dict[str, float]) -> str:
        """Puts what a position says into `changes`; returns why not, where it is ignored."""
        reason = ""
        for action in binding.actions:
            value = action.knob.clamp(value_at(travel, action.low, action.high, action.curve))
            name = action.knob.name
            key = (binding.id, name)
            if binding.takeover is Takeover.PICKUP:
                now = self._now(name, changes)
                stands = travel_at(now, action.low, action.high, action.curve)
                pickup = state.pickups.get(key)
                if pickup is None:
                    pickup = state.pickups[key] = Pickup()
                if not pickup.accepts(travel, stands, state.given.get(key) == now, time_ns):
                    way = "up" if stands > travel else "down"
                    self._waits(name, 1 if stands > travel else -1)
                    reason = f"waits to pick up {name}: move {way} from {travel:.2f} to {stands:.2f} of the travel"
                    continue
                self._waits(name, 0)
            state.given[key] = value
            changes[name] = value
        return reason

    def _waits(self, knob: str, direction: int) -> None:
        if self._waiting.get(knob, 0) != direction:
            self._waiting[knob] = direction
            self._control.feed.tell([f"knob/{knob}/pickup"])

    def _turn(self, binding: Binding, steps: int, changes: dict[str, float]) -> None:
        for action in binding.actions:
            low, high = min(action.low, action.high), max(action.low, action.high)
            direction = 1 if action.high > action.low else -1
            value = self._now(action.knob.name, changes) + direction * steps * action.step
            changes[action.knob.name] = action.knob.clamp(min(max(value, low), high))

    def _press(self, state: _State, binding: Binding, pressed: bool, changes: dict[str, float]) -> None:
        for action in binding.actions:
            value = (
                self._pressed(state, binding, action, changes) if pressed else self._released(state, binding, action)
            )
            if value is not None:
                changes[action.knob.name] = action.knob.clamp(value)

    def _pressed(self, state: _State, binding: Binding, action: Action, changes: dict[str, float]) -> float:
        if action.reset:
            return action.knob.default
        if binding.mode is Mode.TOGGLE:
            now = self._now(action.knob.name, changes)
            return action.low if abs(now - action.high) <= abs(now - action.low) else action.high
        if binding.mode is Mode.MOMENTARY and action.value is not None:
            state.before.setdefault((binding.id, action.knob.name), self._now(action.knob.name, changes))
        return action.high if action.value is None else action.value

    def _released(self, state: _State, binding: Binding, action: Action) -> float | None:
        if binding.mode is not Mode.MOMENTARY:
            return None
        return action.low if action.value is None else state.before.pop((binding.id, action.knob.name), None)

    def _now(self, knob: str, changes: dict[str, float]) -> float:
        """The knob's value, counting what this message or bundle has already changed."""
        value = changes.get(knob)
        return self._control.value(knob) if value is None else value

    def _set(self, changes: dict[str, float], origin: Origin) -> str:
        """Sets the knobs; returns why not, where the daemon refuses."""
        try:
            self._control.set_knobs(changes, origin)
        except (RefusedError, UnknownKnobError, KnobValueError) as error:
            return str(error)
        return ""

    # -- state --------------------------------------------------------------------------------------------------

    def _state(self, source: str) -> _State:
        state = self._states.get(source)
        if state is None:
            if len(self._states) >= SOURCE_LIMIT:
                del self._states[next(iter(self._states))]
            state = self._states[source] = _State(self._devices_at(source))
        return state

    def _devices_at(self, port: str) -> tuple[Device, ...]:
        name = port.lower()
        return tuple(
            device
            for device in self._mapping.devices
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in device.patterns)
        )


def _bindings(mapping: Mapping) -> list[Binding]:
    lines = [line for device in mapping.devices for lines in device.bindings.values() for line in lines]
    return [*lines, *(line for lines in mapping.osc.values() for line in lines)]


def _read(data: bytes) -> tuple[Key | None, int]:
    """What tells the message's control, and the value it carries; None for messages that no control sends."""
    match decode(data):
        case ControlChange(channel, control, value):
            return ("cc", channel, control), value
        case NoteOn(channel, note, velocity):
            return ("note", channel, note), velocity
        case NoteOff(channel, note, _):
            return ("note", channel, note), 0
        case PitchBend(channel, value):
            return ("bend", channel, 0), value
    return None, 0


def _join(state: _State, control: DeviceControl, part: Part, value: int) -> int | None:
    """The 14-bit value that one half completes; None while the other half is still to come.

    The half that the device sends last completes it. A device that leaves out an unchanged first half is understood,
    since the first half is remembered.
    """
    msb, lsb = state.halves.get(control.key, (0, 0))
    state.halves[control.key] = (value, lsb) if part is Part.MSB else (msb, value)
    completes = Part.MSB if control.lsb_first else Part.LSB
    if part is not completes:
        return None
    msb, lsb = state.halves[control.key]
    return msb << 7 | lsb


def _position(address: str, arguments: tuple[Argument, ...]) -> tuple[bool, float | None]:
    """Whether a button that sends `arguments` is pressed, and the travel 0–1 that a fader that sends them is at."""
    if not arguments or arguments[0] is None or isinstance(arguments[0], Impulse):
        return True, None
    if len(arguments) > 1:
        raise OscError(400, "bad_args", address, f"one position is wanted, not {len(arguments)} arguments")
    value = number(address, arguments[0])
    return value >= 0.5, min(max(value, 0.0), 1.0)
