"""The same audio process over PipeWire's JACK: a private PipeWire with its session manager, bus and null sink."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.audio.playing import audio_process, frame_numbers, ramp, shared_loop
from tests.jack import wait_for
from tests.listening import Capture

LIBRARY = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/pipewire-0.3/jack")
PROGRAMS = ("pipewire", "wireplumber", "pw-cli", "dbus-daemon", "jack_lsp")
SINK = (
    '{ factory.name=support.null-audio-sink node.name="null sink" media.class=Audio/Sink'
    " object.linger=true audio.position=[FL FR] }"
)

pytestmark = pytest.mark.skipif(
    not LIBRARY.exists() or not all(shutil.which(program) for program in PROGRAMS),
    reason="PipeWire with its JACK library and WirePlumber are not installed",
)


@pytest.fixture
def pipewire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PipeWire of the test's own; every program that is started now finds it instead of a jackd."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(LIBRARY))
    monkeypatch.setenv("PIPEWIRE_QUANTUM", "256/48000")
    with contextlib.ExitStack() as stack:
        for command in (
            ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={tmp_path}/bus"],
            ["pipewire"],
            ["wireplumber"],
        ):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            if command[0] != "wireplumber":
                place = tmp_path / {"dbus-daemon": "bus", "pipewire": "pipewire-0"}[command[0]]
                wait_for(place.exists, 5, f"{command[0]} listens")
        subprocess.run(["pw-cli", "create-node", "adapter", SINK], check=True, capture_output=True)
        wait_for(lambda: b"null sink:playback_FR" in _ports(), 10, "the null sink has ports")
        yield


def _ports() -> bytes:
    return subprocess.run(["jack_lsp"], capture_output=True, check=False).stdout


def test_the_loop_is_heard_over_pipewire(pipewire: None) -> None:
    found = subprocess.run([sys.executable, "-m", "demond.jack_server"], check=False, capture_output=True)
    assert found.returncode == 0
    with shared_loop() as loop, audio_process(loop, "", "auto") as audio:
        loop.replace(48000, ramp(30_000))
        audio.wait_until_heard()
        assert "null sink:playback_FL and null sink:playback_FR" in audio.state().detail
        with Capture(["demond:out_1", "demond:out_2"], 1) as capture:
            # PipeWire makes connections one after the other, so the first cycles may carry one channel alone.
            breaks = np.count_nonzero(np.diff(frame_numbers(capture.audio[9_600:])) % 30_000 != 1)
        # PipeWire leaves cycles out under load, and tells nobody; the clock of the listener shows it.
        assert breaks <= capture.skipped
        figures = loop.audio()
        assert (figures.rate, figures.period, figures.native) == (48000, 256, True)
        assert audio.end() < 0.5
