"""OSC over UDP as other programs speak it: packets made and read by python-osc, and none of demond's own code."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable

from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

Typed = tuple[str, float | int | str]
"""A type tag and an argument."""
PATIENCE = 20.0
"""Seconds until what should come soon counts as lost on a busy machine."""


class Wire:
    """A socket that sends to the daemon at `port` and listens."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(("127.0.0.1", port))
        self.sent: list[tuple[str, tuple[Typed, ...]]] = []

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, address: str, *arguments: Typed) -> None:
        builder = OscMessageBuilder(address)
        for tag, value in arguments:
            builder.add_arg(value, tag)
        self.sent.append((address, arguments))
        self._socket.send(builder.build().dgram)

    def receive(self, seconds: float) -> Iterable[tuple[str, list[object]]]:
        """The messages of the next packet; none when nothing comes within `seconds`."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            packet = self._socket.recv(65_536)
        except TimeoutError:
            return []
        return list(_messages(packet))

    def until(self, take: Callable[[str, list[object]], None], done: Callable[[], object], what: str) -> float:
        """Gives each message that comes to `take` until `done()`; returns the seconds that it took."""
        began = time.monotonic()
        while not done():
            left = PATIENCE - (time.monotonic() - began)
            assert left > 0, f"not within {PATIENCE} s: {what}"
            for address, arguments in self.receive(left):
                take(address, arguments)
        return time.monotonic() - began

    def close(self) -> None:
        self._socket.close()


def _messages(packet: bytes) -> Iterable[tuple[str, list[object]]]:
    if OscBundle.dgram_is_bundle(packet):
        for part in OscBundle(packet):
            assert isinstance(part, OscMessage)
            yield part.address, list(part.params)
    else:
        message = OscMessage(packet)
        yield message.address, list(message.params)
