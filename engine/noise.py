"""The noise that slots are born from: a function of seed and length alone, on every machine and device.

Called by the ring when it admits a slot. NumPy's counter-based Philox generator (Salmon et al., 2011) is keyed by
(seed, T); no global generator is ever touched.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engine.geometry import CHANNELS
from engine.uploads import uploaded


@lru_cache(maxsize=128)
def noise(seed: int, frames: int, device: torch.device, draw: int = 0) -> Tensor:
    """Standard normal noise [frames,64] in fp32 on `device`. Shared and cached: never write to it.

    `seed` is a uint32; `frames` is at least 1. `draw` 0 is what a slot is born from, `draw` n what its n-th step
    adds; the draws of one seed are far apart in the generator's counter, so they share no number.
    """
    key, counter = np.array([seed, frames], dtype=np.uint64), np.array([0, 0, 0, draw], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return uploaded(generator.standard_normal((frames, CHANNELS), dtype=np.float32), device)
