"""Values that take several messages, and the traps that real layouts set, one test each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from demond.mapping import SHIPPED, Mapper, PortIdentity, load_mapping
from demond.mapping.assembly import Assembler, Gesture, Half, Position, Press, Selection, Steps, layout
from demond.midi.decode import decode
from tests.mapping.stage import profile_of
from tests.memory_control import MemoryControl


def box(controls: str) -> Assembler:
    return Assembler(layout(profile_of(f"profile: a\nsource: b\nsetup: c\ncontrols:\n{controls}").controls.values()))


def shipped(name: str) -> Assembler:
    return Assembler(layout(profile_of((SHIPPED / f"devices/{name}.yaml").read_text()).controls.values()))


def play(one: Assembler, *messages: bytes) -> list[tuple[str, float] | None]:
    """The controls that spoke, with what they said."""
    return [_said(one.feed(decode(message))) for message in messages]


def _said(gesture: Gesture | None) -> tuple[str, float] | None:
    match gesture:
        case Selection():
            return None
        case Position(control, value) | Press(control, value) | Steps(control, value):
            return control.name, value
        case Half(control):
            return control.name, -1
    return None


def cc(number: int, value: int, channel: int = 1) -> bytes:
    return bytes((0xB0 | channel - 1, number, value))


# -- 14 bits ------------------------------------------------------------------------------------------------------

pairs = st.lists(st.integers(0, 16_383), min_size=1, max_size=20)


@given(pairs)
def test_a_14_bit_controller_is_read_as_it_was_sent_in_either_order(values: list[int]) -> None:
    first = box("  fader1: {cc: 7, bits: 14, lsb: 39}")
    last = box("  fader1: {cc: 7, bits: 14, lsb: 39, order: lsb_first}")
    for value in values:
        high, low = cc(7, value >> 7), cc(39, value & 127)
        assert play(first, high, low)[-1] == ("fader1", value)
        assert play(last, low, high)[-1] == ("fader1", value)


@given(pairs)
def test_a_device_that_leaves_out_an_unchanged_high_half_is_understood(values: list[int]) -> None:
    one, high = box("  fader1: {cc: 7, bits: 14, lsb: 39}"), -1
    for value in values:
        messages = [cc(39, value & 127)] if value >> 7 == high else [cc(7, value >> 7), cc(39, value & 127)]
        high = value >> 7
        assert play(one, *messages)[-1] == ("fader1", value)


# -- NRPN and RPN -------------------------------------------------------------------------------------------------

NRPN = "  knob1: {nrpn: 300, bits: 14}\n  knob2: {nrpn: 301}\n  knob3: {rpn: 0}\n"
SELECT_300, SELECT_301 = (cc(99, 2), cc(98, 44)), (cc(99, 2), cc(98, 45))


@given(pairs)
def test_an_nrpn_of_14_bits_is_read_as_it_was_sent(values: list[int]) -> None:
    one = box(NRPN)
    play(one, *SELECT_300)
    for value in values:
        assert play(one, cc(6, value >> 7), cc(38, value & 127)) == [("knob1", -1), ("knob1", value)]


def test_a_selected_nrpn_stays_selected_until_the_next_one() -> None:
    one = box(NRPN)
    assert play(one, *SELECT_301, cc(6, 5), cc(6, 6)) == [None, None, ("knob2", 5), ("knob2", 6)]
    assert play(one, cc(98, 44), cc(6, 1), cc(38, 2)) == [None, ("knob1", -1), ("knob1", 130)]


def test_an_nrpn_is_counted_up_and_down_from_the_value_that_came() -> None:
    one = box(NRPN)
    assert play(one, *SELECT_301, cc(96, 0)) == [None, None, None]
    assert play(one, cc(6, 126), cc(96, 0), cc(96, 0), cc(97, 0)) == [
        ("knob2", 126),
        ("knob2", 127),
        ("knob2", 127),
        ("knob2", 126),
    ]


def test_an_nrpn_encoder_that_only_counts_turns_by_steps() -> None:
    one = box("  encoder1: {nrpn: 300, encoding: data_step}")
    assert play(one, *SELECT_300, cc(96, 0), cc(97, 127), cc(6, 5))[2:] == [("encoder1", 1), ("encoder1", -1), None]


def test_rpn_and_nrpn_of_one_number_differ_and_the_null_selects_nothing() -> None:
    one = box("  knob1: {nrpn: 0}\n  knob2: {rpn: 0}\n")
    assert play(one, cc(101, 0), cc(100, 0), cc(6, 9))[-1] == ("knob2", 9)
    assert play(one, cc(99, 0), cc(98, 0), cc(6, 9))[-1] == ("knob1", 9)
    assert play(one, cc(101, 127), cc(100, 127), cc(6, 9))[-1] is None


def test_data_entry_before_any_selection_is_nobodys() -> None:
    assert play(box(NRPN), cc(6, 5), cc(38, 5), cc(96, 0)) == [None, None, None]


# -- the rest -----------------------------------------------------------------------------------------------------


def test_a_program_counts_in_its_bank_alone() -> None:
    one = box("  button1: {program: 5, bank: 130}\n  button2: {program: 5, channel: 2}")
    assert play(one, b"\xc0\x05") == [None]
    assert play(one, cc(0, 1), cc(32, 2), b"\xc0\x05") == [None, None, ("button1", 1.0)]
    assert play(one, b"\xc1\x05") == [("button2", 1.0)]


def test_pressure_of_the_channel_and_of_keys_are_positions() -> None:
    one = box("  knob1: {pressure: channel}\n  knob2..3: {pressure: {note: 60..61}}")
    assert play(one, b"\xd0\x40", b"\xa0\x3d\x10") == [("knob1", 64), ("knob3", 16)]


def test_a_sysex_pattern_takes_any_byte_and_any_rest_where_it_says_so() -> None:
    one = box("  button1: {sysex: F0 7F ?? 06 02 F7}\n  button2: {sysex: F0 42 * 01 F7}\n  button3: {mmc: stop}")
    assert play(one, bytes.fromhex("f07f1006 02f7"), bytes.fromhex("f0420102030401f7")) == [
        ("button1", 1.0),
        ("button2", 1.0),
    ]
    assert play(one, bytes.fromhex("f07f7f0601f7"), bytes.fromhex("f07f7f0603f7")) == [("button3", 1.0), None]


@given(st.lists(st.binary(max_size=5), max_size=60))
def test_no_bytes_raise_and_every_position_is_inside_its_bits(messages: list[bytes]) -> None:
    others = "  fader1: {cc: 7, bits: 14, lsb: 39}\n  button1: {program: 5, bank: 3}\n  button2: {mmc: play}\n"
    one = box(NRPN + others)
    for message in messages:
        gesture = one.feed(decode(message))
        if isinstance(gesture, Position):
            assert 0 <= gesture.value < 1 << gesture.control.bits


# -- traps --------------------------------------------------------------------------------------------------------


def test_trap_1_numbers_that_look_like_14_bit_pairs_are_controls_of_their_own() -> None:
    nano, mix, xl, bcr = map(
        shipped, ("korg/nanokontrol2", "akai/midimix", "novation/launch-control-xl", "behringer/bcr2000")
    )
    for number, name in ((0, "fader1"), (32, "solo1"), (16, "knob1"), (48, "mute1")):
        assert play(nano, cc(number, 127)) == [(name, 127 if name[0] in "fk" else 1.0)]
    assert play(mix, cc(16, 3), cc(48, 4)) == [("knob_a1", 3), ("knob_c5", 4)]
    assert play(xl, cc(17, 3, 9), cc(49, 4, 9)) == [("send_a5", 3), ("pan1", 4)]
    assert [found is not None for found in play(bcr, cc(1, 3), cc(33, 127))] == [True, True]


def test_trap_2_nrpn_and_data_entry_numbers_are_ordinary_knobs_where_no_nrpn_is_declared() -> None:
    bcr, nano = shipped("behringer/bcr2000"), shipped("korg/nanokontrol2")
    numbers = (98, 99, 100, 101, 6, 38, 96, 97)
    assert all(found is not None and found[1] for found in play(bcr, *(cc(number, 64) for number in numbers)))
    assert play(nano, cc(6, 64), cc(38, 127)) == [("fader7", 64), ("solo7", 1.0)]


def test_trap_3_bank_select_sustain_and_reserved_numbers_are_what_the_profile_says() -> None:
    nano = shipped("korg/nanokontrol2")
    assert play(nano, cc(0, 5), cc(32, 127), cc(64, 127)) == [("fader1", 5), ("solo1", 1.0), ("rec1", 1.0)]
    top = box("  knob120..127: {cc: 120..127}")
    assert play(top, *(cc(number, 3) for number in range(120, 128))) == [(f"knob{i}", 3) for i in range(120, 128)]


def test_trap_4_type_and_channel_are_part_of_what_tells_a_control() -> None:
    xl, twister, bcf = map(
        shipped, ("novation/launch-control-xl", "djtechtools/midi-fighter-twister", "behringer/bcf2000")
    )
    assert play(xl, cc(105, 127, 9), b"\x98\x69\x7f") == [("send_down", 1.0), ("device", 1.0)]
    names = [found[0] for found in play(twister, cc(8, 65, 1), cc(8, 127, 2), cc(8, 127, 4)) if found]
    assert len(set(names)) == 3
    assert play(bcf, *(cc(7, 1, channel) for channel in range(1, 9))) == [(f"fader{i}", 1) for i in range(1, 9)]


def test_trap_5_buttons_may_be_programs_sysex_controllers_and_notes_with_velocity_0_as_off() -> None:
    bcf, nano, mix = map(shipped, ("behringer/bcf2000", "korg/nanokontrol2", "akai/midimix"))
    assert play(bcf, b"\xca\x01", bytes.fromhex("f07f7f0602f7")) == [("mute1", 1.0), ("play", 1.0)]
    assert play(nano, cc(41, 127), cc(41, 0)) == [("play", 1.0), ("play", 0.0)]
    assert play(mix, b"\x90\x01\x7f", b"\x90\x01\x00") == [("mute1", 1.0), ("mute1", 0.0)]


def test_trap_6_jumps_of_more_than_one_step_and_negative_ones_are_steps() -> None:
    mini, mcu = shipped("behringer/x-touch-mini-relative"), shipped("behringer/x-touch")
    assert play(mini, cc(1, 3, 11), cc(1, 126, 11)) == [("a_encoder1", 3), ("a_encoder1", -2)]
    assert play(mcu, cc(16, 3), cc(16, 67)) == [("vpot1", 3), ("vpot1", -3)]


def test_trap_6_a_left_tick_of_the_jog_wheel_is_one_step_not_63() -> None:
    assert play(shipped("behringer/x-touch"), cc(60, 65), cc(60, 1)) == [("jog", -1), ("jog", 1)]


def test_trap_7_two_ports_of_one_device_are_told_apart_by_name() -> None:
    profile = profile_of((SHIPPED / "devices/akai/apc-mini-mk2.yaml").read_text())
    assert profile.ports
    assert all("control" in glob for glob in profile.ports)
    mapper = Mapper(load_mapping([SHIPPED / "apc-mini-mk2.yaml"]), MemoryControl())
    mapper.ports([PortIdentity("APC mini mk2 Notes"), PortIdentity("APC mini mk2 Control")])
    taken = {port: names for port, names in mapper.devices.items() if names}
    assert list(taken) == ["APC mini mk2 Control"]


def test_trap_8_shift_in_hardware_is_other_messages() -> None:
    mix, mini = shipped("akai/midimix"), shipped("behringer/x-touch-mini")
    assert play(mix, b"\x90\x01\x7f", b"\x90\x02\x7f") == [("mute1", 1.0), ("solo1", 1.0)]
    assert play(mini, cc(1, 5, 11), cc(11, 5, 11), cc(9, 5, 11), cc(10, 5, 11)) == [
        ("a_encoder1", 5),
        ("b_encoder1", 5),
        ("a_fader", 5),
        ("b_fader", 5),
    ]


def test_trap_8_another_template_is_another_channel_and_the_known_one_is_chosen_at_every_plug() -> None:
    profile = profile_of((SHIPPED / "devices/novation/launch-control-xl.yaml").read_text())
    one = Assembler(layout(profile.controls.values()))
    assert play(one, cc(77, 5, 9), cc(77, 5, 1)) == [("fader1", 5), None]
    assert profile.on_connect == (bytes.fromhex("F000202902117708F7"),)


def test_a_selection_on_one_channel_is_none_on_another() -> None:
    one = box("  knob1: {nrpn: 300}\n  knob2: {nrpn: 301, channel: 2}\n")
    play(one, cc(99, 2), cc(98, 44), cc(99, 2, 2), cc(98, 45, 2))
    assert play(one, cc(6, 5), cc(6, 7, 2), cc(6, 6)) == [("knob1", 5), ("knob2", 7), ("knob1", 6)]
