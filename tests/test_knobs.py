"""The table of knobs, and what a value goes through before it is stored."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.knobs import INDEX, KNOBS, Curve, Form, Kind, Knob, KnobValueError, UnknownKnobError, knob

ANY_KNOB = st.sampled_from(KNOBS)


def test_every_knob_has_a_default_inside_its_range_and_a_sentence() -> None:
    for each in KNOBS:
        assert each.clamp(each.default) == each.default
        assert each.minimum < each.maximum
        assert len(each.text) > 10
        assert not each.text.endswith(".")


def test_names_are_unique_and_their_place_is_their_index() -> None:
    assert len(INDEX) == len(KNOBS)
    assert all(KNOBS[i].name == name for name, i in INDEX.items())


@given(ANY_KNOB, st.floats(allow_nan=False, allow_infinity=False))
def test_a_clamped_value_is_in_range_and_whole_where_the_knob_is(each: Knob, value: float) -> None:
    clamped = each.clamp(value)
    assert each.minimum <= clamped <= each.maximum
    assert each.form is Form.FLOAT or clamped.is_integer()
    assert each.clamp(clamped) == clamped


@given(ANY_KNOB, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_finite_is_refused(each: Knob, value: float) -> None:
    for act in (each.clamp, each.from_norm, each.to_norm):
        with pytest.raises(KnobValueError, match=each.name):
            act(value)


@given(ANY_KNOB, st.floats(0, 1))
def test_travel_goes_to_a_value_and_back(each: Knob, norm: float) -> None:
    back = each.to_norm(each.from_norm(norm))
    step = 0 if each.form is Form.FLOAT else 0.5 / (each.maximum - each.minimum)
    assert back == pytest.approx(norm, abs=step + 1e-9)


def test_an_exponential_knob_has_the_geometric_mean_half_way() -> None:
    each = Knob("cutoff", Kind.SHARED, 20, 20_000, 1000, "Hz", "", curve=Curve.EXP)
    assert each.from_norm(0.5) == pytest.approx(math.sqrt(20 * 20_000))


def test_a_misspelt_knob_gets_a_suggestion() -> None:
    with pytest.raises(UnknownKnobError, match="did you mean 'denoise'"):
        knob("denoize")
    with pytest.raises(UnknownKnobError) as caught:
        knob("qqqq")
    assert "did you mean" not in str(caught.value)


def test_values_are_formatted_as_people_read_them() -> None:
    assert knob("volume_db").format(-6) == "-6 dB"
    assert knob("mute").format(1) == "on"
    assert knob("seed").format(12345678) == "12345678"
