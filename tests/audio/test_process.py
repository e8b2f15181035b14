"""The real audio process on a real jackd, heard by a client that is none of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jack
import numpy as np
import pytest

from demond import jack_server
from demond.audio.loop import SharedLoop
from demond.audio.process import _Wiring
from demond.messages import Channel, Fatal
from tests.audio.playing import BUSY, PORTS, audio_process, frame_numbers, ramp, shared_loop, tone
from tests.jack import running_jackd, set_period, unused_name, wait_for
from tests.listening import Capture, clicks, longest_silence

SYSTEM = "system:playback_1 and system:playback_2"


def steps(audio: np.ndarray, frames: int) -> set[int]:
    """By how much the ramp moves from one heard frame to the next: {1} when nothing is lost or repeated."""
    return set(np.unique(np.diff(frame_numbers(audio)) % frames).tolist())


@pytest.mark.parametrize("period", [32, 64, 256, 1024, 4096])
def test_the_loop_is_heard_to_the_sample_at_every_period(period: int) -> None:
    with (
        running_jackd(period=period) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, ramp(30_000))
        audio.wait_until_heard()
        with Capture(PORTS, 0.8, server.name) as capture:
            assert steps(capture.audio, 30_000) == {1}
        figures = loop.audio()
        assert (figures.rate, figures.period, figures.skipped_cycles, figures.native) == (48000, period, 0, True)
        assert figures.port_latency_max >= period
        assert SYSTEM in audio.state().detail
        audio.end()
        assert audio.process.returncode == 0


@pytest.mark.parametrize("rate", [44100, 96000])
def test_other_rates_are_silent_until_the_content_follows(rate: int) -> None:
    with (
        running_jackd(rate=rate) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, ramp(30_000))
        audio.wait_until("connected")
        assert loop.audio().rate == rate
        with Capture(PORTS, 0.2, server.name) as capture:
            assert not capture.audio.any()
        loop.replace(rate, ramp(30_000))
        audio.wait_until_heard()
        with Capture(PORTS, 0.4, server.name) as capture:
            assert steps(capture.audio, 30_000) == {1}


def test_a_change_of_period_while_playing_loses_no_frame_and_counts_no_cycle() -> None:
    with (
        running_jackd(period=256) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, ramp(100_000))
        audio.wait_until_heard()
        with Capture(PORTS, 3, server.name) as capture:
            for period in (64, 1024, 32, 4096, 256):
                set_period(server, period)
                wait_for(lambda period=period: loop.audio().period == period, 3, f"period {period}")  # type: ignore[misc]
            capture.stop()
            heard = capture.audio
            periods = set(capture.cycles[:, 1].tolist())
        # While jackd restarts its driver, it hands out silence once; the loop itself goes on without a gap.
        numbers = frame_numbers(heard[heard[:, 0] != 0])
        jumps = np.diff(numbers)
        assert {64, 1024, 32, 4096, 256} <= periods
        assert np.count_nonzero(jumps % 100_000 != 1) <= 10, "more breaks than changes of period"
        assert loop.audio().skipped_cycles == 0
        wait_for(lambda: loop.audio().port_latency_max == 256, 2, "the latency of the last period")


def test_blocks_written_ahead_of_the_playhead_are_heard_to_the_sample() -> None:
    """A writer like the engine: ten blocks a second, each of the turn of the loop that it will be heard in."""
    frames, block, ahead = 24_000, 4_800, 9_600
    with (
        running_jackd(period=256) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, ramp(frames))
        audio.wait_until_heard()
        place = loop.place()
        # Frame f of all that is ever consumed shall be (f mod 2^23) in the ramp's steps.
        written = place.playhead + ahead
        stop = threading.Event()

        def write() -> None:
            nonlocal written
            while not stop.is_set():
                now = loop.place()
                while written < now.playhead + ahead + block:
                    position = (now.position + written - now.playhead) % frames
                    loop.commit(position, ramp(block, written % (1 << 23)))
                    written += block
                stop.wait(0.01)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            wait_for(lambda: loop.place().playhead > place.playhead + ahead + block, 5, "the first blocks are heard")
            with Capture(PORTS, 1.5, server.name) as capture:
                heard = capture.audio
        finally:
            stop.set()
            thread.join()
        assert set(np.diff(frame_numbers(heard)).tolist()) == {1}


def test_gain_mute_and_stop_do_not_click() -> None:
    with (
        running_jackd(period=128) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(48000, tone(48_000))
        loop.set_running(False)
        audio.wait_until("connected")
        with Capture(PORTS, 20, server.name) as capture:
            for change in (
                lambda: loop.set_running(True),
                lambda: loop.set_output(-18, mute=False),
                lambda: loop.set_output(-18, mute=True),
                lambda: loop.set_output(0, mute=False),
                lambda: loop.replace(48000, tone(20_000)),
                lambda: loop.set_running(False),
                lambda: loop.set_running(True),
            ):
                change()
                start = loop.place().playhead
                wait_for(lambda start=start: loop.place().playhead > start + 7200, 5, "0.15 s")  # type: ignore[misc]
            took = audio.end()
            capture.stop()
            heard = capture.audio
        assert took < BUSY
        assert np.abs(heard).max() > 0.45
        assert clicks(heard, 48000) == []
        assert not heard[-20:].any(), "the process ended before its fade was over"


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_the_sound_returns_after_the_server_was_killed_ten_times(ending: str) -> None:
    turns = 10 if ending == "kill" else 3
    with unused_name() as name, shared_loop() as loop, audio_process(loop, name, "auto") as audio:
        loop.replace(48000, ramp(30_000))
        audio.wait_until("waiting")
        assert "no JACK server" in audio.state().detail
        playhead = 0
        for _ in range(turns):
            server = jack_server.start_dummy(name, 48000, 256, sync=True)
            try:
                audio.wait_until_heard()
                assert loop.place().playhead > playhead
                with Capture(PORTS, 0.1, name) as capture:
                    assert steps(capture.audio, 30_000) == {1}
                assert SYSTEM in audio.state().detail
            finally:
                getattr(server, ending)()
            audio.wait_until("waiting", 3)
            assert not loop.audio().connected
            playhead = loop.place().playhead
        assert audio.process.poll() is None
        assert loop.audio().starts == 1
        assert loop.audio().skipped_cycles == 0
        assert audio.end() < BUSY


def test_a_killed_audio_process_is_replaced_at_the_same_playhead() -> None:
    # A synchronous server would wait for seconds for the dead client. This one may lose a cycle when the machine is
    # busy, which can only shift what is compared by whole periods.
    with running_jackd(sync=False) as server, shared_loop() as loop:
        loop.replace(48000, ramp(1_000_000))
        with Capture([], 30, server.name, channels=2) as capture:
            connect = f"{capture.name}:in_1,{capture.name}:in_2"
            begins = []
            for start in range(1, 4):
                begins.append(loop.place())
                with audio_process(loop, server.name or "", connect) as audio:
                    audio.wait_until_heard()
                    audio.kill()
                figures = loop.audio()
                assert (figures.starts, figures.connected) == (start, False)
                assert figures.playhead == figures.position > begins[-1].playhead
            capture.stop()
            heard = capture.audio
    sounding = heard[:, 0] != 0
    lives = np.flatnonzero(np.diff(sounding.astype(int), prepend=0) == 1)
    assert len(lives) == 3
    for at, begin in zip(lives, begins, strict=True):
        # The fade-in is over after 2400 frames; the first of them may have been the ramp's frame 0, which is silent.
        first = at + 2400
        shift = frame_numbers(heard[first : first + 1])[0] - (begin.position + 2400)
        assert shift in (0, 1) or abs(shift) % 256 in (0, 1), "the new process did not go on where the old one was"
        assert abs(shift) <= 1024


def _stands_still(loop: SharedLoop, cycles: int) -> bool:
    time.sleep(0.05)
    return loop.audio().cycles - cycles <= 2


def test_a_frozen_server_can_be_left_by_force() -> None:
    """SIGSTOP hangs every call into libjack; the process must end all the same when it is told to."""
    with (
        running_jackd(sync=False) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        audio.wait_until("connected")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            before = loop.audio().cycles
            wait_for(lambda: _stands_still(loop, before), 2, "the cycles stand still")
            assert audio.end() < BUSY
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_ports_that_appear_later_are_connected() -> None:
    with running_jackd() as server, shared_loop() as loop:
        loop.replace(48000, ramp(30_000))
        with Capture(["system:capture_1"], 5, server.name, channels=2) as capture:
            target = f"{capture.name}:in_2"
        with audio_process(loop, server.name or "", f"later:in_1,{target}") as audio:
            audio.wait_until_heard()
            assert f"waiting for later:in_1 and {target}" in audio.state().detail
            with Capture([], 0.2, server.name, channels=2) as again:
                assert again.name != capture.name
                assert not again.audio.any()
            later = Capture([], 1, server.name, channels=2)
            later.name = later._command[2] = "later"
            with later:
                wait_for(lambda: "connected to later:in_1" in audio.state().detail, 3, "the connection")
                heard = later.audio
            assert heard[-1000:, 0].any()
            assert not heard[:, 1].any()


def test_a_client_that_goes_while_its_ports_are_listed_does_not_cost_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_jackd() as server, contextlib.ExitStack() as stack:
        client = jack.Client("demond", no_start_server=True, servername=server.name)
        stack.callback(client.close)
        wiring = _Wiring(client, (client.outports.register("out_1"), client.outports.register("out_2")), "auto")
        client.activate()

        def gone(name: str) -> jack.Port:
            raise jack.JackError(f"Port {name!r} not available")

        with monkeypatch.context() as leaving:
            leaving.setattr(client, "get_port_by_name", gone)
            assert wiring.connect() == 0
            assert wiring.incomplete
        assert wiring.connect() == 2
        assert not wiring.incomplete


def test_a_taken_name_is_said_and_waited_out() -> None:
    with running_jackd() as server, shared_loop() as loop, audio_process(loop, server.name or "") as first:
        first.wait_until("connected")
        with audio_process(loop, server.name or "") as second:
            second.wait_until("waiting")
            assert "is another client named demond?" in second.state().detail
            first.end()
            second.wait_until("connected")


def test_the_python_callback_plays_the_same() -> None:
    with (
        running_jackd(period=1024) as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto", options=("--python",)) as audio,
    ):
        loop.replace(48000, ramp(30_000))
        audio.wait_until_heard()
        with Capture(PORTS, 0.5, server.name) as capture:
            assert steps(capture.audio, 30_000) == {1}
        assert not loop.audio().native
        assert audio.end() < BUSY


def test_a_loop_that_is_not_there_is_fatal_in_words() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "demond.audio.process", "--fd", str(theirs.fileno()), "--loop", "demond-none"]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    assert process.wait(5) == 1
    (message,) = Channel(ours).receive()
    assert isinstance(message, Fatal)
    assert "demond-none cannot be attached" in message.message
    ours.close()


def test_no_silence_while_the_engine_is_dead() -> None:
    with (
        running_jackd() as server,
        shared_loop() as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        content = tone(24_000)
        loop.replace(48000, content)
        audio.wait_until_heard()
        with Capture(PORTS, 1.0, server.name) as capture:
            child = os.fork()
            if child == 0:
                engine = SharedLoop.attach(loop.name)
                position = 0
                while True:
                    engine.commit(position, content[position : position + 2400])
                    position = (position + 2400) % 24_000
            time.sleep(0.3)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            loop.repair()
            heard = capture.audio
        assert clicks(heard, 48000) == []
        assert longest_silence(heard, 48000) < 0.001
