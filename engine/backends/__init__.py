"""What runs the network: the interface that every backend keeps.

Called by the ring once per tick and by the session when conditions change. A backend owns the model and its buffers
and decides how a batch is run; the ring owns the slots and decides what is run. All backends pass the same tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from engine.plan import Plan, Scene
    from engine.rows import Rows

Name = Literal["auto", "eager", "graph", "graph-fp8", "tensorrt"]
"""What a user may ask for; `auto` is the fastest that is exact and needs nothing built ahead; see
`engine.backends.choose`.
"""


class BackendError(RuntimeError):
    """The backend cannot run here. What the user can do: choose another, or what the message says."""


class BackendRangeError(BackendError):
    """The backend was not made for sizes or weights like these. What to do: ask for others, or build anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one row of a forward attends to and follows. The same object stands for the same tensors."""

    context: Tensor
    """[1,T,128]."""
    kv: Tensor
    """[layers,2,1,K,L,D] of the condition, with its own length L."""
    mask: Tensor | None
    """[1,L] added to the attention scores, or none."""


class Backend(Protocol):
    """The network behind one tick."""

    name: str
    """As the user reads it: `eager`, `graph`, `tensorrt`."""
    device: torch.device
    """Where the tensors of the ring live."""
    most: int
    """The most rows that one forward takes."""

    def prepare(self, batch: int, frames: int, length: int) -> None:
        """Makes ready for `batch` slots, so for forwards of up to twice as many rows, of `frames` latent frames and
        `length` condition tokens.

        Builds tables, compiles, captures, runs once: whatever would make the first tick slow. May be called again
        when the geometry changes; returns when the next tick will be as fast as any. Raises :class:`BackendError`.
        """

    def retuned(self, tensors: Mapping[str, Tensor]) -> Backend:
        """The same network with these weights (names of `DiT.state_dict()`) in place of its own; shares all others.

        May be called in another thread while this backend runs; it goes on working as before. What has been prepared
        need not be prepared again; keys and values of conditions belong to the weights that made them. Raises
        `ValueError` for a tensor that is none of the network's, or has another shape, dtype or device.
        """

    def keys_values(self, states: Tensor) -> Tensor:
        """Encoder states [1,L,E] -> keys and values of every layer [layers,2,1,K,L,D], once per condition."""

    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """The velocity [R,T,64] in fp32 at `x` [R,T,64], times `t` (0–1) and `sides`, R of each.

        The result is the caller's to keep: it is never a view of a buffer that the next call overwrites. A row does
        not depend on the other rows, nor on the lengths of their conditions.
        """

    def step(self, rows: Rows, asked: Plan, scene: Scene) -> bool:
        """Does all that `asked` says, the forward and the arithmetic around it, as one captured piece.

        False, and nothing done, where it has captured nothing for this: then `engine.advance` does it.
        """
