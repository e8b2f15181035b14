"""The OSC addresses of layers, mapping lines, the last control message, and triggers.

Called by a batch after its knobs are set, and by whatever shows values.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from demond.control import Control, Origin, Outcome, RefusedError
from demond.knobs import did_you_mean
from demond.osc._clients import Client
from demond.osc.answers import JSON_LIMIT, answering, fires
from demond.osc.batch import OscMapping
from demond.osc.codec import Argument, Impulse, OscError
from demond.osc.learn import Lessons
from demond.osc.namespace import Target, number, whole
from demond.osc.publisher import Publisher
from demond.scenes.triggers import fire

Arguments = tuple[Argument, ...]


class LinesMapping(OscMapping, Protocol):
    """The mapping, as these addresses see it."""

    @property
    def lessons(self) -> Lessons:
        """Learns lines."""

    @property
    def layers(self) -> dict[str, bool]:
        """Every layer, and whether it is on."""

    def switch_layer(self, name: str, on: bool) -> bool:
        """Switches a layer; False if there is none of that name."""

    def lines(self, part: str) -> Iterable[dict[str, object]]:
        """The lines whose id has `part` in it, or that have it as a tag, as plain JSON values."""

    def line_is_on(self, name: str) -> bool | None:
        """Whether all lines with that id or tag are on; None if there are none."""

    @property
    def line_names(self) -> list[str]:
        """All ids and tags."""

    def switch_line(self, name: str, on: bool) -> int:
        """Switches lines by id or tag; returns how many there are."""

    def check(self, done: Callable[[Outcome], None]) -> None:
        """Reads the files, says how they are, and changes nothing."""

    @property
    def last_told(self) -> dict[str, object] | None:
        """The last control message as plain JSON values; None before the first."""


class Server(Protocol):
    """The server, as this module sees it."""

    publisher: Publisher
    control: Control

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""


class LinesDesk:
    """Takes messages to the mapping."""

    def __init__(self, server: Server, mapping: LinesMapping) -> None:
        """For the clients of `server`."""
        self._server, self._mapping = server, mapping

    # -- what is shown ------------------------------------------------------------------------------------------

    def named(self) -> list[str]:
        """The addresses of the layers that there are."""
        return [f"/demond/layer/{name}" for name in self._mapping.layers]

    def judge(self, target: Target) -> None:
        """Raises :class:`OscError` 404 for a layer or a line that there is not, with the nearest."""
        kind, name = _named(target)
        if kind == "layer" and name not in self._mapping.layers:
            words = f"no layer is called {name!r}{did_you_mean(name, self._mapping.layers)}"
            raise OscError(404, "unknown_address", target.address, words)
        if kind == "line" and self._mapping.line_is_on(name) is None:
            hint = did_you_mean(name, self._mapping.line_names)
            raise OscError(404, "unknown_address", target.address, f"no line has the id or tag {name!r}{hint}")

    def read(self, target: Target) -> Arguments:
        """The value of an address that has one; what a reload has taken away is off."""
        kind, name = _named(target)
        if kind == "layer":
            return (int(self._mapping.layers.get(name, False)),)
        if kind == "line":
            return (int(self._mapping.line_is_on(name) or False),)
        last = self._mapping.last_told
        return ("" if last is None else json.dumps(last),)

    # -- what is done -------------------------------------------------------------------------------------------

    def take(self, client: Client, target: Target, arguments: Arguments) -> None:
        """Does what a message says. Raises :class:`OscError`, and nothing has changed then."""
        kind, name = _named(target)
        self.judge(target)
        if target.parts[0] == "trigger":
            self._fire(client, target, name, arguments)
        elif target.has_value and (not arguments or arguments[0] is None):
            self._server.tell(client, target)
        elif kind:
            on = self._wanted(target, arguments)
            with self._server.publisher.by(client, (target.address,)):
                if kind == "layer":
                    self._mapping.switch_layer(name, on)
                else:
                    self._mapping.switch_line(name, on)
        elif name == "check":
            if fires(client, target, arguments):
                self._mapping.check(answering(self._server.send, client, target.address))
        else:
            self._list(client, target, arguments)

    def _fire(self, client: Client, target: Target, name: str, arguments: Arguments) -> None:
        if fires(client, target, arguments):
            try:
                fire(self._server.control, name, Origin("osc", client.name, time.monotonic_ns()))
            except RefusedError as error:
                raise OscError(error.code, error.slug, target.address, str(error)) from None

    def _wanted(self, target: Target, arguments: Arguments) -> bool:
        if len(arguments) > 1:
            raise OscError(400, "bad_args", target.address, f"one number is wanted, not {len(arguments)} arguments")
        if isinstance(arguments[0], Impulse):
            return not self.read(target)[0]
        return number(target.address, arguments[0]) >= 0.5

    def _list(self, client: Client, target: Target, arguments: Arguments) -> None:
        part = arguments[0] if arguments and arguments[0] is not None else ""
        if not isinstance(part, str):
            raise OscError(400, "bad_args", target.address, "a part of an id (s) comes first; an empty one means all")
        first = whole(target.address, arguments[1]) if len(arguments) > 1 else 0
        every = list(self._mapping.lines(part))
        shown: list[dict[str, object]] = []
        room = JSON_LIMIT
        for line in every[max(first, 0) :]:
            room -= len(json.dumps(line)) + 2
            if room < 100:
                break
            shown.append(line)
        self._server.send(client, f"{target.address}.reply", json.dumps({"count": len(every), "lines": shown}))


def _named(target: Target) -> tuple[str, str]:
    """`layer` or `line` and its name; for another address an empty text and its last part."""
    parts = target.parts
    if parts[0] == "layer":
        return "layer", parts[1]
    if parts[0] == "map" and parts[-1] == "enable":
        return "line", "/".join(parts[1:-1])
    return "", parts[-1]
