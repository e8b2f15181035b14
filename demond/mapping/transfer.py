"""From the position of a physical control to the value of a knob: pure functions, called per message in the daemon.

A control's *travel* runs from 0 to 1. A range and a curve make a value of it.
"""

from __future__ import annotations

import math
from enum import StrEnum


class Curve(StrEnum):
    """How travel covers a range from `low` to `high` (`low` may be the larger end)."""

    LINEAR = "linear"
    """Equal steps for equal travel."""
    EXP = "exp"
    """Equal ratios for equal travel, as the ear hears frequency and level. Both ends must be above 0."""
    LOG = "log"
    """The mirror image of `exp` at the diagonal: fast at the low end, slow at the high one."""


class Beyond(StrEnum):
    """What a position means that is beyond the part of the travel that counts."""

    CLAMP = "clamp"
    """The nearer end."""
    MIN = "min"
    """The low end."""
    IGNORE = "ignore"
    """Nothing."""


class Encoding(StrEnum):
    """What the 7 bits of a controller say."""

    ABSOLUTE = "absolute"
    """Where the control stands."""
    TWOS_COMPLEMENT = "twos_complement"
    """1 to 63 turn up, 127 down to 65 turn down by 1 and more."""
    OFFSET_BINARY = "offset_binary"
    """65 and above turn up, 63 and below turn down."""
    SIGNED_BIT = "signed_bit"
    """65 and above turn up, 1 to 63 turn down (HUI)."""
    SIGNED_BIT_MACKIE = "signed_bit_mackie"
    """1 to 63 turn up, 65 and above turn down (Mackie Control)."""
    DATA_STEP = "data_step"
    """Data increment and decrement (CC 96 and 97) of an NRPN or RPN: one step each."""


def travel_of_bits(value: int, bits: int) -> float:
    """The travel 0–1 of a `value` of 7 or 14 bits."""
    return value / ((1 << bits) - 1)


def part_of(position: float, low: float, high: float, beyond: Beyond) -> float | None:
    """Where `position` is between `low` (0) and `high` (1), which differ; None if it is to be ignored."""
    travel = (position - low) / (high - low)
    if 0 <= travel <= 1:
        return travel
    if beyond is Beyond.IGNORE:
        return None
    return 1.0 if travel > 1 and beyond is Beyond.CLAMP else 0.0


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
