"""Every kind of MIDI message through a real port, the real MIDI process and a mapping, to a knob."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demond.control import Origin
from demond.mapping import MappingSource, PortIdentity
from demond.messages import MidiIn
from tests.jack import running_jackd
from tests.memory_control import MemoryControl
from tests.midi.device import Device
from tests.midi.test_process import Running

PROFILE = """profile: my/everything
source: this test
setup: none
ports: 'box:*'
controls:
  cc: {cc: 20, kind: knob}
  high_first: {cc: 7, bits: 14, lsb: 39, kind: knob, channel: 2}
  low_first: {cc: 8, bits: 14, lsb: 40, order: lsb_first, kind: knob, channel: 2}
  nrpn: {nrpn: 300, kind: knob, channel: 3}
  nrpn_fine: {nrpn: 301, bits: 14, kind: knob, channel: 3}
  rpn: {rpn: 0, kind: knob, channel: 3}
  rpn_encoder: {rpn: 5, kind: encoder, encoding: data_step, channel: 3}
  bend: {bend: true, kind: knob, channel: 4}
  pad: {note: 60, kind: pad}
  program: {program: 5, channel: 5}
  banked: {program: 5, bank: 130, channel: 6}
  channel_pressure: {pressure: channel, kind: knob, channel: 7}
  key_pressure: {pressure: {note: 61}, kind: knob, channel: 7}
  twos: {cc: 21, kind: encoder, encoding: twos_complement}
  offset: {cc: 22, kind: encoder, encoding: offset_binary}
  signed: {cc: 23, kind: encoder, encoding: signed_bit}
  mackie: {cc: 24, kind: encoder, encoding: signed_bit_mackie}
  mmc: {mmc: stop}
  sysex: {sysex: F0 42 ?? 01 * F7, kind: button}
  reserved: {cc: 127, kind: knob}
"""
LINES = """demond: 1
devices: {box: {profile: my/everything}}
maps:
"""


def line(control: str, **more: object) -> str:
    keys = {"from": f"box/{control}", "to": "denoise", "takeover": "off", "also": "true", **more}
    return "  - {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}\n"


MAPPING = (
    LINES
    + "".join(line(one) for one in ("cc", "high_first", "low_first", "nrpn", "nrpn_fine", "rpn", "bend", "reserved"))
    + "".join(line(one) for one in ("channel_pressure", "key_pressure"))
    + "".join(line(one, step=0.01) for one in ("rpn_encoder", "twos", "offset", "signed", "mackie"))
    + line("pad", value="velocity")
    + "".join(line(one, value=0.25) for one in ("program", "banked", "mmc", "sysex"))
)
START = 0.5
"""Where the knob stands before each of them."""

CASES: dict[str, tuple[str, float]] = {
    "a controller of 7 bits": ("b01440", 64 / 127),
    "a controller of 14 bits, high half first": ("b10740 b12701", 8193 / 16383),
    "a controller of 14 bits, low half first": ("b12801 b10840", 8193 / 16383),
    "a high half that is left out": ("b10740 b12701 b12702", 8194 / 16383),
    "an NRPN": ("b26302 b2622c b20620", 32 / 127),
    "an NRPN that stays selected": ("b26302 b2622c b20620 b20621", 33 / 127),
    "an NRPN of 14 bits": ("b26302 b2622d b20640 b22601", 8193 / 16383),
    "an NRPN counted up": ("b26302 b2622c b20620 b26000", 33 / 127),
    "an NRPN counted down": ("b26302 b2622c b20620 b26100", 31 / 127),
    "an RPN": ("b26500 b26400 b20610", 16 / 127),
    "an RPN that counts up": ("b26500 b26405 b26000", START + 0.01),
    "an RPN that counts down": ("b26500 b26405 b26100", START - 0.01),
    "pitch bend": ("e30140", 8193 / 16383),
    "a note with velocity": ("903c20", 32 / 127),
    "a program": ("c405", 0.25),
    "a program of a bank": ("b50001 b52002 c505", 0.25),
    "channel pressure": ("d640", 64 / 127),
    "key pressure": ("a63d20", 32 / 127),
    "a step up in two's complement": ("b01501", START + 0.01),
    "two steps down in two's complement": ("b0157e", START - 0.02),
    "a step up in offset binary": ("b01641", START + 0.01),
    "two steps down in offset binary": ("b0163e", START - 0.02),
    "a step up in signed bit": ("b01741", START + 0.01),
    "two steps down in signed bit": ("b01702", START - 0.02),
    "a step up in Mackie's signed bit": ("b01801", START + 0.01),
    "two steps down in Mackie's signed bit": ("b01842", START - 0.02),
    "MIDI Machine Control": ("f07f7f0601f7", 0.25),
    "a system exclusive message": ("f0420a01020304f7", 0.25),
    "a controller of a reserved number": ("b07f20", 32 / 127),
}


class Rig:
    """A device at the MIDI process, and the mapping that hears it."""

    def __init__(self, midi: Running, device: Device, mapping: MappingSource, control: MemoryControl) -> None:
        self.midi, self.device, self.mapping, self.control = midi, device, mapping, control
        self._later_ns = 0
        self.clocks: list[tuple[str, str, int]] = []
        mapping.hear_clock(lambda port, clock, _: self.clocks.append((port, clock.kind, clock.sixteenths)))

    def send(self, messages: list[str]) -> None:
        """Plays `messages` (hex) on the device, and lets the mapping hear what arrives of them."""
        self._later_ns += 10**9  # a second of rest, after which any control is touched anew
        self.midi.messages.clear()
        self.device.send(*messages)
        self.midi.until(lambda: len(self.midi.received("box")) >= len(messages), 8, f"{messages} arrive")
        for batch in self.midi.messages:
            if isinstance(batch, MidiIn):
                self.mapping.midi(batch.port, tuple(map(bytes.fromhex, batch.data)), batch.time_ns + self._later_ns)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("everything")
    os.makedirs(folder / "devices/my")
    (folder / "devices/my/everything.yaml").write_text(PROFILE)
    (folder / "m.yaml").write_text(MAPPING)
    control = MemoryControl()
    mapping = MappingSource([folder / "m.yaml"], control)
    assert mapping.load() is None
    with running_jackd(sync=False) as server, Running(server.name) as midi, Device(server.name) as device:
        midi.until(lambda: "box:out" in midi.answered(), 8, "the device is there")
        mapping.ports([PortIdentity("box:out")])
        yield Rig(midi, device, mapping, control)


@pytest.mark.parametrize("what", CASES)
def test_each_kind_of_message_reaches_its_knob(rig: Rig, what: str) -> None:
    messages, expected = CASES[what]
    # Plugged in anew, so that nothing is left of the case before; and somebody else has put the knob back.
    rig.mapping.ports([])
    rig.mapping.ports([PortIdentity("box:out")])
    rig.control.set_knobs({"denoise": START}, Origin("osc", "127.0.0.1:5", 0))
    rig.mapping.changed({"denoise": START})
    rig.send(messages.split())
    assert rig.control.values["denoise"] == pytest.approx(expected, abs=1e-6)


def test_a_sequencers_time_arrives_in_its_order(rig: Rig) -> None:
    rig.clocks.clear()
    rig.send(["f21001", "fb", "f8", "f8", "fc", "fa"])
    kinds = [("position", 144), ("continue", 0), ("tick", 0), ("tick", 0), ("stop", 0), ("start", 0)]
    assert rig.clocks == [("box:out", *each) for each in kinds]
