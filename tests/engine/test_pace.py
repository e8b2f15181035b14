"""Which depth is chosen for which ticks, what is remembered of them, and a real measurement."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Session, pace
from engine.offline import VirtualPort
from engine.pace import Pace, advise
from tests.engine.playing import Player

STEPS = 8


def paced(*ticks: float, decode: float = 10.0) -> Pace:
    return Pace("here", ticks, decode)


GPU = paced(10, 10.5, 11, 12, 15, 18, 21, 24)
"""Rows cost little beside each other, until the device is full."""
CPU = paced(*(80.0 * -(-depth // 2) for depth in range(1, 9)), decode=45)
"""Two cores: two rows at a time."""


def test_the_most_latents_are_chosen_among_the_depths_within_the_target() -> None:
    assert advise(GPU, STEPS, 16.0).depth == 4  # 5 to 8 slots finish no more than a third of a percent more
    assert advise(GPU, STEPS, 16.0, target=50.0).depth == 4
    fast = paced(10, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 10.7)
    assert advise(fast, STEPS, 16.0).depth == 8


def test_when_none_is_within_the_target_the_soonest_is_chosen_and_said() -> None:
    advice = advise(CPU, STEPS, 16.0)
    assert advice.depth == 2
    assert "no depth keeps to 250 ms" in advice.why


def test_with_a_wide_target_two_cores_take_the_depth_that_uses_both_and_is_soonest() -> None:
    advice = advise(CPU, STEPS, 16.0, target=2_000.0)
    rates = [each.latents for each in advice.choices]
    assert advice.choices[advice.depth - 1].latents >= max(rates) * 0.97
    assert advice.depth == 2
    assert "2000 ms" in advice.why


def test_a_difference_within_what_ticks_wander_does_not_decide_against_the_sooner_end_of_a_change() -> None:
    disturbed = paced(164, 297, 439, 550, 730, 730, 1047, 1159, decode=60)
    advice = advise(disturbed, STEPS, 16.0)
    assert min(advice.choices, key=lambda each: each.knob).depth == 4
    assert advice.depth == 2


def test_a_loop_that_cannot_be_kept_up_with_is_said() -> None:
    advice = advise(CPU, STEPS, 0.5)
    assert not any(each.keeps_up for each in advice.choices)
    assert "too short" in advice.why


@given(st.lists(st.floats(0.1, 5_000), min_size=8, max_size=8), st.floats(0.1, 400), st.floats(1, 5_000))
def test_a_choice_within_the_target_is_never_passed_over(ticks: list[float], decode: float, target: float) -> None:
    advice = advise(paced(*ticks, decode=decode), STEPS, 16.0, target)
    chosen = advice.choices[advice.depth - 1]
    able = [each for each in advice.choices if each.keeps_up] or list(advice.choices)
    assert chosen in able
    if any(each.knob <= target for each in able):
        assert chosen.knob <= target
        assert all(each.latents * 0.96 <= chosen.latents for each in able if each.knob <= target)


def test_the_longest_context_within_the_target_is_advised() -> None:
    scaled = [(seconds, paced(*(seconds * tick for tick in GPU.ticks))) for seconds in (1.0, 2.0, 4.0, 16.0)]

    def longest(target: float) -> float | None:
        return pace.longest([(seconds, advise(each, STEPS, 16.0, target)) for seconds, each in scaled], target)

    assert longest(250.0) == 4.0
    assert longest(20.0) is None


def test_paces_are_kept_by_key_and_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "state" / "paces.json"
    pace.keep(path, GPU)
    pace.keep(path, Pace("there", CPU.ticks, 5.0))
    pace.keep(path, CPU)
    assert pace.read(path) == {"there": Pace("there", CPU.ticks, 5.0), "here": CPU}
    assert [file.name for file in path.parent.iterdir()] == ["paces.json"]


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "paces.json"
    for number in range(70):
        pace.keep(path, Pace(str(number), GPU.ticks, 5.0))
    assert list(pace.read(path)) == [str(number) for number in range(6, 70)]


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["key", "ticks", "decode"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_damaged_file_holds_no_paces(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged-paces.json"
    path.write_bytes(content)
    assert pace.read(path) == {}


@pytest.mark.parametrize("ticks", [(1.0,) * 7, (1.0,) * 7 + (0.0,), (1.0,) * 7 + (float("inf"),)])
def test_a_pace_without_a_time_for_every_depth_is_none(ticks: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="8 ticks"):
        Pace("here", ticks, 1.0)


def test_depths_that_were_not_measured_lie_between_those_that_were() -> None:
    assert pace._between({1: 10.0, 2: 12.0, 4: 20.0, 8: 40.0}) == (10, 12, 16, 20, 25, 30, 35, 40)


def test_more_slots_never_take_less_so_a_tick_that_was_disturbed_is_found_out() -> None:
    found = {1: 80.0, 2: 200.0, 3: 160.0, 4: 170.0, 5: 240.0, 6: 250.0, 7: 330.0, 8: 320.0}
    assert pace._between(found) == (80, 160, 160, 170, 240, 250, 320, 320)


def test_a_session_measures_before_it_plays_and_not_after(two_seconds: Path) -> None:
    session = Session(source=two_seconds, device="cpu", threads=1)
    try:
        session.attach(VirtualPort())
        with pytest.raises(RuntimeError, match="before a Session is attached"):
            session.survey([None])
    finally:
        session.close()


def test_the_second_session_takes_what_the_first_has_measured(
    two_seconds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "paces.json"
    session = Session(source=two_seconds, device="cpu", threads=1)
    try:
        pace.keep(path, replace(GPU, key=pace.key_of(session._changes.rig, session.device_name)))
    finally:
        session.close()
    monkeypatch.setattr(pace, "measure", None)  # a call would fail
    again = Session(source=two_seconds, device="cpu", threads=1, depth="auto", paces=path, knob_ms=60)
    try:
        assert again.setup.depth == 4
        assert again.advice.startswith("depth 4 of 8 steps was chosen")
    finally:
        again.close()


def test_while_music_plays_auto_is_decided_by_what_is_known(player: Player, tmp_path: Path) -> None:
    session = player.session
    with pytest.raises(ValueError, match="never measured here"):
        session.request_depth("auto")
    session._paces = tmp_path / "paces.json"
    pace.keep(session._paces, replace(GPU, key=pace.key_of(session._changes.rig, session.device_name)))
    session.request_depth(2)
    assert "depth 4 of 8 steps" in player.after(session.request_depth("auto"))
    assert session.setup.depth == 4
    assert "depth 4" in session.advice
    player.after(session.request_depth(1))
    assert session.advice == ""


def test_a_folder_that_cannot_be_written_is_said_and_the_session_starts(
    two_seconds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "measure", lambda rig, device, progress: GPU)
    (tmp_path / "file").write_text("")
    session = Session(
        source=two_seconds, device="cpu", threads=1, depth="auto", paces=tmp_path / "file" / "paces.json"
    )
    try:
        assert "measured at every start" in session.advice
    finally:
        session.close()
