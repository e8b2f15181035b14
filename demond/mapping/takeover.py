"""Takeover: what happens while a control does not stand where its knob is. Called for each position, in the daemon.

Each rule answers a control's new travel with the travel that the knob is to have, or with None: the knob stays. All
of them begin the same way: the first travel after arming only tells where the control stands. The knob's own travel
is given with every call, so whatever else moves the knob is seen at once.

The names are ReaLearn's; pick-up is Mixxx's soft takeover with what demond knows on top; the end rules of `parallel`
are DEMON's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

TOLERANCE = 3 / 128
"""How near to the knob a control must come to take it over, in travel (Mixxx's soft takeover)."""
WIDE_TOLERANCE = 12 / 128
"""The same for `pickup_tolerant`: a fast hand that passes between two messages is let in."""
RECENT_NS = 50_000_000
"""For how long after an accepted value the hand is held to be still moving (Mixxx's soft takeover), in ns."""
LARGEST_STEP = 64 / 127
"""`parallel`: no message moves the knob further (DEMON's absoluteDelta)."""
END = 1.5 / 127
"""`parallel`: a control within a step of seven bits of its end takes the knob to its end (DEMON, ibid.)."""
SLOW_SHARE = 2.0
"""`slow`: how much further than the hand the knob moves towards the control."""


class Takeover(StrEnum):
    """What happens while a control does not stand where its knob is."""

    OFF = "off"
    """The knob jumps to the control."""
    PICKUP = "pickup"
    """The knob waits until the control reaches it or moves across it."""
    PICKUP_TOLERANT = "pickup_tolerant"
    """The same, but from further away."""
    PARALLEL = "parallel"
    """The knob moves by as much as the control does."""
    SCALE = "scale"
    """The knob uses up its own way to the end while the control uses up its own, so they arrive together."""
    SLOW = "slow"
    """The knob comes nearer to the control with each move, twice as fast as the hand."""


class Rule(ABC):
    """The memory of one control about one knob. `previous` is the travel last received, used or not."""

    def __init__(self) -> None:
        """Armed: the control may stand anywhere."""
        self.previous: float | None = None

    def arm(self) -> None:
        """Starts anew, as after a replug."""
        self.previous = None

    @abstractmethod
    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """The travel (0–1) that the knob is to have, or None where it stays.

        `knob` is the travel at which the knob stands; `holds` says that it still has what this control gave it last.
        """


class Jump(Rule):
    """`off`."""

    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """Always the control's travel."""
        self.previous = travel
        return travel


@dataclass
class Pickup(Rule):
    """The knob stays where it is until the control reaches it or moves across it.

    The rule is that of Mixxx's soft takeover, which judges by distance, side and time alone, with what demond knows
    on top: whether anything else has moved the knob since this control did.

    * The first value after arming is never used; it only tells where the control stands.
    * A value within `tolerance` of the knob is used.
    * A value on the other side of the knob than the one before is used: the control came past.
    * A value that follows a near one, at most :data:`RECENT_NS` after the last used value, is used: the hand is
      moving, and something else (a morph, another hand) moved the knob just now.
    * While the knob is still where this control put it, every value is used, however fast the hand.
    * Everything else is ignored.
    """

    tolerance: float = TOLERANCE
    previous: float | None = None
    used_ns: int | None = None
    """When a value was last used."""

    def arm(self) -> None:
        """Starts anew, as after a replug."""
        self.previous = self.used_ns = None

    def accepts(self, travel: float, knob: float, holds: bool, now_ns: int) -> bool:
        """Whether `travel` may move the knob."""
        previous, self.previous = self.previous, travel
        if previous is None:
            return False
        accepted = (
            holds
            or abs(travel - knob) <= self.tolerance
            or (previous - knob) * (travel - knob) < 0
            or (
                self.used_ns is not None
                and now_ns - self.used_ns <= RECENT_NS
                and abs(previous - knob) <= self.tolerance
            )
        )
        if accepted:
            self.used_ns = now_ns
        return accepted

    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """The control's travel, once it has picked the knob up."""
        return travel if self.accepts(travel, knob, holds, now_ns) else None


class Parallel(Rule):
    """The knob moves by as much as the control does, at most :data:`LARGEST_STEP` a message.

    A control at its end takes the knob to the same end, so that the whole range can always be reached.
    """

    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """The knob's travel plus what the control has moved."""
        previous, self.previous = self.previous, travel
        if previous is None:
            return None
        if travel <= END:
            return 0.0
        if travel >= 1 - END:
            return 1.0
        step = min(max(travel - previous, -LARGEST_STEP), LARGEST_STEP)
        return min(max(knob + step, 0.0), 1.0)


class Scale(Rule):
    """The knob's remaining way is scaled to the control's: both reach the end together, and go on together."""

    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """The knob's travel, moved by the share of the remaining way that the control has moved."""
        previous, self.previous = self.previous, travel
        if previous is None:
            return None
        if travel in (0.0, 1.0):
            return travel
        if travel > previous:
            return knob + (1 - knob) * (travel - previous) / (1 - previous)
        if travel < previous:
            return knob - knob * (previous - travel) / previous
        return knob


class Slow(Rule):
    """The knob comes nearer with each move of the hand, and stays with the control once they have met."""

    def move(self, travel: float, knob: float, holds: bool, now_ns: int) -> float | None:
        """The knob's travel, moved towards the control by :data:`SLOW_SHARE` times what the hand has moved."""
        previous, self.previous = self.previous, travel
        if previous is None:
            return None
        way = travel - knob
        reach = SLOW_SHARE * abs(travel - previous)
        return travel if abs(way) <= reach else knob + (reach if way > 0 else -reach)


def rule(takeover: Takeover, tolerance: float | None) -> Rule:
    """A new memory, armed. `tolerance` (in travel) is for the two kinds of pick-up; None takes their own."""
    match takeover:
        case Takeover.OFF:
            return Jump()
        case Takeover.PICKUP:
            return Pickup(TOLERANCE if tolerance is None else tolerance)
        case Takeover.PICKUP_TOLERANT:
            return Pickup(WIDE_TOLERANCE if tolerance is None else tolerance)
        case Takeover.PARALLEL:
            return Parallel()
        case Takeover.SCALE:
            return Scale()
    return Slow()
