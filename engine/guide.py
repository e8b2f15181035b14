"""What all slots attend to: the blend of two prompts, and the source's structure as context.

Owned by the session and read at the top of a tick. Work is done when something changes, not once a tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.backends import Backend
from engine.conditioning import Condition, blend

PromptSlot = Literal["a", "b"]


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """The network's side inputs for one tick. Two guides that are the same object guide the same way."""

    context: Tensor
    """[1,T,128]: source or hint latents, then the chunk mask (1 = generate)."""
    kv: Tensor
    """[layers,2,1,K,L,D]: keys and values of the condition."""
    mask: Tensor | None
    """[1,L] added to the attention scores, or none."""


class Guides:
    """Makes the guide for a place between two prompts and a strength of the hints."""

    def __init__(self, backend: Backend, hint: Tensor, silence: Tensor, a: Condition, b: Condition) -> None:
        """`hint` and `silence`, both [T,64]; see `engine.conditioning.Conditioner`."""
        self._backend = backend
        self._conditions: dict[PromptSlot, Condition] = {"a": a, "b": b}
        self._hint, self._silence = hint.to(backend.device), silence.to(backend.device)
        self._place: tuple[float, float] | None = None
        self._guide: Guide | None = None

    def replace(self, slot: PromptSlot, condition: Condition) -> None:
        """Makes `condition` prompt `slot` from the next :meth:`at` on."""
        self._conditions[slot] = condition
        self._place = None

    @torch.inference_mode()
    def at(self, prompt_blend: float, hint_strength: float) -> Guide:
        """The guide for these knobs (0–1 each); the same object for as long as nothing changes."""
        if self._guide is None or self._place is None or self._place[0] != prompt_blend:
            states, mask = blend(self._conditions["a"].states, self._conditions["b"].states, prompt_blend)
            context = self._guide.context if self._guide and self._place else self._context(hint_strength)
            self._guide = Guide(context, self._backend.keys_values(states), mask)
            self._place = (prompt_blend, self._place[1] if self._place else hint_strength)
        if self._place[1] != hint_strength:
            self._guide = Guide(self._context(hint_strength), self._guide.kv, self._guide.mask)
            self._place = (prompt_blend, hint_strength)
        return self._guide

    def _context(self, strength: float) -> Tensor:
        structure = torch.lerp(self._silence, self._hint, strength)
        return torch.cat((structure, torch.ones_like(structure)), dim=-1)[None]
