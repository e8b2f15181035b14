"""What an OSC address stands for, made from :data:`demond.osc.table.TABLE`.

The server finds here what a message or a pattern is about, and what to suggest for an address that is none. How
arguments become numbers is here as well, because it is part of what every address promises.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field

from demond.knobs import CURVES, KNOBS, Knob, read_number
from demond.osc.access import Role
from demond.osc.codec import Argument, Impulse, OscError
from demond.osc.entry import Entry, Use, Verb
from demond.osc.pattern import AddressTree, PatternError
from demond.osc.table import TABLE
from demond.setting import SLOTS

FIELDS = ("lyrics", "language", "bpm", "key", "time_signature")
"""What a prompt has besides its text."""
NAMED = "named"
"""Where the name of a text inside is taken."""
_PLACES: dict[str, tuple[str, ...]] = {
    "{slot}": SLOTS,
    "{fields}": ("a", "b"),
    "{field}": FIELDS,
    "{curve}": CURVES,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What an address stands for: its row of the table, and the knob that it is about."""

    address: str
    entry: Entry = field(repr=False, compare=False)
    knob: Knob | None = field(default=None, repr=False, compare=False)

    @property
    def verb(self) -> Verb:
        """What the address does."""
        return self.entry.verb

    @property
    def the_knob(self) -> Knob:
        """The knob that it is about, where the row is one of knobs."""
        if self.knob is None:
            raise LookupError(f"{self.address} stands for no knob")
        return self.knob

    @property
    def has_value(self) -> bool:
        """Whether it can be asked for and subscribed to."""
        return self.entry.use.has_value

    def needs(self, arguments: tuple[Argument, ...]) -> Role:
        """Who may send `arguments` to it."""
        asks = self.entry.use is Use.VALUE and (not arguments or arguments[0] is None)
        return Role.READ if asks else self.entry.least_role

    @property
    def parts(self) -> tuple[str, ...]:
        """The address as words, without `demond`: `("prompt", "a", "text")`."""
        return tuple(self.address.split("/")[2:])


_NAMED = re.compile(r"\{(lora|scene|layer|line)\}")


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    by_name = {knob.name: knob for knob in KNOBS}
    for entry in TABLE:
        if "{knob}" in entry.address:
            for knob in KNOBS:
                address = entry.address.replace("{knob}", knob.name)
                found[address] = Target(address, entry, knob)
        elif not _NAMED.search(entry.address):
            knob_of_alias = by_name["prompt_blend"] if entry.verb is Verb.KNOB else None
            for address in _spelled_out(entry.address):
                found[address] = Target(address, entry, knob_of_alias)
    return found


def _spelled_out(address: str) -> list[str]:
    addresses = [address]
    for place, words in _PLACES.items():
        if place in address:
            addresses = [each.replace(place, word) for each in addresses for word in words]
    return addresses


TARGETS: dict[str, Target] = _targets()
"""Every address that is taken, spelled out, but for those of LoRAs, scenes, layers and mapping lines."""

_TREE = AddressTree(TARGETS)
_BY_NAME = tuple(
    (re.compile(pattern), next(entry for entry in TABLE if entry.address == address))
    for pattern, address in (
        (r"/demond/lora/[^\x00\s#*,/?\[\]{}]{1,128}/strength", "/demond/lora/{lora}/strength"),
        (r"/demond/scene/[A-Za-z0-9_.+~-]{1,64}", "/demond/scene/{scene}"),
        (r"/demond/layer/[a-z][a-z0-9_]{0,63}", "/demond/layer/{layer}"),
        (r"/demond/map/[A-Za-z0-9_./:+~-]{1,200}/enable", "/demond/map/{line}/enable"),
    )
)


def target_of(address: str) -> Target | None:
    """What `address` stands for, or None if nothing takes it."""
    target = TARGETS.get(address)
    if target is not None:
        return target
    for named, entry in _BY_NAME:
        if named.fullmatch(address):
            return Target(address, entry)
    if address.endswith("/z"):
        # TouchOSC says on ADDRESS/z when a finger touches the widget of ADDRESS.
        touched = TARGETS.get(address[:-2])
        if touched is not None and touched.verb in (Verb.KNOB, Verb.KNOB_NORM) and touched.knob is not None:
            return TARGETS[f"/demond/knob/{touched.knob.name}/touch"]
    return None


def targets_matching(pattern: str) -> tuple[Target, ...]:
    """What `pattern` stands for among :data:`TARGETS`. Raises :class:`OscError` 400 if it is not well formed."""
    found = _matching(pattern)
    if isinstance(found, str):
        raise OscError(400, "bad_args", pattern[:128], found)
    return found


@functools.lru_cache(maxsize=256)  # surfaces send the same few patterns for ever
def _matching(pattern: str) -> tuple[Target, ...] | str:
    try:
        return tuple(TARGETS[address] for address in _TREE.matching(pattern))
    except PatternError as error:
        return str(error)


def _keys() -> dict[str, tuple[Target, ...]]:
    found: dict[str, list[Target]] = {}
    for target in TARGETS.values():
        if target.has_value:
            if target.knob is not None and target.verb not in (Verb.KNOB_TOUCH, Verb.KNOB_PICKUP, Verb.STAGE):
                key = f"knob/{target.knob.name}"
            elif target.parts[0] in ("prompt", "source"):
                key = "/".join(target.parts[: 2 if target.parts[0] == "prompt" else 1])
            else:
                key = "/".join(target.parts)
            found.setdefault(key, []).append(target)
    return {key: tuple(targets) for key, targets in found.items()}


KEYS: dict[str, tuple[Target, ...]] = _keys()
"""The addresses that show what a key of `demond.feed` is about: `knob/denoise` has the knob's, its norm and text."""


def targets_of_key(key: str) -> tuple[Target, ...]:
    """The addresses that show what `key` is about; those of names are made here."""
    known = KEYS.get(key)
    if known is not None:
        return known
    target = target_of(f"/demond/{key}" if key.startswith(("layer/", "map/")) else f"/demond/{key}/strength")
    return (target,) if target is not None else ()


def unknown(address: str) -> OscError:
    """The error 404 for an address or a pattern that nothing takes, with the nearest address."""
    shown = address[:128]
    return OscError(404, "unknown_address", shown, f"nothing listens on {shown}{_nearest(shown)}")


@functools.lru_cache(maxsize=256)  # a wrong widget sends the same for ever
def _nearest(address: str) -> str:
    near = _TREE.nearest(address) or _TREE.nearest(f"/demond{address}")
    return f"; did you mean {near!r}?" if near else ""


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
