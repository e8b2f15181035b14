"""The real daemon on a JACK server of a bench's own, and what it answers. Used by the benches, and by nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from demond import jack_server
from demond.client import Client, NoAnswerError
from demond.trace import CAPACITY, Trace

_START_SECONDS = 180.0


@contextmanager
def private_server(rate: int, period: int) -> Iterator[str]:
    """A JACK server of the bench's own with the dummy backend; yields its name."""
    name = f"demond-bench-{os.getpid()}"
    server = jack_server.start_dummy(name, rate, period, sync=True)
    try:
        yield name
    finally:
        server.stop()


@contextmanager
def running_daemon(server: str, arguments: list[str], state: Path | None = None) -> Iterator[Client]:
    """The real daemon on `server`, playing; yields a client that talks to it.

    What it keeps it keeps in the folder `state`, by default where the user's own daemon does.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    midi = [] if "--midi" in arguments else ["--midi", "none"]
    options = ["--server", server, "--osc-port", str(port), *midi, "--state", "forget", *arguments]
    environment = os.environ | ({} if state is None else {"XDG_STATE_HOME": str(state)})
    process = subprocess.Popen(
        [sys.executable, "-m", "demond.cli", "run", *options], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        client = Client(port=port)
        deadline = time.monotonic() + _START_SECONDS
        while engine_of(client).get("state") != "playing":
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise RuntimeError(f"the daemon did not start to play:\n{process.communicate()[1]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def engine_of(client: Client) -> dict[str, Any]:
    """The `engine` section of the status; empty while nobody answers."""
    try:
        engine: dict[str, Any] = client.status()["engine"]
    except NoAnswerError:
        return {}
    return engine


def _born_ns(pid: int) -> int:
    """When a process was started, on the monotonic clock, to a hundredth of a second; from its stat, see proc(5)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    since_boot = int(after_name[19]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return since_boot - asleep


class Writes:
    """Follows the daemon's trace of writes: every one, as long as somebody looks often enough."""

    def __init__(self, pid: int) -> None:
        """`pid` is that of a daemon that plays, so its first write is there or about to come. Raises `RuntimeError`
        when none comes.
        """
        self._trace = Trace.attach(f"demond-{pid}-trace")
        self._pid, self._last_ns = pid, 0
        self._held, deadline = self.look(), time.monotonic() + _START_SECONDS
        while not len(self._held):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the daemon has not written any music in {_START_SECONDS:.0f} s")
            time.sleep(0.01)
            self._held = self.look()

    def start_ms(self) -> list[float]:
        """Milliseconds from the start of the daemon to its first music being in the loop; none when that was so long
        before this began to follow that the trace has lost it.
        """
        if len(self._held) >= CAPACITY - 1:  # as many as the ring can tell of: there may have been more
            return []
        return [(int(self._held["written_ns"][0]) - _born_ns(self._pid)) / 1e6]

    def look(self) -> NDArray[Any]:
        """What was written since the last call, as records of `demond.trace.WRITE`."""
        writes = self._trace.writes()
        new = writes[writes["written_ns"] > self._last_ns]
        self._last_ns = int(new["written_ns"][-1]) if len(new) else self._last_ns
        return new

    def close(self) -> None:
        """Lets go of the trace."""
        self._trace.close()
