"""One row of the table that `demond bench control` prints: what was measured, and whether its goal was met.

Each goal's module makes its rows with :func:`row`; the command prints them, and puts them into its report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demond.bench import report


@dataclass(frozen=True)
class Row:
    """A goal, its figures in `unit`, and what they had to be."""

    goal: str
    """Such as `G2`."""
    what: str
    name: str
    """What a report calls it: the same from release to release, whatever `what` counts."""
    unit: str
    values: tuple[float, ...]
    """One for each time that it was measured, in their order."""
    wanted: str
    met: bool
    notes: str = ""
    """What was counted besides."""

    @property
    def count(self) -> int:
        """How often it was measured."""
        return len(self.values)

    @property
    def figures(self) -> tuple[float, float, float]:
        """The median, the 99th percentile and the longest; zeros where nothing was measured."""
        if not self.values:
            return 0.0, 0.0, 0.0
        p50, p99, longest = (round(float(each), 3) for each in np.percentile(self.values, (50, 99, 100)))
        return p50, p99, longest

    @property
    def reported(self) -> report.Row:
        """As a report has it."""
        return report.row(f"{self.goal}: {self.name}", self.unit, self.values)


def row(
    goal: str,
    what: str,
    unit: str,
    values: Sequence[float],
    wanted: str,
    met: bool,
    notes: str = "",
    name: str | None = None,
) -> Row:
    """The row of `values`. Without any it is not met. `name` is for reports where `what` has numbers in it."""
    notes = notes or ("" if len(values) else "nothing was measured")
    found = tuple(float(value) for value in values)
    return Row(goal, what, name or what, unit, found, wanted, bool(met and found), notes)


def below(values: Sequence[float], limit: float, share: float = 99.0) -> bool:
    """Whether `share` percent of `values` are below `limit`; False without any."""
    return bool(len(values)) and float(np.percentile(values, share)) < limit
