"""What addresses of several kinds have in common: triggers that fire, and slow requests that are answered late."""

from __future__ import annotations

import json
from collections.abc import Callable

from demond.control import Outcome
from demond.osc._clients import Client
from demond.osc.codec import Argument, Impulse, OscError
from demond.osc.namespace import Target, number, whole

JSON_LIMIT = 60_000
"""Bytes of a JSON text that fits into one datagram with its address."""
MESSAGE_LIMIT = 7_500
"""Characters of the message of a slow request's answer."""
Send = Callable[..., None]
"""`send(client, address, *arguments)`."""


def fires(client: Client, target: Target, arguments: tuple[Argument, ...]) -> bool:
    """Whether a trigger fires: without argument, by an impulse, by T, or by a number that rises through 0.5.

    Raises `OscError` for what is no number.
    """
    if not arguments or arguments[0] is None or isinstance(arguments[0], Impulse):
        return True
    value = number(target.address, arguments[0])
    return bool(value) if isinstance(arguments[0], bool) else client.rises(target.address, value)


def whole64(address: str, argument: Argument) -> int:
    """A whole number that a client wants back. Raises `OscError` for none, and for one that no message holds."""
    if isinstance(argument, Impulse):
        raise OscError(400, "bad_args", address, "a whole number (i) is wanted, to be sent back")
    found = whole(address, argument)
    if not -(2**63) <= found < 2**63:
        raise OscError(400, "bad_args", address, "the number is beyond 64 bits")
    return found


def answering(send: Send, client: Client, address: str) -> Callable[[Outcome], None]:
    """What answers a slow request to `address` with `/demond/reply`; it may be called long after its message.

    To be called while the request is being done, since its id is known then.
    """
    asked_as = client.asks_as

    def done(outcome: Outcome) -> None:
        text = json.dumps({"message": outcome.message[:MESSAGE_LIMIT].replace("\0", " ")})
        send(client, "/demond/reply", address, "ok" if outcome.ok else "error", text, *asked_as)

    return done
