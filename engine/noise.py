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


@lru_cache(maxsize=32)
def noise(seed: int, frames: int, device: torch.device) -> Tensor:
    """Standard normal noise [frames,64] in fp32 on `device`. Shared and cached: never write to it.

    `seed` is a uint32; `frames` is at least 1.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, frames], dtype=np.uint64)))
    return torch.from_numpy(generator.standard_normal((frames, CHANNELS), dtype=np.float32)).to(device)
