"""Joining two pieces of music without a click, a bump or a dip.

Called by playback for every block it places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]


def correlation(a: Block, b: Block) -> float:
    """How alike two blocks [n,2] are: 1 for the same music, 0 for unrelated music, silence or opposites."""
    energy = float(np.vdot(a, a)) * float(np.vdot(b, b))
    return min(1.0, max(0.0, float(np.vdot(a, b)) / energy**0.5)) if energy > 0 else 0.0


def crossfade(old: Block, new: Block) -> tuple[Block, float]:
    """From `old` to `new`, both [n,2], with constant power; also their correlation r.

    Linear gains u and 1 - u, divided by the level of their sum `sqrt(u^2 + (1-u)^2 + 2 r u (1-u))`. That is the
    linear fade for the same music (r = 1) and an equal-power fade for unrelated music (r = 0).
    """
    r = correlation(old, new)
    u = ((np.arange(len(new)) + 0.5) / len(new))[:, None]
    level = np.sqrt(u**2 + (1 - u) ** 2 + 2 * r * u * (1 - u))
    return ((u * new + (1 - u) * old) / level).astype(np.float32), r
