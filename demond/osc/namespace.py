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

from demond.knobs import CURVES, KNOBS, Knob, did_you_mean, read_number
from demond.osc.codec import Argument, Impulse, OscError
from demond.session import DEPTH_LIMIT, SLOTS, STEPS_LIMIT


class Verb(Enum):
    """What an address does."""

    KNOB = "knob"
    KNOB_NORM = "knob_norm"
    KNOB_RESET = "knob_reset"
    SETTING = "setting"
    LIST_LORAS = "list_loras"
    LIST_KNOBS = "list_knobs"
    STATUS = "status"
    TRACE = "trace"
    MESSAGES = "messages"
    PING = "ping"
    RELOAD = "reload"
    SYNC = "sync"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: an address, or one for each knob, prompt slot, field or curve where it has a `{}`.

    `{lora}` stands for whatever a LoRA is called.
    """

    address: str
    verb: Verb
    arguments: str
    meaning: str
    reply: str
    slow: bool = False
    """The answer comes when the work is done, not at once."""


_SLOW = ("/demond/reply when it plays or was refused; the same address with the value if asked", True)

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
        Verb.SETTING,
        "s; none asks",
        "Gives prompt a, b or negative a new text; guidance steers away from negative",
        *_SLOW,
    ),
    Entry(
        "/demond/prompt/{fields}/{field}",
        Verb.SETTING,
        "s, and for bpm a number; an empty text or 0 hands back to the text; none asks",
        "Sets lyrics, language, bpm, key or time_signature of prompt a or b; they win over what the text says",
        *_SLOW,
    ),
    Entry(
        "/demond/prompt/blend",
        Verb.KNOB,
        f"{NUMBER}; none asks",
        "Another name of the knob prompt_blend",
        "as the knob's, on this address",
    ),
    Entry(
        "/demond/curve/{curve}",
        Verb.SETTING,
        "1 to 4096 numbers in the knob's unit; s off; none asks",
        "Draws the knob over the loop, first number to last; off hands it back to its number",
        *_SLOW,
    ),
    Entry(
        "/demond/source",
        Verb.SETTING,
        "s path; an empty one is the clip inside; none asks",
        "Plays another loop. Paths are taken below the `roots` of the settings alone, and looked up there",
        *_SLOW,
    ),
    Entry(
        "/demond/source/silence",
        Verb.SETTING,
        "f seconds; 0 is the clip inside; none asks",
        "Starts from silence of this length: music from the prompt alone",
        *_SLOW,
    ),
    Entry(
        "/demond/timbre",
        Verb.SETTING,
        "s path; an empty one is none; none asks",
        "Takes the sound of another clip; timbre_strength says how much",
        *_SLOW,
    ),
    Entry(
        "/demond/structure",
        Verb.SETTING,
        "s path; an empty one is the source; none asks",
        "Follows the rhythm and harmony of another clip; hint_strength says how strictly",
        *_SLOW,
    ),
    Entry(
        "/demond/target",
        Verb.SETTING,
        "s path; an empty one is the source; none asks",
        "Makes another clip what source_lock draws to",
        *_SLOW,
    ),
    Entry(
        "/demond/steps",
        Verb.SETTING,
        f"i from 1 to {STEPS_LIMIT}; none asks",
        "Denoising steps of each result",
        *_SLOW,
    ),
    Entry(
        "/demond/depth",
        Verb.SETTING,
        f"i from 1 to {DEPTH_LIMIT}; none asks",
        "Slots in flight: more is a higher rate of results, fewer a faster tick",
        *_SLOW,
    ),
    Entry(
        "/demond/context",
        Verb.SETTING,
        "f seconds; 0 is the whole loop; none asks",
        "How much of the loop a slot covers: shorter is faster",
        *_SLOW,
    ),
    Entry(
        "/demond/checkpoint",
        Verb.SETTING,
        "s path of a folder; an empty one is the model inside; none asks",
        "Plays another model",
        *_SLOW,
    ),
    Entry(
        "/demond/lora/load",
        Verb.SETTING,
        "s path [f strength, else 1]",
        "Applies a LoRA file; its name is the file's without the suffix",
        "/demond/reply when it plays",
        True,
    ),
    Entry(
        "/demond/lora/{lora}/strength",
        Verb.SETTING,
        "f; s off; none asks",
        "Applies a LoRA that is loaded, or lies in the folder `engine.lora_folder`, this strongly, or takes it off",
        *_SLOW,
    ),
    Entry(
        "/demond/loras",
        Verb.LIST_LORAS,
        "none",
        "Lists the LoRAs that are on",
        "/demond/lora/{lora}/strength with its strength, for each",
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
        "/demond/midi/messages",
        Verb.MESSAGES,
        "i the number of the last message that is known; none means 0",
        "Lists the control messages since then, and what came of each",
        "/demond/midi/messages.reply with a JSON text: count, and messages, the newest last",
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

FIELDS = ("lyrics", "language", "bpm", "key", "time_signature")
"""What a prompt has besides its text."""
_PLACES: dict[str, tuple[str, ...]] = {
    "{slot}": SLOTS,
    "{fields}": ("a", "b"),
    "{field}": FIELDS,
    "{curve}": CURVES,
}


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What an address stands for: the verb, and the knob that it is about."""

    address: str
    verb: Verb
    knob: Knob | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The address as words, without `demond`: `("prompt", "a", "text")`."""
        return tuple(self.address.split("/")[2:])


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    by_name = {knob.name: knob for knob in KNOBS}
    for entry in TABLE:
        if "{knob}" in entry.address:
            for knob in KNOBS:
                address = entry.address.replace("{knob}", knob.name)
                found[address] = Target(address, entry.verb, knob)
        elif "{lora}" not in entry.address:
            knob_of_alias = by_name["prompt_blend"] if entry.verb is Verb.KNOB else None
            for address in _spelled_out(entry.address):
                found[address] = Target(address, entry.verb, knob_of_alias)
    return found


def _spelled_out(address: str) -> list[str]:
    addresses = [address]
    for place, words in _PLACES.items():
        if place in address:
            addresses = [each.replace(place, word) for each in addresses for word in words]
    return addresses


TARGETS: dict[str, Target] = _targets()
"""Every address that is taken, spelled out, but for those of LoRAs."""

_LORA = re.compile(r"/demond/lora/[^\x00\s#*,/?\[\]{}]{1,128}/strength")


def target_of(address: str) -> Target | None:
    """What `address` stands for, or None if nothing takes it."""
    target = TARGETS.get(address)
    if target is None and _LORA.fullmatch(address):
        return Target(address, Verb.SETTING)
    return target


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


def number(address: str, argument: Argument) -> float:
    """`argument` as a finite number. Raises :class:`OscError` 400 in words."""
    if isinstance(argument, str):
        read = read_number(argument)
        if read is None:
            raise OscError(400, "bad_args", address, f"a number is wanted, not the text {argument[:40]!r}")
        return read
    if argument is None or isinstance(argument, Impulse):
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
