"""The tensors of slots in flight: one row each, kept from birth to finish, so that a tick lays out nothing anew.

Owned by the ring. Rows that no slot has hold stale numbers that nobody reads; every operation treats rows apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.geometry import CHANNELS


class Rows:
    """`count` rows of `frames` latent frames, all [B,T,64] in fp32."""

    def __init__(self, count: int, frames: int, device: torch.device) -> None:
        """Zeroed rows on `device`."""
        self._shape = (count, frames, CHANNELS)
        self._device = device
        self.x = self._zeros()
        """The state."""
        self.before = self._zeros()
        """The state before the last step."""
        self.v = self._zeros()
        """The velocity of the last step, as the network and the guidance gave it."""
        self.source = self._zeros()
        """The clean latent that the slot was born from."""
        self.noise = self._zeros()
        """The noise that it was born from."""
        self._guidance: tuple[Tensor, Tensor] | None = None
        self._fresh: Tensor | None = None

    def _zeros(self) -> Tensor:
        return torch.zeros(self._shape, device=self._device)

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._shape[0]

    @property
    def guidance(self) -> tuple[Tensor, Tensor]:
        """The running average of the push, and the unguided velocity that was kept; made when first asked for."""
        if self._guidance is None:
            self._guidance = self._zeros(), self._zeros()
        return self._guidance

    @property
    def fresh(self) -> Tensor:
        """Room for the noise of one step; made when first asked for."""
        if self._fresh is None:
            self._fresh = self._zeros()
        return self._fresh

    def born(self, row: int, x: Tensor, source: Tensor, noise: Tensor) -> None:
        """Gives `row` to a new slot; each tensor is [T,64] and is copied."""
        for own, given in ((self.x, x), (self.v, None), (self.before, source), (self.source, source)):
            own[row].zero_() if given is None else own[row].copy_(given)
        self.noise[row].copy_(noise)
        if self._guidance is not None:
            for own in self._guidance:
                own[row].zero_()

    def step(self, v: Tensor, dt: Tensor) -> None:
        """An Euler step `x' = x + dt v`, which lays out nothing: it goes where the state before was."""
        after = torch.addcmul(self.x, v, dt, out=self.before)
        self.before, self.x = self.x, after

    def stepped(self, x: Tensor) -> None:
        """`x` is the state now, and what was the state is the one before."""
        self.before, self.x = self.x, x

    def moved(self, rows: list[int], count: int) -> Rows:
        """`count` rows of which the first are these `rows`."""
        other = Rows(count, self._shape[1], self._device)
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("x", "before", "v", "source", "noise")]
        if self._guidance is not None:
            pairs += zip(self._guidance, other.guidance, strict=True)
        for old, new in pairs:
            for place, row in enumerate(rows):
                new[place].copy_(old[row])
        return other
