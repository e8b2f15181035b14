"""Tells subscribers what changed: each at its own rate, in its own units, the latest value of each address.

It lives in the daemon's event loop and sleeps while nothing changes. `demond.feed` says that something changed; who
subscribed to it has it marked, and a timer of that client's reads and sends what is marked. So a knob that moves a
thousand times between two packets costs a thousand marks and one message, and a client that is gone costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from demond.osc._clients import SUBSCRIBER_LIMIT, Client, Subscription
from demond.osc.access import Role
from demond.osc.codec import Argument, OscError, encode, encode_bundle
from demond.osc.entry import Verb
from demond.osc.namespace import KEYS, Target, targets_of_key
from demond.osc.pattern import AddressTree
from demond.osc.turns import Work
from demond.osc.values import Values, narrow

BUNDLE_LIMIT = 1_400
"""Bytes of a bundle: what an Ethernet frame of 1,500 holds after IPv6 and UDP headers, with some to spare."""
EVERYTHING = "/demond//*"
PATTERNS_EACH = 64
"""Patterns of one client."""
CHUNK = 48
"""Values of a dump that are read and sent in one step."""
MUTE_SECONDS = (1.0, 30.0)
"""How long a client is sent nothing after nobody listened on its port: at first, and at most."""
FINGER_SECONDS = 30.0
"""A finger of a client that sends nothing for so long is taken for lifted: the message that said so was lost."""
_LINES_AT_ONCE = 50
_CACHE_LIMIT = 4_096


class Publisher:
    """All subscriptions, and what is still to be sent of them."""

    def __init__(self, values: Values) -> None:
        """Nobody is subscribed."""
        self._values = values
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers: dict[Client, Subscription] = {}
        self._encoded: dict[tuple[str, bool, bool, bool], tuple[tuple[Argument, ...], bytes]] = {}
        self.finger: Callable[[Client, str, bool], None] = lambda client, knob, down: None
        """Called when a client's finger is put on a knob, or lifted."""
        self._setter: Client | None = None
        self._set: Collection[str] = ()

    def start(self) -> None:
        """Called in the event loop before anything else."""
        self._loop = asyncio.get_running_loop()

    @property
    def has_room(self) -> bool:
        """Whether one more can be subscribed."""
        return len(self._subscribers) < SUBSCRIBER_LIMIT or bool(self._greeted())

    @property
    def count(self) -> int:
        """How many are subscribed."""
        return len(self._subscribers)

    # -- who is told --------------------------------------------------------------------------------------------

    def subscribe(self, client: Client, pattern: str) -> tuple[Target, ...]:
        """Tells `client` of changes of all that `pattern` matches, from now on; returns that.

        Raises :class:`OscError`: 400 or 404 for the pattern, 429 where there are too many subscribers or patterns.
        """
        found = self._shown(client, pattern)
        subscription = client.subscription
        if subscription is not None and len(subscription.patterns) >= PATTERNS_EACH:
            words = f"a client may subscribe to {PATTERNS_EACH} patterns; end one, or ask for more with one"
            raise OscError(429, "rate_limited", pattern[:128], words)
        if subscription is None:
            self._make_room(pattern)
            subscription = client.subscription = Subscription(lines_sent=self._values.log_tail.count)
            self._subscribers[client] = subscription
            self.expect(client)
        subscription.patterns[pattern] = None
        subscription.targets.update((target.address, target) for target in found)
        return found

    def unsubscribe(self, client: Client, pattern: str | None = None) -> bool:
        """Ends one subscription, or all; False if there is no such."""
        subscription = client.subscription
        if subscription is None or (pattern is not None and pattern not in subscription.patterns):
            return False
        subscription.patterns = {} if pattern is None else {p: None for p in subscription.patterns if p != pattern}
        if not subscription.patterns:
            self._end(client)
            return True
        left = (target for each in subscription.patterns for target in self._shown(client, each))
        subscription.targets = {target.address: target for target in left}
        subscription.dirty = {a: target for a, target in subscription.dirty.items() if a in subscription.targets}
        return True

    def forget(self, client: Client) -> None:
        """The client is gone: its subscriptions end, and what it holds is let go."""
        self._end(client)
        for knob in tuple(client.holds):
            self.hold(client, knob, False)

    def expect(self, client: Client) -> None:
        """Waits for the client's sign of life for as long as it chose; without one, it is forgotten."""
        if client.permanent or not client.link.datagrams or client.expiry is not None:
            return
        loop = self._running()

        def look() -> None:
            client.expiry = None
            left = client.last_seen + client.choices.ttl - loop.time()
            if left <= 0:
                self.forget(client)
            elif client.subscription is not None or client.holds:
                client.expiry = loop.call_later(left, look)

        client.expiry = loop.call_later(client.choices.ttl, look)

    def mute(self, client: Client) -> None:
        """Nobody listened where the client was sent something: waits, longer each time."""
        now = self._running().time()
        if now >= client.muted_until:
            least, most = MUTE_SECONDS
            client.mute_seconds = min(max(2 * client.mute_seconds, least), most)
            client.muted_until = now + client.mute_seconds

    def _shown(self, client: Client, pattern: str) -> tuple[Target, ...]:
        shown = self._values.showing(pattern, client.choices.text)
        return tuple(target for target in shown if _may_see(client, target))

    def _greeted(self) -> list[Client]:
        """Those who did not ask for their subscription."""
        return [one for one in self._subscribers if not one.has_chosen and not one.permanent]

    def _make_room(self, pattern: str) -> None:
        if len(self._subscribers) < SUBSCRIBER_LIMIT:
            return
        greeted = self._greeted()
        if not greeted:
            raise OscError(429, "rate_limited", pattern[:128], f"{SUBSCRIBER_LIMIT} clients are subscribed already")
        self.forget(min(greeted, key=lambda client: client.last_seen))

    def _end(self, client: Client) -> None:
        subscription = self._subscribers.pop(client, None)
        client.subscription = None
        if subscription is not None and subscription.timer is not None:
            subscription.timer.cancel()

    # -- what changed -------------------------------------------------------------------------------------------

    @contextmanager
    def by(self, client: Client, addresses: Collection[str]) -> Iterator[None]:
        """While this is open, changes are the doing of `client`, which knows the values of `addresses` by itself."""
        self._setter, self._set = client, addresses
        try:
            yield
        finally:
            self._setter, self._set = None, ()

    def told(self, keys: Iterable[str]) -> None:
        """`keys` of `demond.feed` changed: marks the addresses that show them for all who want to know."""
        targets = [target for key in keys for target in targets_of_key(key)]
        for client, subscription in self._subscribers.items():
            wanted = subscription.targets
            for target in targets:
                address = target.address
                if address not in wanted and (address in KEYS_ADDRESSES or not self._wants(subscription, target)):
                    continue
                if client is self._setter and address in self._set:
                    subscription.dirty.pop(address, None)
                    continue
                if target.knob is not None and target.knob.name in client.holds:
                    continue
                subscription.dirty[address] = target
            if subscription.dirty and subscription.timer is None:
                self._arm(client, subscription)

    def hold(self, client: Client, knob: str, held: bool) -> None:
        """A hand takes or leaves a control for `knob` at `client`."""
        if held == (knob in client.holds):
            return
        if held:
            client.holds.add(knob)
            self.expect(client)
            self._expect_release(client)
        else:
            client.holds.remove(knob)
        subscription = client.subscription
        if subscription is not None:
            for target in KEYS[f"knob/{knob}"]:
                if held:
                    subscription.dirty.pop(target.address, None)
                elif target.address in subscription.targets:
                    subscription.dirty[target.address] = target
            self._arm(client, subscription)
        with self.by(client, (f"/demond/knob/{knob}/touch",)):
            self.finger(client, knob, held)

    def _expect_release(self, client: Client) -> None:
        """Lifts the client's fingers when nothing was heard of it for :data:`FINGER_SECONDS`."""
        if client.lifting is not None:
            return
        loop = self._running()

        def look() -> None:
            client.lifting = None
            left = client.last_seen + FINGER_SECONDS - loop.time()
            if left > 0 and client.holds:
                client.lifting = loop.call_later(left, look)
                return
            for knob in tuple(client.holds):
                self.hold(client, knob, False)

        client.lifting = loop.call_later(FINGER_SECONDS, look)

    @staticmethod
    def _wants(subscription: Subscription, target: Target) -> bool:
        """Whether an address that is new, such as that of a LoRA, is among what was subscribed to."""
        tree = AddressTree([target.address])
        if not any(tree.matching(pattern) for pattern in subscription.patterns):
            return False
        subscription.targets[target.address] = target
        return True

    def _arm(self, client: Client, subscription: Subscription) -> None:
        if subscription.timer is None:
            loop = self._running()
            due = max(subscription.sent_at + 1 / client.choices.rate, client.muted_until)
            # Never at once: what one loop turn changes is sent together.
            subscription.timer = loop.call_at(max(due, loop.time()), self._flush, client, subscription)

    def _flush(self, client: Client, subscription: Subscription) -> None:
        now = self._running().time()
        subscription.timer = None
        if now < client.muted_until:
            self._arm(client, subscription)
            return
        dirty, subscription.dirty = subscription.dirty, {}
        subscription.sent_at = now
        self._send(client, (message for target in dirty.values() for message in self._messages(client, target)))

    # -- what is sent -------------------------------------------------------------------------------------------

    def dump(self, client: Client, targets: Collection[Target]) -> Work:
        """Sends the values of `targets` between two marks, in steps."""
        messages = [encode("/demond/update", 1)]
        for i, target in enumerate(targets):
            messages += self._messages(client, target)
            if client.subscription is not None:
                client.subscription.dirty.pop(target.address, None)
            if i % CHUNK == CHUNK - 1:
                # What was read is sent before anything can change.
                self._send(client, messages)
                messages = []
                yield None
        self._send(client, [*messages, encode("/demond/update", 0)])

    def message(self, client: Client, target: Target) -> bytes:
        """The message that shows `client` the value of `target`."""
        choices = client.choices
        arguments = self._values.read(target, choices.norm)
        key = (target.address, choices.norm, choices.wide, choices.long)
        known = self._encoded.get(key)
        if known is not None and known[0] == arguments:
            return known[1]
        fitting = arguments if choices.wide or choices.long else narrow(arguments)
        message = encode(target.address, *fitting, wide=choices.wide)
        if len(self._encoded) >= _CACHE_LIMIT:
            self._encoded.clear()
        self._encoded[key] = (arguments, message)
        return message

    def _messages(self, client: Client, target: Target) -> Iterable[bytes]:
        if target.verb is not Verb.LOG_LINE or client.subscription is None:
            return (self.message(client, target),)
        tail, subscription = self._values.log_tail, client.subscription
        new = tail.count - subscription.lines_sent
        subscription.lines_sent = tail.count
        lines = tail.last(min(new, _LINES_AT_ONCE))
        if new > len(lines):
            lines = (f"{new - len(lines)} lines are left out here", *lines)
        return [encode(target.address, line) for line in lines]

    def _send(self, client: Client, messages: Iterable[bytes]) -> None:
        for packet in packets(messages, client.choices.bundles):
            client.link.send(packet)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the publisher was not started")
        return self._loop


KEYS_ADDRESSES = frozenset(target.address for targets in KEYS.values() for target in targets)
"""The addresses that are always there."""


def packets(messages: Iterable[bytes], bundles: bool) -> Iterator[bytes]:
    """`messages` as they travel: in bundles of at most :data:`BUNDLE_LIMIT` bytes, or each alone.

    A message that is alone in its bundle, as a long one is, travels without it.
    """
    group: list[bytes] = []
    size = 16
    for message in messages:
        if group and (not bundles or size + 4 + len(message) > BUNDLE_LIMIT):
            yield _packet(group)
            group, size = [], 16
        group.append(message)
        size += 4 + len(message)
    if group:
        yield _packet(group)


def _packet(group: list[bytes]) -> bytes:
    return group[0] if len(group) == 1 else encode_bundle(group)


def _may_see(client: Client, target: Target) -> bool:
    needed = target.entry.role if target.verb is Verb.LOG_LINE else Role.READ
    return client.role.includes(needed)
