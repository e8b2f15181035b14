"""The ring: slots in flight, each at its own step of the schedule, all advanced by one step a tick.

Owned by the session's one thread. A slot is built from the freshest knobs at the tick that admits it, finishes
`steps` ticks later, and is returned by that very tick with its story. There is no queue, so no request gets stale.

Promises: constant knobs give bit-identical latents; a latent does not depend on the slots beside it, on depth, or on
when it was admitted; :func:`generate` gives the same bits in one call. Feedback is the exception: it mixes in earlier
results on purpose.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import steps as step
from engine.backends import Backend
from engine.guide import Guide
from engine.knobs import Knobs
from engine.noise import noise
from engine.schedule import admissions, times

FEEDBACK_MOST = 8
"""Results that are kept for feedback."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A finished latent and its story."""

    latent: Tensor
    """[T,64] in fp32; the receiver's to keep."""
    id: int
    admitted_tick: int
    finished_tick: int
    admitted_version: int
    """Version of the knobs that the slot was built from."""
    version: int
    """Version of the knobs at its last step: every shared change up to it can be heard."""
    region: tuple[int, int]
    """The latent frames of the loop that it covers: first, count."""
    seed: int
    settled: bool
    """Whether the next result would be the same bit for bit if nothing is changed."""

    def digest(self) -> str:
        """SHA-256 of the latent's bytes."""
        return hashlib.sha256(self.latent.cpu().contiguous().numpy().tobytes()).hexdigest()


@dataclass(slots=True, eq=False)
class _Slot:
    """One latent in the making."""

    id: int
    tick: int
    knobs: Knobs
    guide: Guide
    source: Tensor
    """[T,64]: the clean latent it was born from."""
    noise: Tensor
    times: tuple[float, ...]
    x: Tensor
    denoise: float
    step: int = 0
    steady: bool = True
    """Whether knobs and guide have been the same all its life."""
    last: tuple[Tensor, Tensor, float] | None = None
    """State, raw velocity and time of its last step: what its clean prediction is made of when it is needed."""

    @property
    def time(self) -> float:
        return self.times[self.step]

    def prediction(self) -> Tensor:
        """The raw x0 of the last step, or the source before the first one."""
        if self.last is None:
            return self.source
        x, v, t = self.last
        return x - t * v


class _History:
    """Earlier results, newest first."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._latents: deque[Tensor] = deque(maxlen=FEEDBACK_MOST + depth + 1)

    def add(self, latent: Tensor) -> None:
        self._latents.appendleft(latent)

    def mixed(self, source: Tensor, share: float, back: int) -> Tensor:
        """`source` with `share` of the result `back` results ago; of the oldest there is while there are fewer."""
        if share <= 0 or not self._latents:
            return source
        return torch.lerp(source, self._latents[min(back, len(self._latents)) - 1], share)

    def repeats(self, back: int) -> bool:
        """Whether feeding results back changes nothing any more.

        The newest result was born from the one `back` results before the `depth` that finished in its life. When all
        of them are equal it reproduces itself, and so will the slots in flight, which were born from the later ones.
        """
        needed = self._depth + back + 1
        recent = list(self._latents)[:needed]
        return len(recent) == needed and all(torch.equal(recent[0], other) for other in recent[1:])


class Ring:
    """Up to `depth` slots in flight over the loop `source`."""

    def __init__(self, backend: Backend, source: Tensor, depth: int, steps: int) -> None:
        """`source` [T,64] are the loop's latents. Raises `ValueError` unless `depth` and `steps` are at least 1."""
        if depth < 1 or steps < 1:
            raise ValueError(f"a ring wants at least one slot and one step, got depth {depth} and {steps} steps")
        self._backend = backend
        self._source = source.to(backend.device)
        self._slots: list[_Slot] = []
        self._history = _History(depth)
        self._admitted = 0
        self.depth, self.steps = depth, steps
        self.ticks = 0
        """Ticks done since the ring was made."""
        self.load = 0
        """Slots that the last tick ran through the network; slots at strength 0 do not need it."""

    def ticks_to_result(self) -> int:
        """How many ticks from now the next result comes: 1 means with the next tick."""
        if self._slots:
            return self.steps - max(slot.step for slot in self._slots)
        waiting = 0
        while admissions(self.ticks + waiting, self.depth, self.steps) == 0:
            waiting += 1
        return waiting + self.steps

    @torch.inference_mode()
    def tick(self, knobs: Knobs, guide: Guide) -> list[Result]:
        """Admits what is due, advances every slot by one step, and returns the latents that this finished."""
        for _ in range(admissions(self.ticks, self.depth, self.steps)):
            self._slots.append(self._admit(knobs, guide))
        for slot in self._slots:
            if slot.denoise != knobs.denoise:
                _replan(slot, self.steps, knobs.denoise)
            slot.steady = slot.steady and slot.guide is guide and slot.knobs.sounds_like(knobs)
        self.load = _advance(self._backend, self._slots, self._source, knobs, guide)
        done = [slot for slot in self._slots if slot.step == self.steps]
        self._slots = [slot for slot in self._slots if slot.step < self.steps]
        results = [self._finish(slot, knobs) for slot in done]
        self.ticks += 1
        return results

    def _admit(self, knobs: Knobs, guide: Guide) -> _Slot:
        self._admitted += 1
        source = self._history.mixed(self._source, knobs.feedback, knobs.feedback_depth)
        return _born(source, self._backend, self.steps, knobs, guide, self._admitted, self.ticks)

    def _finish(self, slot: _Slot, knobs: Knobs) -> Result:
        self._history.add(slot.x)
        return Result(
            latent=slot.x.clone(),
            id=slot.id,
            admitted_tick=slot.tick,
            finished_tick=self.ticks,
            admitted_version=slot.knobs.version,
            version=knobs.version,
            region=(0, slot.x.shape[0]),
            seed=slot.knobs.seed,
            settled=slot.steady and (knobs.feedback <= 0 or self._history.repeats(knobs.feedback_depth)),
        )


@torch.inference_mode()
def generate(backend: Backend, source: Tensor, guide: Guide, knobs: Knobs, steps: int) -> Tensor:
    """One latent [T,64] by itself, without a ring (and so without feedback): what a steady stream converges to."""
    slot = _born(source.to(backend.device), backend, steps, knobs, guide, 0, 0)
    for _ in range(steps):
        _advance(backend, [slot], slot.source, knobs, guide)
    return slot.x.clone()


def _born(source: Tensor, backend: Backend, steps: int, knobs: Knobs, guide: Guide, number: int, tick: int) -> _Slot:
    """A slot at the start of its schedule."""
    plan = times(steps, knobs.denoise, knobs.shift)
    n = noise(knobs.seed, source.shape[0], backend.device)
    return _Slot(
        id=number,
        tick=tick,
        knobs=knobs,
        guide=guide,
        source=source,
        noise=n,
        times=plan,
        x=step.birth(n, source, plan[0]) if plan[0] > 0 else source,
        denoise=knobs.denoise,
    )


def _replan(slot: _Slot, steps: int, denoise: float) -> None:
    """Moves a slot in flight to the schedule of another strength, at the step where it is.

    Down: the noise that is left is mixed anew at the lower level (`steps.reproject`), with a clean prediction that is
    drawn towards the source by the square of the ratio of the two first times. A slot born at the lower strength
    would have kept that much more of the source, at strength 0 all of it; without this the slot keeps what it has
    already invented. Up: the prediction gets the slot's own noise again, as much as the higher level has; with the
    noise that is left it would only be led back to where it was.

    Measured on the built-in model at depth 4 of 8 steps, as the distance of the next three latents from those of
    slots born after the move, relative to the size of the change: .9 to .3 gives .32 .22 .16 (without the pull .97
    .92 .89), .3 to .7 gives .81 .60 .42 (with the noise that was left .99 .96 .92). The fourth is born after the
    move, and equal.
    """
    old, plan = slot.times, times(steps, denoise, slot.knobs.shift)
    s, s_new = slot.time, plan[slot.step]
    slot.times, slot.denoise = plan, denoise
    if plan[0] <= 0:
        slot.x, slot.last = slot.source, None
    elif s_new < s:
        x0 = slot.prediction()
        drawn = torch.lerp(slot.source, x0, (plan[0] / old[0]) ** 2)
        slot.x = step.reproject(slot.x, x0, s, s_new, drawn)
    elif s_new > s:
        slot.x = step.birth(slot.noise, slot.prediction(), s_new)


def _advance(backend: Backend, slots: list[_Slot], source: Tensor, knobs: Knobs, guide: Guide) -> int:
    """One step of every slot, in one forward and one pass over [B,T,64]; returns how many needed the network."""
    live = [slot for slot in slots if slot.time > 0]
    if live:
        now, after = [slot.time for slot in live], [slot.times[slot.step + 1] for slot in live]
        x = torch.stack([slot.x for slot in live])
        v = backend.velocity(x, now, guide.context, guide.kv, guide.mask)
        column = torch.tensor([now, after], dtype=torch.float32).to(x.device, non_blocking=True)[:, :, None, None]
        t, t_next = column.unbind()
        drawn = v
        if knobs.source_lock > 0:
            late = [knobs.source_lock if 2 * slot.step >= len(slot.times) - 1 else 0.0 for slot in live]
            a = torch.tensor(late, dtype=torch.float32).to(x.device, non_blocking=True)[:, None, None]
            drawn = step.lock(v, x, t, source, a)
        x_next = step.euler(x, drawn, (t_next - t) * knobs.velocity_scale)
        for i, slot in enumerate(live):
            slot.x, slot.last = x_next[i], (x[i], v[i], now[i])
    for slot in slots:
        slot.step += 1
    return len(live)
