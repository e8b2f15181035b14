"""Scenes on the real daemon: what a surface sees of a recall."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from demond.jack_server import DummyServer
from demond.osc.codec import Message
from demond.scenes.modulate import Shape, wave
from tests.e2e.instrument import Instrument
from tests.e2e.test_osc import Tablet
from tests.jack import wait_for
from tests.timebase import Timebase

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

JACK_LED = """
demond: 1
lfos: {feedback: {shape: saw, every: 8 beats, depth: 0.5, centre: 0.5}}
scenes:
  drop: {set: {denoise: 0.1}, quantize: 4 bars}
"""
MAPPING = """
demond: 1
scenes:
  drop: {program: 1, set: {denoise: 0.1, feedback: 0.8, hint_strength: 0.2}, morph: {time: 1 s}}
"""


def demond(*arguments: object) -> str:
    command = [sys.executable, "-m", "demond.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_morph_is_seen_without_a_jump_spares_a_touched_knob_and_is_undone(
    jackd: DummyServer, tmp_path: Path
) -> None:
    mapping = tmp_path / "set.yaml"
    mapping.write_text(MAPPING)
    settings = tmp_path / "demond.yaml"
    settings.write_text(f"mappings: [{mapping}]\nmidi: {{backend: none}}\n")
    with Instrument(jackd.name, tmp_path / "log", "--config", str(settings)) as instrument:
        instrument.until_playing()
        before = {name: instrument.value(name) for name in ("denoise", "feedback", "hint_strength")}
        tablet, hand = Tablet(instrument.port), Tablet(instrument.port)
        tablet.send("/demond/subscribe", "/demond//*", tablet.port, 200.0)
        tablet.until("/demond/update", 0)
        tablet.send("/demond/scene/drop")
        began = time.monotonic()
        seen = {name: [value] for name, value in before.items()}
        touched = False
        while True:
            message = tablet.next()
            name = message.address.rpartition("/")[2]
            if name in seen and message.address.startswith("/demond/knob/"):
                seen[name].append(float(message.arguments[0]))  # type: ignore[arg-type]
            if not touched and len(seen["hint_strength"]) > 20:
                hand.send("/demond/knob/hint_strength", 0.55)
                touched = True
            if message == Message("/demond/scene/morph", (1.0,)):
                break
        took = time.monotonic() - began
        assert 0.9 < took < 3
        for name, aim in (("denoise", 0.1), ("feedback", 0.8)):
            steps = [after - before for before, after in pairwise(seen[name])]
            assert all(step >= 0 for step in steps) or all(step <= 0 for step in steps)
            assert len(steps) > 40
            # What is sent may leave steps out; none of the daemon's own is more than 1.5 * 20 ms of the way.
            assert max(map(abs, steps)) < 0.15 * abs(aim - before[name])
            assert instrument.value(name) == pytest.approx(aim)
        assert instrument.value("hint_strength") == pytest.approx(0.55)
        assert instrument.status()["stage"]["current"] == "drop"

        assert "denoise was set last by scene drop" in demond("why", "denoise", "--port", instrument.port)
        demond("scene", "undo", "--port", instrument.port)
        assert instrument.value("denoise") == pytest.approx(before["denoise"])
        assert instrument.value("feedback") == pytest.approx(before["feedback"])
        assert instrument.value("hint_strength") == pytest.approx(0.55)

        demond("scene", "store", "mine", "--program", 5, "--port", instrument.port)
        demond("set", "denoise", "0.9", "--port", instrument.port)
        demond("scene", "recall", "5", "--port", instrument.port)
        assert instrument.value("denoise") == pytest.approx(before["denoise"])
        listed = json.loads(demond("scene", "list", "--json", "--port", instrument.port))
        assert {row["name"] for row in listed} == {"drop", "mine"}
        assert demond("tempo", "96", "--port", instrument.port) == ""
        assert "96 bpm" in demond("tempo", "--port", instrument.port)
    with Instrument(jackd.name, tmp_path / "log", "--config", str(settings)) as instrument:
        instrument.until_playing()
        listed = json.loads(demond("scene", "list", "--json", "--port", instrument.port))
        assert {row["name"] for row in listed} == {"drop", "mine"}


def test_the_daemon_keeps_to_jacks_transport_and_starts_and_stops_it(jackd: DummyServer, tmp_path: Path) -> None:
    mapping = tmp_path / "led.yaml"
    mapping.write_text(JACK_LED)
    settings = tmp_path / "demond.yaml"
    settings.write_text(f"mappings: [{mapping}]\nmidi: {{backend: none}}\ntempo: {{sync: jack, bpm: 77}}\n")
    with (
        Timebase(jackd.name, 150.0, 3.0) as master,
        Instrument(jackd.name, tmp_path / "log", "--config", str(settings)) as instrument,
    ):
        instrument.until_playing()
        stands = instrument.until(lambda status: status["stage"]["tempo_from"] == "jack", "the transport leads")
        assert (stands["stage"]["bpm"], stands["stage"]["playing"]) == (150.0, False)
        tablet = Tablet(instrument.port)
        tablet.send("/demond/subscribe", "/demond/knob/denoise", tablet.port, 200.0)
        tablet.until("/demond/update", 0)
        instrument.client.ask("/demond/transport/play")
        status = instrument.until(lambda status: status["stage"]["playing"], "the beat rolls")
        assert master.look().rolling
        tablet.send("/demond/scene/drop")
        asked = master.heard_beat(0)
        tablet.until("/demond/knob/denoise", pytest.approx(0.1))
        assert master.heard_beat(0) - asked < 12 + 1

        status = instrument.status()
        latency = round(status["audio"]["port_latency_ms"] * 48)
        beats = []
        for _ in range(9):
            [told] = instrument.client.ask("/demond/transport/beat")
            beats.append(float(told.arguments[0]) - master.heard_beat(latency))  # type: ignore[arg-type]
        assert abs(sorted(beats)[4]) < 0.1
        travel = instrument.value("feedback")
        assert travel == pytest.approx(0.5 + 0.5 * wave(Shape.SAW, master.heard_beat(latency) / 8), abs=0.05)
        demond("tempo", "--sync", "tap", "--port", instrument.port)
        assert demond("tempo", "90", "--port", instrument.port) == ""
        demond("tempo", "--sync", "jack", "--port", instrument.port)
        instrument.kill("audio")
        instrument.until(
            lambda status: status["audio"]["restarts"] and status["stage"]["tempo_from"] == "jack",
            "a new audio process tells the daemon of the transport",
        )
        instrument.client.ask("/demond/transport/stop")
        instrument.until(lambda status: not status["stage"]["playing"], "the beat stands")
        assert not master.look().rolling

        demond("tempo", "97", "--sync", "tap", "--lead", "--port", instrument.port)
        instrument.until(lambda status: "another client" in status["audio"]["timebase"], "it is told who leads")
        master.release()
        instrument.until(lambda status: status["audio"]["timebase"] == "demond", "demond leads JACK's transport")
        instrument.client.ask("/demond/transport/play")
        wait_for(lambda: master.look().place.get("beats_per_minute") == 97, 5, "others see its tempo")
