"""What a performer sets besides knobs: heard, and not lost when the engine or the daemon dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from demond.jack_server import DummyServer
from demond.osc.codec import Argument
from tests.e2e.instrument import PATIENCE, Instrument
from tests.jack import wait_for
from tests.listening import Capture, clicks, longest_silence

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def change(instrument: Instrument, address: str, *arguments: Argument) -> None:
    instrument.client.change((address, arguments))


def settings(status: dict[str, Any]) -> tuple[object, ...]:
    return status["session"], status["prompt"], status["engine"]["loop_seconds"], status["engine"]["steps"]


def test_a_curve_is_heard_until_it_is_handed_back(jackd: DummyServer, tmp_path: Path, four_seconds: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log", "--source", str(four_seconds)) as instrument:
        loop = instrument.until_playing()["audio"]["loop_frames"]

        def until_up_to_date() -> None:
            instrument.until(lambda s: s["engine"]["idle"], "the whole loop is up to date")
            heard = instrument.status()["audio"]["playhead"]
            instrument.until(lambda s: s["audio"]["playhead"] > heard + 1.1 * loop, "one pass is recorded")

        instrument.client.ask("/demond/knob/denoise", 1.0)
        instrument.until(lambda s: s["engine"]["idle"], "the whole loop is up to date")
        with Capture(instrument.outputs, PATIENCE, jackd.name) as capture:
            began = instrument.status()["audio"]["playhead"]
            until_up_to_date()
            change(instrument, "/demond/curve/protect", 0.0, 1.0, 1.0, 0.0)
            until_up_to_date()
            drawn = instrument.status()["audio"]["playhead"] - began
            change(instrument, "/demond/curve/protect", "off")
            until_up_to_date()
            capture.stop()
            audio = capture.audio
        assert capture.skipped == 0
        assert clicks(audio, capture.rate) == []

        def last_pass(end: int) -> NDArray[np.float32]:
            """What was heard up to sample `end`, from where the loop was when the recording began."""
            return np.roll(audio[end - loop : end], end - loop, axis=0)

        before, with_curve, after = audio[:loop], last_pass(drawn), last_pass(len(audio))
        assert np.sqrt(((with_curve - before) ** 2).mean()) > 0.01
        assert np.abs(after - before).max() < 1e-3


def test_nothing_that_was_set_is_lost_when_the_engine_or_the_daemon_is_killed(
    jackd: DummyServer, tmp_path: Path, four_seconds: Path
) -> None:
    folder = tmp_path / "loops"
    folder.mkdir()
    audio, rate = soundfile.read(four_seconds, frames=3 * 48_000)
    soundfile.write(folder / "three.wav", audio, rate)
    options = ("--source", str(four_seconds), "--root", str(folder))
    with Instrument(jackd.name, tmp_path / "first.log", *options) as instrument:
        instrument.until_playing()
        denied = instrument.client.ask("/demond/source", "/etc/hostname")
        assert denied[0].arguments[:3] == (403, "denied", "/demond/source")
        change(instrument, "/demond/source", "three.wav")
        change(instrument, "/demond/steps", 5)
        change(instrument, "/demond/depth", 2)
        change(instrument, "/demond/curve/velocity_scale", 1.0, 0.9, 1.0)
        change(instrument, "/demond/prompt/a/bpm", 126)
        change(instrument, "/demond/prompt/negative/text", "vocals")
        instrument.client.ask("/demond/knob/shift", 2.5)
        instrument.client.ask("/demond/knob/seed", 77)
        before = instrument.until(lambda s: s["engine"]["idle"], "the whole loop is up to date")
        assert before["session"]["source"] == str(folder / "three.wav")
        assert before["session"]["curves"] == {"velocity_scale": 3}
        assert (before["prompt"]["a_bpm"], before["prompt"]["negative"]) == (126, "vocals")
        assert (before["engine"]["loop_seconds"], before["engine"]["steps"], before["engine"]["depth"]) == (3, 5, 2)

        with Capture(instrument.outputs, PATIENCE, jackd.name) as capture:
            instrument.kill("engine")
            after = instrument.until(
                lambda s: s["engine"]["restarts"] == 1 and s["engine"]["idle"], "the new engine is up to date"
            )
            capture.stop()
            assert clicks(capture.audio, capture.rate) == []
            assert longest_silence(capture.audio, capture.rate) < 0.1
        assert settings(after) == settings(before)

        state = tmp_path / "state/demond/state.json"
        wait_for(
            lambda: state.exists() and json.loads(state.read_text())["knobs"].get("seed") == 77, 15, "it is kept"
        )
        instrument.process.kill()
        instrument.process.wait()

    with Instrument(jackd.name, tmp_path / "second.log", *options) as instrument:
        after = instrument.until(lambda s: s["engine"]["state"] == "playing", "the daemon plays")
        assert settings(after) == settings(before)
        assert (instrument.value("shift"), instrument.value("seed")) == (2.5, 77)
        assert "as it was left" in instrument.log

    state.write_text("{ half a file")
    with Instrument(jackd.name, tmp_path / "third.log", *options) as instrument:
        status = instrument.until(lambda s: s, "it answers")
        assert status["session"]["source"] == str(four_seconds)
        assert "is damaged; it was set aside" in instrument.log
        instrument.client.ask("/demond/knob/seed", 5)

    with Instrument(jackd.name, tmp_path / "fourth.log", *options, "--fresh") as instrument:
        instrument.until(lambda s: s, "it answers")
        assert instrument.value("seed") == 1
