"""When a slot is admitted, and when it is at which noise level, in fp32 as the published schedules are.

Called by the ring at admission and when `denoise` moves.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4096)
def times(steps: int, denoise: float, shift: float) -> tuple[float, ...]:
    """The `steps + 1` times of a schedule, falling from the shifted `denoise` to exactly 0.

    `t = linspace(denoise, 0, steps + 1)`, then `t = shift t / (1 + (shift - 1) t)` (ACE-Step's flow shift). `denoise`
    is continuous, so no two strengths share a schedule. At shift 3 and denoise 1 with 8 steps these are the times a
    turbo checkpoint was distilled for: 1, .9545, .9, .8333, .75, .6429, .5, .3, 0. The values are exact fp32 numbers.
    """
    t = np.linspace(denoise, 0, steps + 1, dtype=np.float64).astype(np.float32)
    s = np.float32(shift)
    return tuple(float(x) for x in s * t / (1 + (s - 1) * t))


class Admission:
    """When slots are admitted, so that they fill the schedule evenly, whatever happens to the depth meanwhile.

    At a constant depth tick n (from 0) admits `floor(n depth / steps) - floor((n - 1) depth / steps)` slots: gaps of
    exactly `steps / depth` ticks where that is whole, and never two gaps that differ by more than one.
    """

    def __init__(self, steps: int, depth: int) -> None:
        """The first tick admits a slot."""
        self._steps, self._owed = steps, -depth % steps

    def due(self, depth: int) -> int:
        """How many slots this tick admits, for `depth` in flight. To be asked once a tick."""
        self._owed += depth
        admitted, self._owed = divmod(self._owed, self._steps)
        return admitted

    def wait(self, depth: int) -> int:
        """In how many ticks the next slot is due: 0 means with the next tick."""
        return max(0, -(-(self._steps - self._owed) // depth) - 1)
