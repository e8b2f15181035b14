"""Arbitration: which of several controls moves a knob. Used by the mapper, in the daemon's event loop.

A control is one of a controller's, an address that a surface sends, or a client that sends to a knob's own address.

The rule: **the last touch wins.** A touch begins when a control is moved that was still for :data:`HOLD_NS`, and a
press is a touch at once. The control that was touched last has the knob; what the others send meanwhile is ignored,
until they are touched anew or the one that has it was still for that long. So two hands on one knob never fight
message by message, and nobody has to let go for another to take over.

Where a control says that a finger lies on it, the finger has the knob until it is lifted, however still it is, as
with a DAW's touch automation: nothing but a press or another finger moves the knob meanwhile. Of several fingers the
last one has it.
"""

from __future__ import annotations

HOLD_NS = 300_000_000
"""The hold time: how long a control must be still for its next move to be a new touch, in ns."""
_LIMIT = 4_096


class Touches:
    """Who has which knob. A control is named by its port and its own name."""

    def __init__(self) -> None:
        """Nobody has touched anything."""
        self._owner: dict[str, str] = {}
        self._moved: dict[tuple[str, str], int] = {}
        self._fingers: dict[str, list[str]] = {}
        """The controls that a finger lies on, by knob; the last one was touched last."""

    def moved(self, knob: str, control: str, now_ns: int) -> str | None:
        """`control` was moved; None if it has `knob` now, else the control that has it."""
        last = self._moved.get((knob, control))
        if last is None and len(self._moved) >= _LIMIT:
            self._moved.clear()
        self._moved[knob, control] = now_ns
        if fingers := self._fingers.get(knob):
            return None if fingers[-1] == control else fingers[-1]
        owner = self._owner.get(knob, control)
        if owner != control and last is not None and now_ns - last <= HOLD_NS:
            owner_moved = self._moved.get((knob, owner))
            if owner_moved is not None and now_ns - owner_moved <= HOLD_NS:
                return owner
        self._owner[knob] = control
        return None

    def pressed(self, knob: str, control: str, now_ns: int) -> None:
        """`control` was pressed, and has `knob` from now on."""
        self._moved[knob, control] = now_ns
        self._owner[knob] = control

    def finger(self, knob: str, control: str, down: bool, now_ns: int) -> None:
        """A finger was put upon `control`, or lifted from it. A second one there is the same finger."""
        fingers = self._fingers.setdefault(knob, [])
        if down and control not in fingers:
            fingers.append(control)
        elif not down and control in fingers:
            fingers.remove(control)
        if not fingers:
            del self._fingers[knob]
        self.pressed(knob, fingers[-1] if fingers else control, now_ns)

    def held(self, knob: str) -> bool:
        """Whether a finger lies upon any control of `knob`."""
        return knob in self._fingers

    def taken(self, knob: str, other: str) -> str:
        """Why a control does not move `knob`, which `other` has."""
        now = "a finger is on it" if self.held(knob) else "is being moved"
        return f"{other.rpartition(' ')[2]} has {knob}: it was touched last and {now}"
