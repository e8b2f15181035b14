"""The ring's promises, on a small random transformer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import Knobs
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.guide import Guides
from engine.stream import Result, Ring, generate
from tests.engine.parts import FRAMES

KNOBS = Knobs()
STEPS = 8


class Player:
    """A ring with its guides: `play` runs ticks and collects results."""

    def __init__(self, backend: EagerBackend, source: Tensor, guides: Guides, depth: int = 4, steps: int = STEPS):
        self.ring, self.guides = Ring(backend, source, depth, steps), guides

        self.curves = Curves(FRAMES, backend.device)

    def play(self, ticks: int, knobs: Knobs = KNOBS) -> list[Result]:
        guide = self.guides.at(knobs, self.curves)
        return [result for _ in range(ticks) for result in self.ring.tick(knobs, guide, self.curves)]


@pytest.fixture
def player(backend: EagerBackend, source: Tensor, guides: Guides) -> Player:
    return Player(backend, source, guides)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


@pytest.mark.parametrize(("depth", "steps", "gap"), [(4, 8, 2), (2, 8, 4), (8, 8, 1), (1, 4, 4)])
def test_results_come_at_even_gaps(
    backend: EagerBackend, source: Tensor, guides: Guides, depth: int, steps: int, gap: int
) -> None:
    results = Player(backend, source, guides, depth, steps).play(4 * steps)
    finished = [result.finished_tick for result in results]
    assert finished[0] == steps - 1
    assert {b - a for a, b in pairwise(finished)} == {gap}
    assert all(result.finished_tick - result.admitted_tick == steps - 1 for result in results)


def test_the_ring_knows_when_the_next_result_comes(player: Player) -> None:
    assert player.ring.ticks_to_result() == STEPS
    for _ in range(20):
        expected = player.ring.ticks_to_result()
        assert [len(player.play(1)) for _ in range(expected)] == [0] * (expected - 1) + [1]


def test_constant_knobs_give_bit_identical_latents(player: Player) -> None:
    assert len({result.digest() for result in player.play(24)}) == 1


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_streaming_equals_generating_once_at_any_depth(
    backend: EagerBackend, source: Tensor, guides: Guides, curves: Curves, depth: int
) -> None:
    once = generate(backend, source, guides.at(KNOBS, curves), curves, KNOBS, STEPS)
    for result in Player(backend, source, guides, depth).play(16):
        assert torch.equal(result.latent, once)


def test_a_latent_does_not_depend_on_its_batch_mates(player: Player) -> None:
    """Slots of other seeds and shifts come and go beside it."""
    alone = player.play(8)[0]
    for seed in range(2, 9):
        player.play(1, Knobs(seed=seed, shift=1.0 + seed / 3))
    mixed = player.play(9)[-1]
    assert mixed.seed == 1
    assert mixed.admitted_tick not in (0, 8)
    assert torch.equal(mixed.latent, alone.latent)


def test_a_result_carries_its_story(player: Player) -> None:
    player.play(7, Knobs(version=3))
    (result,) = player.play(1, Knobs(version=5))
    assert (result.id, result.admitted_tick, result.finished_tick) == (1, 0, 7)
    assert (result.admitted_version, result.version) == (3, 5)
    assert (result.region, result.seed) == ((0, 50), 1)


def test_a_result_is_the_receivers_to_keep(player: Player) -> None:
    first, second = player.play(10)
    before = first.digest()
    player.play(20, Knobs(seed=5))
    assert first.digest() == second.digest() == before


@pytest.mark.parametrize(
    "change",
    [
        {"denoise": 0.4},
        {"denoise": 0.9},
        {"velocity_scale": 0.8},
        {"source_lock": 0.5},
        {"prompt_blend": 1.0},
        {"prompt_blend": 0.5},
        {"hint_strength": 0.0},
    ],
)
def test_a_shared_knob_is_heard_in_the_next_latent(player: Player, change: dict[str, Any]) -> None:
    steady = player.play(16)[-1]
    changed = player.play(2, replace(KNOBS, **change))
    assert changed[0].digest() != steady.digest()


@pytest.mark.parametrize("change", [{"seed": 2}, {"shift": 2.0}])
@pytest.mark.parametrize("phase", [0, 1])
def test_a_slot_knob_is_heard_with_three_steps_left_and_in_full_a_schedule_later(
    player: Player, change: dict[str, Any], phase: int
) -> None:
    steady = player.play(16 + phase)[-1]
    knobs = replace(KNOBS, **change)
    ticks = 1
    while not (results := player.play(1, knobs)) or results[0].digest() == steady.digest():
        ticks += 1
    assert 3 <= ticks <= 4
    later = {result.finished_tick - 16 - phase: result for result in player.play(24, knobs)}
    settled = [tick for tick, result in later.items() if result.settled]
    assert STEPS <= settled[0] + 1 <= STEPS + STEPS // 4 - 1
    assert len({later[tick].digest() for tick in settled}) == 1


def test_strength_0_returns_the_source_bit_for_bit_and_at_once(player: Player, source: Tensor) -> None:
    player.play(11)
    for result in player.play(10, Knobs(denoise=0.0)):
        assert torch.equal(result.latent, source)
    assert player.ring.load == 0
    assert not torch.equal(player.play(2)[0].latent, source)


def test_distance_to_the_source_grows_with_strength(
    backend: EagerBackend, source: Tensor, guides: Guides, curves: Curves
) -> None:
    guide = guides.at(KNOBS, curves)
    walk = [
        distance(generate(backend, source, guide, curves, Knobs(denoise=d / 10), STEPS), source) for d in range(11)
    ]
    assert walk[0] == 0
    assert all(a < b for a, b in pairwise(walk))


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.3), (0.7, 0.1), (0.7, 0.5), (0.3, 0.7), (0.0, 0.7)])
def test_a_slot_that_lived_through_a_move_of_strength_comes_near_one_born_after_it(
    backend: EagerBackend, source: Tensor, guides: Guides, curves: Curves, before: float, after: float
) -> None:
    """The next latent already goes most of the way, and a schedule later there is no difference at all."""
    player = Player(backend, source, guides)
    guide = guides.at(KNOBS, curves)
    old, new = (generate(backend, source, guide, curves, Knobs(denoise=d), STEPS) for d in (before, after))
    player.play(16, Knobs(denoise=before))
    later = player.play(10, Knobs(denoise=after))
    assert distance(later[0].latent, new) < distance(old, new)
    assert torch.equal(later[-1].latent, new)


def test_a_full_lock_ends_at_the_source(player: Player, source: Tensor) -> None:
    locked = player.play(8, Knobs(source_lock=1.0))[0]
    assert distance(locked.latent, source) < 1e-5


def test_the_lock_spares_the_first_half_of_the_schedule(
    player: Player, backend: EagerBackend, source: Tensor
) -> None:
    """Locked from the first step or from the fifth: there is no difference."""
    locked = Knobs(source_lock=0.6)
    always = Player(backend, source, player.guides).play(8, locked)[0]
    player.play(4)
    assert player.play(4, locked)[0].digest() == always.digest()
    free = Player(backend, source, player.guides).play(8)[0]
    assert free.digest() != always.digest()


def test_feedback_moves_on_from_earlier_results(player: Player) -> None:
    knobs = Knobs(feedback=0.5)
    results = player.play(32, knobs)
    assert len({result.digest() for result in results}) > 3
    assert len({result.digest() for result in results[:4]}) == 1  # born before there was anything to feed back
    assert not any(result.settled for result in results)


def test_feedback_is_settled_only_when_results_reproduce_themselves(player: Player) -> None:
    results = player.play(24, Knobs(denoise=0.0, feedback=0.5, feedback_depth=2))
    assert len({result.digest() for result in results}) == 1
    assert [result.settled for result in results] == [False] * 6 + [True] * 3


def test_a_result_is_settled_when_nothing_changed_in_its_life(player: Player) -> None:
    first = player.play(8)
    assert [result.settled for result in first] == [True]
    moved = player.play(10, Knobs(denoise=0.5, version=1))
    assert [result.settled for result in moved] == [False, False, False, True, True]


def test_a_version_that_changes_nothing_leaves_the_music_settled(player: Player) -> None:
    player.play(8)
    assert all(result.settled for result in player.play(6, Knobs(version=9)))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=2, max_size=6))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_depth_may_change_at_any_tick(
    backend: EagerBackend, source: Tensor, guides: Guides, curves: Curves, depths: list[tuple[int, int]]
) -> None:
    player = Player(backend, source, guides, steps=4)
    once = generate(backend, source, player.guides.at(KNOBS, curves), curves, KNOBS, 4)
    for depth, ticks in depths:
        player.ring.depth = depth
        assert all(torch.equal(result.latent, once) for result in player.play(ticks))
    player.play(4)
    assert len(player.play(4)) == player.ring.depth


@pytest.mark.parametrize(("depth", "steps"), [(0, 8), (4, 0)])
def test_an_impossible_ring_is_refused(backend: EagerBackend, source: Tensor, depth: int, steps: int) -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Ring(backend, source, depth, steps)
