"""How the audio process ends: soon, with a fade, and never without its daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.audio.playing import BUSY, PORTS, audio_process, shared_loop, tone
from tests.jack import running_jackd, wait_for
from tests.listening import Capture, clicks


def test_it_ends_within_200_ms() -> None:
    took = []
    with running_jackd() as server, shared_loop() as loop:
        loop.replace(48000, tone(48_000))
        for _ in range(5):
            with audio_process(loop, server.name or "", "auto") as audio:
                audio.wait_until_heard()
                took.append(audio.end())
                assert audio.process.returncode == 0
    assert np.median(took) < 0.2, took


@pytest.mark.parametrize("how", ["end of the channel", "SIGTERM"])
def test_it_ends_with_a_fade_when_the_daemon_is_gone(how: str) -> None:
    with (
        running_jackd() as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, tone(48_000))
        audio.wait_until_heard()
        with Capture(PORTS, 5, server.name) as capture:
            start = time.monotonic()
            if how == "SIGTERM":
                audio.process.terminate()
            else:
                audio.channel.close()
            assert audio.process.wait(2) == 0
            took = time.monotonic() - start
            capture.stop()
            assert clicks(capture.audio, 48000) == []
        assert took < BUSY


def test_ctrl_c_is_left_to_the_daemon() -> None:
    with (
        running_jackd() as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "") as audio,
    ):
        audio.wait_until("connected")
        audio.process.send_signal(signal.SIGINT)
        cycles = loop.audio().cycles
        wait_for(lambda: loop.audio().cycles > cycles + 100, 3, "cycles go on")
        assert audio.process.poll() is None


def test_it_dies_with_a_daemon_that_was_killed() -> None:
    """The daemon here keeps its end of the channel in a second process, so only the death signal can tell."""
    code = (
        "import socket, subprocess, sys, time; a, b = socket.socketpair()\n"
        "p = subprocess.Popen([sys.executable, '-m', 'demond.audio.process', '--fd', str(b.fileno()), '--loop',"
        " sys.argv[1], '--server', 'demond-nobody'], pass_fds=[b.fileno()])\n"
        "keep = subprocess.Popen(['sleep', '20'], pass_fds=[a.fileno()])\n"
        "a.recv(10); print(p.pid, keep.pid, flush=True); time.sleep(20)"
    )
    with shared_loop() as loop:
        daemon = subprocess.Popen([sys.executable, "-c", code, loop.name], stdout=subprocess.PIPE, text=True)
        with daemon:
            assert daemon.stdout is not None
            audio, keeper = (int(word) for word in daemon.stdout.readline().split())
            assert Path(f"/proc/{audio}/comm").read_text() == "demond-audio\n"
            daemon.kill()
        try:
            wait_for(lambda: not Path(f"/proc/{audio}/cmdline").exists(), 2, "the audio process is gone")
        finally:
            os.kill(keeper, signal.SIGKILL)
