"""The OSC addresses of demond, in one table: what each takes, what it does and what it answers.

The server builds its look-up from the table, errors take their suggestions from it, and the reference page prints
it. How arguments become numbers and texts is here as well, because it is part of what an address promises.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from enum import Enum

from demond.knobs import KNOBS, Knob, did_you_mean
from demond.osc.codec import Argument, Impulse, OscError


class Verb(Enum):
    """What an address does."""

    KNOB = "knob"
    KNOB_NORM = "knob_norm"
    KNOB_RESET = "knob_reset"
    PROMPT = "prompt"
    LIST_KNOBS = "list_knobs"
    STATUS = "status"
    TRACE = "trace"
    PING = "ping"
    RELOAD = "reload"
    SYNC = "sync"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: an address, or one for each knob or prompt slot where it has a `{}`."""

    address: str
    verb: Verb
    arguments: str
    meaning: str
    reply: str
    slow: bool = False
    """The answer comes when the work is done, not at once."""


NUMBER = "i, f, d, h, T, F or a number as s or S"

TABLE: tuple[Entry, ...] = (
    Entry(
        "/demond/knob/{knob}",
        Verb.KNOB,
        f"{NUMBER}; none asks",
        "Sets the knob in its own unit",
        "the same address with the value, if asked or if the value had to be changed to fit",
    ),
    Entry(
        "/demond/knob/{knob}/norm",
        Verb.KNOB_NORM,
        f"0 to 1 as {NUMBER}; none asks",
        "Sets the knob as a fader of its whole range would",
        "the same address with the position, if asked or if it had to be changed to fit",
    ),
    Entry(
        "/demond/knob/{knob}/reset",
        Verb.KNOB_RESET,
        "none, I, T or a number from 0.5; F or 0 does nothing",
        "Sets the knob to its default",
        "/demond/knob/{knob} with the default",
    ),
    Entry(
        "/demond/prompt/{slot}/text",
        Verb.PROMPT,
        "s; none asks",
        "Gives the prompt a new text",
        "/demond/reply when the prompt plays; the same address with the text if asked",
        slow=True,
    ),
    Entry(
        "/demond/prompt/blend",
        Verb.KNOB,
        f"{NUMBER}; none asks",
        "Another name of the knob prompt_blend",
        "as the knob's, on this address",
    ),
    Entry(
        "/demond/knobs", Verb.LIST_KNOBS, "none", "Lists the knobs", "/demond/knob/{knob} with its value, for each"
    ),
    Entry(
        "/demond/status",
        Verb.STATUS,
        "none",
        "Tells how demond is doing",
        "/demond/status.reply with a JSON text",
    ),
    Entry(
        "/demond/trace",
        Verb.TRACE,
        "i from 1 to 1000; none means 20",
        "Lists the last control changes with the times of their way to the ear",
        "/demond/trace.reply with a JSON text, newest last",
    ),
    Entry(
        "/demond/ping",
        Verb.PING,
        "anything",
        "Asks whether demond is there",
        "/demond/pong with s version, f seconds since the start, i number of clients",
    ),
    Entry("/ping", Verb.PING, "anything", "The same, as TouchOSC sends it", "/demond/pong, as above"),
    Entry(
        "/demond/map/reload",
        Verb.RELOAD,
        "none, I, T or a number from 0.5; F or 0 does nothing",
        "Reads the mapping files again; with a mistake in them the old mapping stays",
        "/demond/reply",
    ),
    Entry(
        "/demond/sync",
        Verb.SYNC,
        "i of the client's choice",
        "Is answered after all that this client sent before has been applied, slow requests excepted",
        "/demond/synced with the same number",
    ),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An address on which demond only sends."""

    address: str
    arguments: str
    meaning: str


REPLIES: tuple[Reply, ...] = (
    Reply(
        "/demond/error",
        "i code, s slug, s address, s message",
        "A message was refused; the codes are HTTP's. At most 10 a second per client, then one that counts the rest",
    ),
    Reply(
        "/demond/reply", "s address, s status (ok or error), s JSON text with `message`", "How a slow request ended"
    ),
)

PROMPT_SLOTS = ("a", "b")
PROMPT_LIMIT = 4_096
"""The longest prompt in characters."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What an address stands for: the verb, and the knob or prompt slot that it is about."""

    address: str
    verb: Verb
    knob: Knob | None = None
    slot: str = ""


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    by_name = {knob.name: knob for knob in KNOBS}
    for entry in TABLE:
        if "{knob}" in entry.address:
            for knob in KNOBS:
                address = entry.address.replace("{knob}", knob.name)
                found[address] = Target(address, entry.verb, knob)
        elif "{slot}" in entry.address:
            for slot in PROMPT_SLOTS:
                address = entry.address.replace("{slot}", slot)
                found[address] = Target(address, entry.verb, slot=slot)
        else:
            knob_of_alias = by_name["prompt_blend"] if entry.verb is Verb.KNOB else None
            found[entry.address] = Target(entry.address, entry.verb, knob_of_alias)
    return found


TARGETS: dict[str, Target] = _targets()
"""Every address that is taken, spelled out."""

_WILDCARDS = frozenset("?*[]{}")


def unknown(address: str) -> OscError:
    """The error for an address that nothing takes: 400 for a pattern, else 404 with the nearest address."""
    shown = address[:128]
    if _WILDCARDS.intersection(address):
        return OscError(400, "bad_args", shown, "address patterns (? * [ ] { }) are not taken; spell the address out")
    return OscError(404, "unknown_address", shown, f"nothing listens on {shown}{_nearest(shown)}")


@functools.lru_cache(maxsize=256)  # the search takes a millisecond, and a wrong widget sends the same for ever
def _nearest(address: str) -> str:
    return did_you_mean(address, TARGETS)


# Python's own float() takes "nan", "1_000" and blanks, too.
_NUMBER = re.compile(r"[-+]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][-+]?[0-9]{1,3})?")


def number(address: str, argument: Argument) -> float:
    """`argument` as a finite number. Raises :class:`OscError` 400 in words."""
    if isinstance(argument, str):
        if not _NUMBER.fullmatch(argument):
            raise OscError(400, "bad_args", address, f"a number is wanted, not the text {argument[:40]!r}")
        argument = float(argument)
    elif argument is None or isinstance(argument, Impulse):
        raise OscError(400, "bad_args", address, "a number is wanted, not an argument without a value")
    value = float(argument)
    if not math.isfinite(value):
        raise OscError(400, "bad_args", address, f"a finite number is wanted, not {value}")
    return value


def whole(address: str, argument: Argument) -> int:
    """`argument` as a whole number, rounded where a surface sends 3.0 for 3. Raises :class:`OscError` 400."""
    if isinstance(argument, int):
        return int(argument)
    return math.floor(number(address, argument) + 0.5)


def fires(address: str, arguments: tuple[Argument, ...]) -> bool:
    """Whether a trigger fires: without argument, by an impulse, by T, or by a number from 0.5."""
    if not arguments or arguments[0] is None or isinstance(arguments[0], Impulse):
        return True
    return number(address, arguments[0]) >= 0.5
