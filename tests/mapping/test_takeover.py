"""Takeover: each rule against its stated source, and against hands of all kinds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.mapping.takeover import RECENT_NS, TOLERANCE, WIDE_TOLERANCE, Pickup, Takeover, rule

travels = st.floats(0, 1)
MS = 1_000_000


def play(physical: list[float], knob: float, span: float, pause_ms: float = 5) -> list[float]:
    """What the knob is after each position of a control that is turned; nothing else moves the knob."""
    pickup, given, now, seen = Pickup(), None, 0, []
    for position in physical:
        now += int(pause_ms * MS)
        if pickup.accepts(position / span, knob / span, given == knob, now):
            knob = given = position
        seen.append(knob)
    return seen


def test_regression_mixxx_14902_the_knob_stays_at_120_until_the_control_is_there() -> None:
    assert play([140, 135, 130, 125, 120, 115], 120, 200) == [120, 120, 120, 120, 120, 115]


def test_the_first_value_is_never_used_even_if_it_is_near() -> None:
    assert play([64, 65], 64, 127) == [64, 65]
    assert play([65], 64, 127) == [64]


def test_a_control_that_comes_past_fast_takes_the_knob_along() -> None:
    assert play([100, 80, 60, 20], 70, 127, pause_ms=80) == [70, 70, 60, 20]


def test_a_held_knob_follows_however_fast_the_hand_is_after_a_rest() -> None:
    assert play([64, 65, 120, 3], 64, 127, pause_ms=5000) == [64, 65, 120, 3]


def test_a_knob_that_something_else_has_moved_away_waits_again() -> None:
    pickup = Pickup()
    assert not pickup.accepts(0.5, 0.5, False, 0)
    assert pickup.accepts(0.5, 0.5, False, 5 * MS)
    assert not pickup.accepts(0.49, 0.9, False, 500 * MS)
    assert pickup.accepts(0.89, 0.9, False, 600 * MS)


def test_after_a_replug_the_control_must_pick_up_again() -> None:
    pickup = Pickup()
    pickup.accepts(0.5, 0.5, False, 0)
    assert pickup.accepts(0.5, 0.5, False, 1)
    pickup.arm()
    assert not pickup.accepts(0.9, 0.5, True, 2)


def mixxx_ignores(travel: float, previous: float | None, knob: float, used_ns: int | None, now: int) -> bool:
    """Mixxx's rule in its own terms: by distance, side and time alone."""
    if previous is None:
        return True
    far, was_far = abs(travel - knob) > TOLERANCE, abs(previous - knob) > TOLERANCE
    later = used_ns is None or now - used_ns > RECENT_NS
    opposite = (previous - knob) * (travel - knob) < 0
    if not far:
        return False
    return later if opposite else (was_far or later)


steps = st.lists(st.tuples(travels, travels, st.integers(0, 120), st.booleans()), min_size=1, max_size=30)


@given(steps)
def test_pickup_is_mixxxs_rule_plus_a_held_knob_and_a_control_that_came_past(
    moves: list[tuple[float, float, int, bool]],
) -> None:
    pickup, now = Pickup(), 0
    for travel, knob, pause_ms, holds in moves:
        now += pause_ms * MS
        previous, used = pickup.previous, pickup.used_ns
        ignored = mixxx_ignores(travel, previous, knob, used, now)
        accepted = pickup.accepts(travel, knob, holds, now)
        if not ignored:
            assert accepted
        elif accepted:
            assert previous is not None
            assert holds or (previous - knob) * (travel - knob) < 0


@given(st.lists(travels, min_size=2, max_size=60), travels)
def test_a_knob_never_jumps_further_than_the_hand_has_just_moved(positions: list[float], knob: float) -> None:
    values = [knob, *play(positions, knob, 1)]
    hand = [0.0, *(abs(after - before) for before, after in itertools.pairwise(positions))]
    for (before, after), moved in zip(itertools.pairwise(values), hand, strict=True):
        assert abs(after - before) <= max(moved, TOLERANCE) + 1e-9


# -- the other five -----------------------------------------------------------------------------------------------


def follow(takeover: Takeover, positions: list[float], knob: float, span: float = 1) -> list[float]:
    """What the knob is after each position, where nothing else moves it."""
    one, given, seen = rule(takeover, None), None, []
    for i, position in enumerate(positions):
        wanted = one.move(position / span, knob / span, given == knob, i * 5 * MS)
        if wanted is not None:
            knob = given = wanted * span
        seen.append(round(knob, 6))
    return seen


def test_off_jumps_to_the_control() -> None:
    assert follow(Takeover.OFF, [20, 90], 50, 127) == [20, 90]


def test_a_tolerant_pickup_lets_in_a_hand_that_is_further_away() -> None:
    assert TOLERANCE < 10 / 128 < WIDE_TOLERANCE
    assert follow(Takeover.PICKUP, [40, 60], 70, 128) == [70, 70]
    assert follow(Takeover.PICKUP_TOLERANT, [40, 60], 70, 128) == [70, 60]


def test_a_stated_tolerance_replaces_the_usual_one() -> None:
    exact = rule(Takeover.PICKUP, 1 / 127)
    assert exact.move(60 / 127, 63 / 127, False, 0) is None
    assert exact.move(61 / 127, 63 / 127, False, 0) is None
    assert exact.move(62 / 127, 63 / 127, False, 0) == 62 / 127


def test_parallel_records_the_first_message_and_then_moves_by_as_much_as_the_control() -> None:
    assert follow(Takeover.PARALLEL, [20, 30, 25], 50, 127) == [50, 60, 55]


def test_parallel_moves_at_most_64_steps_a_message() -> None:
    assert follow(Takeover.PARALLEL, [2, 100], 10, 127) == [10, 74]


def test_parallel_takes_the_knob_to_its_end_with_the_controls_last_step() -> None:
    assert follow(Takeover.PARALLEL, [60, 125, 126], 10, 127) == [10, 74, 127]
    assert follow(Takeover.PARALLEL, [60, 2, 1], 100, 127) == [100, 42, 0]


def test_scale_uses_up_both_remaining_ways_together() -> None:
    assert follow(Takeover.SCALE, [0.5, 0.75, 1.0], 0.2) == [0.2, 0.6, 1.0]
    assert follow(Takeover.SCALE, [0.5, 0.25, 0.0], 0.8) == [0.8, 0.4, 0.0]


def test_slow_comes_nearer_at_twice_the_hands_speed_until_they_meet() -> None:
    assert follow(Takeover.SLOW, [0.2, 0.3, 0.4, 0.5], 0.9) == [0.9, 0.7, 0.5, 0.5]
    assert follow(Takeover.SLOW, [0.5, 0.4, 0.3], 0.9) == [0.9, 0.7, 0.5]


@pytest.mark.parametrize("takeover", [t for t in Takeover if t is not Takeover.OFF])
@given(positions=st.lists(travels, min_size=1, max_size=40), knob=travels)
def test_the_first_travel_after_arming_moves_nothing_and_no_rule_leaves_the_travel(
    takeover: Takeover, positions: list[float], knob: float
) -> None:
    seen = follow(takeover, positions, knob)
    assert seen[0] == round(knob, 6)
    assert all(0 <= value <= 1 for value in seen)


@pytest.mark.parametrize("takeover", [Takeover.PARALLEL, Takeover.SCALE, Takeover.SLOW])
@given(positions=st.lists(travels, min_size=2, max_size=40), knob=travels)
def test_the_whole_range_can_be_reached_without_ever_meeting_the_knob(
    takeover: Takeover, positions: list[float], knob: float
) -> None:
    sweep = [i / 127 for i in range(127, -1, -1)]
    assert follow(takeover, [*positions, 1.0, *sweep], knob)[-1] == 0
    assert follow(takeover, [*positions, 0.0, *sweep[::-1]], knob)[-1] == 1


@pytest.mark.parametrize("takeover", list(Takeover))
@given(positions=st.lists(travels, min_size=2, max_size=40))
def test_a_control_that_stands_with_its_knob_moves_it_exactly(takeover: Takeover, positions: list[float]) -> None:
    inner = [0.05 + 0.9 * position for position in positions]
    small = [inner[0]]
    for position in inner[1:]:
        small.append(min(max(position, small[-1] - 0.4), small[-1] + 0.4))
    seen = follow(takeover, [small[0], *small], small[0])
    assert seen[1:] == pytest.approx(small, abs=1e-5)
