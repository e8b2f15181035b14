"""Runs inside the booted systemd: plays administrator and fate with demond's units, and writes down what happened.

The observations go to the JSON file named on the command line; tests/systemd/test_boot.py judges them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from demond.client import Client, NoAnswerError

T = TypeVar("T")
SHOWN = ("ActiveState", "SubState", "Type", "StatusText", "NRestarts", "MainPID", "Result")


def until(what: str, look: Callable[[], T | None], seconds: float = 20) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds:.0f} s in vain until {what}")


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", "--no-pager", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def show(unit: str) -> dict[str, str]:
    lines = systemctl("show", unit, *(f"-p{name}" for name in SHOWN)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def status(port: int) -> dict[str, Any]:
    """What demond says of itself over OSC; empty while it does not answer."""
    client = Client(port=port, timeout=1)
    try:
        return client.status()
    except NoAnswerError:
        return {}
    finally:
        client.close()


def playing(port: int = 9600) -> bool:
    """Whether the engine ticks and the audio process has a JACK server."""
    said = status(port)
    return bool(said) and (said["engine"]["state"], said["audio"]["state"]) == ("playing", "connected")


def jack_ports(client: str = "demond") -> list[str]:
    """The ports of demond's client, seen by somebody in group audio."""
    environment = os.environ | {"JACK_PROMISCUOUS_SERVER": "audio", "JACK_NO_START_SERVER": "1"}
    command = ["setpriv", "--reuid=nobody", "--regid=audio", "--clear-groups", "jack_lsp"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=10)
    return sorted(line for line in done.stdout.splitlines() if line.startswith(f"{client}:"))


def processes(unit: str) -> list[int]:
    """Every process in the unit's control group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if f"/{unit}" in (entry / "cgroup").read_text():
                    found.append(int(entry.name))
    return found


def realtime_threads(unit: str) -> int:
    return sum(
        os.sched_getscheduler(int(thread.name)) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        for pid in processes(unit)
        for thread in Path(f"/proc/{pid}/task").iterdir()
    )


def shared_memory() -> list[str]:
    return sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("demond"))


def observe() -> dict[str, object]:
    seen: dict[str, object] = {}
    began = time.monotonic()
    systemctl("start", "demond.service")
    seen["start_seconds"] = time.monotonic() - began
    seen["first_ports"] = until("demond's JACK ports are there", jack_ports)
    seen["plays"] = until("demond says over OSC that it plays", playing, 30)
    seen["started"] = show("demond.service")
    seen["systemctl_status"] = subprocess.run(
        ["systemctl", "status", "demond"], capture_output=True, text=True
    ).stdout
    seen["jackd_user"] = Path(f"/proc/{show('jackd.service')['MainPID']}").owner()
    seen["demond_user"] = Path(f"/proc/{show('demond.service')['MainPID']}").owner()
    seen["realtime"] = until("a demond thread is SCHED_FIFO", lambda: realtime_threads("demond.service"), 5)
    seen["jackd_realtime"] = realtime_threads("jackd.service")

    systemctl("kill", "--signal=KILL", "jackd.service")
    until("jackd was restarted", lambda: show("jackd.service")["NRestarts"] == "1")
    seen["ports_after_jackd"] = until("demond's JACK ports are back", jack_ports)
    seen["plays_after_jackd"] = until("demond plays again", playing)
    seen["after_jackd"] = show("demond.service")

    main = int(show("demond.service")["MainPID"])
    os.kill(main, signal.SIGSTOP)
    until("the watchdog replaced demond", lambda: show("demond.service")["NRestarts"] == "1")
    until("demond is active again", lambda: show("demond.service")["ActiveState"] == "active", 30)
    seen["ports_after_watchdog"] = until("demond's JACK ports are back", jack_ports)
    seen["plays_after_watchdog"] = until("demond plays again", playing, 30)
    seen["after_watchdog"] = show("demond.service")
    seen["memory_after_watchdog"] = shared_memory()

    stopped_pids = processes("demond.service")
    began = time.monotonic()
    systemctl("stop", "demond.service")
    seen["stop_seconds"] = time.monotonic() - began
    seen["stopped"] = show("demond.service")
    seen["survivors"] = [pid for pid in stopped_pids if Path(f"/proc/{pid}").exists()]
    seen["memory_left"] = shared_memory()

    systemctl("start", "demond@1.service")
    seen["second_plays"] = until("demond on GPU 1 plays", lambda: playing(9601), 30)
    seen["second_ports"] = jack_ports("demond1")
    environment = Path(f"/proc/{show('demond@1.service')['MainPID']}/environ").read_bytes().split(b"\0")
    seen["second_gpu"] = b"CUDA_VISIBLE_DEVICES=1" in environment
    seen["second_state"] = Path("/var/lib/demond/gpu1").owner()
    systemctl("stop", "demond@1.service")
    return seen


def main(target: Path) -> None:
    try:
        seen = observe()
    except Exception as error:  # whatever it was, the host must read it
        seen = {"error": f"{type(error).__name__}: {error}"}
    journal = ["journalctl", "--no-pager", "-o", "short-monotonic", "-u", "demond*", "-u", "jackd", "-n", "300"]
    seen["journal"] = subprocess.run(journal, capture_output=True, text=True).stdout
    target.write_text(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
