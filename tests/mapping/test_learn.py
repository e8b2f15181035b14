"""What is taken for a hand's work while a control is searched for, and what for noise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from demond.control import Origin, Outcome, RefusedError
from demond.mapping.lesson import Wish
from demond.osc.codec import OscError
from tests.mapping.classroom import Class
from tests.mapping.stage import MS, PORT


@pytest.fixture
def room(tmp_path: Path) -> Class:
    return Class(tmp_path)


# -- a hand -------------------------------------------------------------------------------------------------------


def test_a_fader_that_is_moved_is_found_and_told_with_count_and_span(room: Class) -> None:
    room.start().sweep(0, 0, 32, 64, 127)
    assert room.found == ["box/fader1"]
    room.lessons.advance(time.monotonic_ns() + 200 * MS)
    assert room.told == [("candidate", "box", "fader1", 4, 1.0, "")]


def test_the_one_that_was_begun_last_is_the_best(room: Class) -> None:
    room.start().sweep(0)
    room.sweep(1)
    assert room.found == ["box/fader2", "box/fader1"]
    room.one.wait(600)
    room.sweep(0)
    assert room.found == ["box/fader1", "box/fader2"]


def test_an_encoder_is_found_by_its_detents(room: Class) -> None:
    room.start().sweep(20, 1, 1)
    assert room.found == []
    room.sweep(20, 1)
    assert room.found == ["box/encoder1"]


def test_a_14_bit_pair_is_one_candidate(room: Class) -> None:
    room.start()
    for value in range(0, 16_384, 1_111):
        room.one.send(0xB0, 7, value >> 7)
        room.one.send(0xB0, 39, value & 127)
    assert room.found == ["box/fader3"]


def test_a_button_is_found_when_it_was_pressed_and_released(room: Class) -> None:
    room.start("scene/drop").one.send(0x90, 2, 127)
    assert room.found == []
    assert room.search.heard() == ["box/button2 was not released yet"]
    room.one.send(0x90, 2, 0)
    assert room.found == ["box/button2"]


def test_a_button_that_tells_of_no_release_is_pressed_twice(room: Class) -> None:
    room.start("scene/drop").one.send(0xC0, 5)
    assert room.found == []
    assert "press it again" in room.search.heard()[0]
    room.one.send(0xC0, 5)
    assert room.found == ["box/program1"]


def test_what_cannot_play_the_target_is_none(room: Class) -> None:
    room.start("scene/drop").sweep(0)
    room.press(2)
    assert room.found == ["box/button2"]
    room.lessons.cancel()
    room.rest()
    room.start("denoise").press(2)
    assert room.found == []
    assert room.search.heard() == ["box/button2 cannot play that"]


def test_an_osc_address_can_be_learned_and_is_not_refused_meanwhile(room: Class) -> None:
    room.start()
    sender = Origin("osc", "10.0.0.9:5", room.one.now)
    for value in (0.1, 0.3, 0.5, 0.7):
        assert room.one.mapper.osc("/2/fader9", (value,), sender)
    assert not room.one.mapper.osc("/2/fader9/z", (1.0,), sender)
    assert room.found == ["osc:/2/fader9"]
    room.lessons.advance(time.monotonic_ns() + 200 * MS)
    assert room.told == [("candidate", "osc", "/2/fader9", 4, pytest.approx(0.6), "")]
    with pytest.raises(OscError):
        room.one.mapper.osc("/2/fader9", (1.0, 2.0), sender)


# -- noise --------------------------------------------------------------------------------------------------------


def test_a_trembling_fader_is_none(room: Class) -> None:
    room.start().sweep(0, *(60, 62, 61, 63) * 10)
    assert room.found == []
    assert room.search.heard() == ["box/fader1 moved too little"]


def test_a_wildly_trembling_fader_is_none(room: Class) -> None:
    room.start().sweep(0, *(40, 80, 41, 79, 43, 90) * 10)
    assert room.found == []
    assert room.search.heard() == ["box/fader1 trembles"]


def test_a_single_stray_message_is_none(room: Class) -> None:
    room.start().sweep(0, 127)
    room.sweep(1, 3, 90)
    room.sweep(20, 1)
    assert room.found == []


def test_a_control_that_was_busy_before_is_none_until_it_has_rested(room: Class) -> None:
    for value in range(0, 100, 10):
        room.one.mapper.midi(PORT, bytes((0xB0, 1, value)), time.monotonic_ns())
    room.start()
    before = len(room.one.control.calls)
    room.sweep(1)
    assert room.found == []
    assert len(room.one.control.calls) > before, "it plays on, since it is not searched for"
    room.one.wait(600)
    room.sweep(1)
    assert room.found == ["box/fader2"]


def test_a_control_that_sends_now_and_then_by_itself_is_none(room: Class) -> None:
    for i in range(3):
        when = time.monotonic_ns() - ((2 - i) * 800 + 100) * MS
        room.one.mapper.midi(PORT, bytes((0xB0, 1, 40 * i)), when)
    room.start()
    for value in (120, 90, 60, 30, 0):
        room.one.now += 800 * MS
        room.one.send(0xB0, 1, value)
    assert room.found == []
    room.one.now += 1_700 * MS
    room.sweep(1)
    assert room.found == ["box/fader2"]


def test_the_echo_of_our_own_lamps_is_none(room: Class) -> None:
    room.start("scene/drop")
    for muted in (1.0, 0.0, 1.0, 0.0):
        for message in room.one.elsewhere(mute=muted):
            room.one.mapper.midi(PORT, bytes.fromhex(message), time.monotonic_ns())
    assert room.found == []
    assert room.search.heard() == []
    room.one.wait(400)
    room.press(1)
    assert room.found == ["box/button1"]


def test_clock_sensing_and_sysex_are_none(room: Class) -> None:
    room.start("scene/drop")
    for _ in range(50):
        for message in (b"\xf8", b"\xfe", b"\xfa", b"\xf0\x7d\x01\xf7", b"\xf2\x00\x01"):
            room.one.mapper.midi(PORT, message, room.one.now)
    assert room.search.heard() == []


def test_a_touch_sensor_beside_its_fader_is_none(room: Class) -> None:
    room.start("scene/drop").one.send(0x90, 104, 127)
    room.sweep(0)
    room.one.send(0x90, 104, 0)
    assert room.found == []
    assert "box/fader1 cannot play that" in room.search.heard()


def test_a_touch_sensor_is_told_by_what_moves_while_it_is_held(room: Class) -> None:
    room.start("mute").one.send(0x90, 104, 127, port="other:out")
    room.sweep(0, status=0xE0, port="other:out")
    room.one.send(0x90, 104, 0, port="other:out")
    assert room.found == ["fader_bend"]
    assert any("as a touch sensor is" in words for words in room.search.heard())


# -- without a profile --------------------------------------------------------------------------------------------


def test_what_no_profile_describes_is_named_by_what_it_sends(room: Class) -> None:
    room.start("mute")
    room.sweep(55, status=0xB3, port="other:out")
    room.press(60, port="other:out")
    assert room.found == ["button_note60", "knob_cc55_ch4"]


def test_an_encoding_is_proposed_on_request_alone(room: Class) -> None:
    values = (1, 1, 1, 2, 127, 127, 126)
    room.start().sweep(30, *values, port="other:out")
    assert [(one.name, one.entry) for one in room.search.found()] == [("knob_cc30", {"cc": 30})]
    assert "with --guess it is taken for a encoder" in room.search.found()[0].why
    room.lessons.cancel()
    room.rest()
    room.start(guess=True).sweep(30, *values, port="other:out")
    [found] = room.search.found()
    assert (found.name, found.entry) == ("encoder_cc30", {"cc": 30, "encoding": "twos_complement"})
    assert "1 and 127" in found.why


def test_two_controllers_that_always_come_together_are_one_candidate_of_7_bits_or_on_request_of_14(
    room: Class,
) -> None:
    def move() -> None:
        for value in range(0, 16_384, 777):
            room.one.mapper.midi_batch(
                "other:out", (bytes((0xB0, 2, value >> 7)), bytes((0xB0, 34, value & 127))), room.one.now
            )
            room.one.now += 5 * MS

    room.start()
    move()
    [found] = room.search.found()
    assert (found.name, found.entry) == ("knob_cc2", {"cc": 2})
    room.lessons.cancel()
    room.rest()
    room.start(guess=True)
    move()
    [found] = room.search.found()
    assert (found.name, found.entry) == ("fader_cc2", {"cc": 2, "bits": 14, "lsb": 34})


@pytest.mark.parametrize("fine", [False, True])
def test_a_registered_parameter_is_proposed_with_its_number(room: Class, fine: bool) -> None:
    def move(number: int) -> None:
        for value in range(0, 16_384, 777):
            halves = [(99, number >> 7), (98, number & 127), (6, value >> 7), *([(38, value & 127)] if fine else [])]
            for place, data in halves:
                room.one.mapper.midi("other:out", bytes((0xB1, place, data)), room.one.now)
            room.one.now += 5 * MS

    room.start(guess=True)
    move(300)
    [found] = room.search.found()
    assert found.name == "knob_nrpn300_ch2"
    assert found.entry == {"nrpn": 300, "channel": 2} | ({"bits": 14} if fine else {})
    assert "data for the nrpn 300" in found.why
    move(301)
    assert [one.name for one in room.search.found()] != [found.name], "two knobs: nothing is said of one"


def test_knobs_on_the_numbers_of_parameters_are_knobs(room: Class) -> None:
    room.start(guess=True)
    for number in (99, 98, 6):
        room.sweep(number, port="other:out")
        room.one.now += 100 * MS
    assert room.found == ["knob_cc6", "knob_cc98", "knob_cc99"]


def test_two_faders_that_look_like_a_pair_stay_two(room: Class) -> None:
    room.start(guess=True).sweep(2, *range(0, 100, 7), port="other:out")
    room.sweep(34, *range(0, 100, 7), port="other:out")
    assert room.found == ["knob_cc34", "knob_cc2"]


def test_an_encoder_that_is_turned_one_way_is_asked_for_the_other(room: Class) -> None:
    room.start(guess=True).sweep(30, 1, 1, 1, 1, port="other:out")
    assert room.found == []
    assert "turn it both ways" in room.search.heard()[0]


# -- while it searches --------------------------------------------------------------------------------------------


def test_what_may_be_learned_does_not_act_and_must_pick_up_afterwards(room: Class) -> None:
    one = room.one
    one.control.values["feedback"] = 0.0
    one.send(0xB0, 0, 0)
    one.send(0xB0, 0, 2)
    assert one["feedback"] == pytest.approx(2 / 127)
    room.rest()
    room.start().sweep(0, 20, 60, 100, 127)
    assert one["feedback"] == pytest.approx(2 / 127)
    assert one.why() == "it may be the one to be learned, so it does not act meanwhile"
    room.lessons.cancel()
    one.send(0xB0, 0, 126)
    one.send(0xB0, 0, 120)
    assert one["feedback"] == pytest.approx(2 / 127)
    assert "waits to pick up feedback: move down" in one.why()


def test_what_cannot_be_meant_acts_as_ever_and_a_held_button_is_let_go(room: Class) -> None:
    room.one.send(0x90, 1, 127)
    assert room.one["mute"] == 1
    room.start().one.send(0x90, 1, 0)
    room.press(1)
    assert room.one["mute"] == 0


def test_a_mapped_osc_address_does_not_act_while_it_may_be_learned(room: Class) -> None:
    room.start()
    before = room.one["feedback"]
    for value in (0.2, 0.4, 0.6, 0.8):
        assert room.one.mapper.osc("/1/fader1", (value,), Origin("osc", "10.0.0.9:5", room.one.now))
    assert room.one["feedback"] == before
    assert room.found == ["osc:/1/fader1"]


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "code", "words"),
    [
        (Wish("denoize"), 404, "did you mean 'denoise'"),
        (Wish("layer/shft"), 404, "did you mean 'shift'"),
        (Wish("scene/morph/psue"), 404, "nothing on the stage"),
        (Wish(""), 404, "no knob"),
        (Wish("denoise", seconds=0.5), 400, "1 to 600 seconds"),
        (Wish("denoise", id="a b"), 400, "letters"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_at_once(room: Class, wish: Wish, code: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        room.lessons.start(wish, lambda *said: None)
    assert caught.value.code == code
    assert room.lessons.target == ""


def test_one_lesson_at_a_time(room: Class) -> None:
    room.start()
    with pytest.raises(RefusedError, match="denoise is being learned") as caught:
        room.start("shift")
    assert caught.value.code == 409
    outcomes: list[Outcome] = []
    with pytest.raises(RefusedError, match="nothing was moved yet"):
        room.lessons.accept("", outcomes.append)
    room.sweep(0)
    with pytest.raises(RefusedError, match="did you mean 'box/fader1'"):
        room.lessons.accept("box/fader", outcomes.append)
    room.lessons.cancel()
    assert room.told[-1] == ("cancelled", "denoise", "it was cancelled")
    with pytest.raises(RefusedError, match="nothing is being learned"):
        room.lessons.cancel()


def test_its_time_is_over_and_what_was_heard_is_told(room: Class) -> None:
    room.start().sweep(0, 60, 61, 60, 61)
    room.lessons.advance(time.monotonic_ns() + 31_000 * MS)
    assert room.told == [("timeout", "denoise", "box/fader1 moved too little")]
    assert (room.lessons.target, room.one.mapper.search) == ("", None)
