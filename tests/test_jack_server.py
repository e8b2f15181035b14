"""Finding a JACK server, and starting one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jack
import pytest

from demond import jack_server
from tests.jack import running_jackd, unused_name, wait_for


def test_a_server_that_is_not_there_is_not_found_and_not_started() -> None:
    start = time.monotonic()
    assert not jack_server.find_server(f"demond-test-{os.getpid()}-none")
    assert time.monotonic() - start < 2


def test_a_started_server_is_found_until_it_is_stopped() -> None:
    with running_jackd(rate=44100, period=512) as server:
        assert jack_server.find_server(server.name)
        server.stop()
        server.stop()
        assert not jack_server.find_server(server.name)


def test_a_frozen_server_is_one_because_its_name_is_taken() -> None:
    with running_jackd(sync=False) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert jack_server.find_server(server.name)
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_asking_makes_no_client_of_the_server() -> None:
    with running_jackd() as server:
        client = jack.Client("listener", no_start_server=True, servername=server.name)
        seen: list[str] = []
        client.set_client_registration_callback(lambda name, registered: seen.append(name))
        client.activate()
        for _ in range(20):
            assert jack_server.find_server(server.name)
        jack.Client("marker", no_start_server=True, servername=server.name).close()
        wait_for(lambda: seen.count("marker") == 2, 2, "the marker was seen")
        client.close()
    assert set(seen) == {"marker"}


def test_libjack_finds_a_server_whose_socket_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_jackd() as server:
        monkeypatch.setattr(jack_server, "_SOCKET_FOLDERS", ())
        assert jack_server.find_server(server.name)


def test_a_server_that_cannot_start_says_why_in_jackds_own_words() -> None:
    with (
        running_jackd() as server,
        pytest.raises(jack_server.JackServerError, match=r"ended and said: .*already active"),
    ):
        jack_server.start_dummy(server.name, 48000, 256)


def test_a_missing_jackd_is_said_with_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(jack_server.JackServerError, match="apt install jackd2"):
        jack_server.start_dummy(None, 48000, 256)


def test_the_server_dies_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time; from demond.jack_server import start_dummy\n"
        "print(start_dummy(sys.argv[1], 48000, 1024).pid, flush=True); time.sleep(30)"
    )
    with unused_name() as name:
        starter = subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)
        with starter:
            assert starter.stdout is not None
            server = int(starter.stdout.readline())
            starter.kill()
        wait_for(lambda: not Path(f"/proc/{server}/cmdline").exists(), 2, "jackd is gone")
