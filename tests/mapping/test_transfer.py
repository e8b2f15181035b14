from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.mapping.transfer import (
    RECENT_NS,
    TOLERANCE,
    Curve,
    Encoding,
    Pickup,
    detents,
    travel_at,
    travel_of_bits,
    value_at,
)

travels = st.floats(0, 1)
ends = st.floats(0.01, 1000).map(lambda x: round(x, 3))
ranges = st.tuples(ends, ends).filter(lambda r: max(r) / min(r) > 1.001)
curves = st.sampled_from(Curve)
MS = 1_000_000


def test_seven_bits_cover_the_whole_travel() -> None:
    assert travel_of_bits(0, 7) == 0
    assert travel_of_bits(127, 7) == 1
    assert travel_of_bits(16383, 14) == 1


@given(ranges, curves)
def test_the_ends_of_the_travel_are_exactly_the_ends_of_the_range(span: tuple[float, float], curve: Curve) -> None:
    assert value_at(0, *span, curve) == span[0]
    assert value_at(1, *span, curve) == span[1]


@given(ranges, curves, travels, travels)
def test_more_travel_never_turns_back(span: tuple[float, float], curve: Curve, one: float, two: float) -> None:
    low, high = (value_at(travel, *span, curve) for travel in sorted((one, two)))
    up = span[1] > span[0]
    assert (low <= high + 1e-9 * abs(high)) if up else (low >= high - 1e-9 * abs(high))
    assert min(span) <= low <= max(span)


@given(ranges, curves, travels)
def test_a_value_is_found_again_on_the_travel(span: tuple[float, float], curve: Curve, travel: float) -> None:
    assert travel_at(value_at(travel, *span, curve), *span, curve) == pytest.approx(travel, abs=1e-6)


def test_half_way_of_an_exponential_fader_is_the_geometric_mean() -> None:
    assert value_at(0.5, 20, 20_000, Curve.EXP) == pytest.approx((20 * 20_000) ** 0.5)


@given(ranges, travels)
def test_log_undoes_exp(span: tuple[float, float], travel: float) -> None:
    low, high = span
    share = (value_at(travel, low, high, Curve.EXP) - low) / (high - low)
    undone = (value_at(share, low, high, Curve.LOG) - low) / (high - low)
    assert undone == pytest.approx(travel, abs=1e-6)


@pytest.mark.parametrize(
    ("encoding", "up", "down", "three_down"),
    [
        (Encoding.TWOS_COMPLEMENT, 1, 127, 125),
        (Encoding.OFFSET_BINARY, 65, 63, 61),
        (Encoding.SIGNED_BIT, 65, 1, 3),
        (Encoding.SIGNED_BIT_MACKIE, 1, 65, 67),
    ],
)
def test_each_relative_encoding_is_decoded(encoding: Encoding, up: int, down: int, three_down: int) -> None:
    assert [detents(value, encoding) for value in (up, down, three_down)] == [1, -1, -3]


# -- takeover -----------------------------------------------------------------------------------------------------


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
