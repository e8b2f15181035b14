"""The backend without compilation: the CPU's only one, and the reference on a GPU.

On the CPU every row runs as a batch of one, rows beside each other on worker threads. Batching gains nothing there,
and the shapes that the matrix kernels see are then always the same: a slot's latent cannot depend, not even in its
last bit, on how many others are in flight or on the number of threads. Threads that share rows instead of single
products also have nothing to wait for inside a forward. On a GPU all rows run at once, padded to the prepared batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.backends import Side
from engine.geometry import CHANNELS
from engine.model.dit import DiT
from engine.plan import Plan, Scene
from engine.rows import Rows
from engine.threads import settle

_ROWS_KEPT = 1024
"""Modulation rows kept, one per time that was asked for; a moving fader asks for new ones every tick."""

_LENGTH_STEP = 64
"""Tokens that the length of a batch's conditions is a multiple of, so that few lengths meet the kernels."""


class EagerBackend:
    """See `engine.backends.Backend`."""

    name = "eager"

    def __init__(self, model: DiT, threads: int = 1) -> None:
        """`model` is on its device, in its dtype, with its weights; `threads` run rows on the CPU."""
        self.device = next(model.parameters()).device
        self.model, self._threads = model, threads
        self._dtype = model.proj_in.weight.dtype
        self._batch = self.most = 1
        self._sides: tuple[Side, ...] = ()
        self._tensors: tuple[Tensor, Tensor, Tensor | None]
        self._rows: dict[float, Tensor] = {}
        self._pool = ThreadPoolExecutor(threads, "row", settle) if threads > 1 else None

    @torch.inference_mode()
    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`."""
        self._batch, self.most = batch, 2 * batch
        s = self.model.sizes
        context = torch.zeros(1, frames, s.in_channels - CHANNELS, device=self.device)
        states = torch.zeros(1, length, s.encoder_hidden_size, device=self.device)
        side = Side(context, self.keys_values(states), None)
        x = torch.zeros(batch, frames, CHANNELS, device=self.device)
        self.velocity(x, [0.5] * batch, [side] * batch)

    def retuned(self, tensors: Mapping[str, Tensor]) -> EagerBackend:
        """See `engine.backends.Backend`."""
        twin = EagerBackend(self.model.retuned(tensors), self._threads)
        twin._batch, twin.most = self._batch, self.most
        return twin

    @torch.inference_mode()
    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return self.model.keys_values(states.to(self.device, self._dtype))

    @torch.inference_mode()
    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """See `engine.backends.Backend`."""
        run = self._row_by_row if self.device.type == "cpu" else self._at_once
        return run(x.to(self._dtype), torch.cat([self._modulation(time) for time in t]), sides)

    def step(self, rows: Rows, asked: Plan, scene: Scene) -> bool:
        """See `engine.backends.Backend`: nothing is captured here."""
        return False

    def _row_by_row(self, x: Tensor, rows: Tensor, sides: Sequence[Side]) -> Tensor:
        out = torch.empty_like(x, dtype=torch.float32)

        @torch.inference_mode()
        def run(i: int) -> None:
            side, row = sides[i], slice(i, i + 1)
            mask = None if side.mask is None else side.mask.to(self._dtype)
            out[row] = self.model(x[row], rows[row], side.context.to(self._dtype), side.kv, mask)

        for _ in map(run, range(len(x))) if self._pool is None else self._pool.map(run, range(len(x))):
            pass
        return out

    def _at_once(self, x: Tensor, rows: Tensor, sides: Sequence[Side]) -> Tensor:
        batch = len(x)
        short = min(-batch % self._batch, max(self.most - batch, 0))
        if short:  # rows of zeros, which nobody reads
            x, rows = (F.pad(y, (0, 0, 0, 0, 0, short)) for y in (x, rows))
        context, kv, mask = self._together((*sides, *[sides[0]] * short))
        return self._forward(x, rows, context, kv, mask)[:batch].float().clone()

    def _forward(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """The network, as `DiT.forward`."""
        v: Tensor = self.model(x, rows, context, kv, mask)
        return v

    def _padded(self, length: int) -> int:
        """Tokens to which the longest condition of a batch is padded."""
        return -(-length // _LENGTH_STEP) * _LENGTH_STEP

    def _together(self, sides: tuple[Side, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Context [R,T,128], keys and values [layers,2,R,K,L,D] and mask [R,L] of all rows, kept while they stay.

        Conditions are padded to a common length and the padding is masked, so that no row hears of the others'.
        """
        if self._sides != sides:
            lengths = [side.kv.shape[4] for side in sides]
            padded = self._padded(max(lengths))
            mask = torch.zeros(len(sides), padded)
            for row, length in enumerate(lengths):
                mask[row, length:] = -torch.inf
            mask = mask.to(self.device, self._dtype)
            for row, side in enumerate(sides):
                if side.mask is not None:
                    mask[row, : side.mask.shape[1]] = side.mask[0].to(self._dtype)
            kv = torch.cat([F.pad(side.kv, (0, 0, 0, padded - side.kv.shape[4])) for side in sides], dim=2)
            context = torch.cat([side.context for side in sides]).to(self._dtype)
            self._sides, self._tensors = sides, (context, kv, mask)
        return self._tensors

    def _modulation(self, t: float) -> Tensor:
        """The modulation rows [1,7,d] of one time, computed alone so that they are the same in every batch."""
        if t not in self._rows:
            if len(self._rows) >= _ROWS_KEPT:
                self._rows.clear()
            self._rows[t] = self.model.modulation(torch.tensor([t], dtype=torch.float32, device=self.device))
        return self._rows[t]
