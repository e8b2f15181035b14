"""Schedule, noise and the step functions, by their properties."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import steps as step
from engine.noise import noise
from engine.schedule import Admission, times
from tests.engine.parts import gaussian

unit = st.floats(0, 1, width=32)
CPU = torch.device("cpu")


def test_shift_3_gives_the_times_turbo_checkpoints_know() -> None:
    assert times(8, 1.0, 3.0) == pytest.approx([1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3, 0], abs=1e-4)


@given(st.integers(1, 64), unit, st.floats(1, 6))
def test_a_schedule_falls_from_its_strength_to_exactly_nothing(steps: int, denoise: float, shift: float) -> None:
    t = times(steps, denoise, shift)
    assert len(t) == steps + 1
    assert all(a >= b for a, b in pairwise(t))
    assert t[-1] == 0
    assert t[0] == pytest.approx(shift * denoise / (1 + (shift - 1) * denoise), abs=1e-6)


@given(st.integers(1, 32), st.floats(0.001, 0.99), st.floats(1, 6))
def test_strength_is_continuous(steps: int, denoise: float, shift: float) -> None:
    assert times(steps, denoise, shift)[0] < times(steps, denoise + 0.005, shift)[0]


@given(st.integers(1, 16), st.integers(1, 64))
def test_admission_is_as_even_as_it_can_be(depth: int, steps: int) -> None:
    admission = Admission(steps, depth)
    plan = [admission.due(depth) for _ in range(4 * steps)]
    assert plan[0] >= 1
    assert all(sum(plan[i : i + steps]) == depth for i in range(3 * steps))
    ticks = [i for i, n in enumerate(plan) for _ in range(n)]
    gaps = {b - a for a, b in pairwise(ticks)}
    assert max(gaps) - min(gaps) <= 1
    if steps % depth == 0:
        assert gaps == {steps // depth} or depth == 1


@given(st.integers(1, 16), st.lists(st.integers(1, 8), min_size=1, max_size=40))
def test_admission_says_when_the_next_slot_is_due_whatever_the_depth_was(steps: int, depths: list[int]) -> None:
    admission = Admission(steps, depths[0])
    for depth in depths:
        admission.due(depth)
    wait = admission.wait(depths[-1])
    assert [admission.due(depths[-1]) > 0 for _ in range(wait + 1)] == [False] * wait + [True]


def test_the_draws_of_a_seed_share_nothing() -> None:
    draws = torch.stack([noise(5, 100, CPU, draw).flatten() for draw in range(9)])
    assert (torch.corrcoef(draws) - torch.eye(9)).abs().max() < 0.05


def test_noise_is_a_function_of_seed_and_length_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    a = noise(5, 100, CPU).clone()
    noise.cache_clear()
    assert torch.equal(noise(5, 100, CPU), a)
    assert not torch.equal(noise(6, 100, CPU), a)
    assert not torch.equal(noise(5, 101, CPU)[:100], a)
    assert torch.equal(torch.get_rng_state(), before)
    assert abs(a.mean()) < 0.05
    assert abs(a.std() - 1) < 0.05


@given(unit, st.integers(0, 99))
def test_a_perfect_velocity_leads_to_the_clean_latent_from_anywhere(t: float, seed: int) -> None:
    n, x0 = gaussian(1, 5, 64, seed=seed), gaussian(1, 5, 64, seed=seed + 100)
    x = step.birth(n, x0, t)
    v, at = n - x0, torch.tensor([[[t]]])
    assert (step.clean(x, v, at) - x0).abs().max() < 1e-5
    assert (x - at * v - x0).abs().max() < 1e-5


@given(st.floats(0.0625, 1, width=32), unit)
def test_a_locked_velocity_predicts_the_mix(t: float, a: float) -> None:
    x, v, target = (gaussian(1, 5, 64, seed=i) for i in range(3))
    at, share = torch.tensor([[[t]]]), torch.tensor([[[a]]])
    locked = step.clean(x, step.lock(v, x, at, target, share), at)
    assert (locked - torch.lerp(step.clean(x, v, at), target, a)).abs().max() < 2e-5


@given(st.floats(0.0625, 1, width=32), unit)
def test_reprojection_keeps_noise_and_prediction(s: float, s_new: float) -> None:
    n, x0 = gaussian(5, 64, seed=1), gaussian(5, 64, seed=2)
    moved = step.reproject(step.birth(n, x0, s), x0, s, s_new, x0)
    assert (moved - step.birth(n, x0, s_new)).abs().max() < 1e-3
