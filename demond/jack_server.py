"""Finds a JACK server, and starts one without a sound card where there is none.

`demond run` calls both from a worker thread of the daemon, and the tests use the same to have servers of their own.

A running jackd is found by its socket. Only where there is none, libjack is asked (PipeWire, other builds), by a
short-lived process (`python -m demond.jack_server`): libjack can hang for ever, and only a process can be given up
on. A client that opens and closes just to ask is no harmless question to jackd: another one that opens at the same
moment can keep the asker's semaphore for that of the next client to come, and then the graph stands still there.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

_PR_SET_PDEATHSIG = 1
_ASK_SECONDS = 3.0
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0
_SETTLE_SECONDS = 0.05
"""A second jackd of the same name is gone by then, and the socket that answered was the first one's."""
_SOCKET_FOLDERS = ("/dev/shm", "/tmp")  # noqa: S108  where Debian's jackd2 and jackd2 as its authors build it listen
_SYNC_MILLISECONDS = 200
"""JACK2's synchronous driver waits ten times as long for its clients. No longer than these 2 s, because it now and
then misses that a client has joined in the middle of a cycle, and then stands still for all that time."""


class JackServerError(RuntimeError):
    """No server could be started; the message says why and what helps."""


def find_server(name: str | None = None) -> bool:
    """Whether a JACK server `name` (none: the default one, or PipeWire) runs. Starts none.

    A frozen one counts too: no other can take its name. Takes about 0.2 s when the answer is no.
    """
    if jackd_listens(name):
        return True
    command = [sys.executable, "-m", __name__, *(["--server", name] if name else [])]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def jackd_listens(name: str | None) -> bool:
    """Whether a jackd of this user listens. Connecting makes no client, so nobody in the graph notices."""
    server = name or os.environ.get("JACK_DEFAULT_SERVER") or "default"
    for folder in _SOCKET_FOLDERS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(_ASK_SECONDS)
            try:
                end.connect(f"{folder}/jack_{server}_{os.getuid()}_0")
            except OSError:
                continue
            return True
    return False


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
    if "pipewire" in os.environ.get("LD_LIBRARY_PATH", ""):
        raise JackServerError(
            "PipeWire does not answer, and under pw-jack nothing else can; start it, or drop pw-jack"
        )
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
        if _came_up(name, process):
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


def _came_up(name: str | None, process: subprocess.Popen[bytes]) -> bool:
    """Waits until the new jackd listens; false when it ended instead, or takes too long."""
    start = time.monotonic()
    while process.poll() is None and (waited := time.monotonic() - start) < _START_SECONDS:
        # A jackd built with another folder for its socket is found by libjack only.
        if jackd_listens(name) or (waited > _START_SECONDS / 2 and find_server(name)):
            time.sleep(_SETTLE_SECONDS)
            return process.poll() is None
        time.sleep(0.01)
    return False


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
    options = parser.parse_args()
    import jack  # here, because libjack has no place in the daemon itself

    try:
        jack.Client(f"demond-ask-{os.getpid()}", no_start_server=True, servername=options.server).close()
    except jack.JackOpenError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_ask())
