"""`make run` on a desktop: nothing speaks JACK but PipeWire."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demond.client import Client, NoAnswerError
from tests.jack import wait_for

ROOT = Path(__file__).parents[1]
NEEDED = ("dbus-daemon", "pipewire", "wireplumber", "pw-jack", "jack_lsp")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A PipeWire of this test's own. Gives a function that starts a program beside it, its output in `tmp_path`."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    with ExitStack() as stack:

        def start(*command: str, **environment: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{Path(command[0]).name}.log").open("wb"))
            process = subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            stack.callback(_end, process)
            return process

        start("dbus-daemon", "--session", "--nofork", f"--address=unix:path={runtime}/bus")
        wait_for((runtime / "bus").is_socket, 5, "D-Bus has its socket")
        start("pipewire")
        wait_for((runtime / "pipewire-0").is_socket, 5, "PipeWire has its socket")
        start("wireplumber")
        wait_for(lambda: jack_ports() is not None, 10, "PipeWire takes JACK clients")
        yield start


def jack_ports() -> list[str] | None:
    """The ports that a JACK client sees through PipeWire, or None while it takes no clients."""
    done = subprocess.run(["pw-jack", "jack_lsp"], capture_output=True, text=True, timeout=10, check=False)
    return None if done.returncode else done.stdout.split("\n")


def answers(client: Client) -> bool:
    try:
        client.ask("/demond/ping")
    except NoAnswerError:
        return False
    return True


@pytest.mark.e2e
def test_make_run_plays_through_pipewire_and_the_doctor_says_what_that_means(
    desktop: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    played = desktop(str(ROOT / ".ci/play"), "--osc-port", str(port), "--midi", "none", PWJACK="yes")
    client = Client(port=port)
    try:
        wait_for(lambda: answers(client), 30, "demond answers")
        wait_for(lambda: "demond:out_1" in (jack_ports() or ()), 30, "demond's ports are there")
    finally:
        client.close()
    command = ["pw-jack", sys.executable, "-m", "demond.cli", "doctor", "--port", str(port), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    report = {check["name"]: check for check in json.loads(done.stdout)}
    assert "PipeWire" in report["JACK server"]["detail"]
    assert "skipped_cycles" in report["PipeWire"]["fix"]
    assert "a demond that runs answers" in report["OSC port"]["detail"]
    played.send_signal(signal.SIGINT)
    assert played.wait(10) == 0
    assert "through PipeWire" in (tmp_path / "play.log").read_text()
