"""Devices that a mapping describes itself, what they are sent when they come, and what it means that they do not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from demond.mapping import MappingError, MappingSource, PortIdentity, load_mapping
from demond.mapping import source as source_module
from tests.mapping.stage import Stage
from tests.memory_control import MemoryControl

LAMPS = """
on_connect: ['F0 01 F7']
controls:
  knob1: {cc: 0, ring: {}}
  button1: {note: 1, led: {}}
"""
LINES = ("{from: box/knob1, to: denoise}", "{from: box/button1, to: mute}")


def loaded(folder: Path, devices: str, *lines: str) -> object:
    path = folder / "m.yaml"
    path.write_text(f"demond: 1\ndevices:\n  {devices}\nmaps:\n" + "".join(f"  - {line}\n" for line in lines))
    return load_mapping([path])


def problem(folder: Path, devices: str, *lines: str) -> str:
    with pytest.raises(MappingError) as caught:
        loaded(folder, devices, *lines)
    return str(caught.value)


def test_a_mapping_describes_a_device_without_a_profile_itself(tmp_path: Path) -> None:
    text = """demond: 1
devices:
  pot:
    match: {name: "pot*"}
    controls:
      knob1..3: {cc: 21..23}
      encoder1: {cc: 30, encoding: twos_complement}
maps:
  - {from: pot/knob2, to: denoise, takeover: off}
  - {from: pot/encoder1, to: shift, step: 0.5}
"""
    (tmp_path / "m.yaml").write_text(text)
    control = MemoryControl()
    source = MappingSource([tmp_path / "m.yaml"], control)
    assert source.load() is None
    source.ports([PortIdentity("pot:out"), PortIdentity("else:out")])
    assert source.devices == {"pot:out": ["pot"], "else:out": []}
    source.midi("pot:out", [b"\xb0\x16\x7f", b"\xb0\x1e\x7f"], 1)
    assert control.values["denoise"] == 1
    assert control.values["shift"] == 2.5


def test_controls_of_its_own_come_on_top_of_a_profile_s(tmp_path: Path) -> None:
    device = "nk2: {profile: korg/nanokontrol2, controls: {pedal: {cc: 99, kind: button}}}"
    mapping = loaded(tmp_path, device, "{from: nk2/pedal, to: mute}", "{from: nk2/fader1, to: denoise}")
    assert {binding.id for binding in mapping.bindings()} == {"nk2/pedal/mute", "nk2/fader1/denoise"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("x: {}", "m.yaml:3:6: what is it? Add profile: VENDOR/NAME, or controls:"),
        ("x: {controls: {knob1: {cc: 1}}}", "m.yaml:3:6: there are no names of ports; add match:"),
        ("x: {match: {name: a}, controls: {knob1: {}}}", "m.yaml:3:43: a control sends one of"),
        ("x: {match: {name: a}, controls: {knob1: {cc: 1}, knob2: {cc: 1}}}", "both send cc 1 on channel 1"),
        (
            "x: {match: {name: a}, controls: {knob1: {cc: 1}}, on_connect: [F0 0]}",
            "3:66: a message is written in hex",
        ),
        ("x: {match: {name: a}, controls: {knob1: {cc: 1}}, missing: panic}", "must be ignore, warn or error"),
    ],
)
def test_mistakes_in_a_device_are_said_at_their_place(tmp_path: Path, device: str, words: str) -> None:
    assert words in problem(tmp_path, device, "{from: x/knob1, to: denoise}")


# -- when it comes ------------------------------------------------------------------------------------------------


def stage(folder: Path, device: str) -> Stage:
    one = Stage(folder, LAMPS)
    path = folder / "m.yaml"
    path.write_text(f"demond: 1\ndevices:\n  box: {device}\nmaps:\n" + "".join(f"  - {line}\n" for line in LINES))
    one.mapper.replace(load_mapping([path]))
    return one


def test_a_device_is_put_into_its_mode_and_painted(tmp_path: Path) -> None:
    assert stage(tmp_path, "{profile: my/box}").plug() == ["f0 01 f7", "b0 00 59", "90 01 00"]


def test_a_device_that_keeps_what_it_shows_is_sent_changes_alone(tmp_path: Path) -> None:
    one = stage(tmp_path, "{profile: my/box, on_connect: keep}")
    assert one.plug() == []
    assert one.elsewhere(mute=1.0) == ["90 01 7f"]


def test_messages_of_the_mapping_stand_for_those_of_the_profile(tmp_path: Path) -> None:
    one = stage(tmp_path, "{profile: my/box, on_connect: [F0 7D 02 F7, B0 7F 00]}")
    assert one.plug() == ["f0 7d 02 f7", "b0 7f 00", "b0 00 59", "90 01 00"]


# -- when it does not ---------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_once_and_so_is_its_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_module, "GRACE_SECONDS", 0.0)
    devices = """demond: 1
devices:
  a: {match: {name: "a:*"}, controls: {knob1: {cc: 1}}, missing: warn}
  b: {match: {name: "b:*"}, controls: {knob1: {cc: 1}}, missing: error}
  c: {match: {name: "c:*"}, controls: {knob1: {cc: 1}}}
"""
    (tmp_path / "m.yaml").write_text(devices)
    failures: list[str] = []

    async def play() -> None:
        source = MappingSource([tmp_path / "m.yaml"], MemoryControl())
        assert source.load() is None
        source.ports([PortIdentity("b:out")])
        source.call_roll(failures.append)
        assert source.missing == ["a"]
        while "a is missing" not in caplog.text:
            await asyncio.sleep(0.001)
        assert failures == []
        source.ports([PortIdentity("a:out")])
        source.ports([PortIdentity("a:out"), PortIdentity("x:out")])
        assert source.missing == ["b"]

    with caplog.at_level(logging.INFO, "demond"):
        asyncio.run(play())
    said = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert said == [("WARNING", "a is missing"), ("ERROR", "b is missing"), ("INFO", "a is there")]
    assert failures == []


def test_a_device_that_demond_may_not_play_without_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "GRACE_SECONDS", 0.0)
    text = 'demond: 1\ndevices: {b: {match: {name: "b:*"}, controls: {knob1: {cc: 1}}, missing: error}}\n'
    (tmp_path / "m.yaml").write_text(text)

    async def play() -> str:
        source = MappingSource([tmp_path / "m.yaml"], MemoryControl())
        assert source.load() is None
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        source.call_roll(failed.set_result)
        return await asyncio.wait_for(failed, 10)

    assert asyncio.run(play()) == "b is missing: no MIDI port is called b:*; `demond ports` lists them"
