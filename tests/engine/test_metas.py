"""Tempo, key and time signature read from prompts as musicians write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import PromptError
from engine.metas import Metas, read_metas


@pytest.mark.parametrize(
    ("text", "metas"),
    [
        ("ambient, 100 bpm, a minor, 4/4", Metas("ambient", 100, "A minor", "4")),
        ("4/4, 100 BPM, Ambient with soft pads", Metas("Ambient with soft pads", 100, None, "4")),
        ("deep house at 122bpm in F# minor with warm pads", Metas("deep house with warm pads", 122, "F# minor")),
        ("waltz in 3/4 time, bpm: 90, key of B♭ major.", Metas("waltz.", 90, "Bb major", "3")),
        ("a jig in 6/8, e flat maj", Metas("a jig", None, "Eb major", "6")),
        ("tempo: 128 bpm; techno", Metas("techno", 128)),
        ("120 bpm", Metas("", 120)),
        ("", Metas("")),
        ("a sad piece in a minor key", Metas("a sad piece in a minor key")),
        ("open 24/7, 808 drums", Metas("open 24/7, 808 drums")),
        ("house in C, dorian", Metas("house in C, dorian")),
        ("First verse\nsecond, 2/4", Metas("First verse\nsecond", None, None, "2")),
    ],
)
def test_tempo_key_and_signature_leave_the_caption(text: str, metas: Metas) -> None:
    assert read_metas(text) == metas


@pytest.mark.parametrize(
    ("text", "bpm", "remark"),
    [
        ("house 122.5 bpm", 123, "122.5 bpm was read as 123"),
        ("house 20 bpm", 30, "20 bpm is outside the model's 30–300"),
        ("house 900 bpm", 300, "900 bpm is outside"),
        ("house 7/8", None, "the model has no 7/8"),
    ],
)
def test_what_the_model_cannot_take_is_said(text: str, bpm: int | None, remark: str) -> None:
    metas = read_metas(text)
    assert metas.bpm == bpm
    (said,) = metas.remarks
    assert remark in said


def test_an_odd_time_signature_stays_in_the_caption() -> None:
    assert read_metas("prog rock, 7/8").caption == "prog rock, 7/8"


def test_what_is_given_apart_wins_over_the_text() -> None:
    text = "house, 900 bpm, c major, 7/8"
    metas = read_metas(text, bpm=128, key="f sharp minor", time_signature="6/8")
    assert metas == Metas("house", 128, "F# minor", "6")
    assert read_metas("house, 3/4", time_signature="4/4") == Metas("house", None, None, "4")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"key": "loud"}, "'loud' is no key"),
        ({"key": "f dorian"}, "'f dorian' is no key"),
        ({"time_signature": "four"}, "'four' is no time signature"),
        ({"time_signature": "4"}, "'4' is no time signature"),
    ],
)
def test_a_field_that_is_none_is_refused(field: dict[str, str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read_metas("house", **field)


@pytest.mark.parametrize(("text", "caption"), [("prog rock, 4/4", "prog rock, 7/8"), ("", "7/8")])
def test_an_odd_time_signature_given_apart_becomes_a_part_of_the_caption(text: str, caption: str) -> None:
    metas = read_metas(text, time_signature="7/8")
    assert (metas.caption, metas.time_signature) == (caption, None)
    assert "the model has no 7/8" in metas.remarks[0]


@given(st.text(st.characters(exclude_characters="\0"), max_size=200))
def test_any_text_is_read_and_no_hole_is_left(text: str) -> None:
    assert "\0" not in read_metas(text).caption
    assert "\0" not in read_metas(text, time_signature="7/8").caption


@given(st.integers(30, 300), st.sampled_from("abcdefg"), st.sampled_from(["", "#", "b", " sharp"]), st.data())
def test_in_any_order_the_same_is_read(bpm: int, note: str, sign: str, data: st.DataObject) -> None:
    parts = data.draw(st.permutations(["dub techno", f"{bpm} bpm", f"{note}{sign} minor", "3/4"]))
    sign = sign.replace(" sharp", "#")
    assert read_metas(", ".join(parts)) == Metas("dub techno", bpm, f"{note.upper()}{sign} minor", "3")
