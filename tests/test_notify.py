from __future__ import annotations

import logging
import os
import socket
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from demond import notify


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    notify._complain.cache_clear()


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket that systemd listens on, which also asks the kernel who the sender was."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if request.param == "path":
        name = str(tmp_path / "notify")
        end.bind(name)
    else:
        name = f"@demond-{uuid.uuid4().hex}"
        end.bind("\0" + name[1:])
    end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    end.settimeout(2)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with end:
        yield end


def heard(end: socket.socket) -> str:
    data, ancillary, _flags, _address = end.recvmsg(4096, socket.CMSG_SPACE(12))
    pid, _uid, _gid = struct.unpack("3i", ancillary[0][2])
    assert pid == os.getpid()
    return data.decode()


def test_systemd_hears_ready_status_watchdog_and_stopping(systemd: socket.socket) -> None:
    notify.ready("playing")
    assert heard(systemd) == "READY=1\nSTATUS=playing"
    notify.status("two\nlines READY=0")
    assert heard(systemd) == "STATUS=two lines READY=0"
    notify.watchdog()
    assert heard(systemd) == "WATCHDOG=1"
    notify.stopping()
    assert heard(systemd) == "STOPPING=1\nSTATUS=stopping"
    notify.ready()
    assert heard(systemd) == "READY=1"


def test_outside_of_systemd_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notify.ready("playing")
    notify.watchdog()
    assert notify.watchdog_interval() is None
    assert not caplog.records


@pytest.mark.parametrize(
    "address", ["/nowhere/at/all", "@nobody-listens-here", "vsock:2:1", "/a\0b", "/" + "x" * 200]
)
def test_a_socket_that_cannot_be_reached_is_logged_once_and_stops_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = dict(os.environ, NOTIFY_SOCKET=address)
    monkeypatch.setattr(os, "environ", real)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            notify.watchdog()
    assert len(caplog.records) == 1


def test_a_full_socket_does_not_block_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(2000):
            notify.status("nobody reads this")
    assert len(caplog.records) == 1


def test_the_watchdog_interval_is_half_of_what_systemd_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert notify.watchdog_interval() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert notify.watchdog_interval() == 5.0


def test_a_watchdog_meant_for_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_interval() is None


@pytest.mark.parametrize("text", ["soon", "-5", "0", "1e6", "٣"])
def test_a_watchdog_time_that_is_no_number_leaves_the_watchdog_off(
    text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    assert notify.watchdog_interval() is None
    assert "watchdog stays off" in caplog.text
