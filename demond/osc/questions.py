"""What is asked of the daemon over OSC: its knobs, LoRAs, status, last changes and control messages.

Each function is a verb of the table, called by a batch after its knobs are set, so that an answer shows what the
bundle did. Nothing is changed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol

from demond import built_in
from demond.control import Control
from demond.knobs import KNOBS
from demond.osc._clients import Client
from demond.osc.answers import JSON_LIMIT, whole64
from demond.osc.codec import Argument, OscError
from demond.osc.entry import Verb
from demond.osc.namespace import TARGETS, Target, target_of, whole
from demond.osc.turns import Work

TRACE_DEFAULT, TRACE_LIMIT = 20, 200

Arguments = tuple[Argument, ...]


class Journal(Protocol):
    """Whoever remembers what came of control messages."""

    def messages(self, number: int) -> dict[str, object]:
        """The control messages after message `number`, as plain JSON values."""


class Server(Protocol):
    """The server, as these questions see it."""

    control: Control

    @property
    def mapping(self) -> Journal:
        """What takes control messages."""

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""


class Questions:
    """Answers one client at a time."""

    def __init__(self, server: Server) -> None:
        """For the clients of `server`."""
        self._server = server
        self.verbs: Mapping[Verb, Callable[[Client, Target, Arguments], Work | None]] = {
            Verb.LIST_KNOBS: self.list_knobs,
            Verb.LIST_LORAS: self.list_loras,
            Verb.BUILT_IN: self.built_in,
            Verb.STATUS: self.status,
            Verb.TRACE: self.trace,
            Verb.MESSAGES: self.messages,
            Verb.SYNC: self.sync,
        }

    def list_knobs(self, client: Client, target: Target, arguments: Arguments) -> Work:
        """Every knob's value."""
        for knob in KNOBS:
            self._server.tell(client, TARGETS[f"/demond/knob/{knob.name}"])
            yield None

    def list_loras(self, client: Client, target: Target, arguments: Arguments) -> Work:
        """Every LoRA's strength."""
        for name in tuple(self._server.control.session.loras):
            lora = target_of(f"/demond/lora/{name}/strength")
            if lora is not None:
                self._server.tell(client, lora)
            yield None

    def built_in(self, client: Client, target: Target, arguments: Arguments) -> None:
        """The loops and prompts inside."""
        self._reply(client, target, json.dumps(built_in.told()))

    def status(self, client: Client, target: Target, arguments: Arguments) -> None:
        """How the daemon and its parts are."""
        text = json.dumps(self._server.control.status())
        if len(text) > JSON_LIMIT:
            raise OscError(413, "too_large", target.address, "the status does not fit into one packet")
        self._reply(client, target, text)

    def messages(self, client: Client, target: Target, arguments: Arguments) -> None:
        """The last control messages, and what came of each."""
        number = whole(target.address, arguments[0]) if arguments and arguments[0] is not None else 0
        self._reply(client, target, json.dumps(self._server.mapping.messages(number)))

    def trace(self, client: Client, target: Target, arguments: Arguments) -> None:
        """The last changes of knobs, with the times of their way to the ear; as many as fit."""
        count = whole(target.address, arguments[0]) if arguments and arguments[0] is not None else TRACE_DEFAULT
        if not 1 <= count <= TRACE_LIMIT:
            raise OscError(400, "bad_args", target.address, f"the number of changes is 1 to {TRACE_LIMIT}")
        changes = self._server.control.trace(count)
        while len(text := json.dumps(changes)) > JSON_LIMIT:
            changes = changes[-(len(changes) // 2) :] if len(changes) > 1 else []
        self._reply(client, target, text)

    def sync(self, client: Client, target: Target, arguments: Arguments) -> None:
        """Sends a number back, now that all that came before it is applied."""
        if not arguments or arguments[0] is None:
            raise OscError(400, "bad_args", target.address, "a whole number (i) is wanted, to be sent back")
        self._server.send(client, "/demond/synced", whole64(target.address, arguments[0]))

    def _reply(self, client: Client, target: Target, text: str) -> None:
        self._server.send(client, f"{target.address}.reply", text)
