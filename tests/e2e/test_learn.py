"""`demond learn` on the real daemon: a control is moved on a real JACK MIDI port, and its line outlives demond."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
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
  fader2: {cc: 1}
"""
MAPPING = """demond: 1
devices: {box: {profile: my/box}}
maps:
  - {from: box/fader1, to: feedback}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("learn")
    (found / "devices/my").mkdir(parents=True)
    (found / "devices/my/box.yaml").write_text(PROFILE)
    (found / "mine.yaml").write_text(MAPPING)
    return found


class Terminal:
    """`demond learn` with `words`, and what it prints."""

    def __init__(self, demond: Instrument, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demond.cli", "learn", *words, "--port", str(demond.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def press_enter(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        status = self.process.wait(60)
        self._reader.join(10)
        return status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def is_learning(demond: Instrument, target: str) -> bool:
    return any(target in reply.arguments for reply in demond.client.ask("/demond/learn/target"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_jackd(sync=False) as jackd:
        assert jackd.name is not None
        yield jackd.name


@pytest.fixture(scope="module")
def demond(folder: Path, server: str) -> Iterator[Instrument]:
    with Instrument(server, folder / "log", "--midi", "jack", "--mapping", str(folder / "mine.yaml")) as one:
        one.until(lambda s: "midi_in" in s["midi"]["ports"], "the MIDI process runs")
        yield one


def test_nobody_moves_anything_and_mistakes_are_said_at_once(demond: Instrument) -> None:
    with Terminal(demond, "denoise", "--timeout", "1") as terminal:
        assert terminal.ended() == 1
        assert terminal.lines[-1] == "demond: denoise: no control was accepted; nothing was heard of"
    with Terminal(demond, "denoize") as terminal:
        assert terminal.ended() == 1
        assert terminal.lines == ["demond: no knob is called 'denoize'; did you mean 'denoise'?"]
    with Terminal(demond, "shift", "--timeout", "60") as terminal:
        wait_for(lambda: is_learning(demond, "shift"), 60, "it searches")
        with Terminal(demond, "denoise") as other:
            assert other.ended() == 1
            assert other.lines == ["demond: shift is being learned; cancel that, or wait for its end"]
        terminal.process.send_signal(2)
        assert terminal.ended() == 130
        wait_for(lambda: is_learning(demond, ""), 10, "leaving the command ends the search")


def test_one_command_and_a_moved_fader_make_a_line_that_outlives_demond(
    folder: Path, server: str, demond: Instrument
) -> None:
    with Device(server) as box:
        demond.until(lambda s: "box:out" in s["midi"]["ports"], "the device is taken in")
        with Terminal(demond, "shift", "--timeout", "60") as terminal:
            wait_for(lambda: is_learning(demond, "shift"), 60, "it searches")
            box.send("b1077f", *(f"b000{value:02x}" for value in range(0, 120, 8)))
            wait_for(lambda: "box/fader1" in terminal.lines, 30, "the candidate is shown")
            terminal.press_enter()
            assert terminal.ended() == 0
            assert terminal.lines[0].startswith("Move the control that shall move shift; Enter takes it")
            assert terminal.lines[-2] == "- {from: box/fader1, to: shift}"
        box.send(*(f"b000{value:02x}" for value in range(0, 128, 1)))
        wait_for(lambda: demond.value("shift") > 2.5, 10, "the line is in force")
        assert demond.value("feedback") == 0, "the control's old target is left alone"

        with Terminal(demond, "denoise", "--yes", "--guess", "--json", "--timeout", "60") as terminal:
            wait_for(lambda: is_learning(demond, "denoise"), 60, "it searches")
            box.send("b41501", "b41501", "b4157f", "b4157f", "b41501")
            assert terminal.ended() == 0
            events = [json.loads(line) for line in terminal.lines]
        assert [event["event"] for event in events][-1] == "done"
        assert events[-1]["line"] == "- {from: box_2/encoder_cc21_ch5, to: denoise}"
        assert "1 and 127" in events[0]["why"]
        before = demond.value("denoise")
        box.send("b4157f", "b4157f")
        wait_for(lambda: demond.value("denoise") < before, 10, "the encoder is in force")

    learned = folder / "state/demond/learned.yaml"
    assert "controls:\n      encoder_cc21_ch5: {cc: 21, channel: 5, encoding: twos_complement}" in learned.read_text()
    demond.process.terminate()
    assert demond.process.wait(10) == 0
    options = ("--midi", "none", "--mapping", str(folder / "mine.yaml"))
    with Instrument(server, folder / "log2", *options) as again:
        again.until(lambda s: s["mapping"]["error"] is None, "it is back")
        listed = subprocess.run(
            [sys.executable, "-m", "demond.cli", "learn", "--port", str(again.port)],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        assert "box/fader1/shift: box/fader1 moves shift" in listed
        undone = subprocess.run(
            [sys.executable, "-m", "demond.cli", "learn", "--undo", "--port", str(again.port)],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        assert undone == "forgotten: - {from: box_2/encoder_cc21_ch5, to: denoise}\n"
        assert "encoder" not in learned.read_text()
