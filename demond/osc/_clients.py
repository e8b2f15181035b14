"""Who sends OSC to demond: what each may do, has chosen, and was told. A plumbing part of `demond.osc.server`.

The table is bounded: a flood from ever new addresses costs the oldest strangers their place, and no subscriber.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from demond.osc.access import Role
from demond.osc.choices import Choices
from demond.osc.codec import Argument
from demond.osc.namespace import Target

STRANGER_SECONDS = 3_600.0
"""After this long without a word, what a client that is not subscribed has chosen is forgotten."""
CLIENT_LIMIT = 1_024
SUBSCRIBER_LIMIT = 64
ERRORS_PER_SECOND = 10


class Link(Hashable, Protocol):
    """How packets reach a client."""

    datagrams: bool
    """Whether each packet travels alone, may be lost, and reaches a port that may be nobody's."""

    def send(self, packet: bytes) -> None:
        """Sends one packet; a client that cannot take it is the link's affair."""


@dataclass(slots=True)
class Subscription:
    """What a client wants to be told."""

    patterns: dict[str, None] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    """What the patterns matched, by address."""
    dirty: dict[str, Target] = field(default_factory=dict)
    """What has changed since it was sent."""
    timer: asyncio.TimerHandle | None = None
    sent_at: float = float("-inf")
    lines_sent: int = 0
    """Lines of the log that were sent, counted from the daemon's start."""


@dataclass(slots=True, eq=False)
class Client:
    """One sender, or one receiver that the settings name."""

    name: str
    """As a person writes it: `127.0.0.1:53211`."""
    host: str
    link: Link
    role: Role
    choices: Choices = field(default_factory=Choices)
    permanent: bool = False
    """Named in the settings: it is told of changes whether or not it was ever heard."""
    subscription: Subscription | None = None
    has_chosen: bool = False
    """Has subscribed or unsubscribed by itself, so nothing is chosen for it."""
    last_seen: float = 0.0
    """On the event loop's clock, in seconds."""
    expiry: asyncio.TimerHandle | None = None
    muted_until: float = float("-inf")
    """Nobody listened on its port: nothing but answers is sent until then."""
    mute_seconds: float = 0.0
    holds: set[str] = field(default_factory=set)
    """Knobs that a finger lies upon there."""
    lifting: asyncio.TimerHandle | None = None
    """Looks whether it was silent for so long that its fingers are taken for lifted."""
    pressed: dict[str, float] = field(default_factory=dict)
    """The last number sent to each trigger."""
    asks_as: tuple[Argument, ...] = ()
    """The id of the message that is being done for it, if that has one; what is answered later ends with it."""
    warned: set[str] = field(default_factory=set)
    """What it was told once and is not told again."""
    window_start: float = float("-inf")
    errors: int = 0
    """Sent since `window_start`."""
    unsent: int = 0
    """Errors beyond the limit since `window_start`."""
    summary: asyncio.TimerHandle | None = None

    def heard(self, now: float) -> None:
        """It has just sent something. After a long silence it may be another program, which has the port by now."""
        if now - self.last_seen > STRANGER_SECONDS and self.subscription is None and not self.permanent:
            self.choices, self.has_chosen = Choices(), False
        self.last_seen = now

    def may_send_error(self, now: float) -> bool:
        """Counts one error; False if it is beyond the limit of this second."""
        if now - self.window_start >= 1.0:
            self.window_start, self.errors = now, 0
        if self.errors < ERRORS_PER_SECOND:
            self.errors += 1
            return True
        self.unsent += 1
        return False

    def rises(self, address: str, value: float) -> bool:
        """Whether `value` rises through 0.5 at the trigger `address`.

        A number that comes twice counts again: it is a button that does not say when it is let go, never a fader.
        """
        before = self.pressed.get(address, 0.0)
        self.pressed[address] = value
        return value >= 0.5 and (before < 0.5 or before == value)

    def stop_timers(self) -> None:
        """Takes back everything that is still to come."""
        timer = self.subscription.timer if self.subscription is not None else None
        for handle in (self.summary, self.expiry, self.lifting, timer):
            if handle is not None:
                handle.cancel()
        self.summary = self.expiry = self.lifting = None
        if self.subscription is not None:
            self.subscription.timer = None


class Clients:
    """The last :data:`CLIENT_LIMIT` clients that sent anything, the longest silent first, and the permanent ones."""

    def __init__(self, forget: Callable[[Client], None]) -> None:
        """Empty. `forget` is called with each client that loses its place."""
        self._clients: OrderedDict[Hashable, Client] = OrderedDict()
        self._permanent: dict[str, list[tuple[int, Client]]] = {}
        self._forget = forget

    def add(self, key: Hashable, client: Client) -> None:
        """A client that is new."""
        self._clients[key] = client
        if len(self._clients) > CLIENT_LIMIT:
            oldest = next((key for key, one in self._clients.items() if one.subscription is None), None)
            if oldest is not None:
                self.remove(oldest)

    def add_permanent(self, client: Client, port: int) -> None:
        """A client that the settings name, which listens on `port`."""
        self._permanent.setdefault(client.host, []).append((port, client))

    def get(self, key: Hashable, now: float) -> Client | None:
        """The client that has just sent something from `key`, if it is known."""
        client = self._clients.get(key)
        if client is not None:
            self._clients.move_to_end(key)
            client.heard(now)
        return client

    def permanent(self, host: str, port: int, now: float) -> Client | None:
        """The client of the settings that sends from `host` and `port`, if it is one.

        A tablet sends from any port. This machine runs other senders than the one that is named, so there the port
        has to be the same.
        """
        there = self._permanent.get(host)
        if there is None:
            return None
        found = next((client for listens, client in there if listens == port), None)
        if found is None and len(there) == 1 and not ipaddress.ip_address(host).is_loopback:
            found = there[0][1]
        if found is not None:
            found.last_seen = now
        return found

    def remove(self, key: Hashable) -> None:
        """The client is gone."""
        client = self._clients.pop(key, None)
        if client is not None:
            client.stop_timers()
            self._forget(client)

    def __iter__(self) -> Iterator[Client]:
        """Everybody."""
        for there in self._permanent.values():
            for _, client in there:
                yield client
        yield from self._clients.values()

    def active(self, now: float, seconds: float = 120.0) -> int:
        """How many have sent something in the last `seconds`."""
        return sum(now - client.last_seen <= seconds for client in self)

    def clear(self) -> None:
        """Forgets everybody."""
        for client in self:
            client.stop_timers()
        self._clients.clear()
        self._permanent.clear()
