"""One row of the table that `demond bench control` prints: what was measured, and whether its goal was met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """A goal, its figures in `unit`, and what they had to be."""

    goal: str
    """Such as `G2`."""
    what: str
    unit: str
    count: int
    """What was measured so often."""
    p50: float
    p99: float
    longest: float
    wanted: str
    met: bool
    notes: str = ""
    """What was counted besides."""


def row(goal: str, what: str, unit: str, values: Sequence[float], wanted: str, met: bool, notes: str = "") -> Row:
    """The row of `values`. Without any it is not met, and its figures are 0."""
    if not len(values):
        return Row(goal, what, unit, 0, 0.0, 0.0, 0.0, wanted, False, notes or "nothing was measured")
    p50, p99, longest = (round(float(each), 3) for each in np.percentile(values, (50, 99, 100)))
    return Row(goal, what, unit, len(values), p50, p99, longest, wanted, bool(met), notes)


def below(values: Sequence[float], limit: float, share: float = 99.0) -> bool:
    """Whether `share` percent of `values` are below `limit`; False without any."""
    return bool(len(values)) and float(np.percentile(values, share)) < limit
