"""The UDP socket of the OSC server, on the daemon's event loop.

asyncio's own datagram transport reads one datagram a turn and cannot say which client is gone. Here a burst is read
for as long as a slice lasts, and the kernel's error queue names the port where nobody listens (Linux, ip(7),
IP_RECVERR), so that one dead client costs the others nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from demond.osc.codec import SIZE_LIMIT
from demond.osc.turns import SLICE_SECONDS

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 1 << 20
"""Bytes the kernel may hold for us, asked for: a burst of some thousand messages."""
SEND_BUFFER = 1 << 20

# linux/in.h and linux/in6.h; Python's socket module has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25

SocketAddress = tuple[Any, ...]
"""Host and port as the socket gives them: two fields for IPv4, four for IPv6."""


class UdpSocket:
    """One bound socket. All methods are called from the event loop."""

    def __init__(
        self, receive: Callable[[bytes, SocketAddress], None], unreachable: Callable[[SocketAddress], None]
    ) -> None:
        """`receive` is given each datagram, `unreachable` each address where something was sent to nobody."""
        self._receive, self._unreachable = receive, unreachable
        self._socket: socket.socket | None = None
        self.unsent = 0
        """Datagrams that the network did not take."""

    def open(self, host: str, port: int) -> int:
        """Binds and begins to receive; returns the port, which is a free one where 0 was given. Raises `OSError`."""
        version = ipaddress.ip_address(host).version
        opened = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            if version == 4:
                opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            opened.bind((host, port))
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._readable)
        return int(opened.getsockname()[1])

    def close(self) -> None:
        """Closes the socket. May be called twice."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, address: SocketAddress) -> None:
        """Sends one datagram, or counts it as unsent."""
        if self._socket is None or len(data) > SIZE_LIMIT:
            self.unsent += 1
            return
        for _ in range(2):
            try:
                self._socket.sendto(data, address)
            except BlockingIOError:
                break
            except OSError as error:
                # What the kernel says here is often of an earlier datagram to somebody else: this one is tried again.
                log.debug("an OSC packet to %s was not sent: %s", address, error)
                self._read_errors()
            else:
                return
        self.unsent += 1

    def _readable(self) -> None:
        deadline = time.perf_counter() + SLICE_SECONDS
        while self._socket is not None:
            try:
                data, address = self._socket.recvfrom(65_536)
            except BlockingIOError:
                self._read_errors()
                return
            except OSError:
                self._read_errors()
                return
            self._receive(data, address)
            if time.perf_counter() >= deadline:
                return

    def _read_errors(self) -> None:
        """Empties the error queue, which would keep the socket readable."""
        with contextlib.suppress(BlockingIOError):
            while self._socket is not None:
                _, _, _, address = self._socket.recvmsg(1, 512, socket.MSG_ERRQUEUE)
                if address:
                    self._unreachable(address)


class UdpLink:
    """How datagrams reach a client: from the port that it writes to, to where it listens."""

    datagrams = True

    def __init__(
        self, udp: UdpSocket, address: SocketAddress, announced: Callable[[str], int | None] | None = None
    ) -> None:
        """`address` is where it listens, unless its host has `announced` another port."""
        self._udp, self._address, self._announced = udp, address, announced

    @property
    def address(self) -> SocketAddress:
        """Where it listens."""
        host, port, *rest = self._address
        announced = self._announced(host) if self._announced is not None else None
        return (host, announced or port, *rest)

    def send(self, packet: bytes) -> None:
        """Sends one datagram."""
        self._udp.send(packet, self.address)

    def at_port(self, port: int) -> UdpLink:
        """The same host, another port."""
        return UdpLink(self._udp, (self._address[0], port, *self._address[2:]))
