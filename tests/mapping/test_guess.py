"""What numbers look like: a hand's, or an encoding's."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from demond.mapping.candidate import Candidate
from demond.mapping.guess import is_pair, of_values, one_way
from demond.mapping.raw import control
from demond.mapping.transfer import Encoding
from tests.mapping.stage import MS, PORT

FADER = control("knob_cc1", {"cc": 1})


def moved(values: list[int]) -> Candidate:
    one = Candidate(PORT, "box/fader1", FADER)
    for i, value in enumerate(values):
        one.moved(value / 127, i * 5 * MS)
    return one


@given(st.integers(0, 115), st.lists(st.integers(0, 12), max_size=200))
def test_no_trembling_within_a_tenth_of_the_travel_is_a_hand(place: int, noise: list[int]) -> None:
    assert moved([place + one for one in noise]).why_not()


@given(st.integers(0, 127), st.integers(0, 127), st.integers(4, 60))
def test_every_sweep_of_a_tenth_of_the_travel_is_one(start: int, end: int, count: int) -> None:
    assume(abs(end - start) >= 13)
    values = [round(start + (end - start) * i / (count - 1)) for i in range(count)]
    assert moved(values).why_not() == ""
    assert moved([*values, *reversed(values), *values]).why_not() == ""


@pytest.mark.parametrize(
    ("values", "kind", "encoding"),
    [
        ((1, 1, 127, 127), "encoder", Encoding.TWOS_COMPLEMENT),
        ((1, 2, 2, 126, 127), "encoder", Encoding.TWOS_COMPLEMENT),
        ((65, 65, 63, 63), "encoder", Encoding.OFFSET_BINARY),
        ((1, 1, 65, 65), "encoder", Encoding.SIGNED_BIT_MACKIE),
        ((65, 65, 1, 1), "encoder", Encoding.SIGNED_BIT),
        ((127, 0, 127, 0), "button", Encoding.ABSOLUTE),
    ],
)
def test_encodings_are_told_by_their_numbers(values: tuple[int, ...], kind: str, encoding: Encoding) -> None:
    found = of_values(values)
    assert found is not None
    assert (found.kind, found.encoding) == (kind, encoding)


@pytest.mark.parametrize(
    "values",
    [(), (1,), (1, 1, 1, 1), (65, 65, 65), (0, 1, 2, 3, 4), (62, 63, 65, 66), (127, 126, 2, 1), (64, 64, 64)],
)
def test_numbers_that_do_not_say_enough_are_no_encoding(values: tuple[int, ...]) -> None:
    assert of_values(values) is None


def test_an_encoder_that_is_turned_one_way_does_not_say_which_it_is() -> None:
    assert one_way((1, 1, 1, 1))
    assert one_way((65, 65, 66, 65))
    assert not one_way((1, 2, 3, 4))
    assert not one_way((1, 1, 127, 127))


def test_a_pair_is_told_by_its_lower_half_going_round_and_round() -> None:
    values = range(0, 16_384, 100)
    high, low = [value >> 7 for value in values], [value & 127 for value in values]
    assert is_pair(high, low, len(values))
    assert not is_pair(high, low, len(values) // 2)
    assert not is_pair(high, high, len(values))
    assert not is_pair(high[:3], low[:3], 3)
