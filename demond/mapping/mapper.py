"""The mapper: messages in, knob changes out. It lives in the daemon's event loop and answers within microseconds.

It owns what depends on the past: where each control was last, which line holds which knob, what is pressed and which
layers are on. What is mapped comes from a :class:`~demond.mapping.loader.Mapping`, which can be replaced at any time;
lines that the new one has as well keep their takeover. Messages that arrive together are understood one by one, and
what they change is set once, the last value of each knob.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from demond.control import Control, Origin, RefusedError
from demond.knobs import KnobValueError, UnknownKnobError
from demond.mapping.assembly import Assembler, Gesture, Half, Position, Press, Selection, Steps
from demond.mapping.binding import Binding
from demond.mapping.journal import Journal, LastMessage, Record
from demond.mapping.mapping import Device, Mapping
from demond.mapping.painter import Painter, Send
from demond.mapping.plugs import Plugs, PortIdentity
from demond.mapping.profile import DeviceControl
from demond.mapping.search import Search
from demond.mapping.situation import Situation
from demond.mapping.state import Pending, PortState
from demond.mapping.stroke import Stroke
from demond.mapping.strokes import Strokes
from demond.mapping.surface import moves, position, searched
from demond.mapping.transfer import travel_of_bits
from demond.midi.decode import Clock, Other, decode
from demond.osc.codec import Argument, OscError

SOURCE_LIMIT = 128
"""Ports and OSC senders whose state is remembered; beyond, the one longest known is forgotten."""

HearClock = Callable[[str, Clock, int], None]
"""`hear_clock(port, clock, time_ns)` is told of MIDI clock, start, stop and song position."""


class Mapper:
    """Turns what players do into knob changes on a :class:`~demond.control.Control`."""

    def __init__(self, mapping: Mapping, control: Control) -> None:
        """Starts with `mapping`; nothing is held, every takeover is armed, and nobody is shown anything."""
        self._control = control
        self.situation = Situation(mapping, control)
        self.strokes = Strokes(self.situation)
        self._painter = Painter(self.situation)
        self._plugs = Plugs()
        self._states: dict[str, PortState] = {}
        self._setting = False
        self.search: Search | None = None
        """What hears of every message while a control is searched for to be learned; what it takes does not act."""
        self.hear_layers: Callable[[Collection[str]], None] = lambda names: None
        """Told of the layers that were switched on or off."""
        self.journal = Journal()
        self.hear_clock: HearClock = lambda port, clock, time_ns: None

    @property
    def mapping(self) -> Mapping:
        """What is mapped now."""
        return self.situation.mapping

    @property
    def last(self) -> LastMessage | None:
        """The last message and what came of it."""
        return self.journal.last

    def pickup(self, knob: str) -> int:
        """Which way the control that waits to pick `knob` up must be moved: -1 down, 1 up; 0 for none."""
        return self.strokes.pickups.get(knob, 0)

    def hear_pickup(self, hear: Callable[[str], None]) -> None:
        """`hear(knob)` is told from now on whenever :meth:`pickup` answers something else for a knob."""
        self.strokes.hear_pickup = hear

    @property
    def layers(self) -> frozenset[str]:
        """The layers that are on."""
        return frozenset(self.situation.layers)

    @property
    def devices(self) -> dict[str, list[str]]:
        """The ports that are there, and the devices that each is taken for."""
        return {port: [device.id for device, _ in devices] for port, devices in self._present().items()}

    # -- what changes around it ---------------------------------------------------------------------------------

    def show_with(self, send: Send) -> None:
        """Lamps, rings and motors are set through `send(port, messages)` from now on."""

        def shown(port: str, messages: list[bytes]) -> None:
            if self.search is not None:
                self.search.sent(port, messages, time.monotonic_ns())
            send(port, messages)

        self._painter.send = shown

    def replace(self, mapping: Mapping) -> None:
        """Maps by `mapping` from the next message on."""
        old = {binding.id: binding for binding in self.mapping.bindings()}
        kept = {binding.id for binding in mapping.bindings() if old.get(binding.id) == binding}
        self.situation.replace(mapping)
        self.strokes.forget_pickups()
        self.strokes.fingers.forget(time.monotonic_ns())
        for state in self._states.values():
            state.devices = self._devices_at(state.name, state.devices)
            state.grips = {key: one for key, one in state.grips.items() if key[0] in kept}
        self._painter.replaced(self._present())

    def ports(self, identities: Iterable[PortIdentity]) -> None:
        """These ports are there now. What is new must pick its knobs up and is painted; what is gone lets go."""
        gone, new = self._plugs.update(identities)
        for port in gone:
            self.rearm(port)
            self._painter.gone(port)
        for port in self._plugs.names:
            state = self._states.get(port)
            if state is not None and port not in new:
                self._readdress(state)
        for port in new:
            self._states.pop(port, None)  # what came before its socket was known may have been taken for another twin
            self._painter.plugged(port, self._state(port).devices)
        self._painter.flush()

    def rearm(self, port: str) -> None:
        """Forgets where the controls of `port` stood, as after a replug, and releases what is pressed there."""
        state = self._states.pop(port, None)
        if state is None:
            return
        pending, now_ns = Pending(), time.monotonic_ns()
        for control in list(state.down):
            record = self.journal.begin(now_ns, port, "unplugged")
            record.control, record.reason = control, "released, since its device is gone"
            self.strokes.release(Stroke(state, control, Origin("midi", control, now_ns), record, pending))
        self._set(pending)

    def changed(self, changes: Iterable[str]) -> None:
        """Knobs have new values, whoever set them: lamps and rings follow, and what glided there stops."""
        if not self._setting:
            for knob in changes:
                self.strokes.glides.stop(knob)
        self._painter.changed(changes)
        if not self._setting:
            self._painter.flush()

    def switch_layer(self, name: str, on: bool) -> bool:
        """Switches a layer on or off; False if there is none of that name."""
        if name not in self.mapping.layers:
            return False
        before = self.layers
        (self.situation.layers.add if on else self.situation.layers.discard)(name)
        self._show(before)
        return True

    def switch_line(self, name: str, on: bool) -> int:
        """Switches the line with the id `name`, or those with that tag, on or off; returns how many there are."""
        count = self.situation.switch(name, on)
        if count:
            self._painter.all()
        return count

    @property
    def due_ns(self) -> int | None:
        """When :meth:`advance` is wanted next, on the monotonic clock; None while nothing waits for time to pass."""
        times = [self.strokes.glides.due_ns, self.strokes.beats.due_ns, self._painter.due_ns]
        times += [
            down.since_ns + min(binding.after_ns for binding in down.long)
            for state in self._states.values()
            for down in state.down.values()
            if down.long
        ]
        return min((time for time in times if time is not None), default=None)

    def advance(self, now_ns: int) -> None:
        """Does what is due: glides, long presses, lamps that go back."""
        for origin, knob, value in self.strokes.glide(now_ns):
            self._set_one({knob: value}, origin)
        pending = Pending()
        self.strokes.on_beats(now_ns, pending, self.journal)
        for state in self._states.values():
            for control, down in list(state.down.items()):
                if down.long and now_ns - down.since_ns >= min(binding.after_ns for binding in down.long):
                    record = self.journal.begin(now_ns, state.name, "held")
                    record.control, record.lines = control, tuple(binding.id for binding in down.long)
                    stroke = Stroke(state, control, Origin("midi", control, now_ns), record, pending)
                    self.strokes.held(stroke, down)
        self._set(pending)
        self._painter.advance(now_ns)

    # -- MIDI ---------------------------------------------------------------------------------------------------

    def midi(self, port: str, data: bytes, time_ns: int) -> None:
        """One MIDI message from `port`, received at `time_ns` on the monotonic clock. Never raises."""
        self.midi_batch(port, (data,), time_ns)

    def midi_batch(self, port: str, messages: Sequence[bytes], time_ns: int) -> None:
        """Messages from `port` in their order, received by `time_ns`. What they change is set once. Never raises."""
        state = self._state(port)
        pending = Pending()
        layers = self.layers
        for data in messages:
            event = decode(data)
            if isinstance(event, Clock):
                self.hear_clock(port, event, time_ns)
            elif not isinstance(event, Other):
                for device, assembler in state.devices:
                    gesture = assembler.feed(event)
                    if gesture is not None:
                        self._gesture(state, device, gesture, port, data, time_ns, pending)
                        break
                else:
                    record = self.journal.begin(time_ns, port, data)
                    record.reason = "no device at this port has such a control"
                    if self.search is not None:
                        self.search.undescribed(port, event, data, time_ns)
        self._set(pending)
        self._show(layers)

    def _show(self, layers: frozenset[str]) -> None:
        """Shows what messages did; `layers` were on before them."""
        if layers == self.situation.layers:
            self._painter.flush()
            return
        self.hear_layers(layers ^ self.situation.layers)
        self._painter.all()

    def _gesture(
        self,
        state: PortState,
        device: Device,
        gesture: Gesture,
        port: str,
        data: bytes,
        time_ns: int,
        pending: Pending,
    ) -> None:
        if isinstance(gesture, Half | Selection):
            return
        control = gesture.control
        name = f"{device.id}/{control.name}"
        record = self.journal.begin(time_ns, port, data)
        record.control = name
        stroke = Stroke(state, name, Origin("midi", name, time_ns), record, pending)
        bindings = device.bindings.get(control.name, ())
        taken = self.search is not None and self.search.gesture(port, name, gesture, data, time_ns)
        if isinstance(gesture, Press) and gesture.strength == 0:
            self.strokes.release(stroke)
            self._set(pending)
            self._painter.released(port, device, control, time_ns)
            return
        if taken:
            self._withhold(stroke, gesture)
            return
        active = self.situation.active(bindings)
        if not active:
            record.reason = self.situation.why_not(bindings)
        record.lines = tuple(binding.id for binding in active)
        self._play(stroke, control, gesture, active)
        if isinstance(gesture, Press):
            self._painter.pressed(port, device, control)
            self.strokes.fingers.sensed(stroke, device, control)
            if control.pulse:
                self.strokes.release(stroke)

    def _withhold(self, stroke: Stroke, gesture: Position | Steps | Press | None = None) -> None:
        """A control does not act while one is searched for; afterwards it stands elsewhere, and must pick up anew."""
        stroke.record.reason = "it may be the one to be learned, so it does not act meanwhile"
        stroke.state.spoke[stroke.control] = ()
        if isinstance(gesture, Position):
            self._painter.moved(stroke.state.name, stroke.control, gesture.value, 0, stroke.now_ns)
        elif isinstance(gesture, Steps):
            self._painter.turned(stroke.state.name, stroke.control)

    def _play(
        self, stroke: Stroke, control: DeviceControl, gesture: Position | Steps | Press, active: tuple[Binding, ...]
    ) -> None:
        if isinstance(gesture, Press):
            self.strokes.press(stroke, active, gesture.strength)
        elif isinstance(gesture, Steps):
            self.strokes.turn(stroke, active, gesture.steps)
            self._painter.turned(stroke.state.name, stroke.control)
        else:
            self._spoken_for(stroke, active)
            travel = travel_of_bits(gesture.value, control.bits)
            way = self.strokes.position(stroke, active, travel)
            self._painter.moved(stroke.state.name, stroke.control, gesture.value, way, stroke.now_ns)

    def _spoken_for(self, stroke: Stroke, active: tuple[Binding, ...]) -> None:
        """Arms the takeover of a control that now means something else than when it was last moved."""
        ids = tuple(binding.id for binding in active)
        before = stroke.state.spoke.get(stroke.control)
        stroke.state.spoke[stroke.control] = ids
        if before is not None and before != ids:
            for (one, _), grip in stroke.state.grips.items():
                if one in ids:
                    grip.arm()

    # -- OSC ----------------------------------------------------------------------------------------------------

    def osc(
        self, address: str, arguments: tuple[Argument, ...], origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """One OSC message; True if its address is mapped. With `changes`, knobs are put there and not set.

        Raises :class:`OscError` for arguments that are no position.
        """
        bindings = self.mapping.osc.get(address)
        taken = self.search is not None and searched(self.search, address, arguments, origin)
        if bindings is None:
            if taken:
                return True
            # TouchOSC says on ADDRESS/z when a finger touches a control; no knob has a use for that.
            return address.endswith("/z") and address[:-2] in self.mapping.osc
        pressed, travel = position(address, arguments)
        active = self.situation.active(bindings)
        moved = tuple(b for b in active if moves(b))
        if moved and travel is None:
            raise OscError(400, "bad_args", address, "a position from 0 to 1 is wanted")
        record = self.journal.begin(origin.received_ns, origin.detail, address)
        record.control, record.lines = bindings[0].source, tuple(binding.id for binding in active)
        if not active:
            record.reason = self.situation.why_not(bindings)
        pending = Pending(values=dict(changes or {}))
        own = Origin("osc", f"{origin.detail} {address}", origin.received_ns)
        stroke = Stroke(self._state(f"osc:{origin.detail}"), address, own, record, pending)
        if taken:
            self._withhold(stroke)
            return True
        layers = self.layers
        if moved and travel is not None:
            self._spoken_for(stroke, active)
            self.strokes.position(stroke, moved, travel)
        buttons = tuple(b for b in active if b not in moved)
        if pressed and buttons:
            self.strokes.press(stroke, buttons, 1.0 if travel is None else min(travel, 1.0))
            if travel is None:  # a button that sends no value tells of no release
                self.strokes.release(stroke)
        elif not pressed and not moved:
            self.strokes.release(stroke)
        if changes is None:
            self._set(pending)
        else:
            for group in pending.groups.values():
                changes.update(group.changes)
        self._show(layers)
        return True

    # -- setting ------------------------------------------------------------------------------------------------

    def _set(self, pending: Pending) -> None:
        """Sets what is pending; nothing is, afterwards."""
        for group in pending.groups.values():
            if group.changes:
                self._set_one(group.changes, group.origin, group.records)
        pending.groups.clear()
        pending.values.clear()

    def _set_one(self, changes: dict[str, float], origin: Origin, records: Sequence[Record] = ()) -> None:
        """Sets the knobs; where the daemon refuses, the records say why."""
        self._setting = True
        try:
            self._control.set_knobs(changes, origin)
        except (RefusedError, UnknownKnobError, KnobValueError) as error:
            for record in records:
                record.changes, record.reason = {}, str(error)
        finally:
            self._setting = False

    # -- state --------------------------------------------------------------------------------------------------

    def _state(self, source: str) -> PortState:
        state = self._states.get(source)
        if state is None:
            if len(self._states) >= SOURCE_LIMIT:
                del self._states[next(iter(self._states))]
            state = self._states[source] = PortState(source, self._devices_at(source))
        return state

    def _devices_at(
        self, port: str, before: Sequence[tuple[Device, Assembler]] = ()
    ) -> tuple[tuple[Device, Assembler], ...]:
        """The devices at `port`. Those that send as one of `before` go on with what it has understood so far."""
        known = {device.id: assembler for device, assembler in before}
        layouts = {device.id: device.layout for device, _ in before}
        devices = self._plugs.devices_at(port, self.mapping.devices)
        return tuple(
            (device, known[device.id] if layouts.get(device.id) == device.layout else Assembler(device.layout))
            for device in devices
        )

    def _readdress(self, state: PortState) -> None:
        """Another port has come or gone: this one may be another of several twins now."""
        devices = self._plugs.devices_at(state.name, self.mapping.devices)
        if devices != tuple(device for device, _ in state.devices):
            state.devices = self._devices_at(state.name)
            self._painter.plugged(state.name, state.devices)

    def _present(self) -> dict[str, tuple[tuple[Device, Assembler], ...]]:
        return {port: self._state(port).devices for port in self._plugs.names}
