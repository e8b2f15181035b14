"""What presses, turns and moves do: modes, layers, conditions, smoothing, and whose hand has a knob."""

from __future__ import annotations

from pathlib import Path

import pytest

from demond.control import Origin
from demond.mapping.touch import HOLD_NS
from demond.midi.decode import Clock, ClockKind
from tests.mapping.stage import PORT, Stage

PROFILE = """
controls:
  fader1..2: {cc: 0..1}
  encoder1..2: {cc: 20..21, encoding: twos_complement}
  button1..8: {note: 1..8}
  pad1: {note: 60, kind: pad}
  button_pc: {program: 9}
"""
LAYERS = "layers: {shift: {}, eq: {}}\n"


def stage(folder: Path, *lines: str, head: str = "") -> Stage:
    return Stage(folder, PROFILE, *lines, head=head)


def press(one: Stage, note: int) -> None:
    one.send(0x90, note, 127)


def release(one: Stage, note: int) -> None:
    one.send(0x90, note, 0)


def tap(one: Stage, note: int) -> None:
    press(one, note)
    release(one, note)


# -- modes --------------------------------------------------------------------------------------------------------


def test_a_pad_sets_by_how_hard_it_is_hit(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/pad1, to: denoise, value: velocity, range: [0.2, 1]}")
    one.send(0x90, 60, 127)
    assert one["denoise"] == 1
    one.send(0x90, 60, 0)
    assert one["denoise"] == 1
    one.send(0x90, 60, 64)
    assert one["denoise"] == pytest.approx(0.2 + 0.8 * 64 / 127)


def test_radio_buttons_choose_and_a_second_press_changes_nothing(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/button1, to: seed, mode: radio, value: 5}",
        "{from: box/button2, to: seed, mode: radio, value: 6}",
    )
    tap(one, 1)
    tap(one, 2)
    assert one["seed"] == 6
    calls = len(one.control.calls)
    press(one, 2)
    assert len(one.control.calls) == calls
    assert one.why() == "seed is 6 already"


def test_increment_steps_to_the_end_or_around_it(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/button1, to: feedback_depth, mode: increment}",
        "{from: box/button2, to: feedback_depth, mode: increment, step: -1}",
        "{from: box/button3, to: feedback_depth, mode: increment, wrap: true}",
    )
    for _ in range(20):
        tap(one, 1)
    assert one["feedback_depth"] == 8
    tap(one, 2)
    assert one["feedback_depth"] == 7
    seen = []
    for _ in range(3):
        tap(one, 3)
        seen.append(one["feedback_depth"])
    assert seen == [8, 1, 2]


def test_an_encoder_that_wraps_goes_round_the_range(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/encoder1, to: loop_a, step: 0.25, wrap: true}")
    seen = []
    for _ in range(5):
        one.send(0xB0, 20, 1)
        seen.append(one["loop_a"])
    assert seen == [0.25, 0.5, 0.75, 0, 0.25]


def test_small_steps_on_a_whole_number_add_up(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/encoder1, to: feedback_depth, step: 0.25}")
    seen = []
    for _ in range(4):
        one.send(0xB0, 20, 1)
        seen.append(one["feedback_depth"])
    assert seen == [1, 2, 2, 2]


def test_a_long_press_and_a_short_press_of_one_button_differ(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/button1, to: seed, value: 5}",
        "{from: box/button1, to: denoise/reset, mode: hold_long, after: 400ms, also: true}",
    )
    one.control.values["denoise"] = 0.1
    press(one, 1)
    assert one["seed"] == 1
    assert one.why() == "waits to see how long it is held"
    release(one, 1)
    assert (one["seed"], one["denoise"]) == (5, 0.1)
    one.control.values["seed"] = 1
    press(one, 1)
    one.wait(399)
    assert one["denoise"] == 0.1
    one.wait(2)
    assert one["denoise"] == 0.7
    release(one, 1)
    assert one["seed"] == 1


def test_a_double_press_is_two_within_its_time(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/button1, to: denoise, mode: double, value: 0, after: 200ms}")
    tap(one, 1)
    one.wait(250)
    tap(one, 1)
    assert one["denoise"] == 0.7
    tap(one, 1)
    assert one["denoise"] == 0


def test_a_third_press_does_not_count_as_a_second_double(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/button1, to: denoise/reset, mode: double}")
    tap(one, 1)
    tap(one, 1)
    one.control.values["denoise"] = 0.1
    tap(one, 1)
    assert one["denoise"] == 0.1


def test_a_button_that_tells_of_no_release_toggles_and_cannot_hold(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/button_pc, to: mute}")
    one.send(0xC0, 9)
    assert one["mute"] == 1
    one.send(0xC0, 9)
    assert one["mute"] == 0


def test_a_momentary_button_on_a_device_that_is_unplugged_lets_go(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/button1, to: denoise, mode: momentary, value: 0}")
    one.plug(PORT)
    press(one, 1)
    assert one["denoise"] == 0
    one.mapper.ports([])
    assert one["denoise"] == 0.7


# -- layers and conditions ----------------------------------------------------------------------------------------


def layered(folder: Path) -> Stage:
    return stage(
        folder,
        "{from: box/button1, to: layer/shift}",
        "{from: box/button2, to: layer/eq, mode: toggle}",
        "{from: box/button3, to: layer/shift, mode: radio}",
        "{from: box/fader1, to: denoise, takeover: off}",
        "{from: box/fader1, to: feedback, takeover: off, when: {layer: shift}}",
        "{from: box/button4, to: seed, mode: momentary, value: 9}",
        "{from: box/button4, to: mute, mode: momentary, when: {layer: shift}}",
        head=LAYERS,
    )


def test_a_control_means_something_else_while_a_layer_is_held(tmp_path: Path) -> None:
    one = layered(tmp_path)
    press(one, 1)
    one.send(0xB0, 0, 127)
    release(one, 1)
    assert (one["denoise"], one["feedback"]) == (0.7, 1)
    one.send(0xB0, 0, 0)
    assert (one["denoise"], one["feedback"]) == (0, 1)


def test_layers_latch_and_exclude_each_other(tmp_path: Path) -> None:
    one = layered(tmp_path)
    tap(one, 2)
    assert one.mapper.layers == {"eq"}
    tap(one, 3)
    assert one.mapper.layers == {"shift"}
    tap(one, 2)
    tap(one, 2)
    assert one.mapper.layers == {"shift"}


def test_a_button_that_was_pressed_in_a_layer_is_released_in_it(tmp_path: Path) -> None:
    one = layered(tmp_path)
    press(one, 4)
    assert one["seed"] == 9
    press(one, 1)
    release(one, 4)
    assert (one["seed"], one["mute"]) == (1, 0)


def test_a_fader_that_was_moved_in_another_layer_must_pick_up_again(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/button1, to: layer/shift}",
        "{from: box/fader1, to: denoise}",
        "{from: box/fader1, to: feedback, when: {layer: shift}}",
        head=LAYERS,
    )
    for value in (89, 89, 38):
        one.send(0xB0, 0, value)
    assert one["denoise"] == pytest.approx(38 / 127)
    press(one, 1)
    for value in (20, 2, 100):
        one.send(0xB0, 0, value)
    assert one["feedback"] == pytest.approx(100 / 127)
    release(one, 1)
    for value in (101, 102):
        one.send(0xB0, 0, value)
    assert one["denoise"] == pytest.approx(38 / 127)
    assert "waits to pick up denoise" in one.why()


def test_a_line_counts_while_a_knob_is_where_it_says(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/fader1, to: sde_amp, takeover: off, when: {knob: sde, at: on}}",
        "{from: box/fader2, to: shift, takeover: off, when: {knob: denoise, above: 0.5, below: 0.9}}",
    )
    one.send(0xB0, 0, 0)
    assert one["sde_amp"] == 1
    assert one.why() == "the condition of its line does not hold"
    one.control.values["sde"] = 1
    one.send(0xB0, 0, 0)
    assert one["sde_amp"] == 0
    one.send(0xB0, 1, 0)
    assert one["shift"] == 1
    one.control.values["denoise"] = 0.95
    one.send(0xB0, 1, 127)
    assert one["shift"] == 1


def test_a_message_in_the_wrong_layer_says_which_one_is_wanted(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise, when: {layer: [shift, eq]}}", head=LAYERS)
    one.send(0xB0, 0, 5)
    assert one.why() == "its lines want the layer eq or shift, which is off"


def test_lines_are_switched_by_id_and_by_tag_and_stay_so_over_a_reload(tmp_path: Path) -> None:
    lines = (
        "{from: box/fader1, to: denoise, takeover: off, id: main, tags: [mix]}",
        "{from: box/fader2, to: feedback, takeover: off, tags: [mix], enabled: false}",
    )
    one = stage(tmp_path, *lines)
    one.send(0xB0, 1, 127)
    assert one["feedback"] == 0
    assert one.mapper.switch_line("main", False) == 1
    one.send(0xB0, 0, 0)
    assert one["denoise"] == 0.7
    assert one.why() == "its line is switched off"
    one.mapper.replace(one.load(*lines))
    one.send(0xB0, 0, 0)
    assert one["denoise"] == 0.7
    assert one.mapper.switch_line("mix", True) == 2
    one.send(0xB0, 0, 0)
    one.send(0xB0, 1, 127)
    assert (one["denoise"], one["feedback"]) == (0, 1)
    assert one.mapper.switch_line("nobody", True) == 0


# -- smoothing ----------------------------------------------------------------------------------------------------


def test_a_smoothed_knob_glides_to_the_fader_in_its_time(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off, smooth: 100ms}")
    one.control.values["denoise"] = 0
    one.send(0xB0, 0, 127)
    assert one["denoise"] == 0
    one.wait(50)
    assert one["denoise"] == pytest.approx(0.5, abs=0.06)
    one.wait(60)
    assert one["denoise"] == 1
    assert one.mapper.due_ns is None


def test_steps_of_a_smoothed_encoder_add_up_before_they_are_smoothed(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/encoder1, to: feedback, step: 0.1, smooth: 50ms}")
    for _ in range(5):
        one.send(0xB0, 20, 1)
    one.wait(100)
    assert one["feedback"] == pytest.approx(0.5)


def test_a_glide_gives_way_to_whoever_sets_the_knob(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off, smooth: 100ms}")
    one.send(0xB0, 0, 127)
    one.wait(30)
    one.elsewhere(denoise=0.2)
    one.wait(200)
    assert one["denoise"] == 0.2


# -- arbitration --------------------------------------------------------------------------------------------------


def two_hands(folder: Path) -> Stage:
    lines = [f"{{from: box/fader{i}, to: denoise, takeover: off}}" for i in (1, 2)]
    return stage(folder, *lines)


def test_of_two_controls_of_one_knob_the_last_touch_wins_and_the_other_is_told(tmp_path: Path) -> None:
    one = two_hands(tmp_path)
    one.send(0xB0, 0, 10)
    one.send(0xB0, 1, 100)
    assert one["denoise"] == pytest.approx(100 / 127)
    one.send(0xB0, 0, 11)
    assert one["denoise"] == pytest.approx(100 / 127)
    assert one.why() == "box/fader2 has denoise: it was touched last and is being moved"


def test_a_control_that_was_still_for_the_hold_time_touches_anew(tmp_path: Path) -> None:
    one = two_hands(tmp_path)
    one.send(0xB0, 0, 10)
    one.send(0xB0, 1, 100)
    one.now += HOLD_NS
    one.send(0xB0, 0, 12)
    assert one["denoise"] == pytest.approx(12 / 127)


def test_a_control_that_never_rests_gets_the_knob_when_the_other_has_stopped(tmp_path: Path) -> None:
    one = two_hands(tmp_path)
    one.send(0xB0, 0, 10)
    one.send(0xB0, 1, 100)
    for value in range(100):
        one.send(0xB0, 0, value)
    assert one["denoise"] == pytest.approx(99 / 127)


# -- what is passed on --------------------------------------------------------------------------------------------


def test_many_messages_of_one_wake_up_set_each_knob_once_to_its_last_value(tmp_path: Path) -> None:
    one = stage(
        tmp_path, "{from: box/fader1, to: denoise, takeover: off}", "{from: box/fader2, to: feedback, takeover: off}"
    )
    batch = [bytes((0xB0, i % 2, i)) for i in range(100)]
    one.mapper.midi_batch(PORT, batch, 7)
    assert [(changes, origin.detail) for changes, origin in one.control.calls] == [
        ({"denoise": pytest.approx(98 / 127)}, "box/fader1"),
        ({"feedback": pytest.approx(99 / 127)}, "box/fader2"),
    ]


def test_a_sequencers_clock_is_passed_on_with_its_port_and_time(tmp_path: Path) -> None:
    one = stage(tmp_path)
    heard: list[tuple[str, Clock, int]] = []
    one.mapper.hear_clock = lambda *event: heard.append(event)
    one.mapper.midi_batch("seq:out", [b"\xfa", b"\xf8"], 11)
    assert heard == [("seq:out", Clock(ClockKind.START), 11), ("seq:out", Clock(ClockKind.TICK), 11)]
    assert one.mapper.last is None


def test_each_message_leaves_one_line_that_says_what_came_of_it(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off, id: main}")
    one.send(0xB0, 0, 127)
    one.send(0xB0, 1, 1)
    one.send(0xB0, 50, 1)
    first, second, third = one.mapper.journal.since(0, 10)
    assert (first.source, first.message, first.control, first.line) == (PORT, "b0 00 7f", "box/fader1", "main")
    assert first.outcome == "denoise = 1"
    assert (second.control, second.outcome) == ("box/fader2", "this control is not mapped")
    assert (third.control, third.outcome) == ("", "no device at this port has such a control")
    assert one.mapper.journal.since(2, 10) == [third]
    assert one.mapper.journal.since(0, 2) == [second, third]


def test_an_osc_surface_moves_the_motors_of_a_controller(tmp_path: Path) -> None:
    lines = ("{from: box/motor, to: denoise}", "{from: 'osc:/1/fader1', to: denoise}")
    one = Stage(tmp_path, "controls:\n  motor: {bend: true, kind: fader, follows: true}\n", *lines)
    one.plug()
    one.mapper.osc("/1/fader1", (1.0,), Origin("osc", "127.0.0.1:5", one.now))
    assert one.sent() == ["e0 7f 7f"]
