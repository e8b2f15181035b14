"""What a controller's numbers look like: proposals for `demond learn --guess`, and for nothing else.

A mapping is never guessed. What learning proposes is shown with the reason, and a person accepts it or does not.
These are pure functions of the data that came, in their order; they answer None where the data do not say enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from demond.mapping.transfer import Encoding

STEPS = 10
"""Detents of one message; hardware acceleration sends no more than a few."""
LEAST = 4
"""Messages below which nothing is proposed."""


class Guess(NamedTuple):
    """What a control may be."""

    kind: str
    """As in a profile: `encoder`, `button`, `fader`."""
    encoding: Encoding
    why: str


def of_values(values: Sequence[int]) -> Guess | None:
    """What sends these controller values (0–127); None for what looks like a position.

    An endless encoder is told by values that a fader cannot send: the same one again, and jumps between two groups
    around 0 and 127, or around 64. The tables are those of :class:`~demond.mapping.transfer.Encoding`. Between HUI's
    and Mackie's signed bit the data do not decide: whoever learns is asked to turn to the right first.
    """
    if len(values) >= 2 and set(values) == {0, 127}:
        return Guess("button", Encoding.ABSOLUTE, "nothing but 0 and 127 came, as a button sends them")
    if len(values) < LEAST or not _repeats(values):
        return None
    low, high = _among(values, 1, STEPS), _among(values, 128 - STEPS, 127)
    above, below = _among(values, 65, 64 + STEPS), _among(values, 64 - STEPS, 63)
    every = len(values)
    if low and high and low + high == every:
        return _encoder(Encoding.TWOS_COMPLEMENT, "1 and 127 and their neighbours came, and nothing between")
    if below and above and below + above == every:
        return _encoder(Encoding.OFFSET_BINARY, "63 and 65 and their neighbours came, and never 64")
    if low and above and low + above == every:
        if values[0] <= STEPS:
            return _encoder(
                Encoding.SIGNED_BIT_MACKIE,
                "1 came first and 65 later, so 1 is to the right if you turned there first",
            )
        return _encoder(Encoding.SIGNED_BIT, "65 came first and 1 later, so 65 is right if you turned there first")
    return None


def one_way(values: Sequence[int]) -> bool:
    """Whether an endless encoder seems to be turned to one side alone, which does not tell its encoding."""
    if len(values) < LEAST or not _repeats(values):
        return False
    every = len(values)
    return any(_among(values, least, most) == every for least, most in ((1, STEPS), (65, 64 + STEPS)))


def is_pair(high: Sequence[int], low: Sequence[int], following: int) -> bool:
    """Whether two controllers carry one value of 14 bits.

    `high` and `low` are their values, and `following` counts how often the second came right after the first. Nearly
    every message of the one must be followed by one of the other, which goes a longer way: round and round.
    """
    return (
        min(len(high), len(low)) >= LEAST
        and following >= 0.9 * max(len(high), len(low)) - 1
        and _way(low) > 2 * _way(high)
    )


def _way(values: Sequence[int]) -> int:
    return sum(abs(other - one) for one, other in pairwise(values))


def _encoder(encoding: Encoding, why: str) -> Guess:
    return Guess("encoder", encoding, why)


def _among(values: Sequence[int], least: int, most: int) -> int:
    return sum(least <= value <= most for value in values)


def _repeats(values: Sequence[int]) -> bool:
    """Whether the same value came twice in a row, which no position does."""
    return any(one == other for one, other in pairwise(values))
