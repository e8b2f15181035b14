"""Who sends OSC to demond, and how many errors each of them was sent. A plumbing part of `demond.osc.server`.

The table is bounded: a flood from ever new source addresses costs the oldest entries their place, nothing more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

CLIENT_LIMIT = 1_024
ERRORS_PER_SECOND = 10

Address = tuple[str, int] | tuple[str, int, int, int]
"""Host and port as asyncio gives them: two fields for IPv4, four for IPv6."""


@dataclass(slots=True)
class Client:
    """One source address, which is where answers go."""

    address: Address
    name: str = field(init=False)
    """As a person writes it: `127.0.0.1:53211`."""
    last_seen: float = 0.0
    """On the event loop's clock, in seconds."""
    warned_of_time: bool = False
    """Was told that its time tags are too far ahead."""
    window_start: float = float("-inf")
    errors: int = 0
    """Sent since `window_start`."""
    unsent: int = 0
    """Errors beyond the limit since `window_start`."""
    summary: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        """Names the client once, since the name goes into every trace record."""
        host, port = self.address[:2]
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def may_send_error(self, now: float) -> bool:
        """Counts one error; False if it is beyond the limit of this second."""
        if now - self.window_start >= 1.0:
            self.window_start, self.errors = now, 0
        if self.errors < ERRORS_PER_SECOND:
            self.errors += 1
            return True
        self.unsent += 1
        return False

    def forget(self) -> None:
        """Takes back the summary that is still to be sent."""
        if self.summary is not None:
            self.summary.cancel()
            self.summary = None


class Clients:
    """The last :data:`CLIENT_LIMIT` clients that sent anything, the longest silent first."""

    def __init__(self) -> None:
        """Empty."""
        self._clients: OrderedDict[Address, Client] = OrderedDict()

    def seen(self, address: Address, now: float) -> Client:
        """The client at `address`, which has just sent something."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = Client(address)
            if len(self._clients) > CLIENT_LIMIT:
                self._clients.popitem(last=False)[1].forget()
        else:
            self._clients.move_to_end(address)
        client.last_seen = now
        return client

    def active(self, now: float, seconds: float = 120.0) -> int:
        """How many have sent something in the last `seconds`."""
        return sum(now - client.last_seen <= seconds for client in self._clients.values())

    def clear(self) -> None:
        """Forgets everybody."""
        for client in self._clients.values():
            client.forget()
        self._clients.clear()
