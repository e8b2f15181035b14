"""OSC over TCP, in both framings. Connections are bounded, and so is what each may leave unread, either way."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

from demond.osc._clients import Client
from demond.osc.codec import OscError
from demond.osc.framing import Framing, LostTrackError, Unframer
from demond.osc.turns import Turns, Work

log = logging.getLogger(__name__)

CONNECTION_LIMIT = 64
UNSENT_LIMIT = 1 << 20
"""Bytes that a client may leave unread; one that leaves more is disconnected."""
UNREAD_LIMIT = 1 << 17
"""Bytes of a client that may wait to be dealt with; then it has to wait."""
# linux/tcp.h: how long sent bytes may stay unacknowledged, in milliseconds, before the connection counts as dead.
_TCP_USER_TIMEOUT, _DEAD_MS = 18, 30_000


class Receiver(Protocol):
    """The server, as a connection sees it."""

    turns: Turns

    def connected(self, link: TcpConnection, host: str, port: int) -> Client | None:
        """A client for a new connection; None if it may not come in."""

    def disconnected(self, client: Client) -> None:
        """The connection is gone."""

    def packet(self, client: Client, data: bytes) -> Work:
        """What one packet causes, in steps."""

    def refuse(self, client: Client, error: OscError | Callable[[], OscError]) -> None:
        """Answers with an error."""


class TcpConnection(asyncio.Protocol):
    """One connection, and the link to its client. Each packet is answered in the framing in which it came."""

    datagrams = False

    def __init__(self, receiver: Receiver) -> None:
        """asyncio makes one for each connection."""
        self._receiver = receiver
        self._unframer = Unframer()
        self._working = False
        self._client: Client | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server makes no other
        self._transport = transport
        opened = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, _DEAD_MS)
        host, port = transport.get_extra_info("peername")[:2]
        self._client = self._receiver.connected(self, host, port)
        if self._client is None:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._transport = None
        if self._client is not None:
            self._receiver.disconnected(self._client)
            self._client = None

    def data_received(self, data: bytes) -> None:
        """Some bytes."""
        if self._client is None or self._transport is None:
            return
        self._unframer.feed(data)
        if not self._working:
            self._working = True
            self._receiver.turns.add(self._client, self._work(self._client))
        if self._working and len(self._unframer) > UNREAD_LIMIT:
            self._transport.pause_reading()

    def _work(self, client: Client) -> Work:
        while self._transport is not None:
            try:
                packet = self._unframer.next()
            except LostTrackError as error:
                self._receiver.refuse(client, error)
                self.close()
                return
            except OscError as error:
                self._receiver.refuse(client, error)
                continue
            if packet is None:
                break
            yield from self._receiver.packet(client, packet)
            yield None
        self._working = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def send(self, packet: bytes) -> None:
        """Sends one packet, or drops a client that does not read."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write((self._unframer.framing or Framing.SIZE).wrap(packet))
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT:
            name = self._client.name if self._client is not None else "an OSC client"
            log.warning("%s does not read what it is sent and was disconnected", name)
            self._transport.abort()

    def close(self) -> None:
        """Ends the connection, after what was sent has left."""
        if self._transport is not None:
            self._transport.close()


async def listen(receiver: Receiver, host: str, port: int) -> asyncio.Server:
    """Accepts connections. Raises `OSError`."""
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    return await asyncio.get_running_loop().create_server(
        lambda: TcpConnection(receiver), host, port, family=family, backlog=CONNECTION_LIMIT
    )
