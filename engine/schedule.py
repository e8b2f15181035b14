"""When a slot is at which noise level. Pure functions of numbers, in fp32 as the published schedules are.

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
