"""Finds clicks and holes in a recording. Used by the audio bench and by the tests; plain numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clicks(audio: NDArray[np.float32], rate: int, times: float = 6.0, floor: float = 0.004) -> list[int]:
    """The frames of `audio` (n, channels) at which a click is heard: a step, a lost stretch, a single wrong sample.

    Looks at the second difference, which flattens music (its energy lies low) and keeps steps. A click stands out of
    what surrounds it: its second difference is above `times` the 99th percentile of the 10 ms before it and of the
    10 ms after it (its own half millisecond left out), and above `floor` (-48 dB of full scale). A drum does not
    count, because what follows its attack is as rough as the attack. Clicks within 5 ms count as one.
    """
    if len(audio) < 3:
        return []
    bend = np.abs(np.diff(audio.astype(np.float64), n=2, axis=0)).max(axis=1)
    around, own, apart = int(0.010 * rate), max(1, int(0.0005 * rate)), int(0.005 * rate)
    blocks = np.pad(bend, (0, -len(bend) % apart)).reshape(-1, apart)
    peaks = blocks.argmax(axis=1) + np.arange(len(blocks)) * apart
    found: list[int] = []
    for at in peaks[bend[peaks] > floor]:
        before, after = bend[max(0, at - around) : max(0, at - own)], bend[at + own + 1 : at + around]
        calm = max((float(np.percentile(side, 99)) for side in (before, after) if len(side) >= 8), default=0.0)
        if bend[at] > times * calm and not (found and at + 1 - found[-1] <= apart):
            found.append(int(at) + 1)
    return found


def longest_silence(audio: NDArray[np.float32], rate: int, level: float = 1e-5) -> float:
    """The longest time in s for which no channel of `audio` rises above `level` (-100 dB of full scale)."""
    loud = np.flatnonzero(np.abs(audio).max(axis=1) > level)
    edges = np.concatenate(([-1], loud, [len(audio)]))
    return float(np.max(np.diff(edges) - 1)) / rate
