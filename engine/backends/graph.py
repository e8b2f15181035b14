"""The backend of a CUDA device: the network in fused kernels, and every forward one captured graph.

What a tick does on the host is to copy the rows in, send the places of their times, launch one graph and copy the
velocities out. Conditions, contexts and times live in buffers of the device, written when they change. There is a
graph for as many rows as there are slots, and one for twice as many; a forward of fewer rows runs the smaller one
that holds them, and nobody reads the rest.

Nothing falls back to slower code: what cannot be captured is a :class:`BackendError`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from engine.backends import BackendError, Side
from engine.geometry import CHANNELS
from engine.graphs import captured
from engine.model.dit import DiT
from engine.model.fused import Fused, Precision, Sides

_TIMES_KEPT = 1024
"""Times whose modulation rows are kept; a moving fader asks for new ones every tick."""

_LENGTH_STEP = 64
"""Tokens that the room for a condition is a multiple of."""


class GraphBackend:
    """See `engine.backends.Backend`."""

    def __init__(self, model: DiT, precision: Precision = "bf16") -> None:
        """`model` is on its CUDA device, in bf16, with its weights; `precision` is that of its large products."""
        self.name = "graph" if precision == "bf16" else f"graph-{precision}"
        self.device = next(model.parameters()).device
        self.model, self.precision = model, precision
        self._dtype = model.proj_in.weight.dtype
        self._fused = Fused(model, precision)
        self._buffers: _Buffers | None = None
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._shape = (0, 0, 0)
        self._lock = threading.Lock()
        self.most = 1

    @torch.inference_mode()
    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`. Takes some seconds the first time on a machine, for compiling, else a
        fraction of one. Raises :class:`BackendError`.
        """
        padded = -(-length // _LENGTH_STEP) * _LENGTH_STEP
        if (batch, frames, padded) == self._shape:
            return
        self._graphs.clear()
        buffers = _Buffers(self.model, 2 * batch, frames, padded)
        pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(stream):
                self._time_graph = captured(lambda: buffers.add_time(self.model), pool)
                for rows in (batch, 2 * batch):
                    self._graphs[rows] = captured(partial(buffers.run, self._fused, rows), pool)
        except Exception as error:
            raise BackendError(f"{self.device} cannot run the network as a graph: {error}") from error
        torch.cuda.current_stream(self.device).wait_stream(stream)
        self._buffers, self._shape, self.most = buffers, (batch, frames, padded), 2 * batch

    def retuned(self, tensors: Mapping[str, Tensor]) -> GraphBackend:
        """See `engine.backends.Backend`."""
        twin = GraphBackend(self.model.retuned(tensors), self.precision)
        if self._buffers:
            twin.prepare(*self._shape)
        return twin

    @torch.inference_mode()
    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return self.model.keys_values(states.to(self.device, self._dtype))

    @torch.inference_mode()
    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """See `engine.backends.Backend`. Raises :class:`BackendError` for what it was not prepared for."""
        buffers = self._buffers
        rows = next((rows for rows in self._graphs if rows >= len(x)), None)
        if buffers is None or rows is None or x.shape[1] != buffers.x.shape[1]:
            raise BackendError(f"prepared for (slots, frames, tokens) {self._shape}, not for {tuple(x.shape)}")
        # A rehearsal may run the same backend in another thread: from the first write to the copy of the result the
        # buffers are one forward's. The device does them one after the other in any case.
        with self._lock:
            for time in buffers.unknown(t):
                buffers.time.fill_(time)
                buffers.place.fill_(buffers.place_of(time))
                self._time_graph.replay()
            buffers.attend(sides)
            buffers.x[: len(x)].copy_(x)
            buffers.go_to(t)
            self._graphs[rows].replay()
            return buffers.out[: len(x)].clone()


class _Buffers:
    """Where the graphs read and write."""

    def __init__(self, model: DiT, rows: int, frames: int, length: int) -> None:
        """For forwards of up to `rows` of `frames` latent frames, and `length` condition tokens."""
        s, device, dtype = model.sizes, model.proj_in.weight.device, model.proj_in.weight.dtype
        tokens = -(-frames // s.patch_size)

        def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        self.x = zeros(rows, frames, CHANNELS, dtype=torch.float32)
        self.out = zeros(rows, frames, CHANNELS, dtype=torch.float32)
        self._context = zeros(rows, frames, s.in_channels - CHANNELS)
        self._kv = zeros(s.num_hidden_layers, 2, rows, s.num_key_value_heads, length, s.head_dim)
        self._bias = zeros(rows, length, dtype=torch.float32)
        self._counts = torch.ones(rows, device=device, dtype=torch.int32)
        self._length, self._angles = length, model.tables(tokens, device, dtype)[:2]

        self.time, self.place = zeros(1, dtype=torch.float32), zeros(1, dtype=torch.int64)
        """A time and its place among those that are kept: what the graph of `add_time` reads."""
        self._times = zeros(_TIMES_KEPT, 7, s.hidden_size, dtype=torch.float32)
        self._at = zeros(rows, dtype=torch.int64)
        self._places: dict[float, int] = {}
        self._sides: list[Side | None] = [None] * rows

    def run(self, fused: Fused, rows: int) -> None:
        """The forward of the first `rows`; this is captured."""
        sides = Sides(*self._angles, self._kv[:, :, :rows], self._bias[:rows], self._counts[:rows])
        velocity = fused.velocity(self.x[:rows], self._times[self._at[:rows]], self._context[:rows], sides)
        self.out[:rows].copy_(velocity)

    def add_time(self, model: DiT) -> None:
        """Puts the modulation rows of `time` at `place`; alone, so that they are the same in every batch."""
        self._times.index_copy_(0, self.place, model.modulation(self.time))

    def unknown(self, t: Sequence[float]) -> list[float]:
        """Those of the times `t` whose modulation rows are not kept yet; there is a place for each now."""
        new = [time for time in dict.fromkeys(t) if time not in self._places]
        if len(self._places) + len(new) > _TIMES_KEPT:
            self._places.clear()
            new = list(dict.fromkeys(t))
        for time in new:
            self._places[time] = len(self._places)
        return new

    def place_of(self, time: float) -> int:
        """Where the modulation rows of `time` are kept."""
        return self._places[time]

    def go_to(self, t: Sequence[float]) -> None:
        """Tells the next forward the times of its rows; so small a transfer is taken up by the driver at once."""
        self._at[: len(t)].copy_(torch.tensor([self._places[time] for time in t]), non_blocking=True)

    def attend(self, sides: Sequence[Side]) -> None:
        """Writes what rows attend to where that has changed; of neighbours that share a side, at once."""
        changed = [row for row, side in enumerate(sides) if self._sides[row] is not side]
        for _, group in groupby(enumerate(changed), lambda pair: (pair[1] - pair[0], id(sides[pair[1]]))):
            rows = [row for _, row in group]
            self._write(slice(rows[0], rows[-1] + 1), sides[rows[0]])
        for row in changed:
            self._sides[row] = sides[row]

    def _write(self, rows: slice, side: Side) -> None:
        length = side.kv.shape[4]
        if length > self._length:
            raise BackendError(f"prepared for conditions of {self._length} tokens, not of {length}")
        self._context[rows].copy_(side.context)
        self._kv[:, :, rows, :, :length].copy_(side.kv)
        self._bias[rows, :length] = 0.0 if side.mask is None else side.mask
        self._counts[rows].fill_(length)
