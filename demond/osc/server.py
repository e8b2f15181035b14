"""The OSC server: a UDP socket and a TCP port in the daemon's event loop.

It promises that no packet, however malformed, stops it or raises out of it, or holds the loop up for long; that every
message is either obeyed or answered with one `/demond/error` to its sender (at most 10 a second to one client, then
one that counts the rest); that answers leave from the port that was written to; and that everything it remembers is
bounded.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from demond.config import Osc
from demond.control import Control, Origin
from demond.osc._clients import Client, Clients, Link
from demond.osc.access import Access, Role
from demond.osc.batch import Batch, Own
from demond.osc.choices import Choices, Echo
from demond.osc.codec import Argument, Bundle, OscError, encode, reading
from demond.osc.desk import Desk
from demond.osc.entry import Verb
from demond.osc.learn import LearnDesk
from demond.osc.lines import LinesDesk, LinesMapping
from demond.osc.log_tail import LogTail
from demond.osc.namespace import Target, targets_matching
from demond.osc.pattern import AddressTree
from demond.osc.publisher import Publisher
from demond.osc.questions import Questions
from demond.osc.schedule import MESSAGE_LIMIT, SECONDS_AHEAD, Schedule, When
from demond.osc.stage import StageDesk
from demond.osc.tcp import CONNECTION_LIMIT, TcpConnection, listen
from demond.osc.turns import Turns, Work
from demond.osc.udp import SocketAddress, UdpLink, UdpSocket
from demond.osc.values import Values

log = logging.getLogger(__name__)

GREETINGS_PER_SECOND = 20
"""Clients that are told everything without having asked; the next ones are when they send again."""
_BUG_LIMIT = 100
_PORT_ATTEMPTS = 20


class OscPortError(OSError):
    """The socket cannot be opened. What the user can do is in `strerror`."""


class OscServer:
    """Receives OSC at one address. All methods are called from the event loop."""

    def __init__(self, control: Control, mapping: LinesMapping, settings: Osc | None = None) -> None:
        """Nothing is open before :meth:`start`. Port 0 in the settings takes a free one."""
        self.settings = settings or Osc()
        self.control, self.mapping = control, mapping
        self.patterns_fire = self.settings.allow_pattern_triggers
        self.port = self.settings.port
        self.access = Access({each.network: Role(each.may) for each in self.settings.networks})
        self.log_tail = LogTail(lambda: self.publisher.told(("log/line",)))
        self.values = Values(control, mapping, self.log_tail)
        self.publisher = Publisher(self.values)
        self.publisher.finger = self._finger
        self.clients = Clients(self._forgotten)
        self.turns = Turns()
        desk = Desk(self)
        stage = StageDesk(self, control.stage)
        questions = Questions(self)
        lines, learn = LinesDesk(self, mapping), LearnDesk(self, mapping.lessons)
        self.own: Own = {
            **desk.verbs,
            **questions.verbs,
            Verb.STAGE: stage.take,
            Verb.LINES: lines.take,
            Verb.LEARN: learn.take,
        }
        self._greet = desk.greet
        self.values.readers |= {Verb.STAGE: stage.read, Verb.LINES: lines.read, Verb.LEARN: learn.read}
        self.values.named, self.values.judge = lines.named, lines.judge
        self.announced_port: Callable[[str], int | None] = lambda host: None
        """Where another host says over zeroconf that it listens, if anybody asks."""
        self._udp = UdpSocket(self.datagram, self._unreachable)
        self._tcp: asyncio.Server | None = None
        self._connections: dict[Client, TcpConnection] = {}
        self._schedule = Schedule()
        self._mapped: tuple[Collection[str], AddressTree] = ((), AddressTree(()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = 0.0
        self._greeted: tuple[float, int] = (0.0, 0)
        self._stop_observing: Callable[[], None] | None = None
        self._bugs: set[tuple[str, str, int]] = set()
        self.denied = 0
        """Packets from addresses that may not send; they are not answered, so that nobody can aim us at others."""

    @property
    def unsent(self) -> int:
        """Answers dropped because the network did not take them."""
        return self._udp.unsent

    @property
    def uptime(self) -> float:
        """Seconds since :meth:`start`."""
        return self.now() - self._started

    def now(self) -> float:
        """Seconds on the event loop's clock."""
        return asyncio.get_running_loop().time()

    def status(self) -> dict[str, object]:
        """Its section of the daemon's status."""
        return {
            "bind": self.settings.bind,
            "port": self.port,
            "clients": self.clients.active(self.now()),
            "subscribers": self.publisher.count,
            "connections": len(self._connections),
            "scheduled": self._schedule.waiting,
            "denied": self.denied,
            "unsent": self.unsent,
        }

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the ports; :attr:`port` is the real one afterwards. Raises :class:`OscPortError`."""
        bind = self.settings.bind
        if not ipaddress.ip_address(bind).is_loopback and not self.access.beyond_loopback:
            raise OscPortError(
                errno.EACCES, f"listening on {bind} needs `allow` or `clients`, to say who is listened to"
            )
        try:
            await self._open(bind)
        except OSError as error:
            said = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise OscPortError(error.errno or errno.EIO, said) from error
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.publisher.start()
        self.log_tail.start()
        self._stop_observing = self.control.feed.observe(self.publisher.told)
        self._add_permanent()

    async def _open(self, bind: str) -> None:
        """Both sockets on one port; where any port will do, on one that is free for both."""
        for attempt in range(_PORT_ATTEMPTS):
            self.port = self._udp.open(bind, self.settings.port)
            try:
                self._tcp = await listen(self, bind, self.port)
            except OSError:
                self._udp.close()
                if self.settings.port or attempt == _PORT_ATTEMPTS - 1:
                    raise
            else:
                return

    def close(self) -> None:
        """Closes everything and forgets what was scheduled. May be called twice."""
        if self._stop_observing is not None:
            self._stop_observing()
            self._stop_observing = None
        self.log_tail.stop()
        self._schedule.clear()
        self.turns.clear()
        self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None
        for connection in tuple(self._connections.values()):
            connection.close()
        self.clients.clear()

    def _add_permanent(self) -> None:
        """The clients of the settings are told everything that they want, from the start."""
        for named in self.settings.clients:
            choices = Choices(
                rate=named.rate,
                norm=named.units == "norm",
                bundles=named.bundles,
                text=named.text,
                wide=named.wide,
                echo=Echo(named.echo),
            )
            link = UdpLink(self._udp, _socket_address(named.host, named.port))
            client = Client(named.name, named.host, link, Role(named.may), choices, permanent=True, has_chosen=True)
            self.clients.add_permanent(client, named.port)
            try:
                targets = [target for each in named.subscribe for target in self.publisher.subscribe(client, each)]
            except OscError as error:
                log.warning("osc.clients, %s: %s", named.name, error.message)
                continue
            self.turns.add(client, self.publisher.dump(client, targets))

    # -- who sends ----------------------------------------------------------------------------------------------

    def datagram(self, data: bytes, address: SocketAddress) -> None:
        """One datagram. Nothing is raised, whatever it holds."""
        host, port = address[:2]
        role = self.access.role(host)
        if role is None or self._loop is None:
            self.denied += 1
            return
        now = self._loop.time()
        client = self.clients.get(address, now) or self.clients.permanent(host, port, now)
        if client is None:
            # This machine has many programs, so a port that one of them announces is not that of the others.
            announced = None if ipaddress.ip_address(host).is_loopback else self._announced
            link = UdpLink(self._udp, address, announced)
            client = Client(_name(host, port), host, link, role, last_seen=now)
            self.clients.add(address, client)
        self.give(client, data)

    def give(self, client: Client, data: bytes) -> None:
        """One packet of a client that was seen before; it is dropped and refused if too many wait."""
        client.muted_until, client.mute_seconds = float("-inf"), 0.0
        if not self.turns.add(client, self.packet(client, data)):
            self.refuse(client, OscError(429, "rate_limited", "", "too many packets wait; this one is dropped"))

    def connected(self, link: TcpConnection, host: str, port: int) -> Client | None:
        """A client for a TCP connection; None if it may not come in."""
        role = self.access.role(host)
        if role is None or len(self._connections) >= CONNECTION_LIMIT:
            self.denied += 1
            return None
        client = self.welcome(link, f"tcp {_name(host, port)}", host, role)
        self._connections[client] = link
        return client

    def welcome(self, link: Link, name: str, host: str, role: Role) -> Client:
        """A client that stays until :meth:`disconnected`."""
        client = Client(name, host, link, role, last_seen=self.now())
        self.clients.add(link, client)
        return client

    def disconnected(self, client: Client) -> None:
        """A connection is gone."""
        self._connections.pop(client, None)
        self.turns.forget(client)
        self.clients.remove(client.link)

    def listens(self, client: Client, port: int) -> None:
        """From now on a UDP client is answered on `port` of its host."""
        if isinstance(client.link, UdpLink):
            client.link = client.link.at_port(port)

    def _finger(self, client: Client, knob: str, down: bool) -> None:
        self.mapping.finger(knob, Origin("osc", client.name, time.monotonic_ns()), down)

    def _forgotten(self, client: Client) -> None:
        self.turns.forget(client)
        self.publisher.forget(client)

    def _announced(self, host: str) -> int | None:
        return self.announced_port(host)

    def _unreachable(self, address: SocketAddress) -> None:
        for client in self.clients:
            if isinstance(client.link, UdpLink) and client.link.address[:2] == address[:2]:
                self.publisher.mute(client)

    # -- what is sent -------------------------------------------------------------------------------------------

    def packet(self, client: Client, data: bytes) -> Work:
        """What one packet causes, in steps. Nothing is raised, whatever it holds."""
        received_ns = time.monotonic_ns()
        client.last_seen = self.now()
        try:
            packet = yield from reading(data)
        except OscError as error:
            self.refuse(client, error)
            return
        for bundle in packet.bundles:
            for refused in bundle.errors:
                self.refuse(client, refused)
            if bundle.messages and self._is_due(client, bundle, received_ns):
                yield from self._apply(client, bundle, received_ns)

    def _is_due(self, client: Client, bundle: Bundle, received_ns: int) -> bool:
        """False if the bundle waits for its time, or is dropped because too many do."""
        when, seconds = self._schedule.put(bundle, lambda: self._do(client, self._apply(client, bundle, received_ns)))
        address = bundle.messages[0].address
        if when is When.FULL:
            words = f"{MESSAGE_LIMIT} messages are waiting for their time already; this bundle is dropped"
            self.refuse(client, OscError(429, "rate_limited", address, words))
        elif when in (When.TOO_FAR, When.TOO_OLD) and when.value not in client.warned:
            client.warned.add(when.value)
            words = f"a time tag may lie {SECONDS_AHEAD:.0f} s ahead, this one lies {abs(seconds):.0f} s {when.value}"
            self.refuse(client, OscError(400, "bad_time", address, f"{words}; such bundles are applied at once"))
        return when not in (When.FULL, When.WAITS)

    def _do(self, client: Client, work: Work) -> None:
        if not self.turns.add(client, work):
            self.refuse(client, OscError(429, "rate_limited", "", "too many packets wait; a bundle is dropped"))

    def _apply(self, client: Client, bundle: Bundle, received_ns: int) -> Work:
        batch = Batch(self, client, Origin("osc", client.name, received_ns))
        try:
            yield from batch.steps(bundle.messages)
            if batch.greets and self._may_greet(client):
                yield from self._greet(client)
        except Exception as error:  # a bug of ours must not cost the performer the server
            self.report_bug(error)
            address = bundle.messages[0].address
            words = "demond made a mistake with this message; its log says more"
            self.refuse(client, OscError(500, "internal", address, words))

    def _may_greet(self, client: Client) -> bool:
        """Whether a client that only now appears, and has asked for nothing, is to be told everything."""
        if client.has_chosen or client.subscription is not None or not self.publisher.has_room:
            return False
        second, count = self._greeted
        now = self.now()
        if now - second >= 1.0:
            second, count = now, 0
        self._greeted = (second, count + 1)
        return count < GREETINGS_PER_SECOND

    def report_bug(self, error: Exception) -> None:
        """Logs a mistake of demond's, once for each place."""
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

    def matching(self, pattern: str) -> tuple[tuple[Target, ...], tuple[str, ...]]:
        """The addresses that `pattern` stands for: demond's, and those of the mapping. Raises :class:`OscError`."""
        if self._mapped[0] is not self.mapping.addresses:
            self._mapped = (self.mapping.addresses, AddressTree(self.mapping.addresses))
        targets_matching(pattern)
        mapped = self._mapped[1].matching(pattern)
        try:
            return self.values.matching(pattern), mapped
        except OscError:
            if not mapped:
                raise
            return (), mapped

    def by(self, client: Client, addresses: Collection[str]) -> AbstractContextManager[None]:
        """While it is open, changes are the client's doing, who knows the values of `addresses` by itself."""
        return self.publisher.by(client, addresses)

    # -- answers ------------------------------------------------------------------------------------------------

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers a client."""
        client.link.send(encode(address, *arguments))

    def tell(self, client: Client, target: Target) -> None:
        """Sends a client the value of `target`."""
        client.link.send(self.publisher.message(client, target))

    def refuse(
        self, client: Client, error: OscError | Callable[[], OscError], asked_as: tuple[Argument, ...] = ()
    ) -> None:
        """Tells the client, and by which id the message went, if it had one.

        A client that has been told enough in this second is told after it how many more there were.
        """
        now = self.now()
        if client.may_send_error(now):
            self._send_error(client, error if isinstance(error, OscError) else error(), asked_as)
        elif client.summary is None:
            wait = client.window_start + 1.0 - now
            client.summary = asyncio.get_running_loop().call_later(wait, self._sum_up, client)

    def _sum_up(self, client: Client) -> None:
        client.summary = None
        count, client.unsent = client.unsent, 0
        words = f"{count} more messages were refused in the last second"
        self._send_error(client, OscError(429, "rate_limited", "", words))

    def _send_error(self, client: Client, error: OscError, asked_as: tuple[Argument, ...] = ()) -> None:
        # An address from a packet may be as long as the packet.
        self.send(
            client, "/demond/error", error.code, error.slug, error.address[:256], error.message[:1_024], *asked_as
        )


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _socket_address(host: str, port: int) -> SocketAddress:
    return (host, port) if ipaddress.ip_address(host).version == 4 else (host, port, 0, 0)
