"""Fingers that lie on controls: what moves a knob by itself waits until they are lifted. Used by the mapper.

They are told of by the touch sensors of motor faders and, over OSC, by surfaces that know of fingers. Where a finger
lies, `demond.mapping.touch` gives it the knob, a glide ends, and the stage keeps scenes, LFOs and gestures off.
"""

from __future__ import annotations

from demond.control import Origin
from demond.mapping.glide import Glides
from demond.mapping.mapping import Device
from demond.mapping.profile import DeviceControl
from demond.mapping.situation import Situation
from demond.mapping.stroke import Stroke
from demond.mapping.touch import Touches


class Fingers:
    """The fingers on touch sensors, and what every finger does to its knob."""

    def __init__(self, situation: Situation, touches: Touches, glides: Glides) -> None:
        """No finger lies anywhere."""
        self._situation, self._touches, self._glides = situation, touches, glides
        self._sensed: dict[str, list[tuple[str, str]]] = {}
        """The knobs under a finger, each with the control that it lies on, by the sensor that tells of it."""

    def put(self, knob: str, hand: str, origin: Origin, down: bool) -> None:
        """A finger was put on the control `hand` of `knob`, or lifted from it."""
        self._touches.finger(knob, hand, down, origin.received_ns)
        if down:
            self._glides.stop(knob)
        self._situation.control.stage.finger(knob, origin, down)
        self._situation.control.feed.tell([f"knob/{knob}/touch"])

    def sensed(self, stroke: Stroke, device: Device, sensor: DeviceControl) -> None:
        """The button or touch sensor of `stroke` is pressed: the finger lies on the controls that it belongs to."""
        found = []
        for control in device.model.controls.values():
            if control.touch != sensor.name:
                continue
            name = f"{device.id}/{control.name}"
            for binding in self._situation.active(device.bindings.get(control.name, ())):
                origin = Origin("midi", name, stroke.now_ns)
                found += [(action.knob.name, f"{stroke.state.name} {name}", origin) for action in binding.actions]
        if found:
            self._lift(stroke.hand, stroke.now_ns)
            self._sensed[stroke.hand] = [(knob, hand) for knob, hand, _ in found]
        for knob, hand, origin in found:
            self.put(knob, hand, origin, True)

    def lifted(self, stroke: Stroke) -> None:
        """The button or touch sensor of `stroke` was let go, or its device is gone."""
        self._lift(stroke.hand, stroke.now_ns)

    def forget(self, now_ns: int) -> None:
        """With another mapping a sensor may belong to other controls, or to none: nothing counts as touched."""
        for sensor in list(self._sensed):
            self._lift(sensor, now_ns)

    def _lift(self, sensor: str, now_ns: int) -> None:
        for knob, hand in self._sensed.pop(sensor, ()):
            self.put(knob, hand, Origin("midi", hand.rpartition(" ")[2], now_ns), False)
