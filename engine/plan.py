"""What one step of all slots asks for, before anything is computed: who needs the network, for which conditions.

Made by `engine.advance` once a tick, and carried out by it or, as one captured piece, by the backend. Reads knobs and
slots only; nothing here is on the device but the tensors that a scene is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.backends import Side
from engine.curves import Amount
from engine.guidance import Mode
from engine.guide import Attended, Guide
from engine.rows import Rows
from engine.settings import Settings, acts
from engine.slot import Hold, Slot


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
    kept: tuple[Amount, Tensor] | None
    """The share that is not to change and what it is, or none when all may."""


def kept(settings: Settings, source: Tensor, rows: Rows, slots: Sequence[Slot]) -> tuple[Amount, Tensor] | None:
    """What slots may not change: what is protected of the `source`, and what windows go on from."""
    protect = settings.protect
    if not any(slot.hold for slot in slots):
        return (protect, source) if acts(protect) else None
    share, latent = torch.zeros_like(rows.x[:, :, :1]), torch.zeros_like(rows.x)
    for slot in slots:
        hold: Hold | None = slot.hold
        if hold is not None:
            share[slot.row].copy_(hold.share)
            latent[slot.row].copy_(hold.latent)
    return 1 - (1 - share) * (1 - protect), torch.lerp(source, latent, share)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """See the module. All lists are in the order of their slots' rows."""

    slots: list[Slot]
    """All that are in flight."""
    live: list[Slot]
    """Those that need the network: at strength 0 there is nothing to do."""
    parts: list[tuple[Attended, list[Slot]]]
    """The conditions, each with the live slots that it is active for at their step."""
    pushed: list[Slot]
    """Those that are pushed away from their unguided velocity."""
    unguided: list[Slot]
    """Those of them whose unguided velocity the network is to give."""

    def pairs(self, guide: Guide) -> list[tuple[Attended, Slot]]:
        """The rows of the forward: each part's, then the unguided ones."""
        pairs = [(attended, slot) for attended, slots in self.parts for slot in slots]
        return pairs + [(guide.negative, slot) for slot in self.unguided]


def plan(slots: Sequence[Slot], settings: Settings) -> Plan:
    """What the next step of `slots` asks for."""
    ordered = sorted(slots, key=lambda slot: slot.row)  # all rows in order need no gathering
    live = [slot for slot in ordered if slot.time > 0]
    scaled = isinstance(settings.guidance_scale, Tensor) or settings.guidance_scale != 1
    pushed = [slot for slot in live if scaled and slot.knobs.guidance_mode != Mode.OFF]
    unguided = [
        slot
        for slot in pushed
        if slot.knobs.guidance_mode == Mode.FULL
        or (slot.knobs.guidance_mode == Mode.INITIALIZE and not slot.unguided)
    ]
    return Plan(ordered, live, _attending(settings.guide, live), pushed, unguided)


def _attending(guide: Guide, live: Sequence[Slot]) -> list[tuple[Attended, list[Slot]]]:
    """The first condition stands in, whatever its weight, for slots at a step where none is active."""
    parts = [
        (attended, [slot for slot in live if attended.active(slot.step / slot.steps)])
        for attended in guide.conditions
    ]
    attending = {slot.id for _, slots in parts for slot in slots}
    left = [slot for slot in live if slot.id not in attending]
    return [*parts, (replace(guide.conditions[0], weight=1.0), left)] if left else parts


def side(guide: Guide, attended: Attended, slot: Slot, scene: Scene) -> Side:
    """What a row of the forward, for `attended` and `slot`, attends to and follows."""
    frames = None if scene.frames is None else scene.frames[slot.row : slot.row + 1]
    return guide.side(attended, slot.first, frames)


def lock_share(slot: Slot, settings: Settings) -> float:
    """The share of `source_lock` that a slot gets at its step.

    A number acts in the later half of the schedule; a curve opens with `max(0, p - gate) / (1 - gate)` at
    `p = step / (steps - 1)`.
    """
    if not isinstance(settings.source_lock, Tensor):
        return float(2 * slot.step >= slot.steps)
    p, gate = slot.step / max(slot.steps - 1, 1), settings.knobs.lock_gate
    return max(0.0, p - gate) / max(1 - gate, 1e-6)
