"""Starts the real audio process on a real JACK server, as the daemon would."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from demond import shm
from demond.audio.loop import SharedLoop
from demond.messages import AnyMessage, Channel, ChannelClosedError, JackState, Shutdown
from tests.jack import wait_for

PORTS = ["demond:out_1", "demond:out_2"]
BUSY = 0.5
"""The process ends in 0.2 s; a busy machine may take longer to schedule that, and to tell us."""
SCALE = np.float32(2.0**-24)


def ramp(frames: int, first: int = 0) -> NDArray[np.float32]:
    """Frame k holds (k, -k) in steps of 2^-24, exact in float32: whoever hears a frame knows which it was."""
    steps = np.arange(first, first + frames, dtype=np.float32) * SCALE
    return np.stack([steps, -steps], axis=1)


def tone(frames: int, rate: int = 48000) -> NDArray[np.float32]:
    """A tone that fits the loop a whole number of times, so that the seam is silent."""
    turns = round(330 * frames / rate)
    wave = 0.5 * np.sin(2 * np.pi * turns * np.arange(frames) / frames)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def frame_numbers(audio: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which ramp frames were heard. Fails if the channels disagree or a value is none of the ramp's."""
    exact = audio[:, 0] / SCALE
    numbers = np.rint(exact).astype(np.int64)
    assert np.array_equal(exact, numbers), "a sample between two steps of the ramp"
    assert np.array_equal(audio[:, 0], -audio[:, 1]), "the channels are not of the same frame"
    return numbers


@contextlib.contextmanager
def shared_loop(capacity: int = 1 << 20) -> Iterator[SharedLoop]:
    """A loop as the daemon makes it, running at full gain."""
    loop = SharedLoop.create(shm.unique_name("loop"), capacity)
    loop.set_running(True)
    try:
        yield loop
    finally:
        loop.close()
        loop.unlink()


class AudioProcess:
    """One started audio process, and the daemon's end of its channel."""

    def __init__(
        self,
        loop: SharedLoop,
        server: str,
        connect: str = "none",
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.loop = loop
        self.messages: list[AnyMessage] = []
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        command = [sys.executable, "-m", "demond.audio.process", "--fd", str(theirs.fileno())]
        command += ["--loop", loop.name, "--client-name", "demond", "--connect", connect]
        command += [*(["--server", server] if server else []), *options]
        with theirs:
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env={**os.environ, **(environment or {})}
            )

    def receive(self) -> list[AnyMessage]:
        """All messages so far."""
        with contextlib.suppress(ChannelClosedError):
            self.messages += self.channel.receive()
        return self.messages

    def state(self) -> JackState | None:
        """The last state it told of."""
        return next((m for m in reversed(self.receive()) if isinstance(m, JackState)), None)

    def wait_until(self, state: str, seconds: float = 8.0) -> None:
        wait_for(lambda: (last := self.state()) is not None and last.state == state, seconds, f"state {state}")

    def wait_until_heard(self, seconds: float = 8.0) -> None:
        """Until the fade-in is over."""
        self.wait_until("connected", seconds)
        before = self.loop.audio()
        wait_for(
            lambda: self.loop.audio().playhead - before.playhead > 0.06 * before.rate + 2 * before.period,
            seconds,
            "cycles run",
        )
        assert self.loop.audio().settled == self.loop.geometry().generation

    def kill(self) -> None:
        """SIGKILL, as the daemon's watchdog does it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.loop.forget_audio()

    def end(self) -> float:
        """Asks it to end; returns how many seconds that took."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.channel.send(Shutdown())
            self.process.wait(5)
        self.channel.close()
        return time.monotonic() - start


@contextlib.contextmanager
def audio_process(
    loop: SharedLoop,
    server: str,
    connect: str = "none",
    environment: dict[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[AudioProcess]:
    """An audio process that ends with the block, whatever happens in it."""
    audio = AudioProcess(loop, server, connect, environment, options)
    try:
        yield audio
    finally:
        # Tidily if possible: a client that vanishes holds up a synchronous jackd for seconds.
        audio.process.terminate()
        try:
            audio.process.wait(1)
        except subprocess.TimeoutExpired:
            audio.process.kill()
            audio.process.wait()
        audio.channel.close()
