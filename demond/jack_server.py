"""Finds a JACK server, and starts one without a sound card where there is none.

`demond run` calls both from a worker thread of the daemon, and the tests use the same to have servers of their own.
The question is put by a short-lived process (`python -m demond.jack_server`), because libjack can hang for ever on a
frozen server, and only a process can be given up on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

_PR_SET_PDEATHSIG = 1
_ASK_SECONDS = 3.0
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0
_SYNC_MILLISECONDS = 200
"""JACK2's synchronous driver waits ten times as long for its clients. No longer than these 2 s, because it now and
then misses that a client has joined in the middle of a cycle, and then stands still for all that time."""


class JackServerError(RuntimeError):
    """No server could be started; the message says why and what helps."""


def find_server(name: str | None = None, wait_seconds: float = 0.0) -> bool:
    """Whether the JACK server `name` (none: the default one, or PipeWire's) takes clients. Starts none.

    Waits up to `wait_seconds` for one to come. A server that does not answer within 3 s more counts as none. Blocks
    for about 0.2 s, so call it from a worker thread.
    """
    command = [sys.executable, "-m", __name__, "--wait", str(wait_seconds), *(["--server", name] if name else [])]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=wait_seconds + _ASK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


class DummyServer:
    """A jackd of ours on the dummy backend. It ends with this process, however that ends."""

    def __init__(self, name: str | None, process: subprocess.Popen[bytes]) -> None:
        """For :func:`start_dummy` only."""
        self.name, self._process = name, process

    @property
    def pid(self) -> int:
        """The process id of jackd."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: what a crash of the server looks like to its clients."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends jackd, by force after 2 s. May be called twice."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def start_dummy(name: str | None, rate: int, period: int, sync: bool = False) -> DummyServer:
    """Starts jackd without a sound card at `rate` Hz with `period` frames, and waits until it takes clients.

    Real-time where the user may. `sync` makes the server wait for slow clients (up to 2 s) instead of leaving cycles
    out: for tests that compare every sample. Raises :class:`JackServerError`.
    """
    program = shutil.which("jackd")
    if program is None:
        raise JackServerError("jackd is not installed (Debian and Ubuntu: apt install jackd2)")
    command = [
        program,
        *(["-n", name] if name else []),
        *(["-R", "-P70"] if _realtime_allowed() else ["-r"]),
        *(["-S", "-t", str(_SYNC_MILLISECONDS)] if sync else []),
        *["-d", "dummy", "-r", str(rate), "-p", str(period)],
    ]
    with tempfile.TemporaryFile() as said:
        process = _start_bound_to_us(command, said.fileno())
        if find_server(name, _START_SECONDS) and process.poll() is None:
            return DummyServer(name, process)
        gave_up = process.poll() is not None
        process.kill()
        process.wait()
        said.seek(0)
        lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    how, words = "ended" if gave_up else "does not answer", "; ".join(lines[-3:]) or "nothing"
    raise JackServerError(
        f"{' '.join(command)} {how} and said: {words}"
        "\nJACK has room for eight servers on a machine, and each one that was killed keeps its place: if many were, "
        "stop all servers and remove /dev/shm/jack-shm-registry"
    )


def _start_bound_to_us(command: list[str], output: int) -> subprocess.Popen[bytes]:
    """Linux sends the parent-death signal when the *thread* ends that started the process; so one stays for it."""
    started = threading.Event()
    result: list[subprocess.Popen[bytes] | OSError] = []
    libc, us = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != us:
            os._exit(1)

    def live() -> None:
        try:
            result.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C is for the daemon, which fades out first
                    preexec_fn=in_child,
                )
            )
        except OSError as error:
            result.append(error)
        started.set()
        if isinstance(result[0], subprocess.Popen):
            result[0].wait()

    threading.Thread(target=live, name="jackd", daemon=True).start()
    started.wait()
    if isinstance(result[0], OSError):
        raise JackServerError(f"{command[0]} cannot be started: {result[0].strerror}")
    return result[0]


def _realtime_allowed() -> bool:
    """Tries it, in a thread of its own that ends at once."""
    allowed = False

    def attempt() -> None:
        nonlocal allowed
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            allowed = True

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return allowed


def _ask() -> int:
    """What `python -m demond.jack_server` does: exit status 0 when a server takes a client."""
    parser = argparse.ArgumentParser(prog="python -m demond.jack_server", description="Is there a JACK server?")
    parser.add_argument("--server", help="its name; the default server when not given")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="how long to wait for it")
    options = parser.parse_args()
    import jack  # here, because libjack has no place in the daemon itself

    deadline = time.monotonic() + options.wait
    while True:
        try:
            jack.Client(f"demond-ask-{os.getpid()}", no_start_server=True, servername=options.server).close()
        except jack.JackOpenError:
            if time.monotonic() > deadline:
                return 1
            time.sleep(0.02)
        else:
            return 0


if __name__ == "__main__":
    sys.exit(_ask())
