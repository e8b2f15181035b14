"""What every thread that computes needs. Called first by whoever starts one; both settings are a thread's own."""

from __future__ import annotations

import torch


def settle() -> None:
    """Products are not split among threads, as rows are, and so are rounded alike on all of them; denormals are zero.

    Without it the matrix library would ask OpenMP, which answers with all cores on a thread that is new.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
