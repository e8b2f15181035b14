"""A small OSC client for demond's own commands: sends to a running daemon and waits for what it answers.

Used by the commands that look at or play a running daemon and by the latency bench, each in a process of its own.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from demond.osc.codec import Argument, encode, encode_bundle, parse

_SIZE = 65_536


class NoAnswerError(ConnectionError):
    """Nobody answered; the message says what to look at."""


class ChangeRefusedError(Exception):
    """The daemon, or its engine, has refused a change; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One message from the daemon."""

    address: str
    arguments: tuple[Argument, ...]


class Client:
    """A UDP socket that talks to the daemon at `host`:`port`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 9600, timeout: float = 2.0) -> None:
        """`timeout` is how long an answer may take, in seconds."""
        self._where = f"{host}:{port}"
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((host, port))
        self._next_sync = 1
        self._known = False
        """The daemon has answered, so it knows this client."""

    def send(self, address: str, *arguments: Argument) -> None:
        """Sends one message and waits for nothing."""
        self._send(encode(address, *arguments))

    def _send(self, datagram: bytes) -> None:
        try:
            if not self._known:
                # A surface that appears is told everything; this is no surface.
                self._socket.send(encode("/demond/unsubscribe"))
            self._socket.send(datagram)
        except ConnectionRefusedError as error:
            raise self._no_answer() from error

    def ask(self, address: str, *arguments: Argument) -> list[Reply]:
        """Sends one message and returns all that the daemon answered to it, which may be nothing.

        A `/demond/sync` after it marks the end, since the daemon answers in order. Raises :class:`NoAnswerError`
        when the daemon is not there.
        """
        self.send(address, *arguments)
        number, self._next_sync = self._next_sync, self._next_sync + 1
        self.send("/demond/sync", number)
        replies: list[Reply] = []
        while True:
            reply = self.receive()
            if reply == Reply("/demond/synced", (number,)):
                return replies
            replies.append(reply)

    def change(self, *messages: tuple[str, Sequence[Argument]], seconds: float = 120.0) -> list[str]:
        """Sends addresses with arguments that the daemon answers late, as one bundle, and waits for how each ended.

        Returns their remarks, those that say nothing left out. Raises :class:`ChangeRefusedError`, and
        :class:`NoAnswerError` when the daemon is not there or not done within `seconds`.
        """
        self._send(encode_bundle(encode(address, *arguments) for address, arguments in messages))
        waiting = [address for address, _ in messages]
        deadline = time.monotonic() + seconds
        replies = self.ask("/demond/ping")  # answered at once, so that a daemon that is not there is soon noticed
        remarks: list[str] = []
        while waiting:
            for reply in replies:
                if reply.address == "/demond/error":
                    raise ChangeRefusedError(str(reply.arguments[3]))
                if reply.address == "/demond/reply" and reply.arguments[0] in waiting:
                    waiting.remove(str(reply.arguments[0]))
                    message = str(json.loads(str(reply.arguments[2]))["message"])
                    if reply.arguments[1] != "ok":
                        raise ChangeRefusedError(message)
                    remarks += [message] if message and message not in remarks else []
            replies = [self._receive(deadline)] if waiting else []
        return remarks

    def receive(self) -> Reply:
        """The next message from the daemon. Raises :class:`NoAnswerError` after the timeout."""
        return self._receive(time.monotonic() + self._timeout)

    def wait(self, seconds: float, *others: IO[str]) -> Reply | IO[str] | None:
        """The next message within `seconds`; one of `others` if there is something to be read sooner; else None.

        Raises :class:`NoAnswerError` when nobody listens at the daemon's port.
        """
        watched: list[Any] = [self._socket, *others]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._socket in ready:
            return self.receive()
        return next((other for other in others if other in ready), None)

    def lines(self, part: str = "") -> list[dict[str, Any]]:
        """The mapping lines whose id has `part` in it, or that have it as a tag."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._json("/demond/map/list", part, len(found))
            found += page["lines"]
            if not page["lines"] or len(found) >= page["count"]:
                return found

    def status(self) -> dict[str, Any]:
        """What `/demond/status` answers, by sections."""
        return dict(self._json("/demond/status"))

    def trace(self, count: int) -> list[dict[str, Any]]:
        """The last `count` control changes, newest last."""
        return list(self._json("/demond/trace", count))

    def messages(self, number: int) -> dict[str, Any]:
        """The control messages after message `number`: `count` of all, and `messages`, newest last."""
        return dict(self._json("/demond/midi/messages", number))

    def _json(self, address: str, *arguments: Argument) -> Any:
        """Asks for an address whose answer is one JSON text."""
        for reply in self.ask(address, *arguments):
            if reply.address == f"{address}.reply" and isinstance(reply.arguments[0], str):
                return json.loads(reply.arguments[0])
        raise NoAnswerError(f"the daemon at {self._where} did not answer {address}; is it another version?")

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()

    def _receive(self, deadline: float) -> Reply:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            datagram = self._socket.recv(_SIZE)
        except (TimeoutError, ConnectionRefusedError) as error:
            self._known = False
            raise self._no_answer() from error
        self._known = True
        message = parse(datagram).messages[0]
        return Reply(message.address, tuple(message.arguments))

    def _no_answer(self) -> NoAnswerError:
        return NoAnswerError(f"no demond answers on {self._where}. Start one with `demond run`, or name its --port.")
