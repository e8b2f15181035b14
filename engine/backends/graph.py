"""The backend of a CUDA device: a whole tick is one captured graph, its network in fused kernels.

What a tick does on the host is to fill a small table, send it and launch one graph: the state into the network's
input, the forward, guidance, step and correction (`engine.backends.arithmetic`). Conditions, contexts and times live
in buffers of the device, written when they change; curves and the ring's tensors are read where they are. There is a
graph for as many forward rows as there are slots, for twice and for three times as many (two prompts and what is not
wanted), and one without a forward. A forward of fewer rows runs the smallest that holds them, and nobody reads the
rest. Several steps in one graph would be launched less often, but the knobs of the second could not be read any more
when the first is done.

Nothing falls back to slower code: what cannot be captured is a :class:`BackendError`. A ring of more slots than were
prepared for, as for a few ticks after its depth was lowered, is taken through its steps by `engine.advance`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from engine.backends import BackendError, Side, arithmetic
from engine.backends import table as names
from engine.backends.table import Table
from engine.dcw import Mode as Wavelet
from engine.geometry import CHANNELS
from engine.graphs import captured
from engine.guide import Attended
from engine.model.dit import DiT
from engine.model.fused import Fused, Precision, Sides
from engine.noise import noise
from engine.plan import Plan, Scene, lock_share, side
from engine.rows import Rows
from engine.settings import Settings, acts
from engine.slot import Slot

_ROWS_PER_SLOT = 3
"""Two prompts, and what is not wanted."""

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
        buffers = _Buffers(self.model, batch, frames, padded)
        pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(stream):
                self._time_graph = captured(lambda: buffers.add_times(self.model), pool)
                for rows in range(0, buffers.rows + 1, batch):
                    self._graphs[rows] = captured(partial(buffers.run, self._fused, rows), pool)
        except Exception as error:
            raise BackendError(f"{self.device} cannot run the network as a graph: {error}") from error
        torch.cuda.current_stream(self.device).wait_stream(stream)
        self._buffers, self._shape, self.most = buffers, (batch, frames, padded), buffers.rows

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
        buffers, (_, frames, _) = self._buffers, self._shape
        if buffers is None or len(x) > self.most or x.shape[1] != frames:
            raise BackendError(f"prepared for (slots, frames, tokens) {self._shape}, not for {tuple(x.shape)}")
        with self._lock:
            buffers.table.clear()
            buffers.see(x)
            self._launch(buffers, t, sides)
            return buffers.velocity(len(x))

    def step(self, rows: Rows, asked: Plan, scene: Scene) -> bool:
        """See `engine.backends.Backend`. Raises :class:`BackendError` for conditions longer than prepared for."""
        buffers, (batch, frames, _) = self._buffers, self._shape
        guide = scene.settings.guide
        if buffers is None or rows.count > batch or rows.x.shape[1] != frames or len(guide.conditions) > 2:
            return False
        pairs = asked.pairs(guide)
        sides = [side(guide, *pair, scene) for pair in pairs]
        with self._lock:
            buffers.tell(rows, asked, pairs, scene)
            self._launch(buffers, [slot.time for _, slot in pairs], sides)
        return True

    def _launch(self, buffers: _Buffers, t: Sequence[float], sides: Sequence[Side]) -> None:
        """Runs the table's tick with a forward of rows at these times, which attend to these sides.

        A rehearsal may run the same backend in another thread: from the first write to the launch that reads it, and
        to the copy of a result, the buffers are one tick's. The device does ticks one after the other in any case.
        """
        for _ in buffers.meet(t):
            self._time_graph.replay()
        buffers.attend(sides)
        buffers.table.send()
        next(self._graphs[rows] for rows in self._graphs if rows >= len(t)).replay()


class _Buffers:
    """Where the graphs read and write."""

    def __init__(self, model: DiT, slots: int, frames: int, length: int) -> None:
        """For up to `slots` slots of `frames` latent frames, and `length` condition tokens."""
        s, device, dtype = model.sizes, model.proj_in.weight.device, model.proj_in.weight.dtype
        tokens = -(-frames // s.patch_size)
        self.rows = rows = _ROWS_PER_SLOT * slots

        def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        self._slots, self._frames, self._length = slots, frames, length
        self._seen = zeros(rows, tokens * s.patch_size, s.in_channels)
        self._out = zeros(rows, tokens * s.patch_size, CHANNELS)
        self._kv = zeros(s.num_hidden_layers, 2, rows, s.num_key_value_heads, length, s.head_dim)
        self._bias = zeros(rows, length, dtype=torch.float32)
        self._counts = torch.ones(rows, device=device, dtype=torch.int32)
        self._angles = model.tables(tokens, device, dtype)[:2]
        self._contexts: list[Tensor | None] = [None] * rows
        self._conditions: list[Tensor | None] = [None] * rows
        self._masks: list[Tensor | None] = [None] * rows

        self.table, self._sums = Table(slots, rows, device), arithmetic.sums(slots, device)
        self._scene: Scene | None = None
        self._told: tuple[Tensor | None, ...] = (None,) * 5
        self._new = zeros(2, slots, dtype=torch.float64)
        self._times = zeros(_TIMES_KEPT, 7, s.hidden_size, dtype=torch.float32)
        self._places: dict[float, int] = {}

    def run(self, fused: Fused, rows: int) -> None:
        """A tick with a forward of `rows` rows; this is captured."""
        arithmetic.enter(self.table, self._seen, self._slots, self._frames)
        if rows:
            sides = Sides(*self._angles, self._kv[:, :, :rows], self._bias[:rows], self._counts[:rows])
            self._out[:rows].copy_(fused.velocity(self._seen[:rows], self._times[self.table.times[:rows]], sides))
        arithmetic.leave(self.table, self._out, self._sums, self._slots, self._frames)

    def add_times(self, model: DiT) -> None:
        """Keeps the modulation rows of new times: each alone, so that they are the same in every batch."""
        for time, place in self._new.T:
            self._times.index_copy_(0, place.long()[None], model.modulation(time.float()[None]))

    def see(self, x: Tensor) -> None:
        """Gives the next forward the states `x` [R,T,64], where the table has no slots to take them from."""
        self._seen[: len(x), : self._frames, -CHANNELS:].copy_(x)

    def velocity(self, rows: int) -> Tensor:
        """What the last forward gave [rows,T,64], in fp32."""
        return self._out[:rows, : self._frames].to(torch.float32, copy=True)

    def meet(self, t: Sequence[float]) -> Iterator[None]:
        """Tells the next forward the times of its rows; stops for each turn of `add_times` that it needs first."""
        new = [time for time in dict.fromkeys(t) if time not in self._places]
        if len(self._places) + len(new) > _TIMES_KEPT:
            self._places.clear()
            new = list(dict.fromkeys(t))
        for time in new:
            self._places[time] = len(self._places)
        for first in range(0, len(new), self._slots):
            turn = new[first : first + self._slots]
            turn += turn[-1:] * (self._slots - len(turn))
            self._new.copy_(torch.tensor([turn, [self._places[time] for time in turn]], dtype=torch.float64))
            yield
        self.table.go_to([self._places[time] for time in t])

    def attend(self, sides: Sequence[Side]) -> None:
        """Writes what rows attend to where that has changed; of neighbours that share it, at once."""
        for rows, new in _changed(self._contexts, sides, [each.context for each in sides]):
            self._seen[rows, : self._frames, :-CHANNELS].copy_(new.context)
        for rows, new in _changed(self._conditions, sides, [each.kv for each in sides]):
            length = new.kv.shape[4]
            if length > self._length:
                raise BackendError(f"prepared for conditions of {self._length} tokens, not of {length}")
            self._kv[:, :, rows, :, :length].copy_(new.kv)
            self._counts[rows].fill_(length)
        for rows, new in _changed(self._masks, sides, [each.mask for each in sides]):
            self._bias[rows] = 0.0
            if new.mask is not None:
                self._bias[rows, : new.mask.shape[1]] = new.mask

    def tell(self, rows: Rows, asked: Plan, pairs: Sequence[tuple[Attended, Slot]], scene: Scene) -> None:
        """Fills the table for one step of the ring's `rows`; `pairs` are the rows of its forward."""
        table, settings = self.table, scene.settings
        if scene is not self._scene:
            self._scene = scene
            _tell_settings(table, settings, scene)
        now = rows.x, rows.before, rows.v, rows.source, rows.noise
        if any(a is not b for a, b in zip(now, self._told, strict=True)):
            self._told = now
            for name, tensor in zip((names.X, names.BEFORE, names.V, names.SOURCE, names.NOISE), now, strict=True):
                table.tensor(name, tensor)
        if asked.pushed:
            for name, tensor in zip((names.AVERAGE, names.UNWANTED), rows.guidance, strict=True):
                table.tensor(name, tensor)
        places: dict[int, list[int]] = {slot.id: [] for slot in asked.slots}
        for at, (_, slot) in enumerate(pairs):
            places[slot.id].append(at)
        unguided = {slot.id: places[slot.id].pop() for slot in asked.unguided}  # their rows come last
        pushed = {slot.id: int(slot.knobs.guidance_mode) for slot in asked.pushed}
        table.clear()
        for slot in asked.slots:
            first, second, *_ = *places[slot.id], -1, -1
            fresh = 0
            if settings.noisy and slot.after > 0:
                fresh = noise(slot.knobs.seed, scene.loop, rows.x.device, slot.step + 1).data_ptr()
            table.slot(
                slot.row,
                (1, first, second, unguided.get(slot.id, -1), pushed.get(slot.id, 0), fresh, slot.first),
                (slot.time, slot.after, lock_share(slot, settings)),
            )


def _tell_settings(table: Table, settings: Settings, scene: Scene) -> None:
    """What does not change as long as the scene stays."""
    locked, kept, dcw, conditions = acts(settings.source_lock), scene.kept, settings.dcw, settings.guide.conditions
    table.tensor(names.TARGET, scene.target if locked else None)
    table.tensor(names.KEPT, kept[1] if kept else None)
    table.gains(settings.gains)
    for name, amount in (
        (names.VELOCITY, settings.velocity_scale),
        (names.LOCK, settings.source_lock),
        (names.KEEP, kept[0] if kept else 0.0),
        (names.SDE, 0.0 if settings.sde is None else settings.sde),
        (names.ODE_NOISE, settings.ode_noise),
        (names.SCALE, settings.guidance_scale),
        (names.RESCALE, settings.guidance_rescale),
        (names.LOW, dcw.low if dcw else 0.0),
        (names.HIGH, dcw.high if dcw else 0.0),
        (names.WEIGHT_A, conditions[0].weight),
        (names.WEIGHT_B, conditions[-1].weight),
    ):
        table.amount(name, amount)
    table.switch(names.IS_SDE, settings.sde is not None)
    table.switch(names.IS_NOISY, acts(settings.ode_noise))
    table.switch(names.IS_RESCALED, acts(settings.guidance_rescale))
    table.switch(names.WAVELET, dcw.mode if dcw else Wavelet.OFF)
    table.switch(names.IS_PLAIN, dcw is None or dcw.plain)
    table.switch(names.LOOP, scene.loop)
    table.number(names.MOMENTUM, settings.knobs.apg_momentum)
    if dcw:
        table.number(names.SOFT, dcw.soft)
        table.number(names.RATIO, dcw.ratio)
        table.number(names.MAGNITUDE, dcw.magnitude)


def _changed(
    known: list[Tensor | None], sides: Sequence[Side], now: Sequence[Tensor | None]
) -> list[tuple[slice, Side]]:
    """The rows, as slices, in which another tensor is wanted now than is `known`, and one of their sides."""
    rows = [row for row, (a, b) in enumerate(zip(known, now, strict=False)) if a is not b]
    known[: len(now)] = now
    runs = []
    for _, group in groupby(enumerate(rows), lambda pair: (pair[1] - pair[0], id(now[pair[1]]))):
        run = [row for _, row in group]
        runs.append((slice(run[0], run[-1] + 1), sides[run[0]]))
    return runs
