"""One step of all slots: what the network sees, its forward, guidance, and one pass over [B,T,64].

Called by the ring, for `generate` too. A backend that has captured all of it does it as one piece; here is the same
arithmetic as calls of torch, for the others and for what was not captured. Rows are slots; whatever differs between
them is a column of one small table, sent once a step. Nothing is read back from the device, and what a setting does
not ask for is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from engine import guidance
from engine import steps as step
from engine.backends import Backend
from engine.curves import Amount
from engine.guidance import Mode
from engine.guide import Attended
from engine.noise import noise
from engine.plan import Plan, Scene, lock_share, plan, side
from engine.rows import Rows
from engine.settings import Settings, acts
from engine.slot import Slot, columns

_WEIGHT_LEAST = 1e-12
"""Added to weights, which does not change any but 0 in fp32."""


def advance(backend: Backend, rows: Rows, slots: Sequence[Slot], scene: Scene) -> int:
    """Takes every slot one step further; returns how many needed the network."""
    asked = plan(slots, scene.settings)
    if not backend.step(rows, asked, scene):
        in_torch(backend, rows, asked, scene)
    for slot in asked.unguided:
        slot.unguided = True
    for slot in slots:
        slot.step += 1
    return len(asked.live)


def in_torch(backend: Backend, rows: Rows, asked: Plan, scene: Scene) -> None:
    """What `asked` says, by calls of torch and of `backend.velocity`."""
    settings, kept = scene.settings, scene.kept
    t, t_next, locked = columns(
        rows, [(slot.row, (slot.time, slot.after, lock_share(slot, settings))) for slot in asked.slots]
    )
    if kept is not None:
        rows.x = step.keep(rows.x, rows.noise, kept[1], t, kept[0])
    if asked.live:
        _velocities(backend, rows, asked, scene)

    x, v = rows.x, rows.v
    safe = t.clamp_min(1e-6) if acts(settings.source_lock) or kept is not None else t
    if acts(settings.source_lock):
        v = step.lock(v, x, safe, scene.target, settings.source_lock * locked)
    if kept is not None:
        v = step.lock(v, x, safe, kept[1], kept[0])
    if settings.sde is not None:
        x0 = step.clean(x, v, t * settings.velocity_scale)
        rows.stepped(step.sde(x0, rows.source, _fresh(rows, asked.slots, scene), t_next, settings.sde))
    else:
        rows.step(v, (t_next - t) * settings.velocity_scale)
        if acts(settings.ode_noise):
            rows.x = torch.addcmul(rows.x, _fresh(rows, asked.slots, scene), t_next * settings.ode_noise)
    if settings.dcw is not None:
        rows.x = settings.dcw.corrected(rows.x, step.clean(x, v, t), t)


def _fresh(rows: Rows, slots: Sequence[Slot], scene: Scene) -> Tensor:
    """The noise that this step adds [B,T,64]: a draw of each slot's own seed for each of its steps."""
    fresh = rows.fresh
    for slot in slots:
        if slot.after > 0:
            drawn = noise(slot.knobs.seed, scene.loop, fresh.device, slot.step + 1)
            fresh[slot.row].copy_(drawn if scene.frames is None else drawn[scene.frames[slot.row]])
    return fresh


def _velocities(backend: Backend, rows: Rows, asked: Plan, scene: Scene) -> None:
    """Runs the network for all pairs of slot and condition, and puts the velocities into `rows.v`."""
    settings, live, parts = scene.settings, asked.live, asked.parts
    seen = rows.x if settings.gains is None else rows.x * settings.gains
    *velocities, negative = _forward(backend, seen, asked, scene)

    rows.v = _put(rows.v, live, velocities[0] if len(parts) == 1 else _mixed(rows, live, parts, velocities, scene))
    if asked.pushed:
        _guide(rows, asked.pushed, asked.unguided, negative, settings)


def _forward(backend: Backend, seen: Tensor, asked: Plan, scene: Scene) -> list[Tensor]:
    """The velocities of each part and the unguided ones, in one forward when all fit, else in as few as do."""
    guide = scene.settings.guide
    pairs = asked.pairs(guide)
    done = []
    for at in range(0, len(pairs), backend.most):
        chunk = pairs[at : at + backend.most]
        sides = [side(guide, *pair, scene) for pair in chunk]
        chosen = [slot.row for _, slot in chunk]
        done.append(backend.velocity(_take(seen, chosen), [slot.time for _, slot in chunk], sides))
    v = done[0] if len(done) == 1 else torch.cat(done)
    return list(torch.split(v, [*(len(slots) for _, slots in asked.parts), len(asked.unguided)]))


def _mixed(
    rows: Rows,
    live: Sequence[Slot],
    parts: Sequence[tuple[Attended, Sequence[Slot]]],
    velocities: Sequence[Tensor],
    scene: Scene,
) -> Tensor:
    """`v = sum(v_i w_i) / sum w_i` over each slot's active conditions, frame by frame, for the live rows.

    Where all weights are 0 it is their mean.
    """
    total, weights = torch.zeros_like(rows.x), torch.zeros_like(rows.x[:, :, :1])
    for (attended, slots), v in zip(parts, velocities, strict=True):
        if not slots:
            continue
        at = _index([slot.row for slot in slots], total.device)
        weight = attended.weight
        if not isinstance(weight, Tensor):
            weight = torch.full_like(weights[:1], weight)
        elif scene.frames is not None:
            weight = weight[scene.frames[at]]
        weight = (weight + _WEIGHT_LEAST).expand(len(slots), -1, -1)
        total.index_add_(0, at, v * weight)
        weights.index_add_(0, at, weight)
    return _take(total / weights, [slot.row for slot in live])


def _guide(
    rows: Rows, pushed: Sequence[Slot], unguided: Sequence[Slot], negative: Tensor, settings: Settings
) -> None:
    """Pushes the velocities of the slots that asked for it away from their unguided ones."""
    average, unwanted = rows.guidance
    if unguided:
        unwanted.index_copy_(0, _index([slot.row for slot in unguided], unwanted.device), negative)
    chosen = [slot.row for slot in pushed]
    at = _index(chosen, average.device)
    for slot in pushed:
        if slot.knobs.guidance_mode == Mode.SELF:
            torch.sub(rows.noise[slot.row], rows.source[slot.row], out=unwanted[slot.row])
    vc = _take(rows.v, chosen)
    across, moved = guidance.push(vc, _take(unwanted, chosen), _take(average, chosen), settings.knobs.apg_momentum)
    average.index_copy_(0, at, moved)

    def of(value: Amount) -> Amount:
        return _take(value, chosen) if isinstance(value, Tensor) and value.dim() == 3 else value

    v = guidance.guided(vc, across, of(settings.guidance_scale), of(settings.guidance_rescale))
    rows.v = _put(rows.v, pushed, v)


def _put(x: Tensor, slots: Sequence[Slot], values: Tensor) -> Tensor:
    """`x` [B,T,64] with `values` in the rows of `slots`; `values` themselves when those are all rows, in order."""
    chosen = [slot.row for slot in slots]
    if chosen == list(range(len(x))):
        return values
    return x.index_copy_(0, _index(chosen, x.device), values)


def _take(x: Tensor, rows: Sequence[int]) -> Tensor:
    """The given rows of `x` [B,T,C], without a copy when those are all."""
    return x if list(rows) == list(range(len(x))) else x.index_select(0, _index(rows, x.device))


def _index(rows: Sequence[int], device: torch.device) -> Tensor:
    return _kept_index(tuple(rows), device)


@lru_cache(maxsize=256)
def _kept_index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device)
