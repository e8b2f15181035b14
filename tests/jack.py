"""Private JACK servers for tests: `with running_jackd(...) as server`, or the fixture `jackd` (synchronous, 256)."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demond import jack_server

_NAMES = [f"demond-test-{number}" for number in range(6)]
"""JACK has room for eight servers a machine, and one that was killed keeps its place until the next of its name."""


@contextlib.contextmanager
def unused_name() -> Iterator[str]:
    """A server name that no other test on this machine uses now."""
    with contextlib.ExitStack() as stack:
        for name in itertools.cycle(_NAMES):
            lock = stack.enter_context((Path(tempfile.gettempdir()) / f"{name}.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                time.sleep(0.02)
            else:
                yield name
                return


@contextlib.contextmanager
def running_jackd(
    rate: int = 48000, period: int = 256, sync: bool = True, name: str | None = None
) -> Iterator[jack_server.DummyServer]:
    """A jackd of one's own. `sync` loses no cycle, so every sample can be compared."""
    with contextlib.ExitStack() as stack:
        server = jack_server.start_dummy(name or stack.enter_context(unused_name()), rate, period, sync)
        stack.callback(server.stop)
        yield server


@pytest.fixture
def jackd() -> Iterator[jack_server.DummyServer]:
    """A synchronous server at 48 kHz and 256 frames."""
    with running_jackd() as server:
        yield server


def set_period(server: jack_server.DummyServer, period: int) -> None:
    """Changes the period of a running server, as `jack_bufsize` does."""
    environment = {**os.environ, "JACK_DEFAULT_SERVER": server.name or "default", "JACK_NO_START_SERVER": "1"}
    subprocess.run(["jack_bufsize", str(period)], env=environment, check=True, capture_output=True)


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Until `condition()` is true; fails the test with `what` when that takes more than `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.005)
