from __future__ import annotations

from pathlib import Path

import pytest

from demond.midi.naming import match_output, usb_place

SYSTEMS = {
    "ALSA": (["nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0", "X-TOUCH MINI:X-TOUCH MINI MIDI 1 24:0"],) * 2,
    "a2jmidid": (
        ["a2j:nanoKONTROL2 [20] (capture): nanoKONTROL2 MIDI 1", "a2j:X-TOUCH MINI [24] (capture): MIDI 1"],
        ["a2j:nanoKONTROL2 [20] (playback): nanoKONTROL2 MIDI 1", "a2j:X-TOUCH MINI [24] (playback): MIDI 1"],
    ),
    "jackd's own MIDI driver": (
        ["system:midi_capture_1", "system:midi_capture_2"],
        ["system:midi_playback_1", "system:midi_playback_2"],
    ),
    "another JACK client": (["box:out", "pad:midi_out"], ["box:in", "pad:midi_in"]),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_output_of_each_device_is_found_by_its_name(system: str) -> None:
    sources, sinks = SYSTEMS[system]
    assert [match_output(source, sources, sinks) for source in sources] == sinks


def test_a_client_with_one_port_each_way_is_one_device() -> None:
    assert match_output("synth:keys", ["synth:keys"], ["synth:lamps", "other:in"]) == "synth:lamps"


def test_a_device_that_cannot_be_told_from_another_gets_no_output() -> None:
    assert match_output("a:x", ["a:x", "a:y"], ["a:lamps"]) is None
    assert match_output("a:x", ["a:x"], ["b:x lamps"]) is None


def machine(root: Path) -> Path:
    """A /proc and /sys with a USB controller as card 1, and a card without USB as card 2."""
    interface = root / "sys/devices/pci0000:00/usb1/1-1/1-1.2/1-1.2:1.0"
    interface.mkdir(parents=True)
    for card in (1, 2):
        (root / f"sys/class/sound/card{card}").mkdir(parents=True)
        (root / f"proc/asound/card{card}").mkdir(parents=True)
    (root / "sys/class/sound/card1/device").symlink_to(interface)
    (root / "proc/asound/card1/usbid").write_text("0944:0117\n")
    return root


def test_the_socket_of_an_alsa_port_is_told_by_its_card(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert usb_place("nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0", root) == ("0944:0117", "1-1.2")


@pytest.mark.parametrize("name", ["card 24:0", "gone 28:0", "software 14:0", "system:midi_capture_1", ""])
def test_what_is_no_usb_device_has_no_socket(tmp_path: Path, name: str) -> None:
    assert usb_place(name, machine(tmp_path)) == ("", "")
