from __future__ import annotations

import os
from pathlib import Path

import pytest

from demond.mapping import DEFAULT, SHIPPED, Mapping, MappingError, check_file, load_mapping
from demond.mapping.binding import Mode, Takeover
from demond.mapping.loader import available_profiles
from demond.strict_yaml import YamlError

HEAD = "demond: 1\ndevices:\n  nk2: {profile: korg/nanokontrol2, match: {name: '*nano*'}}\nmaps:\n"
PROFILE = "profile: my/box\nsource: me\nsetup: none\ncontrols:\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(MappingError) as caught:
        load_mapping([path])
    return [line.replace(f"{path.parent}/", "") for line in str(caught.value).splitlines()]


def lines(mapping: Mapping) -> dict[str, str]:
    """Binding ids by source, for all devices."""
    found = {}
    for device in mapping.devices:
        for bindings in device.bindings.values():
            found.update({binding.id: binding.source for binding in bindings})
    found.update({binding.id: binding.source for bindings in mapping.osc.values() for binding in bindings})
    return found


def test_everything_that_ships_is_right() -> None:
    files = sorted(SHIPPED.rglob("*.yaml"))
    assert len(files) >= 6
    for path in files:
        assert "with 0" not in check_file(path)[0]
    assert {device.id for device in load_mapping([DEFAULT]).devices} >= {"nk2", "xtm"}
    ready = {path for path in files if path.parent == SHIPPED}
    assert ready <= set(load_mapping([DEFAULT]).files)
    assert load_mapping([DEFAULT]).warnings == ()


def test_one_line_is_enough_and_everything_else_has_a_default(tmp_path: Path) -> None:
    mapping = load_mapping([write(tmp_path / "m.yaml", HEAD + "  - {from: nk2/fader1, to: denoise}\n")])
    (binding,) = mapping.devices[0].bindings["fader1"]
    (action,) = binding.actions
    assert (binding.id, binding.mode, binding.takeover) == ("nk2/fader1/denoise", Mode.SET, Takeover.PICKUP)
    assert (action.knob.name, action.low, action.high) == ("denoise", 0, 1)


def test_a_knob_is_named_short_or_by_its_address(tmp_path: Path) -> None:
    text = (
        HEAD + "  - {from: nk2/fader1, to: [/demond/knob/denoise, prompt/blend, {knob: feedback, range: [1, 0]}]}\n"
    )
    (binding,) = load_mapping([write(tmp_path / "m.yaml", text)]).devices[0].bindings["fader1"]
    assert [action.knob.name for action in binding.actions] == ["denoise", "prompt_blend", "feedback"]
    assert binding.actions[2].low == 1


def test_all_mistakes_of_all_files_are_reported_together_at_their_places(tmp_path: Path) -> None:
    write(
        tmp_path / "devices/my/box.yaml", "profile: my/box\nsource: me\nsetup: none\ncontrols:\n  fader1: {cc: 200}\n"
    )
    write(tmp_path / "second.yaml", "demond: 1\nmaps:\n  - {from: osc:/x, to: denoize}\n")
    path = write(
        tmp_path / "m.yaml",
        "demond: 1\ninclude: [second.yaml, third.yaml]\n"
        "devices:\n  a: {profile: my/box, match: {name: x}}\n  nk2: {profile: korg/nanokontrol22, match: {name: x}}\n"
        "maps:\n  - {from: a/fader1, to: denoise}\n  - {from: b/fader1, to: denoise}\n",
    )
    assert sorted(problems(path)) == [
        "devices/my/box.yaml:5:16: 'cc' must be at most 127, not 200",
        "m.yaml:2:24: third.yaml cannot be read: No such file or directory",
        "m.yaml:5:18: no device profile is called 'korg/nanokontrol22'; did you mean 'korg/nanokontrol2'?",
        "m.yaml:8:12: no device is called 'b'; see devices:",
        "second.yaml:3:24: no knob is called 'denoize'; did you mean 'denoise'?",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{from: nk2/fadr1, to: denoise}", "5:12: korg/nanokontrol2 has no control 'fadr1'; did you mean 'fader1'?"),
        ("{from: nk2/fader1, to: denoise, curve: exp}", "5:44: the curve exp needs a range above 0"),
        ("{from: nk2/fader1, to: denoise, range: [0, 2]}", "denoise goes from 0 to 1; this range leaves it"),
        ("{from: nk2/fader1, to: denoise, range: [1, 1]}", "both ends of the range are the same"),
        ("{from: nk2/fader1, to: denoise, range: [1]}", "'range' must have at least 2 entries"),
        ("{from: nk2/fader1, to: denoise, range: [a, 1]}", "entry 1 of 'range' must be a number, not 'a'"),
        ("{from: nk2/fader1, to: denoise, takover: off}", "unknown key 'takover'; did you mean 'takeover'?"),
        (
            "{from: nk2/fader1, to: denoise, takeover: soft}",
            "'takeover' must be off, pickup, pickup_tol",
        ),
        ("{from: nk2/fader1, to: denoise, mode: toggle}", "a fader sets its position"),
        ("{from: nk2/fader1, to: denoise, value: 1}", "a fader sets its position"),
        ("{from: nk2/fader1, to: denoise/reset}", "a fader sets its position"),
        ("{from: nk2/fader1, to: denoise, step: 0.1}", "a step is for endless encoders"),
        ("{from: nk2/fader1, to: []}", "'to' must have at least 1 entry"),
        ("{from: nk2/fader1, to: [{knb: denoise}]}", "unknown key 'knb'; did you mean 'knob'?"),
        ("{from: nk2/fader1, to: [denoise, denoise]}", "the same knob is named twice"),
        ("{from: nk2/solo1, to: denoise}", "what does the button do? Add a value to set"),
        ("{from: nk2/solo1, to: denoise, value: 3}", "denoise goes from 0 to 1; 3 is outside"),
        ("{from: nk2/solo1, to: denoise, mode: toggle}", "mode: toggle changes between the two ends of a range"),
        ("{from: nk2/solo1, to: denoise, mode: momentary}", "mode: momentary needs a value to hold, or a range"),
        ("{from: nk2/solo1, to: denoise, mode: trigger}", "mode: trigger is for actions"),
        ("{from: nk2/solo1, to: denoise/reset, value: 1}", "denoise/reset takes no value"),
        ("{from: nk2/solo1, to: denoise, value: 1, takeover: pickup}", "takeover: pickup is for controls with a pos"),
        ("{from: nk2/fader1, to: denoise, tolerance: 3/128, takeover: scale}", "a tolerance is for takeover: pickup"),
        ("{from: nk2/fader1, to: denoise, tolerance: 3/4}", "'tolerance' must be at most 0.5, not '3/4'"),
        ("{from: nk2/fader1, to: denoise, smooth: 20}", "'smooth' must be a time such as 20ms or 0.5s, not '20'"),
        ("{from: nk2/fader1, to: denoise, smooth: 60s}", "'smooth' must be at most 10 s, not '60s'"),
        ("{from: nk2/solo1, to: denoise, value: 1, smooth: 20ms}", "smooth is for what is moved"),
        ("{from: nk2/fader1, to: denoise, wrap: true}", "wrap is for steps"),
        ("{from: nk2/solo1, to: denoise, mode: radio}", "mode: radio needs a value"),
        ("{from: nk2/solo1, to: denoise, mode: hold_long}", "mode: hold_long needs a value, or a reset as target"),
        ("{from: nk2/solo1, to: denoise, mode: increment, value: 1}", "mode: increment adds a step; leave the value"),
        ("{from: nk2/solo1, to: denoise, value: 1, step: 1}", "a step is for endless encoders and mode: increment"),
        ("{from: nk2/solo1, to: denoise, value: 1, after: 1s}", "after is for mode: hold_long and mode: double"),
        ("{from: nk2/solo1, to: layer/shift}", "no layer is called 'shift'; name it under layers:"),
        ("{from: nk2/fader1, to: denoise, when: {layer: shift}}", "5:51: no layer is called 'shift'"),
        ("{from: nk2/fader1, to: denoise, when: {knob: denoise}}", "a knob is asked for with above, below or at"),
        ("{from: nk2/fader1, to: denoise, when: {}}", "a condition names a layer or a knob"),
        ("{from: nk2/fader1, to: denoise, when: {knob: x, at: 1}}", "no knob is called 'x'"),
        ("{from: nk2, to: denoise}", "korg/nanokontrol2 has no control ''"),
        ("{from: osc:/demond/knob/denoise, to: denoise}", "works without a mapping"),
        ('{from: "osc:/1/fader*", to: denoise}', "an OSC address has no blanks and none of"),
        ("{from: osc:fader1, to: denoise}", "an OSC source is written as osc:/1/fader1"),
        ("{to: denoise}", "'maps' needs the key 'from'"),
        ("nk2/fader1", "must be a group of keys, not 'nk2/fader1'"),
    ],
)
def test_each_mistake_in_a_line_has_its_words(tmp_path: Path, line: str, expected: str) -> None:
    found = problems(write(tmp_path / "m.yaml", f"{HEAD}  - {line}\n"))
    assert len(found) == 1
    assert expected in found[0]


def test_a_control_twice_in_a_layer_is_warned_of_unless_it_is_meant(tmp_path: Path) -> None:
    first = HEAD + "  - {from: nk2/fader1, to: denoise}\n  - {from: nk2/fader1, to: shift"
    path = write(tmp_path / "m.yaml", first + "}\n")
    mapping = load_mapping([path])
    assert [str(warning).rpartition("/")[2] for warning in mapping.warnings] == [
        "m.yaml:6:12: nk2/fader1 is already mapped in line 5; add also: true if both are meant".rpartition("/")[2]
    ]
    assert "6:12" in str(check_file(path)[1][0])
    path.write_text(first + ", also: true}\n")
    mapping = load_mapping([path])
    assert mapping.warnings == ()
    assert len(mapping.devices[0].bindings["fader1"]) == 2
    path.write_text("layers: {shift: {}}\n" + first + ", when: {layer: shift}}\n")
    assert load_mapping([path]).warnings == ()


def test_an_id_twice_in_a_file_is_a_mistake(tmp_path: Path) -> None:
    text = HEAD + "  - {from: nk2/fader1, to: denoise, id: x}\n  - {from: nk2/fader2, to: shift, id: x}\n"
    assert problems(write(tmp_path / "m.yaml", text)) == [
        "m.yaml:6:39: the id 'x' is already used in line 5; give this line one of its own"
    ]


def test_the_including_file_wins_over_the_included_one(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", HEAD + "  - {from: nk2/fader1, to: denoise}\n  - {from: nk2/fader2, to: shift}\n")
    text = "demond: 1\ninclude: [base.yaml]\nmaps:\n  - {from: nk2/fader1, to: feedback}\n"
    path = write(tmp_path / "m.yaml", text)
    assert set(lines(load_mapping([path]))) == {"nk2/fader1/feedback", "nk2/fader2/shift"}
    path.write_text(text.replace("feedback}", "feedback, also: true}"))
    assert set(lines(load_mapping([path]))) == {"nk2/fader1/denoise", "nk2/fader1/feedback", "nk2/fader2/shift"}


def test_a_file_of_the_users_may_include_what_ships(tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", "demond: 1\ninclude: [default.yaml]\nmaps: [{from: nk2/fader8, to: shift}]\n")
    ids = lines(load_mapping([path]))
    assert "nk2/fader8/shift" in ids
    assert "nk2/fader8/volume_db" not in ids
    assert "nk2/fader1/denoise" in ids


def test_files_that_include_each_other_are_named_in_a_circle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "demond: 1\ninclude: [b.yaml]\n")
    write(tmp_path / "b.yaml", "demond: 1\ninclude: [sub/c.yaml]\n")
    write(tmp_path / "sub/c.yaml", "demond: 1\ninclude: [../a.yaml]\n")
    assert problems(path) == [
        "sub/c.yaml:2:11: the files include each other in a circle: a.yaml → b.yaml → sub/c.yaml → a.yaml"
    ]


def test_a_file_included_by_two_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "common.yaml", HEAD + "  - {from: nk2/fader1, to: denoise}\n")
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", "demond: 1\ninclude: [common.yaml]\n")
    path = write(tmp_path / "m.yaml", "demond: 1\ninclude: [a.yaml, b.yaml]\n")
    assert set(lines(load_mapping([path]))) == {"nk2/fader1/denoise"}


@pytest.mark.parametrize("name", ["../secret.yaml", "/etc/passwd", "link.yaml"])
def test_nothing_outside_of_the_mapping_folders_is_read(tmp_path: Path, name: str) -> None:
    secret = write(tmp_path / "secret.yaml", "password: 1\n")
    folder = tmp_path / "mappings"
    folder.mkdir()
    os.symlink(secret, folder / "link.yaml")
    path = write(folder / "m.yaml", f"demond: 1\ninclude: [{name}]\n")
    (problem,) = problems(path)
    assert "lies outside of the mapping folders" in problem
    assert "password" not in problem


def test_a_profile_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", "demond: 1\ndevices: {a: {profile: ../../x, match: {name: x}}}\n")
    assert problems(path) == [
        "m.yaml:2:24: 'profile' must be a profile's name such as korg/nanokontrol2, not '../../x'"
    ]


def test_the_files_to_watch_include_those_that_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "m.yaml", "demond: 1\ninclude: [later.yaml]\n")
    with pytest.raises(MappingError) as caught:
        load_mapping([path])
    assert tmp_path / "later.yaml" in caught.value.files


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ("  fader1..8: {cc: 0..6}", "fader1..8 are 8 controls, but cc gives 7 numbers"),
        ("  fader1..8: {cc: 7}", "fader1..8 are 8 controls, but"),
        ("  fader1: {cc: 7, channel: 0}", "'channel' must be at least 1, not 0"),
        ("  fader1: {cc: 7, channel: 17}", "'channel' must be at most 16, not 17"),
        ("  fader1: {cc: 8..2}", "'cc' must count upwards, as in 0..7, not '8..2'"),
        ("  fader1: {cc: x}", "'cc' must be a number, a span such as 0..7 or a list, not 'x'"),
        ("  fader1: {cc: 7}\n  knob1: {cc: 7}", "'knob1' and 'fader1' both send cc 7 on channel 1"),
        ("  thing: {cc: 7}", "what is it? Add kind: fader, knob, encoder, button, pad, touch or jog"),
        ("  fader1: {note: 7}", "a note comes from a button, a pad or a touch sensor, not from a fader"),
        ("  fader1: {cc: 7, note: 7}", "a control sends one of cc, note, bend, program"),
        ("  fader1: {}", "a control sends one of cc, note, bend, program"),
        ("  fader1: {cc: 7, bits: 14}", "a cc of 14 bits has bits: 14 and the lsb's number"),
        ("  fader1: {cc: 7, lsb: 39}", "a cc of 14 bits has bits: 14 and the lsb's number"),
        ("  fader1: {cc: 7, encoding: signed_bit}", "the encoding signed_bit is for encoders"),
        ("  Fader1: {cc: 7}", "a control is called like fader1"),
        ("  fader1: {cc: 7, lamp: {on: 127}}", "unknown key 'lamp'"),
        ("  fader1: {bend: true, led: {on: 1}}", "this control sends neither a cc nor a note; say which of them"),
        ("  fader1: {cc: 7, follows: true, ring: {}}", "what follows shows its position itself"),
        ("  button1: {note: 7, ring: {}}", "a ring shows a position, which a button has not"),
        ("  button1: {note: 7, follows: true}", "what follows has a position"),
        ("  fader1: {cc: 7, touch: touch1}", "touch names a control that is pressed; 'touch1' is none"),
        (
            "  fader1: {cc: 7, arrows: {up: a, down: b}}\n  b: {note: 1, led: {}}",
            "arrows name controls that have a led; 'a'",
        ),
        ("  button1: {mmc: halt}", "mmc has no command 'halt'; there are stop, play"),
        ("  button1: {sysex: F0 7F}", "a sysex pattern is written as F0 7F ?? 06 02 F7, not 'F0 7F'"),
        ("  knob1: {program: 7}", "a program comes from a button, not from a knob"),
        ("  knob1: {nrpn: 300}\n  knob2: {cc: 98}", "'knob2' sends cc 98 on channel 1, which 'knob1' needs for its"),
        ("  button1: {program: 7, bank: 1}\n  knob2: {cc: 32}", "'knob2' sends cc 32 on channel 1, which 'button1' "),
        ("  knob1: {nrpn: 17000}", "'nrpn' must be at most 16383, not 17000"),
        ("  jog: {cc: 60}", "a jog wheel has no ends; say which encoding it sends"),
        ("  knob1: {cc: 60, encoding: data_step}", "the encoding data_step is for controls that send an nrpn or rpn"),
        ("  fader1: {cc: 1}\n  fader1..2: {cc: 2..3}", "the control 'fader1' is described twice"),
    ],
)
def test_each_mistake_in_a_profile_has_its_words(tmp_path: Path, controls: str, expected: str) -> None:
    path = write(tmp_path / "box.yaml", PROFILE + controls + "\n")
    with pytest.raises(YamlError) as caught:
        check_file(path)
    assert expected in str(caught.value)
    assert len(caught.value.problems) == 1


def test_profiles_of_real_devices_keep_numbers_that_look_like_pairs_apart() -> None:
    """nanoKONTROL2's faders and solo buttons look like MSB and LSB, but are controls of their own."""
    (device,) = (device for device in load_mapping([SHIPPED / "nanokontrol2.yaml"]).devices)
    for number, name in [(0, "fader1"), (6, "fader7"), (32, "solo1"), (38, "solo7"), (64, "rec1"), (16, "knob1")]:
        control, _ = device.layout.plain["cc", 1, number]
        assert (control.name, control.bits) == (name, 7)


def test_the_shipped_profiles_are_listed() -> None:
    assert {"korg/nanokontrol2", "behringer/x-touch-mini"} <= set(available_profiles())
