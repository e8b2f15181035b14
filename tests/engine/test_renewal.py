"""Slots that live through a change: led on, or born anew with the steps that they have left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import Knobs
from engine.backends.eager import EagerBackend
from engine.conditioning import Condition
from engine.curves import Curves
from engine.guide import Guides
from engine.renewal import WORTH, size
from engine.settings import Settings, read
from engine.stream import Result, Ring, generate
from tests.engine.parts import FRAMES, gaussian

KNOBS = Knobs()
NONE = Curves(FRAMES, torch.device("cpu"))
unit = st.floats(0, 1)


@pytest.fixture
def ring(backend: EagerBackend, source: Tensor) -> Ring:
    return Ring(backend, source, 4, 8)


def play(ring: Ring, guides: Guides, ticks: int, knobs: Knobs = KNOBS) -> list[Result]:
    return [result for _ in range(ticks) for result in ring.tick(knobs, guides.at(knobs, NONE), NONE)]


def settings(guides: Guides, **change: Any) -> Settings:
    knobs = replace(KNOBS, **change)
    return read(knobs, NONE, guides.at(knobs, NONE))


@pytest.mark.parametrize("change", [{"seed": 2}, {"denoise": 0.2}, {"shift": 6.0}, {"guidance_mode": 3}])
def test_a_slot_that_is_born_anew_is_the_shorter_schedule(
    backend: EagerBackend, source: Tensor, guides: Guides, ring: Ring, change: dict[str, Any]
) -> None:
    """Of the slots in flight those with 3, 5 and 7 steps left become latents of 3, 5 and 7 steps, bit for bit."""
    changed = replace(KNOBS, **change)
    play(ring, guides, 15)
    after = play(ring, guides, 8, changed)
    lefts = [result.finished_tick - 14 for result in after]
    assert lefts == [1, 3, 5, 7]
    for result, left in list(zip(after, lefts, strict=True))[1:]:
        expected = generate(backend, source, guides.at(changed, NONE), NONE, changed, left)
        assert torch.equal(result.latent, expected)
        assert not result.settled


def test_a_slot_that_is_born_anew_says_so(guides: Guides, ring: Ring) -> None:
    play(ring, guides, 15, replace(KNOBS, version=2))
    led_on, anew, *_ = play(ring, guides, 8, replace(KNOBS, seed=2, version=4))
    assert (led_on.admitted_version, led_on.version, led_on.seed) == (2, 4, 1)
    assert (anew.admitted_version, anew.version, anew.seed) == (4, 4, 2)


def test_a_new_text_is_followed_at_once_even_where_blends_are_the_same(guides: Guides, ring: Ring) -> None:
    before = settings(guides)
    guides.replace("a", Condition(gaussian(1, 6, 24, seed=30)))
    assert 3 * size(before, settings(guides), 8) >= WORTH


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"seed": 2}, 3),
        ({"guidance_mode": 1}, 3),
        ({"prompt_blend": 1.0}, 3),
        ({"hint_strength": 0.0}, 2),
        ({"feedback": 0.5}, 1),
        ({"denoise": 0.1}, 1),
        ({"denoise": 0.65}, 11),
        ({"prompt_blend": 0.3}, 9),
    ],
)
def test_large_changes_need_fewer_steps(guides: Guides, change: dict[str, Any], least: int) -> None:
    found = size(settings(guides), settings(guides, **change), 8)
    assert next(steps for steps in range(1, 20) if steps * found >= WORTH) == least


@pytest.mark.parametrize("change", [{"velocity_scale": 0.5}, {"source_lock": 1.0}, {"protect": 1.0}, {"ch13": 3.0}])
def test_what_acts_in_every_step_is_followed_as_it_is(guides: Guides, change: dict[str, Any]) -> None:
    assert size(settings(guides), settings(guides, **change), 8) == 0


@given(unit, unit, st.floats(1, 6), st.floats(1, 6), unit, unit)
def test_a_change_and_its_way_back_are_as_large(
    a: float, b: float, shift_a: float, shift_b: float, feed_a: float, feed_b: float
) -> None:
    one, two = (
        Settings(Knobs(denoise=d, shift=s, feedback=f), NONE, _GUIDE, 1.0, 0.0, 0.0, None, 0.0, 1.0, 0.0, None, None)
        for d, s, f in ((a, shift_a, feed_a), (b, shift_b, feed_b))
    )
    assert size(one, two, 8) == size(two, one, 8)
    assert size(one, one, 8) == 0


def test_a_fader_that_creeps_leads_slots_on_and_in_the_end_they_agree(
    backend: EagerBackend, source: Tensor, guides: Guides, ring: Ring
) -> None:
    """No step of the fader is worth a new birth by itself; what adds up over a slot's life may be."""
    play(ring, guides, 16)
    for tick in range(40):
        play(ring, guides, 1, replace(KNOBS, denoise=0.7 - 0.005 * tick))
    end = replace(KNOBS, denoise=0.5)
    last = play(ring, guides, 10, end)[-1].latent
    assert torch.equal(last, generate(backend, source, guides.at(end, NONE), NONE, end, 8))


def _any_guide() -> Any:
    from tests.engine.parts import random_backend, random_guides, random_source

    return random_guides(random_backend(), random_source()).at(KNOBS, NONE)


_GUIDE = _any_guide()
