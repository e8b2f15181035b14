"""Long loops by overlapping regions: where they lie, how they join, and what the ring says of them."""

from __future__ import annotations

from itertools import pairwise

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
from engine.stream import Result, Ring
from engine.windows import SHORTEST, Windows
from tests.engine.parts import gaussian

CPU = torch.device("cpu")
LOOP, WINDOW = 500, 120
KNOBS = Knobs()


class Player:
    """A windowed ring over a long random source."""

    def __init__(self, backend: EagerBackend) -> None:
        self.source = gaussian(LOOP, 64, seed=4)
        self.ring = Ring(backend, self.source, 4, 8, WINDOW)
        self.curves = Curves(LOOP, CPU)
        self.guides = Guides(
            backend,
            self.source,
            gaussian(LOOP, 64, seed=3),
            torch.zeros(LOOP, 64),
            {slot: Condition(gaussian(1, 5, 24, seed=i)) for i, slot in enumerate(("a", "b", "negative"))},  # type: ignore[arg-type, misc]
        )

    def play(self, ticks: int, at: int, knobs: Knobs = KNOBS) -> list[Result]:
        guide = self.guides.at(knobs, self.curves)
        return [result for _ in range(ticks) for result in self.ring.tick(knobs, guide, self.curves, at)]


@pytest.fixture
def player(backend: EagerBackend) -> Player:
    return Player(backend)


@given(st.integers(1, 3000), st.integers(SHORTEST, 1500), st.integers(-5000, 5000))
def test_every_frame_is_in_one_part_and_heard_from_both_sides(loop: int, window: int, at: int) -> None:
    windows = Windows(loop, window, CPU)
    first = windows.first(at)
    if window >= loop:
        assert (first, windows.length, windows.frames(first)) == (0, loop, None)
        return
    start, count = windows.part(first)
    assert (at - start) % loop < count
    assert (start - first) % loop == windows.before == window // 4
    assert windows.before + count <= window * 3 // 4 + 1
    frames = windows.at(first).tolist()
    assert frames[0] == first
    assert {(b - a) % loop for a, b in pairwise(frames)} == {1}


@given(st.integers(101, 3000), st.integers(SHORTEST, 1500))
def test_the_parts_are_the_loop(loop: int, window: int) -> None:
    windows = Windows(loop, window, CPU)
    if windows.many:
        parts = sorted({windows.part(windows.first(at)) for at in range(loop)})
        assert [start for start, _ in parts] == [0, *(start + count for start, count in parts[:-1])]
        assert sum(count for _, count in parts) == loop


def test_a_window_that_is_too_short_is_refused(backend: EagerBackend) -> None:
    with pytest.raises(ValueError, match="at least 100 frames, not 99"):
        Ring(backend, gaussian(LOOP, 64, seed=4), 4, 8, 99)


def test_a_window_as_long_as_the_loop_is_the_loop(backend: EagerBackend, player: Player) -> None:
    results = []
    for window in (None, LOOP, 2 * LOOP):
        player.ring = Ring(backend, player.source, 4, 8, window)
        results.append(player.play(8, 77)[0])
    assert {result.region for result in results} == {(0, LOOP)}
    assert len({result.digest() for result in results}) == 1


def test_a_result_says_which_part_of_the_loop_it_is(player: Player) -> None:
    for at in (0, 55, 56, 250, 499):
        result = player.play(10, at)[-1]
        first, count = result.region
        assert (first, count) == player.ring.region(at)
        assert count == WINDOW == len(result.latent)
        assert WINDOW // 4 <= (at - first) % LOOP < WINDOW * 3 // 4


def test_slots_in_flight_finish_their_own_region(player: Player) -> None:
    player.play(8, 0)
    regions = [result.region[0] for result in player.play(10, 100)]
    assert regions == [player.ring.region(0)[0]] * 3 + [player.ring.region(100)[0]] * 2


def test_constant_knobs_settle_in_every_region(player: Player) -> None:
    for at in (0, 60, 120, 60, 180):
        results = player.play(24, at)[-4:]
        assert len({result.digest() for result in results}) == 1
        assert all(result.settled for result in results)


def test_a_region_goes_on_from_the_one_before(player: Player) -> None:
    """The frames before a part are held to what was said there, so that the music goes on where it was."""
    before = player.play(16, 0)[-1]
    after = player.play(16, player.ring.region(0)[0] + 30 + 60)[-1]
    assert after.region != before.region
    shared = [frame % LOOP for frame in range(after.region[0], after.region[0] + 18)]
    said, goes_on = (
        torch.stack([each.latent[(frame - each.region[0]) % LOOP] for frame in shared]) for each in (before, after)
    )
    assert torch.allclose(said, goes_on, atol=1e-4)


def test_nothing_is_held_after_a_change(player: Player) -> None:
    before = player.play(16, 0)[-1]
    louder = Knobs(velocity_scale=0.7)
    moved = player.play(16, 60, louder)[-1]
    fresh = Player(player.ring.backend)  # type: ignore[arg-type]
    assert torch.equal(fresh.play(16, 60, louder)[-1].latent, moved.latent)
    assert before.region != moved.region


def test_curves_and_locks_are_cut_to_the_region(player: Player) -> None:
    """A full lock in one half of the loop ends at the source there, and nowhere else."""
    player.curves = player.curves.drawn("source_lock", [1.0] * 250 + [0.0] * 250)
    for at, locked in ((125, True), (375, False)):
        result = player.play(24, at)[-1]
        there = player.source[(torch.arange(WINDOW) + result.region[0]) % LOOP]
        assert ((result.latent - there).abs().max() < 1e-4) == locked


def test_strength_0_is_the_source_of_the_region(player: Player) -> None:
    result = player.play(8, 200, Knobs(denoise=0.0))[-1]
    frames = (torch.arange(WINDOW) + result.region[0]) % LOOP
    assert torch.equal(result.latent, player.source[frames])


def test_every_field_plays_in_a_window(player: Player, source: Tensor) -> None:
    from tests.engine.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        player.curves = scenario.curves(LOOP)
        results = player.play(12, 130, scenario.knobs)
        assert all(torch.isfinite(result.latent).all() for result in results)
