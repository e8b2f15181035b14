"""What controllers show: lamps, rings and motor faders, kept as the knobs are. Owned by the mapper in the daemon.

It remembers what each port was sent, so that nothing is sent twice, and paints everything anew when a device is
plugged in, a layer changes or a mapping is loaded. A control that follows (a motor fader) is left alone while a hand
is on it, and answered as its profile says: some motor faders fight the hand, fall back or block otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field

from demond.mapping.assembly import Assembler
from demond.mapping.binding import Binding, Mode
from demond.mapping.mapping import Device
from demond.mapping.profile import DeviceControl, Show
from demond.mapping.situation import Situation
from demond.mapping.transfer import travel_at
from demond.midi.encode import bend, control_change, note_on

Send = Callable[[str, list[bytes]], None]
"""`send(port, messages)` sends to the device whose input port has that name."""

QUIET_NS = 300_000_000
"""A control without a touch sensor is let go of when it was still for this long."""
ARROW_NS = 2_000_000_000
"""For how long after the last move of a waiting control its arrows are lit."""
_HELD = sys.maxsize
"""In place of a time: the hand is on the touch sensor."""

_Devices = tuple[tuple[Device, Assembler], ...]


@dataclass(slots=True)
class _Canvas:
    """What one port's devices show."""

    shows: dict[str, tuple[Device, DeviceControl]] = field(default_factory=dict)
    """The controls that show something, as `nk2/fader1`."""
    by_knob: dict[str, list[str]] = field(default_factory=dict)
    """The controls whose look depends on a knob."""
    sent: dict[Show, int] = field(default_factory=dict)
    dirty: dict[str, None] = field(default_factory=dict)
    """The controls to look at again."""
    hands: dict[str, int] = field(default_factory=dict)
    """Until when each control that follows is in the player's hand."""
    arrows: dict[str, tuple[bool, int]] = field(default_factory=dict)
    """Lamps that say which way to move a waiting control, and until when."""


class Painter:
    """Keeps the canvases of all ports. Called from the daemon's event loop only."""

    def __init__(self, situation: Situation) -> None:
        """Nobody is shown anything before :attr:`send` is set."""
        self._situation = situation
        self._canvases: dict[str, _Canvas] = {}
        self.send: Send = lambda port, messages: None

    # -- what changes -------------------------------------------------------------------------------------------

    def plugged(self, port: str, devices: _Devices) -> None:
        """Devices are at `port`, and show nothing of ours: they are put into their mode and painted, if wanted."""
        canvas = self._canvases[port] = _canvas(devices)
        greetings = [message for device, _ in devices if device.greeted for message in device.model.on_connect]
        if greetings:
            self.send(port, greetings)
        canvas.dirty = {name: None for name, (device, _) in canvas.shows.items() if device.greeted}
        self.flush()

    def gone(self, port: str) -> None:
        """Nothing is at `port` any more."""
        self._canvases.pop(port, None)

    def replaced(self, present: MappingOf[str, _Devices]) -> None:
        """Another mapping is in force: what has changed by it is painted."""
        for port, devices in present.items():
            old, new = self._canvases.get(port), _canvas(devices)
            if old is not None:
                new.sent, new.hands = old.sent, {name: t for name, t in old.hands.items() if name in new.shows}
            new.dirty = dict.fromkeys(new.shows)
            self._canvases[port] = new
        self.flush()

    def all(self) -> None:
        """Controls may mean something else now, as with another layer."""
        for canvas in self._canvases.values():
            canvas.dirty = dict.fromkeys(canvas.shows)
        self.flush()

    def changed(self, knobs: Iterable[str]) -> None:
        """Knobs have new values. What depends on them is painted with the next :meth:`flush`."""
        for knob in knobs:
            for canvas in self._canvases.values():
                for name in canvas.by_knob.get(knob, ()):
                    canvas.dirty[name] = None

    def moved(self, port: str, name: str, value: int, way: int, now_ns: int) -> None:
        """The control `name` was moved to `value`; `way` says where it must go to pick its knob up (0: it has)."""
        canvas = self._canvases.get(port)
        if canvas is None or name not in canvas.shows:
            return
        device, control = canvas.shows[name]
        for lamp, lit in zip(control.arrows or (), (way > 0, way < 0), strict=False):
            full = f"{device.id}/{lamp}"
            if way:
                canvas.arrows[full] = (lit, now_ns + ARROW_NS)
                canvas.dirty[full] = None
            elif canvas.arrows.pop(full, None) is not None:
                canvas.dirty[full] = None
        if control.position is None or (not control.follows and not _draws_itself(control)):
            return
        canvas.sent[control.position] = value
        if not control.follows:
            canvas.dirty[name] = None
            return
        if device.model.echo == "always":
            del canvas.sent[control.position]
            canvas.dirty[name] = None
        elif canvas.hands.get(name) != _HELD:
            canvas.hands[name] = now_ns + QUIET_NS

    def turned(self, port: str, name: str) -> None:
        """The endless control `name` was turned. A ring that the device draws itself must be drawn again."""
        canvas = self._canvases.get(port)
        if canvas is not None and name in canvas.shows:
            _, control = canvas.shows[name]
            if control.position is not None and _draws_itself(control):
                canvas.sent.pop(control.position, None)
                canvas.dirty[name] = None

    def pressed(self, port: str, device: Device, control: DeviceControl) -> None:
        """A button or touch sensor was pressed."""
        canvas = self._canvases.get(port)
        if canvas is not None:
            for name in _sensed(canvas, device, control):
                canvas.hands[name] = _HELD

    def released(self, port: str, device: Device, control: DeviceControl, now_ns: int) -> None:
        """A button or touch sensor was released."""
        canvas = self._canvases.get(port)
        if canvas is None:
            return
        for name in _sensed(canvas, device, control):
            canvas.hands[name] = now_ns
        if device.model.resend_on_release and control.led is not None:
            canvas.sent.pop(control.led, None)
            canvas.dirty[f"{device.id}/{control.name}"] = None
        self.advance(now_ns)

    @property
    def due_ns(self) -> int | None:
        """When :meth:`advance` is wanted next; None while nothing waits for time to pass."""
        times = [time for canvas in self._canvases.values() for time in canvas.hands.values() if time != _HELD]
        times += [until for canvas in self._canvases.values() for _, until in canvas.arrows.values()]
        return min(times, default=None)

    def advance(self, now_ns: int) -> None:
        """Answers controls that were let go of, and puts arrows out."""
        for canvas in self._canvases.values():
            for name in [name for name, until in canvas.hands.items() if until <= now_ns]:
                del canvas.hands[name]
                device, control = canvas.shows[name]
                if device.model.echo == "on_release" and control.position is not None:
                    canvas.sent.pop(control.position, None)
                canvas.dirty[name] = None  # somebody else may have moved the knob meanwhile
            for lamp in [lamp for lamp, (_, until) in canvas.arrows.items() if until <= now_ns]:
                del canvas.arrows[lamp]
                canvas.dirty[lamp] = None
        self.flush()

    # -- painting -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Sends what differs from what was sent before."""
        for port, canvas in self._canvases.items():
            if canvas.dirty:
                names, canvas.dirty = canvas.dirty, {}
                messages = [
                    message for name in names if name in canvas.shows for message in self._paint(canvas, name)
                ]
                if messages:
                    self.send(port, messages)

    def _paint(self, canvas: _Canvas, name: str) -> Iterable[bytes]:
        device, control = canvas.shows[name]
        bindings = self._situation.active(device.bindings.get(control.name, ()))
        if control.led is not None:
            arrow = canvas.arrows.get(name)
            lit = arrow[0] if arrow is not None else self._lit(bindings)
            yield from _difference(canvas, control.led, control.led.high if lit else control.led.low)
        if control.position is not None and name not in canvas.hands:
            travel = self._travel(bindings)
            if travel is None and control.follows:
                return  # nothing says where it should stand
            show = control.position
            yield from _difference(canvas, show, show.low + round((travel or 0.0) * (show.high - show.low)))

    def _travel(self, bindings: tuple[Binding, ...]) -> float | None:
        """Where the knob of the first of a control's lines stands."""
        for binding in bindings:
            for action in binding.actions:
                value = self._situation.control.value(action.knob.name)
                low, high = binding.travel
                return low + (high - low) * travel_at(value, action.low, action.high, action.curve)
        return None

    def _lit(self, bindings: tuple[Binding, ...]) -> bool:
        """Whether a button's lamp is on: its layer is, or its knob is as a press makes it, or could be reset."""
        plain = [b for b in bindings if b.mode not in (Mode.HOLD_LONG, Mode.DOUBLE)] or bindings
        for binding in plain:
            if binding.layer:
                return binding.layer in self._situation.layers
            if binding.mode is Mode.INCREMENT or binding.velocity:
                return False
            return all(self._as_pressed(binding, i) for i in range(len(binding.actions)))
        return False

    def _as_pressed(self, binding: Binding, i: int) -> bool:
        action = binding.actions[i]
        now = self._situation.control.value(action.knob.name)
        if action.reset:
            return now != action.knob.default
        if action.value is not None:
            return now == action.knob.clamp(action.value)
        return abs(now - action.high) <= abs(now - action.low)


def _canvas(devices: _Devices) -> _Canvas:
    canvas = _Canvas()
    for device, _ in devices:
        for control in device.model.controls.values():
            if control.led is None and control.position is None and control.arrows is None:
                continue
            name = f"{device.id}/{control.name}"
            canvas.shows[name] = (device, control)
            for binding in device.bindings.get(control.name, ()):
                knobs = {action.knob.name for action in binding.actions}
                if binding.when is not None and binding.when.knob:
                    knobs.add(binding.when.knob)
                for knob in knobs:
                    canvas.by_knob.setdefault(knob, []).append(name)
    return canvas


def _draws_itself(control: DeviceControl) -> bool:
    """Whether the device draws a control's ring when it is turned, which it does where both have the same message."""
    show = control.position
    return show is not None and control.key == (show.word, show.channel, show.number)


def _sensed(canvas: _Canvas, device: Device, sensor: DeviceControl) -> list[str]:
    """The controls that follow and whose touch sensor `sensor` is."""
    return [
        name
        for name, (owner, control) in canvas.shows.items()
        if owner is device and control.touch == sensor.name and control.follows
    ]


def _difference(canvas: _Canvas, show: Show, value: int) -> list[bytes]:
    if canvas.sent.get(show) == value:
        return []
    canvas.sent[show] = value
    if show.word == "note":
        return [note_on(show.channel, show.number, value)]
    if show.word == "bend":
        return [bend(show.channel, value)]
    if show.lsb is None:
        return [control_change(show.channel, show.number, value)]
    halves = [
        control_change(show.channel, show.number, value >> 7),
        control_change(show.channel, show.lsb, value & 127),
    ]
    return halves[::-1] if show.lsb_first else halves
