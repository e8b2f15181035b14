"""What a client may choose about what it is sent, and how it says so. Used by `demond.osc.desk`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from demond.knobs import did_you_mean
from demond.osc.codec import Argument, OscError
from demond.osc.namespace import number, whole

ADDRESS = "/demond/subscribe"
RATES = (1.0, 200.0)
"""Hz."""
TTLS = (1, 86_400)
"""Seconds."""
FIRST_PORT = 1_024
"""Lower ones are the system's, and a small number in a ping is a counter."""


class Echo(Enum):
    """Whether a client is sent back what it has set."""

    CORRECTED = "corrected"
    """Only where the value had to be changed."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Choices:
    """One client's choices."""

    rate: float = 30.0
    """How often it is sent changes, at most, in Hz."""
    ttl: float = 120.0
    """Seconds without a sign of life after which it is sent nothing more."""
    norm: bool = False
    """The plain address of a knob stands for the travel 0–1, both ways."""
    bundles: bool = True
    """Several messages may travel in one packet."""
    text: bool = False
    """Values are sent as texts too."""
    wide: bool = False
    """It reads 64-bit numbers (d and h). Max, for one, reads a d as 0."""
    echo: Echo = Echo.CORRECTED
    long: bool = False
    """It reads h, and no d: OSCQuery says so in each TYPE."""


_OPTIONS: dict[str, dict[str, Any]] = {
    "norm": {"norm": True},
    "real": {"norm": False},
    "bundle": {"bundles": True},
    "nobundle": {"bundles": False},
    "text": {"text": True},
    "notext": {"text": False},
    "wide": {"wide": True},
    "narrow": {"wide": False},
    **{f"echo={echo.value}": {"echo": echo} for echo in Echo},
}
OPTIONS = tuple(_OPTIONS)


class Request(NamedTuple):
    """What a `/demond/subscribe` asks for."""

    pattern: str
    port: int
    """Where the client listens; 0 leaves that as it is."""
    choices: Choices


def read_subscribe(arguments: tuple[Argument, ...], choices: Choices) -> Request:
    """The request in `arguments`, on top of the `choices` made before. Raises :class:`OscError` 400 in words."""
    if not arguments or not isinstance(arguments[0], str):
        raise _bad("a pattern (s) comes first, such as /demond/knob/*")
    pattern, port = arguments[0], 0
    numbers = [argument for argument in arguments[1:] if not isinstance(argument, str)]
    for text in (argument for argument in arguments[1:] if isinstance(argument, str)):
        choices = _with_options(choices, text)
    if len(numbers) > 3:
        raise _bad("three numbers at most are taken: port, rate in Hz, ttl in seconds")
    if numbers:
        port = read_port(ADDRESS, numbers[0])
    if len(numbers) > 1:
        choices = replace(choices, rate=_within("the rate", "Hz", number(ADDRESS, numbers[1]), RATES))
    if len(numbers) > 2:
        choices = replace(choices, ttl=_within("the ttl", "s", number(ADDRESS, numbers[2]), TTLS))
    return Request(pattern, port, choices)


def read_port(address: str, argument: Argument) -> int:
    """A port that a client listens on; 0 stands for the one that it sends from. Raises :class:`OscError` 400."""
    port = whole(address, argument)
    if port != 0 and not FIRST_PORT <= port <= 65_535:
        raise OscError(400, "bad_args", address, f"a port is {FIRST_PORT} to 65535, or 0 for the one sent from")
    return port


def _with_options(choices: Choices, text: str) -> Choices:
    for option in filter(None, (word.strip() for word in text.split(","))):
        if option not in _OPTIONS:
            hint = did_you_mean(option[:40], OPTIONS) or f"; there are {', '.join(OPTIONS)}"
            raise _bad(f"there is no option {option[:40]!r}{hint}")
        choices = replace(choices, **_OPTIONS[option])
    return choices


def _within(what: str, unit: str, value: float, limits: tuple[float, float]) -> float:
    least, most = limits
    if not least <= value <= most:
        raise _bad(f"{what} is {least:g} to {most:g} {unit}")
    return value


def _bad(words: str) -> OscError:
    return OscError(400, "bad_args", ADDRESS, words)
