"""One step of all slots: what the network sees, its forward, guidance, and one pass over [B,T,64].

Called by the ring and by `generate`. Rows are slots; whatever differs between them is a column of one small table,
sent once a step. Nothing is read back from the device, and what a setting does not ask for is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from engine import guidance
from engine import steps as step
from engine.backends import Backend, Side
from engine.curves import Amount
from engine.guidance import Mode
from engine.guide import Attended, Guide
from engine.noise import noise
from engine.rows import Rows
from engine.settings import Settings, acts
from engine.slot import Hold, Slot, columns

_WEIGHT_LEAST = 1e-12
"""Added to weights, which does not change any but 0 in fp32."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What the slots in flight share, cut to their regions. Made once for as long as slots and settings stay."""

    settings: Settings
    """With curves as [T,1], or [B,T,1] where slots have regions of their own."""
    source: Tensor
    """[1,T,64] or [B,T,64]: what is protected."""
    target: Tensor
    """Likewise: what `source_lock` draws to."""
    frames: Tensor | None
    """[B,T] frames of the loop that the rows cover; none when each covers the whole loop."""
    loop: int
    """Frames of the loop."""
    holds: tuple[Tensor, Tensor] | None = None
    """Shares [B,T,1] and latents [B,T,64] that windows go on from."""

    def kept(self) -> tuple[Amount, Tensor] | None:
        """The share that is not to change and what it is, or none when all may."""
        protect = self.settings.protect
        if self.holds is None:
            return (protect, self.source) if acts(protect) else None
        share, latent = self.holds
        return 1 - (1 - share) * (1 - protect), torch.lerp(self.source, latent, share)


def holds(rows: Rows, slots: Sequence[Slot]) -> tuple[Tensor, Tensor] | None:
    """The holds of all rows together; none when no slot has one."""
    if not any(slot.hold for slot in slots):
        return None
    shares, latents = torch.zeros_like(rows.x[:, :, :1]), torch.zeros_like(rows.x)
    for slot in slots:
        hold: Hold | None = slot.hold
        if hold is not None:
            shares[slot.row].copy_(hold.share)
            latents[slot.row].copy_(hold.latent)
    return shares, latents


def advance(backend: Backend, rows: Rows, slots: Sequence[Slot], scene: Scene) -> int:
    """Takes every slot one step further; returns how many needed the network."""
    settings, knobs = scene.settings, scene.settings.knobs
    t, t_next, late, gate = columns(
        rows,
        [
            (slot.row, (slot.time, slot.after, float(2 * slot.step >= slot.steps), _gate(slot, knobs.lock_gate)))
            for slot in slots
        ],
    )
    kept = scene.kept()
    if kept is not None:
        rows.x = step.keep(rows.x, rows.noise, kept[1], t, kept[0])
    live = sorted((slot for slot in slots if slot.time > 0), key=lambda slot: slot.row)  # all rows need no gathering
    if live:
        _velocities(backend, rows, live, scene)

    x, v = rows.x, rows.v
    safe = t.clamp_min(1e-6) if acts(settings.source_lock) or kept is not None else t
    if acts(settings.source_lock):
        curve = isinstance(settings.source_lock, Tensor)
        v = step.lock(v, x, safe, scene.target, settings.source_lock * (gate if curve else late))
    if kept is not None:
        v = step.lock(v, x, safe, kept[1], kept[0])
    if settings.sde is not None:
        x0 = step.clean(x, v, t * settings.velocity_scale)
        rows.stepped(step.sde(x0, rows.source, _fresh(rows, slots, scene), t_next, settings.sde))
    else:
        rows.step(v, (t_next - t) * settings.velocity_scale)
        if acts(settings.ode_noise):
            rows.x = torch.addcmul(rows.x, _fresh(rows, slots, scene), t_next * settings.ode_noise)
    if settings.dcw is not None:
        rows.x = settings.dcw.corrected(rows.x, step.clean(x, v, t), t)
    for slot in slots:
        slot.step += 1
    return len(live)


def _gate(slot: Slot, gate: float) -> float:
    """How far a lock curve is open: `max(0, p - gate) / (1 - gate)` at `p = step / (steps - 1)`."""
    p = slot.step / max(slot.steps - 1, 1)
    return max(0.0, p - gate) / max(1 - gate, 1e-6)


def _fresh(rows: Rows, slots: Sequence[Slot], scene: Scene) -> Tensor:
    """The noise that this step adds [B,T,64]: a draw of each slot's own seed for each of its steps."""
    fresh = rows.fresh
    for slot in slots:
        if slot.after > 0:
            drawn = noise(slot.knobs.seed, scene.loop, fresh.device, slot.step + 1)
            fresh[slot.row].copy_(drawn if scene.frames is None else drawn[scene.frames[slot.row]])
    return fresh


def _velocities(backend: Backend, rows: Rows, live: Sequence[Slot], scene: Scene) -> None:
    """Runs the network for all pairs of slot and condition, and puts the velocities into `rows.v`."""
    settings = scene.settings
    guide = settings.guide
    seen = rows.x if settings.gains is None else rows.x * settings.gains
    parts = _attending(guide, live)
    scaled = isinstance(settings.guidance_scale, Tensor) or settings.guidance_scale != 1
    pushed = [slot for slot in live if scaled and slot.knobs.guidance_mode != Mode.OFF]
    unguided = [
        slot
        for slot in pushed
        if slot.knobs.guidance_mode == Mode.FULL
        or (slot.knobs.guidance_mode == Mode.INITIALIZE and not slot.unguided)
    ]
    *velocities, negative = _forward(backend, seen, [*parts, (guide.negative, unguided)], scene)

    rows.v = _put(rows.v, live, velocities[0] if len(parts) == 1 else _mixed(rows, live, parts, velocities, scene))
    if pushed:
        _guide(rows, pushed, unguided, negative, settings)


def _attending(guide: Guide, live: Sequence[Slot]) -> list[tuple[Attended, list[Slot]]]:
    """The conditions, each with the slots that it is active for at their step.

    The first stands in, whatever its weight, for slots at a step where none is.
    """
    parts = [
        (attended, [slot for slot in live if attended.active(slot.step / slot.steps)])
        for attended in guide.conditions
    ]
    attending = {slot.id for _, slots in parts for slot in slots}
    left = [slot for slot in live if slot.id not in attending]
    return [*parts, (replace(guide.conditions[0], weight=1.0), left)] if left else parts


def _forward(
    backend: Backend, seen: Tensor, parts: Sequence[tuple[Attended, Sequence[Slot]]], scene: Scene
) -> list[Tensor]:
    """The velocities of each part, in one forward when all fit into it, else in as few as do."""
    pairs = [(attended, slot) for attended, slots in parts for slot in slots]
    guide = scene.settings.guide

    def side(attended: Attended, slot: Slot) -> Side:
        frames = None if scene.frames is None else scene.frames[slot.row : slot.row + 1]
        return guide.side(attended, slot.first, frames)

    done = []
    for at in range(0, len(pairs), backend.most):
        chunk = pairs[at : at + backend.most]
        chosen = [slot.row for _, slot in chunk]
        done.append(
            backend.velocity(_take(seen, chosen), [slot.time for _, slot in chunk], [side(*pair) for pair in chunk])
        )
    v = done[0] if len(done) == 1 else torch.cat(done)
    return list(torch.split(v, [len(slots) for _, slots in parts]))


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
    for slot in unguided:
        slot.unguided = True
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
