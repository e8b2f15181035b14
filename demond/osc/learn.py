"""The OSC addresses of learning. Called by a batch after its knobs are set, and by whatever shows values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from demond.control import Outcome, RefusedError
from demond.mapping.lesson import SECONDS, Wish
from demond.osc._clients import Client
from demond.osc.answers import answering, fires
from demond.osc.codec import Argument, OscError
from demond.osc.namespace import Target, number

Arguments = tuple[Argument, ...]
_WORDS_LIMIT = 1_000
"""Characters of a text that is told."""


class Lessons(Protocol):
    """Whoever learns, as OSC sees it. Each method raises `RefusedError`, and nothing has changed then."""

    @property
    def target(self) -> str:
        """What is being learned; empty for nothing."""

    def start(self, wish: Wish, tell: Callable[..., None]) -> None:
        """Begins; `tell` is told what comes of it."""

    def accept(self, name: str, done: Callable[[Outcome], None]) -> None:
        """Takes the candidate called `name`, or the best."""

    def cancel(self) -> None:
        """Ends the search."""

    def undo(self, done: Callable[[Outcome], None]) -> None:
        """Takes back the last line."""


class Server(Protocol):
    """The server, as this module sees it."""

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""


class LearnDesk:
    """Takes messages to whoever learns."""

    def __init__(self, server: Server, lessons: Lessons) -> None:
        """For the clients of `server`."""
        self._server, self._lessons = server, lessons

    def read(self, target: Target) -> Arguments:
        """What is being learned."""
        return (self._lessons.target,)

    def take(self, client: Client, target: Target, arguments: Arguments) -> None:
        """Does what a message says. Raises :class:`OscError`, and nothing has changed then."""
        try:
            self._do(client, target, arguments)
        except RefusedError as error:
            raise OscError(error.code, error.slug, target.address, str(error)) from None

    def _do(self, client: Client, target: Target, arguments: Arguments) -> None:
        word, done = target.parts[1], answering(self._server.send, client, target.address)
        if word == "target":
            self._server.tell(client, target)
        elif word == "start":
            self._lessons.start(_wish(target, arguments), self._telling(client))
        elif word == "accept" and arguments and isinstance(arguments[0], str):
            self._lessons.accept(arguments[0], done)
        elif not fires(client, target, arguments):
            return
        elif word == "accept":
            self._lessons.accept("", done)
        elif word == "cancel":
            self._lessons.cancel()
        else:
            self._lessons.undo(done)

    def _telling(self, client: Client) -> Callable[..., None]:
        send = self._server.send

        def tell(what: str, *said: Argument) -> None:
            words = (one[:_WORDS_LIMIT].replace("\0", " ") if isinstance(one, str) else one for one in said)
            send(client, f"/demond/learn/{what}", *words)

        return tell


def _wish(target: Target, arguments: Arguments) -> Wish:
    said = list(arguments)
    if not said or not isinstance(said[0], str):
        raise _bad(target, "a target (s) comes first, such as denoise or scene/drop")
    wanted, name, seconds = str(said.pop(0)), "", SECONDS
    guess = bool(said) and said[-1] == "guess"
    if guess:
        said.pop()
    if said and isinstance(said[0], str):
        name = str(said.pop(0))
    if said:
        seconds = number(target.address, said.pop(0))
    if said:
        raise _bad(target, "a target, an id, the seconds and guess are taken, in this order")
    return Wish(wanted, name, seconds, guess)


def _bad(target: Target, words: str) -> OscError:
    return OscError(400, "bad_args", target.address, words)
