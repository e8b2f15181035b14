"""One gesture on its way: what is known of it while the lines of its control are played. Used by the mapper."""

from __future__ import annotations

from dataclasses import dataclass

from demond.control import Origin
from demond.mapping.binding import Action
from demond.mapping.journal import Record
from demond.mapping.state import Pending, PortState


@dataclass(frozen=True, slots=True)
class Stroke:
    """One gesture: who made it, when, and where its effects and its story go."""

    state: PortState
    control: str
    """`nk2/fader1`, or an OSC address."""
    origin: Origin
    record: Record
    pending: Pending

    @property
    def now_ns(self) -> int:
        """When the message was received."""
        return self.origin.received_ns

    @property
    def hand(self) -> str:
        """The control with its port: two ports may have the same device."""
        return f"{self.state.name} {self.control}"

    def put(self, action: Action, value: float) -> float:
        """The action's knob is to have `value`; returns what it will have."""
        value = action.knob.clamp(value)
        self.record.changes[action.knob.name] = value
        self.pending.put(self.origin, action.knob.name, value, self.record)
        return value
