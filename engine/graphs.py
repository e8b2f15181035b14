"""CUDA graphs: work of the device that is recorded once and then launched as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_WARM_UPS = 2
"""Runs before a capture: the first compiles kernels, the second finds everything laid out."""


def captured(run: Callable[[], None], pool: Any) -> torch.cuda.CUDAGraph:
    """`run` as a graph, captured on the current stream while other threads go on using the device.

    Raises `RuntimeError` when `run` does what cannot be recorded, such as waiting.
    """
    for _ in range(_WARM_UPS):
        run()
    torch.cuda.current_stream().synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        run()
    finally:
        graph.capture_end()
    return graph
