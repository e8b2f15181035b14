"""What runs the network: the interface that every backend keeps.

Called by the ring once per tick and by the session when conditions change. A backend owns the model and its buffers
and decides how a batch is run; the ring owns the slots and decides what is run. All backends pass the same tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Backend(Protocol):
    """The network behind one tick."""

    name: str
    """As the user reads it: `eager`, `graph`, `tensorrt`."""
    device: torch.device
    """Where the tensors of the ring live."""

    def prepare(self, batch: int, frames: int, length: int) -> None:
        """Makes ready for up to `batch` rows of `frames` latent frames and `length` condition tokens.

        Builds tables, compiles, captures, runs once: whatever would make the first tick slow. May be called again
        when the geometry changes; returns when the next tick will be as fast as any.
        """

    def retuned(self, tensors: Mapping[str, Tensor]) -> Backend:
        """The same network with these weights (names of `DiT.state_dict()`) in place of its own; shares all others.

        May be called in another thread while this backend runs; it goes on working as before. What has been prepared
        need not be prepared again; keys and values of conditions belong to the weights that made them. Raises
        `ValueError` for a tensor that is none of the network's, or has another shape, dtype or device.
        """

    def keys_values(self, states: Tensor) -> Tensor:
        """Encoder states [1,L,E] -> keys and values of every layer [layers,2,1,K,L,D], once per condition."""

    def velocity(self, x: Tensor, t: Sequence[float], context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """The velocity [B,T,64] in fp32 at `x` [B,T,64] and times `t` (B numbers in 0–1).

        `context` [B or 1,T,128], `kv` [layers,2,B or 1,K,L,D] and `mask` [B or 1,L] broadcast over the batch. The
        result is the caller's to keep: it is never a view of a buffer that the next call overwrites. A row does not
        depend on the other rows.
        """
