"""Tells systemd how the daemon is doing: ready, a line of status, alive, stopping (the protocol of sd_notify(3)).

Called by the daemon's event loop only. Without `NOTIFY_SOCKET` in the environment, that is outside of systemd, every
call does nothing. It promises never to block and never to raise: music matters more than its supervision, so a socket
that cannot be reached is logged once and then left alone.
"""

from __future__ import annotations

import functools
import logging
import os
import socket

_log = logging.getLogger(__name__)


def ready(text: str = "") -> None:
    """The daemon serves from now on; `text` is what `systemctl status` shows until the next :func:`status`."""
    _send("READY=1", _status_line(text))


def status(text: str) -> None:
    """One line for `systemctl status`; line breaks become spaces."""
    _send(_status_line(text))


def stopping(text: str = "stopping") -> None:
    """The daemon has begun to end itself: from here on `TimeoutStopSec` counts."""
    _send("STOPPING=1", _status_line(text))


def watchdog() -> None:
    """Still alive. Call it every :func:`watchdog_interval` seconds, from the loop whose freezing it shall detect."""
    _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Seconds between two calls of :func:`watchdog`, or None where nobody waits for them.

    It is half of `WATCHDOG_USEC`, as sd_watchdog_enabled(3) advises; a `WATCHDOG_PID` other than ours means that the
    watchdog is meant for another process.
    """
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID")
    if not text or (pid is not None and pid != str(os.getpid())):
        return None
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        _complain(f"WATCHDOG_USEC is {text!r}, not a number of microseconds: the watchdog stays off")
        return None
    return int(text) / 2e6


def _status_line(text: str) -> str:
    return f"STATUS={' '.join(text.split())}" if text else ""


def _send(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] not in "/@":
        _complain(f"NOTIFY_SOCKET={address} is neither a path nor an abstract socket: systemd is not told anything")
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    message = "\n".join(line for line in lines if line).encode(errors="replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            end.sendto(message, address)
    except (OSError, ValueError) as error:
        _complain(f"systemd cannot be told how the daemon is doing ({error}): check NOTIFY_SOCKET and the sandbox")


@functools.cache
def _complain(text: str) -> None:
    """Logs `text` the first time it comes up, not at every heartbeat."""
    _log.warning("%s", text)
