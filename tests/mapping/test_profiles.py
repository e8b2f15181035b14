"""What shipped profiles say, against messages that their sources name. None of the sources was written here."""

from __future__ import annotations

import pytest

from demond.mapping import SHIPPED, Mapper, PortIdentity
from demond.mapping.assembly import Assembler, Position, Press, Steps, layout
from demond.mapping.loader import available_profiles, load_mapping
from demond.midi.decode import decode
from tests.mapping.stage import profile_of
from tests.memory_control import MemoryControl

FACTS: dict[str, list[tuple[str, str, float]]] = {
    "korg/nanokontrol2": [
        ("b00040", "fader1", 64),
        ("b0207f", "solo1", 1.0),
        ("b0467f", "rec7", 1.0),
        ("b0297f", "play", 1.0),
    ],
    "akai/midimix": [
        ("b01005", "knob_a1", 5),
        ("b03d06", "fader8", 6),
        ("b03e07", "fader_master", 7),
        ("90167f", "mute8", 1.0),
        ("90037f", "rec1", 1.0),
    ],
    "novation/launch-control-xl": [
        ("b80d01", "send_a1", 1),
        ("b85402", "fader8", 2),
        ("98297f", "focus1", 1.0),
        ("b86b7f", "track_right", 1.0),
    ],
    "akai/apc-mini": [
        ("b03801", "fader_master", 1),
        ("903f7f", "pad_h8", 1.0),
        ("90527f", "scene1", 1.0),
        ("90627f", "shift", 1.0),
    ],
    "akai/apc-mini-mk2": [("907a7f", "shift", 1.0), ("90707f", "scene1", 1.0), ("90647f", "lower1", 1.0)],
    "behringer/x-touch": [
        ("e00040", "fader1", 8192),
        ("e87f7f", "fader_master", 16383),
        ("90687f", "touch1", 1.0),
        ("b01001", "vpot1", 1),
        ("b01041", "vpot1", -1),
        ("b03c41", "jog", -1),
        ("905e7f", "play", 1.0),
    ],
    "behringer/x-touch-mini": [
        ("ba0140", "a_encoder1", 64),
        ("ba0940", "a_fader", 64),
        ("9a087f", "a_button1", 1.0),
        ("ba0a40", "b_fader", 64),
        ("9a207f", "b_button1", 1.0),
    ],
    "djtechtools/midi-fighter-twister": [
        ("b00041", "encoder1", 1),
        ("b0003f", "encoder1", -1),
        ("b1007f", "push1", 1.0),
        ("b3087f", "side1", 1.0),
    ],
    "behringer/bcr2000": [("b00140", "g1_encoder1", 64), ("b06140", "encoder_c1", 64), ("b0697f", "box1", 1.0)],
    "behringer/bcf2000": [
        ("b70740", "fader8", 64),
        ("ca01", "mute1", 1.0),
        ("ca30", "g4_push8", 1.0),
        ("f07f7f0604f7", "next", 1.0),
    ],
    "akai/apc-key-25-mk2": [("b0307f", "encoder1", -1), ("905b7f", "play", 1.0)],
    "novation/launchkey-mini-mk3": [("90607f", "pad_a1", 1.0), ("b0737f", "play", 1.0)],
    "akai/mpk-mini-mk3": [("b04640", "knob1", 64), ("c90f", "pad16", 1.0)],
    "arturia/minilab-3": [("b00e40", "fader1", 64), ("b06d7f", "tap", 1.0)],
    # Novation's programmer's reference and a capture of the device.
    "novation/launch-control-xl-mk3": [
        ("bf0540", "fader1", 64),
        ("bf0c7f", "fader8", 127),
        ("bf5d41", "encoder_c1", 1),
        ("bf5d3e", "encoder_c1", -2),
        ("bf4d42", "encoder_a1", 2),
        ("b0257f", "upper1", 1.0),
        ("b03400", "lower8", 0.0),
        ("b0747f", "play", 1.0),
        ("b0767f", "record", 1.0),
        ("b63f7f", "shift", 1.0),
    ],
    # The examples of Novation's programmer's reference guide.
    "novation/sl-mk3": [
        ("bf1501", "encoder1", 1),
        ("bf167f", "encoder2", -1),
        ("bf297f", "fader1", 127),
        ("bf2e40", "fader6", 64),
        ("bf5a7f", "options", 1.0),
        ("bf3800", "soft6", 0.0),
        ("9f707f", "pad_b1", 1.0),
    ],
    "novation/launchpad-x": [("900b7f", "pad_a1", 1.0), ("905800", "pad_h8", 0.0), ("b05b7f", "top1", 1.0)],
    "novation/launchpad-mini-mk3": [("90337f", "pad_e1", 1.0), ("b0137f", "side1", 1.0), ("b0597f", "side8", 1.0)],
    "arturia/beatstep": [
        ("b00a05", "knob_a1", 5),
        ("b04806", "knob_b8", 6),
        ("b00707", "knob_large", 7),
        ("902c7f", "pad_a1", 1.0),
        ("a02440", "pressure_b1", 64),
    ],
    "arturia/keylab-mk2": [
        ("b04a40", "knob1", 64),
        ("b05540", "fader9", 64),
        ("b0703f", "wheel", -1),
        ("b07041", "wheel", 1),
        ("99307f", "pad1", 1.0),
        ("99277f", "pad16", 1.0),
    ],
    "korg/nanopad2": [("90247f", "pad1", 1.0), ("b00120", "axis1", 32), ("b0107f", "touch", 1.0)],
    "akai/lpd8": [("b00840", "knob8", 64), ("902b7f", "pad8", 1.0)],
    "akai/apc40-mk2": [
        ("b70740", "fader8", 64),
        ("b00e40", "fader_master", 64),
        ("b00f01", "crossfader", 1),
        ("90277f", "clip_e8", 1.0),
        ("97427f", "crossfade8", 1.0),
        ("90627f", "shift", 1.0),
    ],
    "allen-heath/xone-k2": [
        ("be0001", "encoder1", 1),
        ("be007f", "encoder1", -1),
        ("be1040", "fader1", 64),
        ("9e347f", "push1", 1.0),
        ("9e187f", "grid_d1", 1.0),
        ("8e1800", "grid_d1", 0.0),
    ],
    "16n/faderbank": [("b02001", "fader1", 1), ("b02f02", "fader16", 2)],
    "faderfox/uc4": [("b00840", "encoder1", 64), ("b02701", "fader8", 1), ("90407f", "button1", 1.0)],
    "behringer/x-touch-compact": [
        ("b00140", "a_fader1", 64),
        ("b06d7f", "a_touch_main", 1.0),
        ("b01920", "a_encoder16", 32),
        ("90307f", "a_select_main", 1.0),
        ("b02440", "b_fader_main", 64),
        ("906d7f", "b_play", 1.0),
    ],
}

PORTS = {
    "novation/launch-control-xl-mk3": (
        "LCXL3 1:LCXL3 1 LCXL3 1 DAW Out 28:1",
        "LCXL3 1:LCXL3 1 LCXL3 1 MIDI Out 28:0",
    ),
    "novation/sl-mk3": ("Novation SL MkIII:SL MkIII InControl 20:1", "Novation SL MkIII:SL MkIII MIDI 1 20:0"),
    "arturia/keylab-mk2": ("KeyLab mkII 61:KeyLab mkII 61 MIDI 24:0", "KeyLab mkII 61:KeyLab mkII 61 DAW 24:1"),
    "akai/apc40-mk2": ("APC40 mkII:APC40 mkII MIDI 1 20:0", "APC40:APC40 MIDI 1 20:0"),
}
"""By profile: a port that is its device's, and one that is not."""


def said(one: Assembler, message: str) -> tuple[str, float] | None:
    match one.feed(decode(bytes.fromhex(message))):
        case Position(control, value) | Press(control, value) | Steps(control, value):
            return control.name, value
    return None


@pytest.mark.parametrize("name", FACTS)
def test_a_profile_understands_the_messages_that_its_sources_name(name: str) -> None:
    profile = profile_of((SHIPPED / f"devices/{name}.yaml").read_text())
    one = Assembler(layout(profile.controls.values()))
    for message, control, value in FACTS[name]:
        assert said(one, message) == (control, value), message


@pytest.mark.parametrize("name", PORTS)
def test_of_the_ports_of_a_device_the_right_one_is_taken(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("ports") / "m.yaml"
    control = next(iter(profile_of((SHIPPED / f"devices/{name}.yaml").read_text()).controls))
    path.write_text(f"demond: 1\ndevices: {{it: {{profile: {name}}}}}\nmaps: [{{from: it/{control}, to: denoise}}]\n")
    mapper = Mapper(load_mapping([path]), MemoryControl())
    mapper.ports(PortIdentity(port) for port in PORTS[name])
    right, wrong = PORTS[name]
    assert mapper.devices[right] == ["it"]
    assert mapper.devices.get(wrong, []) == []


def test_every_profile_names_its_source_and_how_to_set_the_device_up() -> None:
    profiles = available_profiles()
    assert len(profiles) >= 36
    for name in profiles:
        text = (SHIPPED / f"devices/{name}.yaml").read_text()
        assert "\nsource: " in text
        assert "\nsetup: " in text
