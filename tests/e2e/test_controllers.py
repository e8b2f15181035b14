"""Controllers on the real daemon: what they do, what they are shown, and unplugging them in the middle of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.instrument import Instrument
from tests.jack import running_jackd, wait_for
from tests.midi.device import Device

pytestmark = pytest.mark.e2e

PROFILE = """profile: my/box
source: this test
setup: none
ports: 'box:*'
controls:
  fader1: {cc: 0}
  motor1: {bend: true, kind: fader, follows: true}
  lamp1: {note: 1, kind: button, led: {}}
"""
MAPPING = """demond: 1
devices: {box: {profile: my/box}}
maps:
  - {from: box/fader1, to: feedback}
  - {from: box/motor1, to: denoise}
  - {from: box/lamp1, to: mute}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    (tmp_path / "devices/my").mkdir(parents=True)
    (tmp_path / "devices/my/box.yaml").write_text(PROFILE)
    path = tmp_path / "box.yaml"
    path.write_text(MAPPING)
    return path


def bend(value: float) -> str:
    position = round(value * 16_383)
    return bytes((0xE0, position & 127, position >> 7)).hex()


def test_a_controller_is_painted_when_it_comes_follows_osc_and_is_painted_again_after_a_replug(
    tmp_path: Path, mapping: Path
) -> None:
    options = ("--midi", "jack", "--mapping", str(mapping))
    with running_jackd(sync=False) as server, Instrument(server.name, tmp_path / "log", *options) as demond:
        demond.until(lambda s: "midi_in" in s["midi"]["ports"], "the MIDI process runs")
        with Device(server.name) as box:
            wait_for(lambda: bend(0.7) in box.heard(), 5, "the device is painted")
            assert "900100" in box.heard()
            demond.client.ask("/demond/knob/denoise", 0.5)
            wait_for(lambda: box.heard()[-1] == bend(0.5), 2, "the motor follows OSC")
            box.send("90017f", "900100")
            wait_for(lambda: box.heard()[-1] == "90017f", 2, "the lamp shows what the button did")
            assert demond.value("mute") == 1
            box.send("b0007f", "b00000", "b00014")
            wait_for(
                lambda: demond.value("feedback") == pytest.approx(20 / 127), 2, "the fader has picked its knob up"
            )
        demond.until(lambda s: "box:out" not in s["midi"]["ports"], "its leaving is noticed")
        with Device(server.name) as box:
            box.heard()  # it is there now
            plugged = time.monotonic()
            wait_for(lambda: {bend(0.5), "90017f"} <= set(box.heard()), 5, "all is painted again")
            assert time.monotonic() - plugged < 1.0
            box.send("b0007f", "b0007e")
            demond.until(
                lambda s: any("waits to pick up" in m["outcome"] for m in demond.client.messages(0)["messages"]),
                "the fader must pick its knob up again",
            )
            assert demond.value("feedback") == pytest.approx(20 / 127)


def test_monitor_and_why_tell_what_came_of_each_message(tmp_path: Path, mapping: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "demond.cli", *words, "--port", str(demond.port)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    options = ("--midi", "jack", "--mapping", str(mapping))
    with running_jackd(sync=False) as server, Instrument(server.name, tmp_path / "log", *options) as demond:
        demond.until(lambda s: "midi_in" in s["midi"]["ports"], "the MIDI process runs")
        nothing = command("why")
        assert nothing.returncode == 1
        assert "demond monitor" in nothing.stderr
        with Device(server.name) as box:
            demond.until(lambda s: "box:out" in s["midi"]["ports"], "the device is taken in")
            box.send("b0007f", "b0417f")
            wait_for(lambda: demond.client.messages(0)["count"] >= 2, 3, "both messages have come")
            said = command("why", "box/fader1").stdout
            assert "box:out  b0 00 7f  box/fader1 [box/fader1/feedback]  →  waits to pick up feedback" in said
            other = json.loads(command("why", "--json", "--count", "1").stdout)
            assert other[0]["outcome"] == "no device at this port has such a control"
            monitor = subprocess.Popen(
                [sys.executable, "-m", "demond.cli", "monitor", "--count", "1", "--port", str(demond.port)],
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                deadline = time.monotonic() + 20
                while monitor.poll() is None and time.monotonic() < deadline:
                    box.send("90017f", "900100")
                    demond.client.ask("/demond/sync", 1)
                    time.sleep(0.05)
                assert monitor.stdout is not None
                assert "box/lamp1" in monitor.stdout.read()
            finally:
                monitor.kill()
                monitor.wait()
