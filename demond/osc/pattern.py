"""Address patterns (OSC 1.0, and `//` of OSC 1.1), matched in a time that the pattern's length bounds.

Used by the namespace for messages and subscriptions. A part of a pattern is run over a name as a set of places in the
name, held in the bits of one whole number, so that no pattern goes back over what it has read: `/*a*a*a*a*b` costs as
much as `/aaaaaaaaaa`. Names are walked as a tree, and a part is compared with the children of what matched before.

Sources: OSC 1.0 specification, "OSC Address Patterns"; Freed and Schmeder, "Features and Future of Open Sound Control
version 1.1", NIME 2009, for `//`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

PATTERN_LIMIT = 256
"""Characters of a pattern."""

_WILD = frozenset("?*[]{}")


class PatternError(ValueError):
    """The pattern is not well formed or too long; the message says what would be right."""


def is_pattern(address: str) -> bool:
    """Whether `address` may stand for more than itself."""
    return "//" in address or not _WILD.isdisjoint(address)


@dataclass(frozen=True, slots=True)
class _One:
    """`?`."""

    def step(self, places: int, name: _Name) -> int:
        return places << 1 & name.all_places


@dataclass(frozen=True, slots=True)
class _Class:
    """`[...]` with the characters that it takes or, negated, does not take."""

    characters: frozenset[str]
    negated: bool

    def step(self, places: int, name: _Name) -> int:
        taken = 0
        for character, mask in name.masks.items():
            if (character in self.characters) is not self.negated:
                taken |= mask
        return (places & taken) << 1


@dataclass(frozen=True, slots=True)
class _Words:
    """`{one,two}`, and plain text, which is one word."""

    longer: tuple[str, ...]
    letters: str = ""
    """The words of one character."""
    or_nothing: bool = False
    """The empty word is one of them."""

    def step(self, places: int, name: _Name) -> int:
        taken = 0
        for character in self.letters:
            taken |= name.masks.get(character, 0)
        found = (places & taken) << 1 | (places if self.or_nothing else 0)
        for word in self.longer:
            reached = places
            for character in word:
                reached = (reached & name.masks.get(character, 0)) << 1
                if not reached:
                    break
            found |= reached
        return found


@dataclass(frozen=True, slots=True)
class _Star:
    """`*`."""

    def step(self, places: int, name: _Name) -> int:
        lowest = places & -places
        return name.all_places & ~(lowest - 1)


_Token = _One | _Class | _Words | _Star


@dataclass(slots=True)
class _Name:
    """A node of the tree: one name, as patterns see it, with what is below."""

    all_places: int
    """Bit i stands for the place before character i; the last one is the end."""
    masks: dict[str, int]
    """The places before each character that the name has."""
    address: str | None = None
    """What is listed there; None for a name that only leads on."""
    children: dict[str, _Name] = field(default_factory=dict)


def _node(name: str) -> _Name:
    masks: dict[str, int] = {}
    for i, character in enumerate(name):
        masks[character] = masks.get(character, 0) | 1 << i
    return _Name((1 << len(name) + 1) - 1, masks)


class AddressTree:
    """Addresses that patterns can be matched against."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """`addresses` begin with `/` and hold no character that has a meaning in patterns."""
        self._root = _node("")
        for address in addresses:
            node = self._root
            for part in address[1:].split("/"):
                node = node.children.setdefault(part, _node(part))
            node.address = address

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The addresses that `pattern` stands for, each once. Raises :class:`PatternError`."""
        if len(pattern) > PATTERN_LIMIT:
            raise PatternError(f"a pattern may have {PATTERN_LIMIT} characters, this one has {len(pattern)}")
        if not pattern.startswith("/") or pattern.endswith("/"):
            raise PatternError("a pattern begins with / and ends with a name, such as /demond/knob/*")
        parts = [_tokens(part) for part in pattern[1:].split("/")]
        found = {id(self._root): self._root}
        before: tuple[_Token, ...] | None = ()
        for tokens in parts:
            if tokens is None and before is not None:
                found = _below(found)
            elif tokens is not None:
                found = {
                    id(child): child
                    for node in found.values()
                    for child in node.children.values()
                    if _matches(tokens, child)
                }
            before = tokens
        return tuple(node.address for node in found.values() if node.address is not None)

    def nearest(self, address: str) -> str | None:
        """The address that differs from `address` by a slip in any of its parts, if there is one."""
        node = self._root
        found = ""
        for part in address[1:].split("/"):
            near = [part] if part in node.children else difflib.get_close_matches(part, node.children, n=1)
            if not near:
                return None
            found += f"/{near[0]}"
            node = node.children[near[0]]
        return found if node.address is not None else None


def _below(starts: dict[int, _Name]) -> dict[int, _Name]:
    """`starts` and all under them."""
    found: dict[int, _Name] = {}
    waiting = [*reversed(starts.values())]
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found[id(node)] = node
            waiting.extend(reversed(node.children.values()))
    return found


def _matches(tokens: tuple[_Token, ...], name: _Name) -> bool:
    places = 1
    for token in tokens:
        places = token.step(places, name)
        if not places:
            return False
    return 2 * places > name.all_places  # the end is among them


def _tokens(part: str) -> tuple[_Token, ...] | None:
    """What `part` is made of; None for the empty part that `//` leaves, which is any number of names."""
    if not part:
        return None
    tokens: list[_Token] = []
    at = 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            if not tokens or not isinstance(tokens[-1], _Star):
                tokens.append(_Star())
        elif character == "?":
            tokens.append(_One())
        elif character in "[{":
            closing = "]" if character == "[" else "}"
            end = part.find(closing, at)
            if end < 0:
                raise PatternError(f"a {character} is closed by a {closing} before the next /")
            tokens.append(_class(part[at:end]) if character == "[" else _words(part[at:end]))
            at = end + 1
        elif character in "]}":
            raise PatternError(f"a {character} closes nothing here")
        else:
            start = at - 1
            while at < len(part) and part[at] not in _WILD:
                at += 1
            tokens.append(_Words((part[start:at],)))
    return tuple(tokens)


def _class(text: str) -> _Class:
    """`a-z`, `!0-9`, `abc-`."""
    negated = text.startswith("!")
    text = text[1:] if negated else text
    if not text:
        raise PatternError("a [ ] holds characters, such as [a-z] or [!0-9]")
    characters: set[str] = set()
    at = 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            low, high = sorted((ord(text[at]), ord(text[at + 2])))
            if high > 0x7F:
                raise PatternError("the characters of a range such as [a-z] are ASCII")
            characters.update(map(chr, range(low, high + 1)))
            at += 3
        else:
            characters.add(text[at])
            at += 1
    return _Class(frozenset(characters), negated)


def _words(text: str) -> _Words:
    """`one,two`."""
    if not _WILD.isdisjoint(text):
        raise PatternError("a { } holds plain words, such as {denoise,shift}")
    words = set(text.split(","))
    longer = tuple(sorted(word for word in words if len(word) > 1))
    return _Words(longer, "".join(sorted(word for word in words if len(word) == 1)), "" in words)
