"""The guide: made anew for what has changed, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Knobs
from engine.conditioning import Condition
from engine.curves import Curves
from engine.guide import Guides
from tests.engine.parts import FRAMES, gaussian

KNOBS = Knobs()


def test_a_guide_stays_the_same_object_until_something_changes(guides: Guides, curves: Curves) -> None:
    first = guides.at(KNOBS, curves)
    assert guides.at(replace(KNOBS, seed=3, version=4), curves) is first
    hinted = guides.at(replace(KNOBS, hint_strength=0.5), curves)
    assert hinted is not first
    assert hinted.conditions is first.conditions
    blended = guides.at(replace(KNOBS, hint_strength=0.5, prompt_blend=0.5), curves)
    assert blended.context is hinted.context
    guides.replace("a", Condition(gaussian(1, 5, 24, seed=9)))
    assert guides.at(replace(KNOBS, hint_strength=0.5, prompt_blend=0.5), curves) is not blended


def test_hint_strength_runs_from_silence_to_the_hint(guides: Guides, curves: Curves) -> None:
    silent, hinted = (guides.at(replace(KNOBS, hint_strength=h), curves).context for h in (0.0, 1.0))
    assert silent.shape == (1, FRAMES, 128)
    assert (silent[..., :64] == 0).all()
    assert torch.equal(hinted[0, :, :64], gaussian(FRAMES, 64, seed=3))
    assert (hinted[..., 64:] == 1).all()


def test_structure_blend_runs_from_the_source_to_the_structure_clip(guides: Guides, curves: Curves) -> None:
    alone = guides.at(KNOBS, curves).context
    clip = gaussian(FRAMES, 64, seed=21)
    guides.follow(clip)
    assert torch.equal(guides.at(KNOBS, curves).context[0, :, :64], clip)
    assert torch.equal(guides.at(replace(KNOBS, structure_blend=0.0), curves).context, alone)
    guides.follow(None)
    assert torch.equal(guides.at(KNOBS, curves).context, alone)


def test_a_protected_half_has_the_source_and_no_chunk_mask(guides: Guides, curves: Curves, source: Tensor) -> None:
    halves = curves.drawn("protect", [1.0] * 25 + [0.0] * 25)
    context = guides.at(KNOBS, halves).context[0]
    assert torch.equal(context[:25, :64], source[:25])
    assert torch.equal(context[25:, :64], gaussian(FRAMES, 64, seed=3)[25:])
    assert (context[:25, 64:] == 0).all()
    assert (context[25:, 64:] == 1).all()


def test_a_drawn_blend_is_two_conditions_whose_weights_are_the_curve(guides: Guides, curves: Curves) -> None:
    drawn = curves.drawn("prompt_blend", [0.0, 1.0])
    a, b = guides.at(KNOBS, drawn).conditions
    assert isinstance(a.weight, Tensor)
    assert isinstance(b.weight, Tensor)
    assert (a.weight + b.weight == 1).all()
    assert guides.at(KNOBS, curves).conditions != (a, b)


@pytest.mark.parametrize(
    ("change", "ranges"),
    [
        ({}, [(0.0, 1.0)]),
        ({"prompt_a_to": 0.5, "prompt_blend": 0.5}, [(0.0, 0.5), (0.0, 1.0)]),
        ({"prompt_b_from": 0.25, "prompt_blend": 1.0}, [(0.25, 1.0)]),
    ],
)
def test_ranges_of_steps_part_the_prompts(
    guides: Guides, curves: Curves, change: dict[str, Any], ranges: list[tuple[float, float]]
) -> None:
    conditions = guides.at(replace(KNOBS, **change), curves).conditions
    assert [(each.first, each.last) for each in conditions] == ranges


def test_the_task_follows_hints_and_protection(guides: Guides, curves: Curves) -> None:
    """Each task has its own states where a model tells them apart."""
    told = {task: gaussian(1, 6, 24, seed=20 + i) for i, task in enumerate(("cover", "free", "repaint"))}
    guides.replace("a", Condition(told["cover"], free=told["free"], repaint=told["repaint"]))
    keys = {task: guides._backend.keys_values(states) for task, states in told.items()}

    def played(**change: float) -> Tensor:
        return guides.at(replace(KNOBS, **change), curves).conditions[0].kv

    assert torch.equal(played(), keys["cover"])
    assert torch.equal(played(hint_strength=0.0), keys["free"])
    assert torch.equal(played(protect=0.2), keys["repaint"])


def test_timbre_strength_runs_from_the_silent_timbre_to_the_clips(guides: Guides, curves: Curves) -> None:
    states, silent = gaussian(1, 6, 24, seed=20), gaussian(1, 6, 24, seed=20)
    silent[:, 2] = 0
    guides.replace("a", Condition(states, silent=silent))
    keys = guides._backend.keys_values
    assert torch.equal(guides.at(KNOBS, curves).conditions[0].kv, keys(states))
    assert torch.equal(guides.at(replace(KNOBS, timbre_strength=0.0), curves).conditions[0].kv, keys(silent))
