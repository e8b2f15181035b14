"""The addresses as OSCQuery describes them: a tree of JSON objects. Used by `demond.osc.query`.

What does not change is written as JSON once; values are read when they are asked for. The text of the whole tree is
made in pieces, so that the event loop is not held up.

Source: OSCQuery Proposal (github.com/Vidvox/OSCQueryProposal), "Attributes", and its units.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from demond.knobs import Form, Knob
from demond.osc.codec import Argument, Impulse
from demond.osc.entry import Use, Verb
from demond.osc.namespace import TARGETS, Target
from demond.osc.values import Values

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TAGS", "CLIPMODE", "UNIT")
"""What a request may ask for by itself."""
_UNITS = {"dB": "gain.db", "Hz": "time.hz", "s": "time.second", "ms": "time.ms", "bpm": "time.bpm"}
_ACCESS = {Use.VALUE: 3, Use.SHOWN: 1, Use.ACTION: 2, Use.TRIGGER: 2, Use.QUESTION: 2}


@dataclass(slots=True)
class Node:
    """A container, an address, or both."""

    path: str
    target: Target | None = None
    children: dict[str, Node] = field(default_factory=dict)
    static: dict[str, object] = field(default_factory=dict)
    """The attributes that do not change."""
    text: str = ""
    """They as JSON, without the braces."""


class QueryTree:
    """All that can be asked for."""

    def __init__(self, values: Values) -> None:
        """With every address that is always there."""
        self._values = values
        self._root = _described(Node("/"))
        for target in TARGETS.values():
            self.put(target)

    def put(self, target: Target) -> None:
        """One more address."""
        node, path = self._root, ""
        for part in target.address[1:].split("/"):
            path += f"/{part}"
            if part not in node.children:
                node.children[part] = _described(Node(path))
            node = node.children[part]
        node.target = target
        _described(node)

    def remove(self, path: str) -> None:
        """What is below `path`, and `path` itself, are no more."""
        parts = path[1:].split("/")
        node: Node | None = self._root
        for part in parts[:-1]:
            node = node.children.get(part) if node is not None else None
        if node is not None:
            node.children.pop(parts[-1], None)

    def find(self, path: str) -> Node | None:
        """The node at `path`, which begins with `/`."""
        node = self._root
        for part in path.strip("/").split("/") if path != "/" else ():
            child = node.children.get(part)
            if child is None:
                return None
            node = child
        return node

    def attribute(self, node: Node, name: str) -> str | None:
        """One attribute but CONTENTS as a JSON object, or None if the node has none of that name."""
        if name in ("VALUE", "TYPE") and node.target is not None and node.target.has_value:
            arguments = self._values.read(node.target)
            return json.dumps({name: list(arguments) if name == "VALUE" else _type(node.target, arguments)})
        return json.dumps({name: node.static[name]}) if name in node.static else None

    def text(self, node: Node) -> Iterator[str]:
        """`node` and all below as JSON, in pieces of one node each."""
        value = ""
        if node.target is not None and node.target.has_value:
            arguments = self._values.read(node.target)
            kind = json.dumps(_type(node.target, arguments))
            value = f', "TYPE": {kind}, "VALUE": {json.dumps(list(arguments))}'
        if not node.children:
            yield f"{{{node.text}{value}}}"
            return
        yield f'{{{node.text}{value}, "CONTENTS": {{'
        for i, (name, child) in enumerate(node.children.items()):
            yield f"{', ' if i else ''}{json.dumps(name)}: "
            yield from self.text(child)
        yield "}}"


def _described(node: Node) -> Node:
    found: dict[str, object] = {"FULL_PATH": node.path, "ACCESS": 0}
    target = node.target
    if target is not None:
        found |= {"ACCESS": _ACCESS[target.entry.use], "DESCRIPTION": target.entry.meaning}
        if not target.has_value:
            found["TYPE"] = {Use.TRIGGER: "I", Use.ACTION: "f"}.get(target.entry.use, "")
        if target.knob is not None:
            found |= _of_knob(target.verb, target.knob)
    node.static = found
    node.text = json.dumps(found)[1:-1]
    return node


def _of_knob(verb: Verb, knob: Knob) -> dict[str, object]:
    tags: dict[str, object] = {"TAGS": [knob.kind.value]}
    match verb:
        case Verb.KNOB:
            found = {**tags, "DESCRIPTION": knob.text, "CLIPMODE": ["both"], "RANGE": [_range(knob)]}
            return found | ({"UNIT": [_UNITS[knob.unit]]} if knob.unit in _UNITS else {})
        case Verb.KNOB_NORM:
            return tags | {"CLIPMODE": ["both"], "RANGE": [{"MIN": 0.0, "MAX": 1.0}]}
        case Verb.KNOB_TOUCH:
            return tags | {"RANGE": [{"VALS": [0, 1]}]}
        case Verb.KNOB_PICKUP:
            return tags | {"RANGE": [{"VALS": [-1, 0, 1]}]}
    return tags


def _range(knob: Knob) -> dict[str, object]:
    if knob.form is Form.BOOL:
        return {"VALS": [0, 1]}
    if knob.choices:
        return {"VALS": list(range(len(knob.choices)))}
    if knob.form is Form.INT:
        return {"MIN": int(knob.minimum), "MAX": int(knob.maximum)}
    return {"MIN": float(knob.minimum), "MAX": float(knob.maximum)}


def _type(target: Target, arguments: tuple[Argument, ...]) -> str:
    """The type tags of a value; those of a knob are the same whatever it stands at."""
    if target.verb is Verb.KNOB and target.knob is not None and target.knob.maximum >= 2**31:
        return "h"
    return "".join(map(_tag, arguments))


def _tag(argument: Argument) -> str:
    if argument is None or isinstance(argument, Impulse):
        return "N" if argument is None else "I"
    if isinstance(argument, bool):
        return "T" if argument else "F"
    return {str: "s", float: "f"}.get(type(argument), "i")
