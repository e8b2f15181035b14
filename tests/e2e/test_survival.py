"""What may die in the middle of a set, and what the audience hears of it: nothing, or as little as can be.

Each kill is repeated `DEMOND_KILLS` times (3 unless set; `make survival` does 20).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from demond.jack_server import DummyServer
from tests.e2e.instrument import PATIENCE, Instrument, shared_memory_left
from tests.jack import running_jackd, wait_for
from tests.listening import Capture, clicks, longest_silence

KILLS = int(os.environ.get("DEMOND_KILLS", "3"))

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120 + 40 * KILLS)]


def children_of(pid: int) -> list[str]:
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()


def left(pid: int, children: list[str]) -> list[str]:
    """What still exists of a daemon: its shared memory and the command lines of its children."""
    lines = [path.read_text() for child in children if (path := Path(f"/proc/{child}/cmdline")).exists()]
    return shared_memory_left(pid) + [line for line in lines if line]  # an empty one is a zombie that init will reap


def state(instrument: Instrument, knobs: list[str]) -> tuple[list[float], dict[str, str]]:
    return [instrument.value(knob) for knob in knobs], instrument.status()["prompt"]


def test_a_killed_engine_is_not_heard_and_forgets_nothing(
    jackd: DummyServer, tmp_path: Path, four_seconds: Path
) -> None:
    """Half the kills come while the loop repeats, and it must go on to the sample; half in the midst of a change."""
    dice = random.Random(7)  # noqa: S311 (the same settings in every run)
    knobs = ["denoise", "seed", "shift", "feedback", "hint_strength", "volume_db"]
    with Instrument(jackd.name, tmp_path / "log", "--source", str(four_seconds)) as instrument:
        loop = instrument.until_playing()["audio"]["loop_frames"]
        for kill in range(1, KILLS + 1):
            instrument.client.ask("/demond/knob/denoise", dice.random())
            instrument.client.ask("/demond/knob/seed", dice.randrange(2**31))
            instrument.client.ask("/demond/knob/shift", dice.uniform(1, 6))
            instrument.client.ask("/demond/prompt/a/text", dice.choice(["house", "lofi", "ambient"]) + " 120 bpm")
            before = state(instrument, knobs)
            ticks = instrument.status()["engine"]["tick"]
            instrument.until(lambda s, t=ticks: s["engine"]["tick"] != t, "the engine works on the change")
            at_rest = kill % 2 == 1
            if at_rest:
                instrument.until(lambda s: s["engine"]["idle"], "the whole loop is up to date")
            with Capture(instrument.outputs, PATIENCE, jackd.name) as capture:
                heard = instrument.status()["audio"]["playhead"]
                if at_rest:
                    instrument.until(lambda s, h=heard: s["audio"]["playhead"] > h + loop, "one pass is recorded")
                instrument.kill("engine")
                instrument.until(
                    lambda s, n=kill: s["engine"]["restarts"] == n and s["engine"]["idle"],
                    "the new engine has brought the loop up to date",
                )
                capture.stop()
                audio = capture.audio
                assert capture.skipped == 0
                assert clicks(audio, capture.rate) == []
                assert longest_silence(audio, capture.rate) < 0.1
                if at_rest:
                    assert np.abs(audio[loop:] - audio[:-loop]).max() < 1e-4
            assert state(instrument, knobs) == before


def test_a_killed_jack_server_comes_back_and_so_does_the_sound(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        playing = instrument.until_playing()
        instrument.client.ask("/demond/knob/denoise", 0.9)
        jackd.kill()
        for _ in range(KILLS):
            before = instrument.until(lambda s: s["audio"]["state"] == "waiting", "the audio process notices")
            with running_jackd(name=jackd.name) as server:
                instrument.until(
                    lambda s, b=before: s["audio"]["cycles"] > b["audio"]["cycles"] + 20, "sound is back and faded in"
                )
                with Capture(instrument.outputs, 1.0, jackd.name) as capture:
                    assert longest_silence(capture.audio, capture.rate) < 0.1
                server.kill()
        after = instrument.until(lambda s: s["audio"]["state"] == "waiting", "the audio process notices")
        assert after["audio"]["pid"] == playing["audio"]["pid"]
        assert after["engine"]["pid"] == playing["engine"]["pid"]
        assert instrument.value("denoise") == pytest.approx(0.9)


def test_a_server_that_comes_back_at_another_rate_is_served(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        frames = instrument.until_playing()["audio"]["loop_frames"]
        jackd.kill()
        instrument.until(lambda s: s["audio"]["state"] == "waiting", "the audio process notices")
        with running_jackd(44_100, 512, name=jackd.name):
            instrument.until(lambda s: s["audio"]["loop_frames"] == frames * 441 // 480, "the loop is at 44,100 Hz")
            with Capture(instrument.outputs, 2.0, jackd.name) as capture:
                assert capture.rate == 44_100
                assert longest_silence(capture.audio, capture.rate) < 0.1
                assert clicks(capture.audio, capture.rate) == []


def test_a_killed_audio_process_is_replaced(tmp_path: Path) -> None:
    # Not a synchronous server: one of those waits for its dead client, two seconds every cycle.
    with running_jackd(sync=False) as jackd, Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until_playing()
        for kill in range(1, KILLS + 1):
            before = instrument.status()["audio"]
            instrument.kill("audio")
            after = instrument.until(
                lambda s, n=kill: s["audio"]["restarts"] == n and s["audio"]["state"] == "connected", "sound is back"
            )["audio"]
            assert after["playhead"] >= before["playhead"]
            assert after["pid"] != before["pid"]


def test_a_server_that_hangs_costs_the_audio_process_and_nothing_else(tmp_path: Path) -> None:
    with running_jackd(sync=False) as jackd, Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until_playing()
        os.kill(jackd.pid, signal.SIGSTOP)
        try:
            instrument.until(lambda s: s["audio"]["restarts"] >= 1, "the watchdog replaces the audio process", 15)
            assert instrument.client.ask("/demond/ping")[0].address == "/demond/pong"
        finally:
            os.kill(jackd.pid, signal.SIGCONT)
        instrument.until(lambda s: s["audio"]["state"] == "connected", "sound is back")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["loading", "playing"])
def test_everything_ends_within_two_seconds(
    jackd: DummyServer, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        if when == "playing":
            instrument.until_playing()
        else:
            instrument.until(lambda s: s["engine"]["state"] == "loading", "the engine loads")
        pid = instrument.process.pid
        children = children_of(pid)
        assert len(children) >= 3
        started = time.monotonic()
        instrument.process.send_signal(number)
        assert instrument.process.wait(10) == 0
        while left(pid, children) and time.monotonic() - started < 2:
            time.sleep(0.01)
        assert left(pid, children) == []
        assert "Traceback" not in instrument.log


def test_a_killed_daemon_leaves_nothing_behind(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until_playing()
        pid = instrument.process.pid
        children = children_of(pid)
        instrument.process.kill()
        instrument.process.wait()
        wait_for(lambda: not left(pid, children), 5, "everything has ended")
