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

from engine.geometry import CHANNELS
from engine.model.dit import DiT

_ROWS_KEPT = 1024
"""Modulation rows kept, one per time that was asked for; a moving fader asks for new ones every tick."""


class EagerBackend:
    """See `engine.backends.Backend`."""

    name = "eager"

    def __init__(self, model: DiT, threads: int = 1) -> None:
        """`model` is on its device, in its dtype, with its weights; `threads` run rows on the CPU."""
        self.device = next(model.parameters()).device
        self._model, self._threads = model, threads
        self._dtype = model.proj_in.weight.dtype
        self._batch = 1
        self._rows: dict[float, Tensor] = {}
        self._pool = ThreadPoolExecutor(threads, "row", torch.set_flush_denormal, (True,)) if threads > 1 else None

    @torch.inference_mode()
    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`."""
        self._batch = batch
        s = self._model.sizes
        x = torch.zeros(batch, frames, CHANNELS, device=self.device)
        context = torch.zeros(1, frames, s.in_channels - CHANNELS, device=self.device)
        states = torch.zeros(1, length, s.encoder_hidden_size, device=self.device)
        self.velocity(x, [0.5] * batch, context, self.keys_values(states), None)

    def retuned(self, tensors: Mapping[str, Tensor]) -> EagerBackend:
        """See `engine.backends.Backend`."""
        twin = EagerBackend(self._model.retuned(tensors), self._threads)
        twin._batch = self._batch
        return twin

    @torch.inference_mode()
    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return self._model.keys_values(states.to(self.device, self._dtype))

    @torch.inference_mode()
    def velocity(self, x: Tensor, t: Sequence[float], context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """See `engine.backends.Backend`."""
        batch = len(t)
        rows = torch.cat([self._modulation(time) for time in t])
        context = context.to(self._dtype).expand(batch, -1, -1)
        kv = kv.expand(-1, -1, batch, -1, -1, -1)
        if mask is not None:
            mask = (mask if mask.dtype == torch.bool else mask.to(self._dtype)).expand(batch, -1)
        run = self._row_by_row if self.device.type == "cpu" else self._at_once
        return run(x.to(self._dtype), rows, context, kv, mask)

    def _row_by_row(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        out = torch.empty_like(x, dtype=torch.float32)

        @torch.inference_mode()
        def run(i: int) -> None:
            row = slice(i, i + 1)
            out[row] = self._model(
                x[row], rows[row], context[row], kv[:, :, row], None if mask is None else mask[row]
            )

        for _ in map(run, range(len(x))) if self._pool is None else self._pool.map(run, range(len(x))):
            pass
        return out

    def _at_once(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        batch, short = len(x), max(0, self._batch - len(x))
        if short:  # rows of zeros, which nobody reads
            x, rows, context = (F.pad(y, (0, 0, 0, 0, 0, short)) for y in (x, rows, context))
            kv = F.pad(kv, (0, 0, 0, 0, 0, 0, 0, short))
            mask = None if mask is None else F.pad(mask, (0, 0, 0, short))
        v: Tensor = self._model(x, rows, context, kv, mask)
        return v[:batch].float().clone()

    def _modulation(self, t: float) -> Tensor:
        """The modulation rows [1,7,d] of one time, computed alone so that they are the same in every batch."""
        if t not in self._rows:
            if len(self._rows) >= _ROWS_KEPT:
                self._rows.clear()
            self._rows[t] = self._model.modulation(torch.tensor([t], dtype=torch.float32, device=self.device))
        return self._rows[t]
