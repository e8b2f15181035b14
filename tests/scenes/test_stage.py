"""Recalls, morphs, undo and arbitration, on a clock of their own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.control import Origin, Outcome, RefusedError
from demond.knobs import KNOBS, Form, knob
from demond.scenes.modulate import Lfo, RateUnit, Shape
from demond.scenes.running import FADER_SECONDS, LATE_STEPS, STEP_SECONDS
from demond.scenes.scene import NEVER_STORED, Curve, Discrete, Scene, Span, Unit
from demond.setting import Prompt, SetPrompt, SetSteps
from tests.scenes.stand import HAND, Stand

DECIMAL = [one.name for one in KNOBS if one.form is Form.FLOAT]
TEN_SECONDS = Span(10)


def drop(**words: object) -> Scene:
    return Scene("drop", {"denoise": 0.2, "feedback": 0.8, "feedback_depth": 5}, **words)  # type: ignore[arg-type]


def test_a_scene_without_a_time_is_set_at_once_and_in_one_call() -> None:
    stand = Stand(drop())
    stand.stage.recall("drop")
    assert stand.control.calls == [
        ({"denoise": 0.2, "feedback": 0.8, "feedback_depth": 5.0}, Origin("scene", "drop", stand.now_ns))
    ]
    assert stand.stage.current == "drop"


@settings(max_examples=60, deadline=None)
@given(
    values=st.dictionaries(st.sampled_from(DECIMAL), st.floats(0, 1), min_size=1, max_size=8),
    seconds=st.floats(0.05, 5),
    curve=st.sampled_from(list(Curve)),
    late=st.lists(st.floats(0, 0.2), max_size=60),
)
def test_a_morph_is_monotone_never_takes_more_than_its_step_and_arrives(
    values: dict[str, float], seconds: float, curve: Curve, late: list[float]
) -> None:
    aims = {name: knob(name).from_norm(travel) for name, travel in values.items()}
    stand = Stand(Scene("there", aims, time=Span(seconds), curve=curve))
    before = {name: stand.value(name) for name in aims}
    stand.stage.recall("there")
    seen = [before, *stand.pass_time(seconds + 20 + sum(late), late)]
    steepest = 1.5 if curve is Curve.SMOOTH else 1.0
    for name, aim in aims.items():
        travels = [knob(name).to_norm(each[name]) for each in seen]
        whole = abs(knob(name).to_norm(aim) - travels[0])
        most = whole * steepest * LATE_STEPS * STEP_SECONDS / seconds
        moves = [after - before for before, after in pairwise(travels)]
        assert max(map(abs, moves)) <= most + 1e-9
        assert all(move >= -1e-12 for move in moves) or all(move <= 1e-12 for move in moves)
        assert stand.value(name) == aim


def test_a_morph_takes_its_time() -> None:
    stand = Stand(Scene("there", {"denoise": 0.0}, time=Span(2), curve=Curve.LINEAR))
    stand.hand(denoise=1.0)
    stand.stage.recall("there")
    stand.pass_time(1.0)
    assert stand.value("denoise") == pytest.approx(0.5, abs=0.01)
    stand.pass_time(0.99)
    assert stand.value("denoise") > 0
    stand.pass_time(0.03)
    assert stand.value("denoise") == 0


def test_a_morph_over_bars_goes_by_the_tempo_and_follows_it() -> None:
    stand = Stand(Scene("there", {"denoise": 0.0}, time=Span(2, Unit.BARS), curve=Curve.LINEAR))
    stand.hand(denoise=1.0)
    stand.stage.recall("there")  # 8 beats are 4 s at 120
    stand.pass_time(2.0)
    assert stand.value("denoise") == pytest.approx(0.5, abs=0.01)
    stand.stage.transport.set_bpm(240, stand.now_ns)
    stand.pass_time(1.02)
    assert stand.value("denoise") == 0


def test_a_knob_that_a_hand_touches_stays_with_the_hand() -> None:
    stand = Stand(drop(time=Span(1)))
    stand.stage.recall("drop")
    stand.pass_time(0.5)
    stand.hand(denoise=0.66)
    stand.pass_time(2)
    assert stand.value("denoise") == 0.66
    assert stand.value("feedback") == 0.8


def test_a_knob_under_a_hand_is_left_alone_from_the_start_and_in_between() -> None:
    stand = Stand(drop(time=Span(1)))
    stand.held.add("denoise")
    stand.stage.recall("drop")
    stand.held.clear()
    stand.pass_time(0.5)
    stand.held.add("feedback")
    stand.pass_time(0.02)
    kept = stand.value("feedback")
    stand.held.clear()
    stand.pass_time(2)
    assert stand.value("denoise") == knob("denoise").default
    assert stand.value("feedback") == kept < 0.8


def test_a_finger_takes_a_knob_from_a_morph_and_an_lfo_goes_on_a_second_after_it_is_lifted() -> None:
    stand = Stand(drop(time=Span(1)))
    stand.stage.recall("drop")
    stand.stage.start_lfo("shift", Lfo(Shape.SINE, 2.0, RateUnit.HZ, 1.0))
    stand.pass_time(0.5)
    kept = {name: stand.value(name) for name in ("denoise", "shift")}
    for name in kept:
        stand.held.add(name)
        stand.stage.finger(name, HAND, True)
    stand.pass_time(5)
    stand.stage.undo()
    assert {name: stand.value(name) for name in kept} == kept
    for name in kept:
        stand.held.remove(name)
        stand.stage.finger(name, HAND, False)
    stand.pass_time(0.9)
    assert stand.value("shift") == kept["shift"]
    stand.pass_time(0.5)
    assert stand.value("shift") != kept["shift"]
    assert stand.value("denoise") == kept["denoise"]


def test_skipped_and_safe_knobs_are_left_alone() -> None:
    stand = Stand(drop(skip=frozenset({"denoise"})), safe=["feedback"])
    stand.stage.recall("drop")
    assert [changes for changes, _ in stand.control.calls] == [{"feedback_depth": 5.0}]


@pytest.mark.parametrize(("discrete", "at"), [(Discrete.AT_START, 0.0), (Discrete.HALF, 0.5), (Discrete.AT_END, 1.0)])
def test_whole_numbers_and_settings_change_at_their_point(discrete: Discrete, at: float) -> None:
    text = SetPrompt(slot="a", prompt=Prompt(text="strings"))
    stand = Stand(drop(time=Span(1), curve=Curve.LINEAR, discrete=discrete, settings=(text,)))
    stand.stage.recall("drop")
    stand.pass_time(0.05)
    changed = []
    for i in range(20):
        if (stand.value("feedback_depth") == 5) is not (stand.control.session.prompt("a").text == "strings"):
            raise AssertionError("the knob and the prompt change together")
        if stand.value("feedback_depth") == 5:
            changed.append(0.05 + i * 0.06)
        else:
            assert stand.value("feedback_depth") == 1
        stand.pass_time(0.06)
    assert changed[0] == pytest.approx(max(at, 0.05), abs=0.07)


def test_only_settings_that_do_not_hold_yet_are_asked_for() -> None:
    asked = []
    same, other = SetPrompt(slot="a", prompt=Prompt(text="synthwave")), SetSteps(count=4)
    stand = Stand(Scene("there", settings=(same, other)))
    stand.control.feed.observe(asked.extend)
    stand.stage.recall("there")
    assert "steps" in asked
    assert "prompt/a" not in asked


def test_what_is_refused_is_told_and_the_rest_of_the_scene_is_set() -> None:
    outcomes: list[Outcome] = []
    stand = Stand(Scene("there", {"denoise": 0.1}, (SetPrompt(slot="a", prompt=Prompt(text="refuse me")),)))
    stand.stage.recall("there", done=outcomes.append)
    assert outcomes == [Outcome(False, "prompt/a: the engine is still loading")]
    assert stand.stage.status()["problem"] == "prompt/a: the engine is still loading"
    assert stand.value("denoise") == 0.1


def test_undo_brings_back_what_the_recall_changed_and_undone_again_redoes_it() -> None:
    stand = Stand(drop(settings=(SetSteps(count=4),)), Scene("intro", {"denoise": 0.9}))
    stand.stage.recall("intro")
    stand.stage.recall("drop")
    stand.stage.undo()
    assert (stand.value("denoise"), stand.value("feedback"), stand.value("feedback_depth")) == (0.9, 0.0, 1.0)
    assert (stand.control.session.steps, stand.stage.current) == (8, "intro")
    stand.stage.undo()
    assert (stand.value("denoise"), stand.value("feedback"), stand.value("feedback_depth")) == (0.2, 0.8, 5.0)
    assert (stand.control.session.steps, stand.stage.current) == (4, "drop")


def test_undo_leaves_what_a_hand_has_moved_since() -> None:
    stand = Stand(drop())
    stand.stage.recall("drop")
    stand.hand(denoise=0.33)
    stand.stage.undo()
    assert stand.value("denoise") == 0.33
    assert stand.value("feedback") == 0


def test_there_is_nothing_to_undo_before_the_first_recall() -> None:
    with pytest.raises(RefusedError, match="nothing to undo"):
        Stand().stage.undo()


def test_an_unknown_scene_is_refused_with_the_nearest() -> None:
    with pytest.raises(RefusedError, match="did you mean 'drop'"):
        Stand(drop()).stage.recall("dorp")


@settings(max_examples=40, deadline=None)
@given(positions=st.lists(st.floats(0, 1), min_size=1, max_size=6), seconds=st.sampled_from([0.0, 1.0]))
def test_the_fader_goes_between_the_last_two_scenes_without_a_jump(positions: list[float], seconds: float) -> None:
    stand = Stand(Scene("a", {"denoise": 0.0}), Scene("b", {"denoise": 1.0}, curve=Curve.LINEAR))
    stand.stage.recall("a")
    stand.stage.recall("b", seconds)
    stand.pass_time(0.3)
    seen = [stand.value("denoise")]
    for position in positions:
        stand.stage.move_to(position)
        seen += [each["denoise"] for each in stand.pass_time(FADER_SECONDS + 0.05)]
        assert stand.value("denoise") == pytest.approx(position, abs=1e-9)
    most = LATE_STEPS * STEP_SECONDS / FADER_SECONDS
    assert max((abs(b - a) for a, b in pairwise(seen)), default=0) <= most + 1e-9


def test_a_morph_is_paused_goes_on_and_can_be_kept_half_way() -> None:
    stand = Stand(drop(time=Span(1), curve=Curve.LINEAR))
    stand.stage.recall("drop")
    stand.pass_time(0.5)
    stand.stage.pause(True)
    half = stand.value("feedback")
    stand.pass_time(5)
    assert stand.value("feedback") == half == pytest.approx(0.4, abs=0.02)
    stand.stage.pause(False)
    stand.pass_time(0.25)
    assert stand.value("feedback") == pytest.approx(0.6, abs=0.02)
    stand.stage.keep()
    stand.pass_time(5)
    assert stand.value("feedback") == pytest.approx(0.6, abs=0.02)
    with pytest.raises(RefusedError, match="recall one first"):
        stand.stage.move_to(0.5)


def test_a_stored_scene_brings_everything_back_but_what_belongs_to_the_room() -> None:
    stand = Stand()
    stand.hand(denoise=0.11, volume_db=-12.0, seed=7)
    stand.stage.library.store("mine", 3)
    stand.hand(denoise=0.9, volume_db=-3.0, seed=8)
    stand.stage.recall(stand.stage.library.with_program(3).name)
    assert (stand.value("denoise"), stand.value("seed"), stand.value("volume_db")) == (0.11, 7.0, -3.0)
    assert stand.stage.library.scene("mine").values.keys() == {one.name for one in KNOBS} - NEVER_STORED


def test_a_scene_that_is_stored_anew_keeps_how_it_is_recalled() -> None:
    stand = Stand(drop(time=Span(2, Unit.BARS), program=5, quantize=Span(1, Unit.BARS)))
    stand.stage.library.store("drop")
    stored = stand.stage.library.scene("drop")
    assert (stored.time, stored.program, stored.quantize) == (Span(2, Unit.BARS), 5, Span(1, Unit.BARS))
    stand.stage.library.remove("drop")
    assert stand.stage.library.scene("drop") == drop(time=Span(2, Unit.BARS), program=5, quantize=Span(1, Unit.BARS))


@pytest.mark.parametrize("name", ["morph", "", "a b", "a/b", "x" * 65])
def test_a_name_that_an_address_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(RefusedError):
        Stand().stage.library.store(name)


def test_a_program_number_has_one_scene() -> None:
    stand = Stand(drop(program=1))
    with pytest.raises(RefusedError, match="program 1 is the scene drop already"):
        stand.stage.library.store("other", 1)


def test_a_scene_on_a_grid_is_heard_on_the_beat() -> None:
    stand = Stand(drop(quantize=Span(1, Unit.BARS)))  # a bar is 2 s, and beat 0 is now
    stand.control.latency = 0.3
    stand.pass_time(0.5)
    stand.stage.recall("drop")
    assert stand.stage.next == "drop"
    stand.pass_time(1.19)
    assert stand.value("denoise") == knob("denoise").default
    stand.pass_time(0.02)
    assert stand.value("denoise") == 0.2
    assert (stand.stage.next, stand.stage.current) == ("", "drop")


def test_a_beat_that_can_no_longer_be_met_is_left_to_the_next_one() -> None:
    stand = Stand(drop(quantize=Span(1, Unit.BARS)))
    stand.control.latency = 0.3
    stand.pass_time(1.8)
    stand.stage.recall("drop")
    stand.pass_time(1.8)
    assert stand.value("denoise") == knob("denoise").default
    stand.pass_time(0.15)
    assert stand.value("denoise") == 0.2


def test_while_the_beat_stands_still_nothing_waits_for_it() -> None:
    stand = Stand(drop(quantize=Span(1, Unit.BARS)))
    stand.stage.transport.stop(stand.now_ns)
    stand.stage.recall("drop")
    assert stand.value("denoise") == 0.2


def test_the_last_touch_is_told() -> None:
    stand = Stand(drop())
    stand.hand(denoise=0.5)
    assert stand.stage.arbiter.source("denoise") == "midi nk2/fader1"
    stand.stage.recall("drop")
    assert stand.stage.arbiter.source("denoise") == "scene drop"
    assert stand.stage.arbiter.source("shift") == ""
    assert stand.told.count("knob/denoise/source") == 2


def test_an_lfo_begins_without_a_jump_swings_around_the_knob_and_keeps_off_a_hand() -> None:
    stand = Stand()
    stand.hand(denoise=0.5)
    stand.pass_time(1.1)
    stand.stage.start_lfo("denoise", Lfo(Shape.SINE, 2.0, RateUnit.HZ, 0.2))
    seen = [0.5, *(each["denoise"] for each in stand.pass_time(4))]
    steepest = 2 * 3.1416 * 2.0 * 0.2 * STEP_SECONDS
    assert max(abs(b - a) for a, b in pairwise(seen)) < 1.5 * steepest
    assert (min(seen), max(seen)) == (pytest.approx(0.3, abs=0.01), pytest.approx(0.7, abs=0.01))
    stand.hand(denoise=0.9)
    assert {each["denoise"] for each in stand.pass_time(0.95)} == {0.9}
    seen = [0.9, *(each["denoise"] for each in stand.pass_time(4))]
    assert max(abs(b - a) for a, b in pairwise(seen)) < 1.5 * steepest
    assert (min(seen), max(seen)) == (pytest.approx(0.7, abs=0.01), 1.0)
    stand.stage.start_lfo("denoise", None)
    still = stand.value("denoise")
    stand.pass_time(2)
    assert stand.value("denoise") == still


def test_a_scene_takes_a_knob_from_its_lfo_until_it_has_arrived() -> None:
    stand = Stand(Scene("there", {"denoise": 0.5}, time=Span(1)))
    stand.stage.start_lfo("denoise", Lfo(Shape.SINE, 5.0, RateUnit.HZ, 0.1))
    stand.pass_time(3)
    stand.stage.recall("there")
    stand.pass_time(1.5)
    assert stand.value("denoise") == 0.5
    stand.pass_time(3)
    assert stand.stage.arbiter.source("denoise") == "lfo"


def test_a_gesture_is_recorded_over_beats_and_repeated_in_step_with_them() -> None:
    stand = Stand()
    stand.stage.record("denoise", Span(1, Unit.BARS))  # 2 s
    for value in (0.1, 0.2, 0.3, 0.4):
        stand.hand(denoise=value)
        stand.pass_time(0.5)
    stand.pass_time(0.1)
    assert stand.stage.modulators.gesture("denoise") == "looping"
    stand.pass_time(3.0)
    for _ in range(3):
        heard = []
        for _ in range(4):
            stand.pass_time(0.5)
            heard.append(round(stand.value("denoise"), 6))
        assert heard == [0.4, 0.1, 0.2, 0.3]
    stand.stage.start_lfo("denoise", None)
    assert stand.stage.modulators.gesture("denoise") == "off"
