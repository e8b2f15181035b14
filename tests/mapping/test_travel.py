"""The part of a control's travel that counts, and presses that wait for their beat."""

from __future__ import annotations

from pathlib import Path

import pytest

from demond.control import Origin
from demond.mapping import MappingError
from demond.scenes.stage import Stage as Scenes
from tests.mapping.stage import MS, Stage
from tests.mapping.test_gestures import LAYERS, press, release, stage, tap

# -- the part of the travel that counts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", [0, 32 / 127, 64 / 127, 96 / 127, 1]),
        ("travel: [0.25, 0.75]", [0, 0.0039, 0.5079, 1, 1]),
        ("travel: [0.25, 0.75], out_of_range: clamp", [0, 0.0039, 0.5079, 1, 1]),
        ("travel: [0.25, 0.75], out_of_range: min", [0, 0.0039, 0.5079, 0, 0]),
        ("travel: [0.25, 0.75], out_of_range: ignore", [0.7, 0.0039, 0.5079, 0.5079, 0.5079]),
        ("travel: [0.75, 0.25]", [1, 0.9961, 0.4921, 0, 0]),
    ],
)
def test_beyond_the_part_that_counts_a_fader_clamps_falls_or_is_ignored(
    tmp_path: Path, keys: str, expected: list[float]
) -> None:
    one = stage(tmp_path, f"{{from: box/fader1, to: denoise, takeover: off, {keys}}}")
    seen = []
    for value in (0, 32, 64, 96, 127):
        one.send(0xB0, 0, value)
        seen.append(one["denoise"])
    assert seen == pytest.approx(expected, abs=1e-3)
    if "ignore" in keys:
        assert one.why() == "1 is beyond the travel that counts, and ignored"


def test_a_surface_may_send_other_numbers_than_0_to_1(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: 'osc:/a', to: denoise, travel: [0, 127]}",
        "{from: 'osc:/b', to: feedback, travel: [-1, 1], out_of_range: ignore}",
        "{from: 'osc:/c', to: shift}",
    )
    sender = Origin("osc", "10.0.0.9:5", 0)
    one.mapper.osc("/a", (64,), sender)
    assert one["denoise"] == pytest.approx(64 / 127)
    one.mapper.osc("/a", (500.0,), sender)
    assert one["denoise"] == 1
    one.mapper.osc("/b", (0.0,), sender)
    assert one["feedback"] == pytest.approx(0.5)
    one.mapper.osc("/b", (3.0,), sender)
    assert one["feedback"] == pytest.approx(0.5)
    one.mapper.osc("/c", (7.0,), sender)
    assert one["shift"] == 6


def test_a_ring_shows_where_in_its_travel_the_knob_stands(tmp_path: Path) -> None:
    profile = "controls:\n  knob1: {cc: 5, ring: {}}\n"
    one = Stage(tmp_path, profile, "{from: box/knob1, to: denoise, travel: [0.5, 1]}")
    one.plug()
    assert one.elsewhere(denoise=0.0) == ["b0 05 40"]
    assert one.elsewhere(denoise=1.0) == ["b0 05 7f"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{from: box/fader1, to: denoise, travel: [0, 127]}", "a control goes from 0 to 1"),
        ("{from: box/fader1, to: denoise, travel: [1, 1]}", "two numbers that differ"),
        ("{from: box/fader1, to: denoise, out_of_range: min}", "say with travel which part of it counts"),
        ("{from: box/encoder1, to: denoise, travel: [0, 0.5]}", "travel is for what has a position"),
        ("{from: box/button1, to: denoise, value: 1, out_of_range: min}", "out_of_range is for what has a position"),
        ("{from: box/fader1, to: scene/morph, travel: [0, 0.5]}", "scene/morph takes no travel"),
        ("{from: box/fader1, to: denoise, travel: [0, 1], out_of_range: wrap}", "clamp, min or ignore"),
        ("{from: box/fader1, to: denoise, quantize: bar}", "what is moved is heard at once"),
        ("{from: box/button1, to: denoise, mode: momentary, value: 1, quantize: bar}", "not momentary"),
        ("{from: box/button1, to: layer/shift, quantize: bar}", "a layer is switched at once"),
        ("{from: box/button1, to: mute, quantize: 3 s}", "must be immediate, beat, bar"),
    ],
)
def test_keys_in_the_wrong_line_are_mistakes_in_words(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(MappingError, match=words):
        stage(tmp_path, line, head=LAYERS)


# -- presses that wait for their beat -----------------------------------------------------------------------------


def on_beats(folder: Path, *lines: str) -> Stage:
    """A stage on which time passes as the test says, at 120 beats a minute."""
    one = stage(folder, *lines)
    one.control.clock = lambda: one.now
    one.control.stage = Scenes(one.control, lambda: one.now, lambda: one.control.latency)
    one.control.stage.transport.set_bpm(120, 0)
    return one


def test_a_press_is_heard_on_its_beat(tmp_path: Path) -> None:
    one = on_beats(tmp_path, "{from: box/button1, to: seed, value: 5, quantize: bar}")
    one.control.latency = 0.05
    one.wait(100)
    tap(one, 1)
    assert one["seed"] == 1
    one.wait(1_940 - one.now / MS)
    assert one["seed"] == 1
    one.wait(20)
    assert one["seed"] == 5
    assert one.control.calls[-1][1].detail == "box/button1"
    last = one.mapper.last
    assert last is not None
    assert (last.message, last.outcome) == ("beat", "seed = 5")


def test_a_toggle_that_is_pressed_again_while_it_waits_comes_once(tmp_path: Path) -> None:
    one = on_beats(tmp_path, "{from: box/button1, to: mute, quantize: beat}")
    one.wait(10)
    press(one, 1)
    assert one.why() == "comes with the next beat"
    release(one, 1)
    tap(one, 1)
    one.wait(600)
    assert one["mute"] == 1
    assert one.mapper.due_ns is None


def test_a_press_waits_for_no_beat_that_stands_still_and_for_none_of_a_line_that_is_gone(tmp_path: Path) -> None:
    one = on_beats(tmp_path, "{from: box/button1, to: denoise/reset, quantize: 4 bars}")
    one.control.values["denoise"] = 0.1
    one.control.stage.transport.stop(one.now)
    press(one, 1)
    assert one["denoise"] == 0.7
    one.control.values["denoise"] = 0.1
    one.control.stage.transport.play(one.now)
    one.wait(10)
    press(one, 1)
    one.mapper.replace(one.load())
    one.wait(10_000)
    assert one["denoise"] == 0.1


def test_a_button_fires_a_trigger(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/button1, to: trigger/reseed}", "{from: box/button2, to: trigger/panic}")
    tap(one, 1)
    assert one["seed"] != 1
    assert one.control.calls[-1][1].detail == "box/button1"
    tap(one, 2)
    assert one["mute"] == 1
    with pytest.raises(MappingError, match="did you mean 'trigger/panic'"):
        stage(tmp_path, "{from: box/button1, to: trigger/panik}")
