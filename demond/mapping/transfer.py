"""From the position of a physical control to the value of a knob: pure functions, called per message in the daemon.

A control's *travel* runs from 0 to 1. A range and a curve make a value of it. Takeover decides whether the value may
be used while the control does not yet stand where the knob is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Curve(StrEnum):
    """How travel covers a range from `low` to `high` (`low` may be the larger end)."""

    LINEAR = "linear"
    EXP = "exp"
    """Equal ratios for equal travel, as the ear hears frequency and level. Both ends must be above 0."""
    LOG = "log"
    """The mirror image of `exp` at the diagonal: fast at the low end, slow at the high one."""


class Encoding(StrEnum):
    """What the 7 bits of a controller say."""

    ABSOLUTE = "absolute"
    TWOS_COMPLEMENT = "twos_complement"
    """1 to 63 turn up, 127 down to 65 turn down by 1 and more."""
    OFFSET_BINARY = "offset_binary"
    """65 and above turn up, 63 and below turn down."""
    SIGNED_BIT = "signed_bit"
    """65 and above turn up, 1 to 63 turn down (HUI)."""
    SIGNED_BIT_MACKIE = "signed_bit_mackie"
    """1 to 63 turn up, 65 and above turn down (Mackie Control)."""


TOLERANCE = 3 / 128
"""How near to the knob a control must come to take it over, in travel (Mixxx's soft takeover)."""
RECENT_NS = 50_000_000
"""For how long after an accepted value the hand is held to be still moving (Mixxx's soft takeover), in ns."""


def travel_of_bits(value: int, bits: int) -> float:
    """The travel 0–1 of a `value` of 7 or 14 bits."""
    return value / ((1 << bits) - 1)


def value_at(travel: float, low: float, high: float, curve: Curve) -> float:
    """The value at `travel`, clamped to 0–1. Exactly `low` at 0 and `high` at 1; monotonic between."""
    if travel <= 0:
        return low
    if travel >= 1:
        return high
    if curve is Curve.LINEAR:
        return _inside(low + travel * (high - low), low, high)
    if curve is Curve.EXP:
        return _inside(low * (high / low) ** travel, low, high)
    share = math.log((low + travel * (high - low)) / low) / math.log(high / low)
    return _inside(low + share * (high - low), low, high)


def travel_at(value: float, low: float, high: float, curve: Curve) -> float:
    """The travel at which :func:`value_at` gives `value`; 0 or 1 for values beyond the ends."""
    value = _inside(value, low, high)
    if curve is Curve.LINEAR:
        travel = (value - low) / (high - low)
    elif curve is Curve.EXP:
        travel = math.log(value / low) / math.log(high / low)
    else:
        share = (value - low) / (high - low)
        travel = (low * (high / low) ** share - low) / (high - low)
    return min(max(travel, 0.0), 1.0)


def _inside(value: float, low: float, high: float) -> float:
    return min(max(value, min(low, high)), max(low, high))


def detents(value: int, encoding: Encoding) -> int:
    """How many steps (down is negative) an endless encoder was turned, by the 7-bit `value` it sent."""
    if encoding is Encoding.TWOS_COMPLEMENT:
        return value if value < 64 else value - 128
    if encoding is Encoding.OFFSET_BINARY:
        return value - 64
    if encoding is Encoding.SIGNED_BIT:
        return value - 64 if value >= 64 else -value
    if encoding is Encoding.SIGNED_BIT_MACKIE:
        return value if value < 64 else 64 - value
    raise ValueError("an absolute control has no detents")


@dataclass(slots=True)
class Pickup:
    """Takeover by pick-up: the knob stays where it is until the control reaches it or moves across it.

    The rule is that of Mixxx's soft takeover, which judges by distance, side and time alone, with what demond knows
    on top: whether anything else has moved the knob since this control did.

    * The first value after arming is never used; it only tells where the control stands.
    * A value within :data:`TOLERANCE` of the knob is used.
    * A value on the other side of the knob than the one before is used: the control came past.
    * A value that follows a near one, at most :data:`RECENT_NS` after the last used value, is used: the hand is
      moving, and something else (a morph, another hand) moved the knob just now.
    * While the knob is still where this control put it, every value is used, however fast the hand.
    * Everything else is ignored.
    """

    previous: float | None = None
    """The travel last received, used or not."""
    used_ns: int | None = None
    """When a value was last used."""

    def arm(self) -> None:
        """Starts anew, as after a replug: the control may stand anywhere."""
        self.previous = self.used_ns = None

    def accepts(self, travel: float, knob_travel: float, holds: bool, now_ns: int) -> bool:
        """Whether `travel` may move the knob, which stands at `knob_travel` (both 0–1).

        `holds` says that the knob still has the value that this control gave it last.
        """
        previous, self.previous = self.previous, travel
        if previous is None:
            return False
        accepted = (
            holds
            or abs(travel - knob_travel) <= TOLERANCE
            or (previous - knob_travel) * (travel - knob_travel) < 0
            or (
                self.used_ns is not None
                and now_ns - self.used_ns <= RECENT_NS
                and abs(previous - knob_travel) <= TOLERANCE
            )
        )
        if accepted:
            self.used_ns = now_ns
        return accepted
