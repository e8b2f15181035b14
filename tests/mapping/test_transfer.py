from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.mapping.transfer import Curve, Encoding, detents, travel_at, travel_of_bits, value_at

travels = st.floats(0, 1)
ends = st.floats(0.01, 1000).map(lambda x: round(x, 3))
ranges = st.tuples(ends, ends).filter(lambda r: max(r) / min(r) > 1.001)
curves = st.sampled_from(Curve)


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


@given(st.integers(0, 127))
def test_each_relative_encoding_is_that_formula_for_every_value(v: int) -> None:
    assert detents(v, Encoding.TWOS_COMPLEMENT) == (v if v < 64 else v - 128)
    assert detents(v, Encoding.OFFSET_BINARY) == v - 64
    assert detents(v, Encoding.SIGNED_BIT) == (v - 64 if v > 64 else 0 if v == 64 else -v)
    assert detents(v, Encoding.SIGNED_BIT_MACKIE) == (v if v < 64 else 64 - v)


def test_a_left_tick_under_the_wrong_encoding_is_a_leap() -> None:
    """Why an encoding is never guessed: the jog wheel of a Mackie surface, read as another of its controls is."""
    assert (detents(65, Encoding.SIGNED_BIT_MACKIE), detents(65, Encoding.TWOS_COMPLEMENT)) == (-1, -63)
