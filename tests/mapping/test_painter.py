"""What controllers are shown: lamps, rings and motors, when, and what not."""

from __future__ import annotations

from pathlib import Path

from demond.mapping.painter import ARROW_NS, QUIET_NS
from tests.mapping.stage import MS, PORT, Stage

PROFILE = """
controls:
  fader1..2: {cc: 0..1, arrows: {up: lamp1..2, down: lamp3..4}}
  motor1..2: {bend: true, channel: 1..2, kind: fader, touch: touch1..2, follows: true}
  motor3: {cc: 7, bits: 14, lsb: 39, kind: fader, follows: true}
  touch1..2: {note: 104..105}
  encoder1: {cc: 20, encoding: signed_bit_mackie, ring: {cc: 48, low: 33, high: 43}}
  encoder2: {cc: 21, kind: encoder, ring: {}}
  lamp1..4: {note: 1..4, kind: button, led: {on: 5, off: 1}}
"""
HEAD = "layers: {shift: {}}\n"


def stage(folder: Path, *lines: str, feedback: str = "", head: str = "") -> Stage:
    one = Stage(folder, feedback + PROFILE, *lines, head=head)
    one.plug()
    return one


def bend(channel: int, value: int) -> str:
    return bytes((0xE0 | channel - 1, value & 127, value >> 7)).hex(" ")


def middle(knob_value: float) -> int:
    return round(knob_value * 16_383)


# -- painting -----------------------------------------------------------------------------------------------------


def test_a_device_that_is_plugged_in_is_put_into_its_mode_and_painted(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/motor1, to: denoise}",
        "{from: box/encoder1, to: feedback}",
        "{from: box/lamp1, to: mute}",
        feedback="on_connect: F0 00 01 F7\n",
    )
    assert one.plug("box:again") == [
        "f0 00 01 f7",
        bend(1, middle(0.7)),
        "b0 30 21",
        "b0 15 00",
        "90 01 01",
        "90 02 01",
        "90 03 01",
        "90 04 01",
    ]


def test_a_change_from_elsewhere_is_shown_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", "{from: box/encoder1, to: feedback}")
    assert one.elsewhere(denoise=0.5) == [bend(1, middle(0.5))]
    assert one.elsewhere(denoise=0.5) == []
    assert one.elsewhere(feedback=1.0) == ["b0 30 2b"]
    assert one.elsewhere(seed=3) == []


def test_a_ring_is_not_sent_again_before_it_looks_different(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/encoder1, to: feedback}")
    assert one.elsewhere(feedback=0.01) == []
    assert one.elsewhere(feedback=0.1) == ["b0 30 22"]


def test_a_14_bit_motor_is_sent_both_halves_in_its_order(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor3, to: denoise}")
    value = middle(0.5)
    assert one.elsewhere(denoise=0.5) == [f"b0 07 {value >> 7:02x}", f"b0 27 {value & 127:02x}"]


def test_a_motor_that_nothing_is_mapped_to_is_left_where_it_is(tmp_path: Path) -> None:
    one = stage(tmp_path)
    assert not [message for message in one.plug("box:again") if message.startswith("e")]


def test_a_lamp_shows_what_a_press_does(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/lamp1, to: mute}",
        "{from: box/lamp2, to: seed, mode: radio, value: 5}",
        "{from: box/lamp3, to: denoise/reset}",
        "{from: box/lamp4, to: feedback, mode: toggle, range: [0.1, 0.9]}",
    )
    assert one.elsewhere(mute=1) == ["90 01 05"]
    assert one.elsewhere(seed=5) == ["90 02 05"]
    assert one.elsewhere(seed=6) == ["90 02 01"]
    assert one.elsewhere(denoise=0.1) == ["90 03 05"]
    assert one.elsewhere(denoise=0.7) == ["90 03 01"]
    assert one.elsewhere(feedback=0.8) == ["90 04 05"]


def test_a_layer_that_is_switched_on_shows_what_its_controls_mean_now(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/lamp1, to: layer/shift}",
        "{from: box/motor1, to: denoise}",
        "{from: box/motor1, to: feedback, when: {layer: shift}}",
        head=HEAD,
    )
    one.send(0x90, 1, 127)
    assert one.sent() == [bend(1, 0), "90 01 05"]
    one.send(0x90, 1, 0)
    assert one.sent() == [bend(1, middle(0.7)), "90 01 01"]


def test_a_line_that_waits_for_a_knob_is_shown_when_the_knob_comes(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "{from: box/motor1, to: denoise}",
        "{from: box/motor1, to: sde_amp, when: {knob: sde, at: on}}",
    )
    assert one.elsewhere(sde=1) == [bend(1, 16_383)]


def test_a_reload_paints_what_it_changed(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", "{from: box/encoder1, to: feedback}")
    one.mapper.replace(
        one.load("{from: box/motor1, to: denoise, range: [1, 0]}", "{from: box/encoder1, to: feedback}")
    )
    assert one.sent() == [bend(1, 16_383 - middle(0.7))]


# -- echo ---------------------------------------------------------------------------------------------------------


def move(one: Stage, value: int) -> None:
    one.send(0xE0, value & 127, value >> 7)


def test_echo_on_release_answers_a_touched_fader_when_the_hand_lets_go(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", feedback="feedback: {echo: on_release}\n")
    one.send(0x90, 104, 127)
    move(one, 8_000)
    one.wait(1_000)
    assert one["denoise"] == 8_000 / 16_383
    assert one.elsewhere(denoise=0.1) == []
    one.send(0x90, 104, 0)
    assert one.sent() == [bend(1, middle(0.1))]


def test_echo_on_release_without_a_touch_sensor_waits_for_300_ms_of_quiet(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor3, to: denoise}", feedback="feedback: {echo: on_release}\n")
    for _ in range(3):
        one.send(0xB0, 7, 62)
        one.send(0xB0, 39, 0)
        one.wait(200)
        assert one.sent() == []
    one.wait(QUIET_NS / MS)
    assert one.sent() == ["b0 07 3e", "b0 27 00"]


def test_echo_always_answers_each_move_so_that_the_fader_does_not_fall_back(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", feedback="feedback: {echo: always}\n")
    move(one, 8_000)
    assert one.sent() == [bend(1, 8_000)]
    move(one, 8_000)
    assert one.sent() == [bend(1, 8_000)]


def test_echo_never_sends_a_fader_only_what_others_do(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", feedback="feedback: {echo: never}\n")
    move(one, 8_000)
    one.wait(1_000)
    assert one.sent() == []
    assert one.elsewhere(denoise=0.1) == [bend(1, middle(0.1))]


def test_what_others_do_during_a_move_is_shown_after_it_even_without_echo(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", feedback="feedback: {echo: never}\n")
    move(one, 8_000)
    assert one.elsewhere(denoise=0.1) == []
    one.wait(QUIET_NS / MS)
    assert one.sent() == [bend(1, middle(0.1))]


def test_another_control_of_the_same_knob_is_shown_at_once(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}", "{from: box/motor2, to: denoise}")
    move(one, 8_000)
    assert one.sent() == [bend(2, 8_000)]


def test_a_lamp_that_the_device_changes_itself_is_lit_again_on_release(tmp_path: Path) -> None:
    line = "{from: box/lamp2, to: seed, mode: radio, value: 5}"
    one = stage(tmp_path, line, feedback="feedback: {resend_on: release}\n")
    one.send(0x90, 2, 127)
    assert one.sent() == ["90 02 05"]
    one.send(0x90, 2, 0)
    assert one.sent() == ["90 02 05"]


def test_a_ring_that_the_device_draws_itself_is_drawn_again(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/encoder2, to: denoise}")
    one.send(0xB0, 21, 10)
    assert one.sent() == ["b0 15 59"]
    one.send(0xB0, 21, 11)
    assert one.sent() == ["b0 15 59"]


# -- pick-up ------------------------------------------------------------------------------------------------------


def test_arrows_say_which_way_a_waiting_fader_must_go_until_it_has_picked_up(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise}")
    heard: list[str] = []
    one.mapper.hear_pickup(heard.append)
    one.send(0xB0, 0, 10)
    assert one.sent() == ["90 01 05"]
    assert (one.mapper.pickup("denoise"), heard) == (1, ["denoise"])
    one.send(0xB0, 0, 80)
    one.send(0xB0, 0, 100)
    assert one.sent() == ["90 01 01"]
    assert (one.mapper.pickup("denoise"), heard) == (0, ["denoise"] * 2)
    one.elsewhere(denoise=0.2)
    one.now += 1_000 * MS
    one.send(0xB0, 0, 101)
    assert one.sent() == ["90 03 05"]
    assert (one.mapper.pickup("denoise"), heard) == (-1, ["denoise"] * 3)


def test_arrows_go_out_when_the_fader_is_left_alone(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/fader1, to: denoise}", "{from: box/lamp1, to: mute, mode: momentary}")
    one.send(0xB0, 0, 10)
    assert one.sent() == ["90 01 05"]
    one.wait(ARROW_NS / MS + 10)
    assert one.sent() == ["90 01 01"]
    assert one.mapper.due_ns is None


def test_nothing_is_sent_to_a_port_that_has_gone(tmp_path: Path) -> None:
    one = stage(tmp_path, "{from: box/motor1, to: denoise}")
    one.mapper.ports([])
    assert one.elsewhere(denoise=0.5) == []
    assert [port for port, _ in one.shown if port == PORT] == []


# -- all that ships -----------------------------------------------------------------------------------------------


def test_every_ready_performance_paints_its_device_with_messages_of_its_own_numbers(tmp_path: Path) -> None:
    from demond.mapping import DEFAULT, Mapper, PortIdentity, load_mapping
    from demond.midi.decode import ControlChange, NoteOff, NoteOn, PitchBend, SysEx, decode
    from tests.memory_control import MemoryControl

    mapping = load_mapping([DEFAULT])
    for device in mapping.devices:
        sent: list[bytes] = []
        mapper = Mapper(mapping, MemoryControl())
        mapper.show_with(lambda _, messages, sent=sent: sent.extend(messages))  # type: ignore[misc]
        mapper.ports([PortIdentity(device.patterns[0].replace("*", ""))])
        shows = {show for c in device.model.controls.values() for show in (c.led, c.position) if show is not None}
        known = {(show.word, show.channel, show.number) for show in shows}
        known |= {("cc", show.channel, show.lsb) for show in shows if show.lsb is not None}
        for message in sent:
            match decode(message):
                case ControlChange(channel, number, _):
                    assert ("cc", channel, number) in known
                case NoteOn(channel, number, _) | NoteOff(channel, number, _):
                    assert ("note", channel, number) in known
                case PitchBend(channel, _):
                    assert ("bend", channel, 0) in known
                case other:
                    assert isinstance(other, SysEx)
                    assert message in device.model.on_connect
        assert bool(sent) == bool(shows)
