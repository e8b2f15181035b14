from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.control import Origin, RefusedError
from demond.knobs import knob
from demond.mapping import DEFAULT, Mapper, load_mapping
from demond.osc.codec import IMPULSE, OscError
from tests.memory_control import MemoryControl

PORT = "box:out"
PROFILE = """
profile: my/box
source: this test
setup: none
controls:
  fader1..2: {cc: 0..1}
  fader3: {cc: 7, bits: 14, lsb: 39}
  fader4: {bend: true, channel: 3}
  encoder1: {cc: 20, encoding: twos_complement}
  button1..4: {note: 1..4}
  button5: {cc: 64}
"""


class Stage:
    """A mapper on a control in memory, with hands to move `box`."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        (folder / "devices/my").mkdir(parents=True, exist_ok=True)
        (folder / "devices/my/box.yaml").write_text(PROFILE)
        self.control = MemoryControl()
        self.mapper = Mapper(self.load(*lines), self.control)
        self.now = 0

    def load(self, *lines: str):  # type: ignore[no-untyped-def]
        text = "demond: 1\ndevices:\n  box: {profile: my/box, match: {name: 'BOX:*'}}\nmaps:\n"
        (self.folder / "m.yaml").write_text(text + "".join(f"  - {line}\n" for line in lines))
        return load_mapping([self.folder / "m.yaml"])

    def send(self, *data: int, port: str = PORT) -> None:
        self.now += 5_000_000
        self.mapper.midi(port, bytes(data), self.now)

    def osc(self, address: str, *arguments: object) -> bool:
        return self.mapper.osc(address, arguments, Origin("osc", "127.0.0.1:5", self.now))  # type: ignore[arg-type]

    def __getitem__(self, knob: str) -> float:
        return self.control.values[knob]


def test_a_fader_covers_the_whole_range_of_its_knob(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: volume_db, takeover: off}")
    for value, expected in [(0, -60), (127, 6), (64, -60 + 66 * 64 / 127)]:
        stage.send(0xB0, 0, value)
        assert stage["volume_db"] == pytest.approx(expected)


def test_a_change_names_its_control_and_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off}")
    stage.send(0xB0, 0, 127)
    assert stage.control.calls == [({"denoise": 1.0}, Origin("midi", "box/fader1", stage.now))]


def test_pickup_waits_for_the_fader_to_come_by(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise}")
    for value in (127, 120, 110):
        stage.send(0xB0, 0, value)
        assert stage["denoise"] == 0.7
    last = stage.mapper.last
    assert last is not None
    assert last.outcome == "waits to pick up denoise: move down from 0.87 to 0.70 of the travel"
    for value in (95, 88, 20, 60):
        stage.send(0xB0, 0, value)
    assert stage["denoise"] == pytest.approx(60 / 127)


def test_a_replugged_fader_must_pick_up_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise}")
    for value in (89, 89, 20):
        stage.send(0xB0, 0, value)
    assert stage["denoise"] == pytest.approx(20 / 127)
    stage.mapper.rearm(PORT)
    for value in (100, 101):
        stage.send(0xB0, 0, value)
    assert stage["denoise"] == pytest.approx(20 / 127)


def test_a_reload_keeps_the_takeover_of_lines_it_did_not_touch(tmp_path: Path) -> None:
    one, two = "{from: box/fader1, to: denoise}", "{from: box/fader2, to: feedback}"
    stage = Stage(tmp_path, one, two)
    for number, value in [(0, 89), (0, 89), (0, 20), (1, 0), (1, 0), (1, 9)]:
        stage.send(0xB0, number, value)
    assert stage["feedback"] == pytest.approx(9 / 127)
    stage.mapper.replace(stage.load(one, "{from: box/fader2, to: feedback, range: [0, 0.5]}"))
    stage.send(0xB0, 0, 120)
    stage.send(0xB0, 1, 120)
    assert stage["denoise"] == pytest.approx(120 / 127)
    assert stage["feedback"] == pytest.approx(9 / 127)


def test_one_control_moves_several_knobs_at_once(tmp_path: Path) -> None:
    line = "{from: box/fader1, to: [feedback, {knob: hint_strength, range: [1, 0]}], takeover: off}"
    stage = Stage(tmp_path, line)
    stage.send(0xB0, 0, 127)
    assert [changes for changes, _ in stage.control.calls] == [{"feedback": 1.0, "hint_strength": 0.0}]


def test_a_14_bit_fader_waits_for_both_halves_and_takes_a_low_half_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader3, to: denoise, takeover: off}")
    stage.send(0xB0, 7, 127)
    assert stage["denoise"] == 0.7
    stage.send(0xB0, 39, 127)
    assert stage["denoise"] == 1
    stage.send(0xB0, 39, 0)
    assert stage["denoise"] == pytest.approx((127 << 7) / 16383)


def test_pitch_bend_is_a_14_bit_fader_of_its_channel(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader4, to: denoise, takeover: off}")
    stage.send(0xE0, 127, 127)
    assert stage["denoise"] == 0.7
    stage.send(0xE2, 0x7F, 0x3F)
    assert stage["denoise"] == pytest.approx(8191 / 16383)


def test_an_endless_encoder_moves_by_steps_and_stops_at_the_ends(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/encoder1, to: denoise, step: 0.1, range: [0, 0.9]}")
    stage.send(0xB0, 20, 127)
    assert stage["denoise"] == pytest.approx(0.6)
    stage.send(0xB0, 20, 5)
    assert stage["denoise"] == pytest.approx(0.9)


def test_an_encoder_moves_a_whole_number_by_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/encoder1, to: seed}")
    stage.send(0xB0, 20, 3)
    assert stage["seed"] == 4


def test_a_button_sets_a_value_on_each_press(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/button1, to: seed, value: 7}")
    stage.send(0x90, 1, 1)
    assert stage["seed"] == 7
    stage.control.values["seed"] = 1
    stage.send(0x80, 1, 64)
    assert stage["seed"] == 1


def test_a_button_switches_a_switch_on_and_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/button1, to: mute}")
    seen = []
    for _ in range(3):
        stage.send(0x90, 1, 127)
        stage.send(0x90, 1, 0)
        seen.append(stage["mute"])
    assert seen == [1, 0, 1]


def test_a_held_button_changes_a_value_and_gives_the_old_one_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/button5, to: denoise, mode: momentary, value: 0}")
    stage.send(0xB0, 64, 127)
    assert stage["denoise"] == 0
    stage.send(0xB0, 64, 0)
    assert stage["denoise"] == 0.7
    stage.send(0xB0, 64, 0)
    assert stage["denoise"] == 0.7


def test_a_held_button_with_a_range_goes_to_its_ends(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/button1, to: denoise, mode: momentary, range: [0.2, 0.9]}")
    stage.send(0x90, 1, 1)
    assert stage["denoise"] == 0.9
    stage.send(0x90, 1, 0)
    assert stage["denoise"] == 0.2


def test_a_button_puts_a_knob_back_to_its_default(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/button1, to: denoise/reset}")
    stage.control.values["denoise"] = 0.1
    stage.send(0x90, 1, 1)
    assert stage["denoise"] == 0.7


def test_a_port_that_no_device_matches_moves_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off}")
    stage.send(0xB0, 0, 1, port="other:out")
    assert stage.control.calls == []
    last = stage.mapper.last
    assert last is not None
    assert last.outcome == "no device at this port has such a control"


def test_a_refusal_of_the_daemons_is_kept_for_the_person_who_wonders(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise, takeover: off}")

    def refuse(*_: object) -> None:
        raise RefusedError(503, "engine_not_ready", "the engine is still loading")

    stage.control.set_knobs = refuse  # type: ignore[method-assign]
    stage.send(0xB0, 0, 1)
    last = stage.mapper.last
    assert last is not None
    assert (last.control, last.outcome) == ("box/fader1", "the engine is still loading")


def test_osc_surfaces_set_toggle_and_trigger(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        '{from: "osc:/1/fader1", to: denoise, range: [0, 0.5]}',
        '{from: "osc:/1/toggle1", to: mute}',
        '{from: "osc:/1/push1", to: denoise/reset}',
        '{from: "osc:/1/push2", to: mute, mode: toggle}',
    )
    assert stage.osc("/1/fader1", 1.0)
    assert stage["denoise"] == 0.5
    assert stage.osc("/1/toggle1", 1)
    assert stage["mute"] == 1
    assert stage.osc("/1/push1", 0.0)
    assert stage["denoise"] == 0.5
    assert stage.osc("/1/push1")
    assert stage["denoise"] == 0.7
    assert stage.osc("/1/push2", IMPULSE)
    assert stage["mute"] == 0
    assert stage.osc("/1/fader1/z", 1.0)
    assert not stage.osc("/1/fader2", 1.0)


def test_osc_arguments_that_are_no_position_are_refused_in_words(tmp_path: Path) -> None:
    stage = Stage(tmp_path, '{from: "osc:/1/fader1", to: denoise}')
    for arguments in [("x",), (float("nan"),), (0.1, 0.2), (IMPULSE,), ()]:
        with pytest.raises(OscError) as caught:
            stage.osc("/1/fader1", *arguments)
        assert caught.value.code == 400
    assert stage.control.calls == []


def test_the_ready_mapping_plays_both_controllers_through_the_port_for_connections_by_hand() -> None:
    control = MemoryControl()
    mapper = Mapper(load_mapping([DEFAULT]), control)
    for value in (89, 89, 64):
        mapper.midi("midi_in", bytes([0xB0, 0, value]), 0)
    assert control.values["denoise"] == pytest.approx(64 / 127)
    for value in (0, 1, 2):
        mapper.midi("midi_in", bytes([0xBA, 2, value]), 0)
    assert control.values["prompt_blend"] == pytest.approx(2 / 127)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([PORT, "midi_in", "nanoKONTROL2:out"]), st.binary(max_size=4)), max_size=40)
)
def test_no_midi_bytes_raise_and_every_knob_stays_in_range(messages: list[tuple[str, bytes]]) -> None:
    control = MemoryControl()
    mapper = Mapper(load_mapping([DEFAULT]), control)
    for i, (port, data) in enumerate(messages):
        mapper.midi(port, data, i * 1_000_000)
    assert all(
        changes[name] == control_clamp(name, changes[name]) for changes, _ in control.calls for name in changes
    )


def control_clamp(name: str, value: float) -> float:

    return knob(name).clamp(value)


def test_the_state_of_ports_is_bounded(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "{from: box/fader1, to: denoise}")
    for i in range(1000):
        stage.send(0xB0, 0, 1, port=f"box:{i}")
    assert len(stage.mapper._states) <= 128
