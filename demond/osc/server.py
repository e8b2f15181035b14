"""The OSC server: one UDP socket in the daemon's event loop.

It promises that no datagram, however malformed, stops it or raises out of it; that every message is either obeyed or
answered with one `/demond/error` to its sender (at most 10 a second to one client, then one that counts the rest);
that answers leave from the port that was written to; and that everything it remembers is bounded.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Sequence

from demond import __version__
from demond.control import Control, Origin
from demond.osc._clients import Address, Client, Clients
from demond.osc.batch import Batch, OscMapping
from demond.osc.codec import IMMEDIATELY, SIZE_LIMIT, Argument, Bundle, OscError, encode, parse, unix_seconds
from demond.osc.namespace import Verb

log = logging.getLogger(__name__)

SCHEDULE_SECONDS = 10.0
"""How far ahead a time tag may lie."""
SCHEDULE_LIMIT = 1_024
"""Messages that may wait for their time."""
SEND_BUFFER_LIMIT = 1 << 20
"""Bytes of answers that may wait for the network; beyond, answers are dropped and counted."""
RECEIVE_BUFFER = 1 << 20
"""Bytes the kernel may hold for us, asked for: a burst of some thousand messages."""
_BUG_LIMIT = 100


class OscPortError(OSError):
    """The socket cannot be opened. What the user can do is in `strerror`."""


class OscServer(asyncio.DatagramProtocol):
    """Receives OSC at one address. All methods are called from the event loop."""

    def __init__(
        self,
        control: Control,
        mapping: OscMapping,
        *,
        bind: str = "127.0.0.1",
        port: int = 9600,
        allow: Sequence[str] = (),
    ) -> None:
        """`bind` is an IP address; `port` 0 takes a free one. `allow` names the networks that may send.

        The loopback may always send. Raises `ValueError` if `bind` or `allow` are no addresses.
        """
        self._control, self._mapping = control, mapping
        self._bind, self.port = ipaddress.ip_address(bind), port
        self._networks = [ipaddress.ip_network(network) for network in allow]
        self._allowed = functools.lru_cache(maxsize=1_024)(self._is_allowed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._clients = Clients()
        self._scheduled: dict[object, tuple[asyncio.TimerHandle, int]] = {}
        self._waiting = 0
        self._started = 0.0
        self._bugs: set[tuple[str, str, int]] = set()
        self.denied = 0
        """Datagrams from addresses that may not send; they are not answered, so that nobody can aim us at others."""
        self.unsent = 0
        """Answers dropped because the network did not take them."""

    async def start(self) -> None:
        """Opens the socket; :attr:`port` is the real one afterwards. Raises :class:`OscPortError`."""
        if not self._bind.is_loopback and not self._networks:
            raise OscPortError(
                errno.EACCES, f"listening on {self._bind} needs `allow` with the networks that may send"
            )
        loop = asyncio.get_running_loop()
        family = socket.AF_INET if self._bind.version == 4 else socket.AF_INET6
        try:
            await loop.create_datagram_endpoint(lambda: self, (str(self._bind), self.port), family=family)
        except OSError as error:
            said = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise OscPortError(error.errno or errno.EIO, said) from error

    def close(self) -> None:
        """Closes the socket and forgets what was scheduled. May be called twice."""
        for handle, _ in self._scheduled.values():
            handle.cancel()
        self._scheduled.clear()
        self._waiting = 0
        self._clients.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # -- asyncio calls these ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._transport = transport  # type: ignore[assignment]
        if opened := transport.get_extra_info("socket"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self.port = opened.getsockname()[1]

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by us or by an error of the system's."""
        self._transport = None
        if exc is not None:
            log.error("the OSC port %d was closed by the system: %s", self.port, exc)

    def error_received(self, exc: Exception) -> None:
        """An answer could not be delivered; the client may be gone, which is its own affair."""
        log.debug("an OSC answer was not delivered: %s", exc)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram. Nothing is raised, whatever it holds."""
        received_ns = time.monotonic_ns()
        if self._loop is None or (self._networks and not self._allowed(addr[0])):
            self.denied += 1
            return
        now = self._loop.time()
        client = self._clients.seen(addr, now)
        try:
            packet = parse(data)
        except OscError as error:
            self._refuse(client, error)
            return
        for bundle in packet.bundles:
            for refused in bundle.errors:
                self._refuse(client, refused)
            if bundle.time_tag == IMMEDIATELY or not self._schedule(client, bundle, received_ns):
                self._apply(client, bundle, received_ns)

    # -- bundles ------------------------------------------------------------------------------------------------

    def _schedule(self, client: Client, bundle: Bundle, received_ns: int) -> bool:
        """Puts a bundle aside until its time; False if it is to be applied now."""
        assert self._loop is not None  # noqa: S101 - datagrams come from a loop
        delay = unix_seconds(bundle.time_tag) - time.time()
        if delay <= 0 or not bundle.messages:
            return False
        address = bundle.messages[0].address
        if delay > SCHEDULE_SECONDS:
            if not client.warned_of_time:
                client.warned_of_time = True
                words = f"a time tag may lie {SCHEDULE_SECONDS:.0f} s ahead, this one {delay:.0f} s; applied now"
                self._refuse(client, OscError(400, "bad_time", address, words))
            return False
        if self._waiting + len(bundle.messages) > SCHEDULE_LIMIT:
            words = f"{SCHEDULE_LIMIT} messages are waiting for their time already; this bundle is dropped"
            self._refuse(client, OscError(429, "rate_limited", address, words))
            return True
        key = object()
        handle = self._loop.call_later(delay, self._due, key, client, bundle, received_ns)
        self._scheduled[key] = (handle, len(bundle.messages))
        self._waiting += len(bundle.messages)
        return True

    def _due(self, key: object, client: Client, bundle: Bundle, received_ns: int) -> None:
        self._waiting -= self._scheduled.pop(key)[1]
        self._apply(client, bundle, received_ns)

    def _apply(self, client: Client, bundle: Bundle, received_ns: int) -> None:
        origin = Origin("osc", client.name, received_ns)
        send = functools.partial(self._send, client)
        batch = Batch(self._control, self._mapping, origin, send, functools.partial(self._refuse, client))
        try:
            batch.run(bundle.messages, {Verb.PING: lambda: self._pong(client)})
        except Exception as error:  # a bug of ours must not cost the performer the server
            self._report_bug(error)
            address = bundle.messages[0].address
            words = "demond made a mistake with this message; its log says more"
            self._refuse(client, OscError(500, "internal", address, words))

    def _report_bug(self, error: Exception) -> None:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        key = (
            type(error).__name__,
            place.tb_frame.f_code.co_filename if place else "",
            place.tb_lineno if place else 0,
        )
        if key not in self._bugs and len(self._bugs) < _BUG_LIMIT:
            self._bugs.add(key)
            log.error("an OSC message was not dealt with; later ones like it are not logged", exc_info=error)

    # -- answers ------------------------------------------------------------------------------------------------

    def _pong(self, client: Client) -> None:
        assert self._loop is not None  # noqa: S101 - datagrams come from a loop
        now = self._loop.time()
        self._send(client, "/demond/pong", __version__, now - self._started, self._clients.active(now))

    def _send(self, client: Client, address: str, *arguments: Argument) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        data = encode(address, *arguments)
        if len(data) > SIZE_LIMIT or _backlog(self._transport) > SEND_BUFFER_LIMIT:
            self.unsent += 1
            return
        self._transport.sendto(data, client.address)

    def _refuse(self, client: Client, error: OscError | Callable[[], OscError]) -> None:
        """Tells the client, unless it has been told enough in this second; then the rest is counted for it."""
        assert self._loop is not None  # noqa: S101 - datagrams come from a loop
        now = self._loop.time()
        if client.may_send_error(now):
            self._send_error(client, error if isinstance(error, OscError) else error())
        elif client.summary is None:
            wait = client.window_start + 1.0 - now
            client.summary = self._loop.call_later(wait, self._sum_up, client)

    def _sum_up(self, client: Client) -> None:
        client.summary = None
        count, client.unsent = client.unsent, 0
        words = f"{count} more messages were refused in the last second"
        self._send_error(client, OscError(429, "rate_limited", "", words))

    def _send_error(self, client: Client, error: OscError) -> None:
        # An address from a packet may be as long as the packet.
        self._send(client, "/demond/error", error.code, error.slug, error.address[:256], error.message[:1_024])

    def _is_allowed(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return mapped.is_loopback or any(mapped in network for network in self._networks)


def _backlog(transport: asyncio.DatagramTransport) -> int:
    """Bytes that wait to be sent; asyncio has the method on every transport that sends."""
    return int(transport.get_write_buffer_size())  # type: ignore[attr-defined]
