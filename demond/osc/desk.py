"""What a client asks of the OSC server itself: pings, subscriptions, dumps, touch, the knob table, the log.

Each function is a verb of the table, called by a batch after its knobs are set; what it returns is done in steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol

from demond import __version__
from demond.knobs import KNOBS, described, did_you_mean
from demond.osc._clients import Client, Clients
from demond.osc.choices import FIRST_PORT, read_subscribe
from demond.osc.codec import Argument, OscError
from demond.osc.entry import Verb
from demond.osc.log_tail import LEVELS, LINE_LIMIT
from demond.osc.namespace import Target, number, whole
from demond.osc.publisher import EVERYTHING, Publisher
from demond.osc.turns import Work
from demond.osc.values import Values

TAIL_DEFAULT = 20

Arguments = tuple[Argument, ...]


class Server(Protocol):
    """The server, as its desk sees it."""

    clients: Clients
    publisher: Publisher
    values: Values

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""

    def listens(self, client: Client, port: int) -> None:
        """From now on the client is answered on `port`."""

    def now(self) -> float:
        """Seconds on the event loop's clock."""

    @property
    def uptime(self) -> float:
        """Seconds since the server started."""


class Desk:
    """Serves one client at a time."""

    def __init__(self, server: Server) -> None:
        """For the clients of `server`."""
        self._server = server
        self.verbs: Mapping[Verb, Callable[[Client, Target, Arguments], Work | None]] = {
            Verb.PING: self.ping,
            Verb.SUBSCRIBE: self.subscribe,
            Verb.UNSUBSCRIBE: self.unsubscribe,
            Verb.DUMP: self.dump,
            Verb.KNOB_TOUCH: self.touch,
            Verb.KNOB_TABLE: self.knob_table,
            Verb.LOG_LEVEL: self.log_level,
            Verb.LOG_TAIL: self.log_tail,
        }

    def ping(self, client: Client, target: Target, arguments: Arguments) -> None:
        """A sign of life; a whole number may say where the client listens."""
        port = arguments[0] if arguments else None
        if isinstance(port, int | float) and FIRST_PORT <= port <= 65_535:
            self._server.listens(client, int(port))
        server = self._server
        server.send(client, "/demond/pong", __version__, server.uptime, server.clients.active(server.now()))

    def greet(self, client: Client) -> Work:
        """Subscribes a client that has not chosen to everything, and tells it everything."""
        return self._server.publisher.dump(client, self._server.publisher.subscribe(client, EVERYTHING))

    def subscribe(self, client: Client, target: Target, arguments: Arguments) -> Work:
        """The values of a pattern, and then their changes."""
        request = read_subscribe(arguments, client.choices)
        before, client.choices = client.choices, request.choices
        try:
            targets = self._server.publisher.subscribe(client, request.pattern)
        except OscError:
            client.choices = before
            raise
        if not client.has_chosen:
            client.has_chosen = True
            for pattern in [*client.subscription.patterns] if client.subscription is not None else []:
                if pattern != request.pattern and not client.permanent:
                    self._server.publisher.unsubscribe(client, pattern)
        if request.port:
            self._server.listens(client, request.port)
        return self._server.publisher.dump(client, targets)

    def unsubscribe(self, client: Client, target: Target, arguments: Arguments) -> None:
        """Ends what was subscribed to, or what a ping did."""
        pattern = _pattern(target, arguments)
        ended = self._server.publisher.unsubscribe(client, pattern)
        client.has_chosen = True
        if pattern is not None and not ended:
            known = client.subscription.patterns if client.subscription is not None else ()
            hint = did_you_mean(pattern[:128], known)
            words = f"nothing is subscribed to as {pattern[:128]}{hint}"
            raise OscError(404, "unknown_address", target.address, words)

    def dump(self, client: Client, target: Target, arguments: Arguments) -> Work:
        """Values, once."""
        found = self._server.values.showing(_pattern(target, arguments) or EVERYTHING, client.choices.text)
        return self._server.publisher.dump(client, [each for each in found if client.role.includes(each.needs(()))])

    def touch(self, client: Client, target: Target, arguments: Arguments) -> None:
        """A hand takes or leaves a control."""
        if not arguments or arguments[0] is None or target.knob is None:
            self._server.tell(client, target)
            return
        if len(arguments) > 1:
            raise OscError(400, "bad_args", target.address, f"one number is wanted, not {len(arguments)} arguments")
        held = number(target.address, arguments[0]) >= 0.5
        self._server.publisher.hold(client, target.knob.name, held)

    def knob_table(self, client: Client, target: Target, arguments: Arguments) -> None:
        """All that a surface needs to know of the knobs."""
        self._server.send(client, f"{target.address}.reply", json.dumps([described(knob) for knob in KNOBS]))

    def log_level(self, client: Client, target: Target, arguments: Arguments) -> None:
        """How much demond logs."""
        if not arguments or arguments[0] is None:
            self._server.tell(client, target)
            return
        level = arguments[0]
        if level not in LEVELS or not isinstance(level, str):
            raise OscError(400, "bad_args", target.address, f"the level is one of {', '.join(LEVELS)}")
        self._server.values.log_tail.chosen_level = level
        with self._server.publisher.by(client, (target.address,)):
            self._server.publisher.told(("log/level",))

    def log_tail(self, client: Client, target: Target, arguments: Arguments) -> None:
        """The last lines of the log."""
        count = whole(target.address, arguments[0]) if arguments and arguments[0] is not None else TAIL_DEFAULT
        if not 1 <= count <= LINE_LIMIT:
            raise OscError(400, "bad_args", target.address, f"the number of lines is 1 to {LINE_LIMIT}")
        for line in self._server.values.log_tail.last(count):
            self._server.send(client, "/demond/log/line", line)


def _pattern(target: Target, arguments: Arguments) -> str | None:
    if not arguments or arguments[0] is None:
        return None
    if len(arguments) > 1 or not isinstance(arguments[0], str):
        raise OscError(400, "bad_args", target.address, "one pattern (s) is wanted, such as /demond/knob/*")
    return arguments[0]
