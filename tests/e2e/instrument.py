"""The real daemon as a performer starts it, for tests: its process, its log, and conditions to wait for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demond.client import Client, NoAnswerError

PATIENCE = 60.0
"""Seconds until a condition that should hold soon counts as failed; a busy machine loads torch slowly."""


class Instrument:
    """`demond run` with `options` on the JACK server `server`; a context manager that ends it.

    What is set is kept in the folder of the log, so that a second one there comes back as the first was left.
    """

    def __init__(self, server: str, log: Path, *options: str, name: str = "demond") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.log_path = log
        self.name = name
        self._log = log.open("w")
        command = [sys.executable, "-m", "demond.cli", "run", "--server", server, "--osc-port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--client", name, *options],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "XDG_STATE_HOME": str(log.parent / "state")},
        )
        self.client = Client(port=self.port, timeout=5)

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.client.close()
        self._log.close()

    @property
    def outputs(self) -> tuple[str, str]:
        return f"{self.name}:out_1", f"{self.name}:out_2"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def status(self) -> dict[str, Any]:
        """The daemon's status; empty while it does not answer."""
        try:
            return self.client.status()
        except NoAnswerError:
            return {}

    def until(
        self, condition: Callable[[dict[str, Any]], object], what: str, seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """The first status for which `condition` holds; fails with the daemon's log after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the daemon ended:\n{self.log}"
            status = self.status()
            if status and condition(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {what}\nlast status: {self.status()}\nlog:\n{self.log}")

    def until_playing(self) -> dict[str, Any]:
        """Sound comes out of a connected JACK client."""
        return self.until(
            lambda s: s["engine"]["state"] == "playing" and s["audio"]["state"] == "connected", "the daemon plays"
        )

    def value(self, knob: str) -> float:
        """What the daemon answers to a query of a knob."""
        [reply] = self.client.ask(f"/demond/knob/{knob}")
        assert reply.address == f"/demond/knob/{knob}"
        value = reply.arguments[0]
        assert isinstance(value, float | int)
        return value

    def kill(self, part: str) -> int:
        """SIGKILLs the `engine` or `audio` process; returns its pid."""
        pid: int = self.status()[part]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid


def shared_memory_left(pid: int) -> list[str]:
    """Names of shared memory that the daemon of process `pid` made and that still exists."""
    return [path.name for path in Path("/dev/shm").glob(f"demond-{pid}-*")]
