"""From the host to the device while music plays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uploaded(values: NDArray[np.float32], device: torch.device) -> Tensor:
    """`values` on `device`, for the CPU without a copy.

    To a GPU they go through pinned memory: from other memory the host would wait for all that the device has to do.
    """
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
