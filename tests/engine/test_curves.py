"""Curves over the loop: where their values lie, and that they are what was drawn then."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from demond.knobs import CURVES
from engine.curves import DRAWN, Curves

NONE = Curves(50, torch.device("cpu"))
finite = st.floats(-1e3, 1e3, width=32)


def values(curves: Curves, name: str = "velocity_scale") -> list[float]:
    curve = curves.get(name)
    assert curve is not None
    assert curve.shape == (curves.frames, 1)
    numbers: list[float] = curve[:, 0].tolist()
    return numbers


def test_the_daemon_and_the_engine_draw_the_same_curves() -> None:
    assert set(CURVES) == DRAWN


@given(finite)
def test_one_value_is_the_whole_loop(value: float) -> None:
    assert values(NONE.drawn("velocity_scale", [value])) == [value] * 50


@given(st.lists(finite, min_size=50, max_size=50))
def test_a_value_a_frame_is_taken_as_it_is(drawn: list[float]) -> None:
    assert values(NONE.drawn("velocity_scale", drawn)) == pytest.approx(drawn, rel=1e-6, abs=1e-4)


@given(st.lists(finite, min_size=1, max_size=200))
def test_a_curve_stays_between_its_values(drawn: list[float]) -> None:
    curve = values(NONE.drawn("velocity_scale", drawn))
    assert min(drawn) - 1e-3 <= min(curve)
    assert max(curve) <= max(drawn) + 1e-3


def test_a_curve_closes_over_the_seam() -> None:
    """Of two values the first stands at a quarter of the loop, the second at three quarters."""
    curve = values(NONE.drawn("velocity_scale", [0.0, 1.0]))
    assert curve[12] == pytest.approx(0, abs=1e-6)
    assert curve[37] == pytest.approx(1, abs=1e-6)
    assert curve[0] == pytest.approx(curve[-1], abs=0.05)
    assert curve == pytest.approx([1 - value for value in curve[25:] + curve[:25]], abs=1e-6)


def test_what_is_drawn_later_does_not_reach_back() -> None:
    drawn = [0.5] * 50
    curves = NONE.drawn("velocity_scale", drawn)
    drawn[0] = 9.0
    assert values(curves)[0] == 0.5
    assert curves.drawn("velocity_scale", [0.5] * 50) is curves
    assert curves.drawn("velocity_scale", drawn) is not curves
    assert values(curves)[0] == 0.5


def test_a_curve_is_handed_back_to_its_knob() -> None:
    curves = NONE.drawn("velocity_scale", [0.5]).drawn("protect", [1.0])
    assert curves.drawn("velocity_scale", None).get("velocity_scale") is None
    assert curves.drawn("velocity_scale", None).get("protect") is not None
    assert NONE.drawn("protect", None) is NONE


def test_curves_follow_a_loop_of_another_length() -> None:
    curves = NONE.drawn("velocity_scale", [0.0, 1.0, 0.0]).at(300)
    assert values(curves) == values(Curves(300, curves.device).drawn("velocity_scale", [0.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("seed", [1.0], "seed cannot be drawn"),
        ("velocity_scale", [], "1 to 65536 values; velocity_scale was given 0"),
        ("velocity_scale", [0.0] * 65_537, "was given 65537"),
        ("velocity_scale", [0.0, math.nan], "no numbers"),
        ("velocity_scale", [math.inf], "no numbers"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(name: str, given: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NONE.drawn(name, given)
