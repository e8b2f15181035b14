"""YAML text to nodes that know their places. A plumbing part of `demond.strict_yaml`, which says what is taken."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

SIZE_LIMIT = 1 << 20
"""The longest file in bytes."""
DEPTH_LIMIT = 20
"""How deep maps and lists may be nested."""
VALUE_LIMIT = 50_000
"""How many values a file may hold; a hand-written file holds some hundred."""

Note = Callable[[int, int, str], None]
"""`note(line, column, message)` reports a mistake after which reading goes on."""

# libyaml's parser where PyYAML was built with it: ten times as fast, which is what keeps a reload under 100 ms.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(slots=True)
class Node:
    """A value and its place in the file."""

    line: int
    column: int
    value: object = None
    """The scalar; unused in maps and lists."""
    items: list[Node] | None = None
    keys: dict[str, tuple[int, int, Node]] | None = None
    """Key to the key's own place and its value."""


class StopError(Exception):
    """A mistake after which reading on makes no sense."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line, self.column, self.message = line, column, message


def _decode(text: str | bytes) -> str:
    if len(text) > SIZE_LIMIT:
        raise StopError(1, 1, f"the file is larger than {SIZE_LIMIT:,} bytes")
    decoded = _from_utf8(text) if isinstance(text, bytes) else text
    decoded = decoded.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(decoded):
        message = f"the character U+{ord(found[0]):04X} cannot be part of a text file"
        raise StopError(*_place(decoded[: found.start()]), message)
    return decoded


def _from_utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = _place(data[: error.start].decode())
        raise StopError(*place, "this is not UTF-8 text; save the file as UTF-8") from None


def _place(before: str) -> tuple[int, int]:
    """Line and column right after `before`, 1-based."""
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def read_nodes(text: str | bytes, note: Note) -> Node | None:
    """The root of the one document in `text`; None if that is empty. Mistakes go to `note`.

    Raises :class:`StopError` at a mistake after which reading on makes no sense. PyYAML's own composer calls itself
    for each level and for aliases, so depth and aliases are judged here, on the parser's events, before anything is
    built.
    """
    decoded = _decode(text)
    loader = _Loader(decoded)
    try:
        return _Composer(note).run(_events(loader))
    except yaml.YAMLError as error:
        raise _syntax_error(error, decoded) from None
    finally:
        loader.dispose()


def _events(loader: yaml.SafeLoader) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


class _Composer:
    """Builds nodes from events, with the open maps and lists on a stack of its own."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._root: Node | None = None
        self._open: list[Node] = []
        self._keys: list[tuple[int, int, str | None] | None] = []
        """For each open map, the key that waits for its value; None in place of a key that is no text."""
        self._values = 0

    def run(self, events: Iterator[yaml.Event]) -> Node | None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise StopError(*_at(event), "a second document starts here; a file holds one")
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._keys.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
        if self._root is not None and self._root.keys is None:
            if self._root.items is None and self._root.value is None:
                return None
            raise StopError(self._root.line, self._root.column, "the file must consist of keys, as in `name: value`")
        return self._root

    def _node(self, event: yaml.NodeEvent) -> None:
        line, column = _at(event)
        self._values += 1
        if self._values > VALUE_LIMIT:
            raise StopError(line, column, f"the file holds more than {VALUE_LIMIT:,} values")
        node = Node(line, column)
        if isinstance(event, yaml.AliasEvent):
            self._note(line, column, f"references such as *{event.anchor} are not allowed; write the value again")
        elif event.anchor is not None:
            self._note(
                line, column, f"anchors such as &{event.anchor} are not allowed; write the value where it is used"
            )
        if tag := getattr(event, "tag", None):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._note(line, column, f"tags such as {shown} are not allowed; leave it out")
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, line, column)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = []
        elif isinstance(event, yaml.MappingStartEvent):
            node.keys = {}
        self._attach(node)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= DEPTH_LIMIT:
                raise StopError(line, column, f"maps and lists are nested deeper than {DEPTH_LIMIT} levels")
            self._open.append(node)
            self._keys.append(None)

    def _attach(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if parent.items is not None:
            parent.items.append(node)
            return
        assert parent.keys is not None  # noqa: S101 - an open node is a list or a map
        waiting = self._keys[-1]
        if waiting is None:
            self._keys[-1] = self._key(node, parent)
            return
        line, column, key = waiting
        self._keys[-1] = None
        if key is not None and key not in parent.keys:
            parent.keys[key] = (line, column, node)

    def _key(self, node: Node, parent: Node) -> tuple[int, int, str | None]:
        if isinstance(node.value, str):
            assert parent.keys is not None  # noqa: S101 - only called for maps
            if first := parent.keys.get(node.value):
                self._note(node.line, node.column, f"the key {node.value!r} is already given in line {first[0]}")
            return node.line, node.column, node.value
        shown = "a key" if node.value is None else f"the key {str(node.value).lower()}"
        self._note(node.line, node.column, f"{shown} must be text; put quotes around it")
        return node.line, node.column, None

    def _scalar(self, event: yaml.ScalarEvent, line: int, column: int) -> object:
        text: str = event.value
        if not event.implicit[0] or event.tag is not None:  # quoted
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            if len(text) > 20:
                self._note(line, column, "this number is too large")
                return 0
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            self._note(line, column, f"{text[:20]} is not a finite number")
            return 0
        return text


def _at(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def plain(node: Node) -> object:
    """The values alone. Depth is bounded by the composer."""
    if node.keys is not None:
        return {key: plain(value) for key, (_, _, value) in node.keys.items()}
    if node.items is not None:
        return [plain(item) for item in node.items]
    return node.value


_PARSER_WORDS = (
    ("expected node content", "the expected value"),
    ("flow node", "[ ] or { }"),
    ("block mapping", "a group of keys (check the indentation)"),
    ("flow mapping", "a group in { }"),
    ("block collection", "a list (check the indentation)"),
    ("block sequence entries", "list entries"),
    ("flow sequence", "a list in [ ]"),
    ("mapping values are", "a ':' with a value after it is"),
    ("quoted scalar", "quoted text"),
    ("block scalar", "text"),
    ("plain scalar", "text"),
    ("simple key", "key"),
    ("a a ", "a "),
    ("token", "value"),
    ("end of stream", "end of the file"),
    ("stream", "file"),
)


def _syntax_error(error: yaml.YAMLError, text: str) -> StopError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return StopError(1, 1, "this is not YAML")
    line, column = mark.line + 1, mark.column + 1
    lines = _LINE_BREAK.split(text)
    here = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    said = str(getattr(error, "problem", None) or "this is not YAML")
    if "tab character" in said or ("cannot start any token" in said and here == "\t"):
        return StopError(line, column, "a tab cannot indent; use spaces")
    if "cannot start any token" in said:
        return StopError(line, column, f"a value cannot start with {here!r}; put quotes around it")
    if context := getattr(error, "context", None):
        said = f"{said} {context}"
    for jargon, plain in _PARSER_WORDS:
        said = said.replace(jargon, plain)
    return StopError(line, column, said)
