"""What all slots attend to: prompts and their blend, what is not wanted, and the source's structure as context.

Owned by the session and read at the top of a tick. Work is done when something changes, not once a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from engine.backends import Backend, Side
from engine.conditioning import Condition, Task, blend
from engine.curves import Amount, Curves, amount
from engine.knobs import Knobs

PromptSlot = Literal["a", "b", "negative"]


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """One condition, ready for the network, and when it counts."""

    kv: Tensor
    """[layers,2,1,K,L,D]: keys and values."""
    mask: Tensor | None = None
    """[1,L] added to the attention scores, or none."""
    weight: Amount = 1.0
    """Its share of the velocity, frame by frame, among those that are active."""
    first: float = 0.0
    """Share of the schedule from which on it is active, and until which (not included)."""
    last: float = 1.0

    def active(self, place: float) -> bool:
        """Whether it counts at `place`, a step's number over the number of steps."""
        return self.first <= place < self.last


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """The network's side inputs for one tick. Two guides that are the same object guide the same way."""

    context: Tensor
    """[1,T,128]: source or hint latents, then the chunk mask (1 = generate)."""
    conditions: tuple[Attended, ...]
    """At least one. The velocities of the active ones are mixed; when none is active the first alone counts."""
    negative: Attended
    """What guidance pushes away from."""
    prompts: tuple[Condition, ...] = ()
    """What the conditions are made of: A and B. Other objects are other prompts."""
    _sides: dict[tuple[int, int], Side] = field(default_factory=dict)

    def side(self, attended: Attended, first: int = 0, frames: Tensor | None = None) -> Side:
        """The network's input of one row: `attended`, over the loop or over the `frames` [1,T] that begin at `first`.

        The same object for the same question, so that a backend can keep what it makes of it.
        """
        key = (id(attended.kv), first)
        if key not in self._sides:
            context = self.context if frames is None else self.context[0][frames]
            self._sides[key] = Side(context, attended.kv, attended.mask)
        return self._sides[key]


class Guides:
    """Makes the guide for a reading of the knobs, and for the curves that are drawn."""

    def __init__(
        self,
        backend: Backend,
        source: Tensor,
        hint: Tensor,
        silence: Tensor,
        conditions: Mapping[PromptSlot, Condition],
        structure: Tensor | None = None,
    ) -> None:
        """`source`, its `hint`, `silence`, and the hint of a `structure` clip, each [T,64]; see
        `engine.conditioning.Conditioner`. `conditions` of all three prompts, where the negative one may be that of
        nothing.
        """
        self._backend = backend
        self._conditions = dict(conditions)
        self._source, self._hint, self._silence = (x.to(backend.device) for x in (source, hint, silence))
        self._structure = None if structure is None else structure.to(backend.device)
        self._guide: Guide | None = None
        self._asked: dict[str, tuple[object, ...]] = {}

    @torch.inference_mode()
    def replace(self, slot: PromptSlot, condition: Condition) -> None:
        """Makes `condition` prompt `slot` from the next :meth:`at` on."""
        self._conditions[slot] = condition
        self._asked.clear()

    def follow(self, structure: Tensor | None) -> None:
        """Takes hints from another structure clip, or from the source alone, from the next :meth:`at` on."""
        self._structure = None if structure is None else structure.to(self._backend.device)
        self._asked.clear()

    def over(self, frames: Tensor) -> Guides:
        """The same prompts for the music at `frames` [N] of the loop, in that order."""
        source, hint, silence = (x[frames] for x in (self._source, self._hint, self._silence))
        structure = None if self._structure is None else self._structure[frames]
        return Guides(self._backend, source, hint, silence, self._conditions, structure)

    @torch.inference_mode()
    def at(self, knobs: Knobs, curves: Curves) -> Guide:
        """The guide for these knobs; the same object for as long as nothing that it is made of changes."""
        hints, protect = amount(knobs, curves, "hint_strength"), amount(knobs, curves, "protect")
        task = _task(hints, protect)
        prompts = (
            amount(knobs, curves, "prompt_blend"),
            task,
            knobs.timbre_strength,
            knobs.prompt_a_from,
            knobs.prompt_a_to,
            knobs.prompt_b_from,
            knobs.prompt_b_to,
        )
        before = self._guide
        structure = amount(knobs, curves, "structure_blend")
        same_context = self._same("context", (hints, protect, structure))
        same_prompts = self._same("prompts", prompts)
        if before and same_context and same_prompts:
            return before
        context = before.context if before and same_context else self._context(hints, structure, protect)
        if before and same_prompts:
            self._guide = Guide(context, before.conditions, before.negative, before.prompts)
        else:
            states = {slot: each.at(task, knobs.timbre_strength) for slot, each in self._conditions.items()}
            conditions, negative = self._mixed(knobs, prompts[0], states), self._attended(states["negative"])
            self._guide = Guide(context, conditions, negative, (self._conditions["a"], self._conditions["b"]))
        return self._guide

    def _same(self, part: str, asked: tuple[object, ...]) -> bool:
        """Whether `part` was asked for in the same way before; and remembers how it is asked for now."""
        before = self._asked.get(part)
        self._asked[part] = asked
        return before is not None and all(
            a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)
            for a, b in zip(asked, before, strict=True)
        )

    def _context(self, hints: Amount, structure: Amount, protect: Amount) -> Tensor:
        """Structure to follow and 1 where music is wanted, the source and 0 where it is protected."""
        hint = self._hint if self._structure is None else torch.lerp(self._hint, self._structure, structure)
        followed = torch.lerp(self._silence, hint, hints)
        generate = torch.ones_like(followed) * (1 - protect)
        return torch.cat((torch.lerp(followed, self._source, protect), generate), dim=-1)[None]

    def _mixed(self, knobs: Knobs, place: Amount, states: Mapping[PromptSlot, Tensor]) -> tuple[Attended, ...]:
        """The prompts between A and B: blended as states for a number, as velocities for a curve or a range."""
        ranges = (knobs.prompt_a_from, knobs.prompt_a_to), (knobs.prompt_b_from, knobs.prompt_b_to)
        a, b = states["a"], states["b"]
        if not isinstance(place, Tensor) and all(first <= 0 and last >= 1 for first, last in ranges):
            return (self._attended(*blend(a, b, place)),)
        weights = [(a, 1 - place, *ranges[0]), (b, place, *ranges[1])]
        return tuple(
            self._attended(prompt, None, weight, first, last)
            for prompt, weight, first, last in weights
            if isinstance(weight, Tensor) or weight > 0
        )

    def _attended(
        self,
        states: Tensor,
        mask: Tensor | None = None,
        weight: Amount = 1.0,
        first: float = 0.0,
        last: float = 1.0,
    ) -> Attended:
        return Attended(self._backend.keys_values(states), mask, weight, first, last)


def _task(hints: Amount, protect: Amount) -> Task:
    """What the network is told to do, by what it finds in its context."""
    if isinstance(protect, Tensor) or protect > 0:
        return "repaint"
    return "cover" if isinstance(hints, Tensor) or hints > 0 else "text2music"
