"""What the mapper remembers of each port and OSC sender. Plain data, owned by `demond.mapping.mapper`."""

from __future__ import annotations

from dataclasses import dataclass, field

from demond.control import Origin
from demond.mapping.assembly import Assembler
from demond.mapping.binding import Binding
from demond.mapping.journal import Record
from demond.mapping.mapping import Device
from demond.mapping.takeover import Rule

GripKey = tuple[str, str]
"""A binding's id and the name of one of its knobs."""


@dataclass(slots=True)
class Grip:
    """One binding's hold of one knob."""

    rule: Rule
    given: float | None = None
    """What the binding last gave the knob: while the knob still has it, the control holds the knob."""
    aim: float = 0.0
    """The travel (of a position) or value (of steps) behind it, before it was rounded for the knob."""

    def arm(self) -> None:
        """The control may stand anywhere."""
        self.rule.arm()
        self.given = None


@dataclass(slots=True)
class Down:
    """A button that is pressed."""

    bindings: tuple[Binding, ...]
    """What it did when it was pressed, which is what its release must undo, whatever the layers are by then."""
    since_ns: int
    deferred: tuple[Binding, ...] = ()
    """Lines that wait for the release, because a longer press means something else."""
    long: tuple[Binding, ...] = ()
    """Lines that act when it has been held long enough."""
    before: dict[GripKey, float] = field(default_factory=dict)
    """What knobs had before a momentary line took them."""


@dataclass(slots=True)
class PortState:
    """One port or OSC sender."""

    name: str
    devices: tuple[tuple[Device, Assembler], ...] = ()
    grips: dict[GripKey, Grip] = field(default_factory=dict)
    spoke: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The ids of the lines that a control last spoke for: with others, it must pick up anew."""
    down: dict[str, Down] = field(default_factory=dict)
    """By control."""
    pressed_ns: dict[str, int] = field(default_factory=dict)
    """The first of what may become a double press, by control."""


@dataclass(slots=True)
class Group:
    """The changes that one control makes with one batch of messages."""

    origin: Origin
    changes: dict[str, float] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Pending:
    """What a batch of messages changes, set when all of them are understood: the last value of each knob counts."""

    groups: dict[str, Group] = field(default_factory=dict)
    """By control."""
    values: dict[str, float] = field(default_factory=dict)
    """By knob."""

    def put(self, origin: Origin, knob: str, value: float, record: Record) -> None:
        """`knob` is to have `value`, on behalf of `origin`."""
        if knob in self.values:
            for other in self.groups.values():
                other.changes.pop(knob, None)
        group = self.groups.get(origin.detail)
        if group is None:
            group = self.groups[origin.detail] = Group(origin)
        group.origin = origin
        group.changes[knob] = self.values[knob] = value
        if not group.records or group.records[-1] is not record:
            group.records.append(record)
