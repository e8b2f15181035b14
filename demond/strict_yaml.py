"""YAML that is read strictly, and whose every mistake is said with file, line and column.

Called by `demond.config` (the daemon's settings) and `demond.mapping` (mapping files and device profiles), in the
daemon and in `demond check`. It promises that any byte string whatever ends in a validated model or in a
:class:`YamlError` that names all problems of the file in plain words.

The language is the part of YAML 1.2 that people write by hand: maps, lists, text, whole and decimal numbers,
`true`, `false` and `null`. `on`, `off`, `yes` and `no` are text. Anchors, aliases, tags, keys that are not text, keys
given twice, files above 1 MiB and nesting deeper than 20 are refused.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from demond import _validation_words as words

SIZE_LIMIT = 1 << 20
"""The longest file in bytes."""
DEPTH_LIMIT = 20
"""How deep maps and lists may be nested."""
VALUE_LIMIT = 50_000
"""How many values a file may hold; a hand-written file holds some hundred."""
PROBLEM_LIMIT = 100
"""How many problems are reported; a file with more is most likely of another kind."""

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top of the file."""

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


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is (1-based; 0 when the place is not in a file) and what would be right."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """`file:line:col: message`."""
        return (
            f"{self.file}:{self.line}:{self.column}: {self.message}" if self.line else f"{self.file}: {self.message}"
        )


class YamlError(Exception):
    """A file that cannot be used as it is. What the user can do: correct the places in :attr:`problems`."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """`problems` is never empty."""
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """One `file:line:col: message` per line."""
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(slots=True)
class _Node:
    """A value and its place in the file."""

    line: int
    column: int
    value: object = None
    """The scalar; unused in maps and lists."""
    items: list[_Node] | None = None
    keys: dict[str, tuple[int, int, _Node]] | None = None
    """Key to the key's own place and its value."""


@dataclass(slots=True)
class Document:
    """A parsed file that still knows where each value stood."""

    name: str
    root: _Node
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False
    """Not readable to its end: what was read so far says nothing about the whole."""

    def where(self, path: Path_) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest value around it."""
        node = self.root
        for part in path:
            if node.keys is not None and part in node.keys:
                node = node.keys[str(part)][2]
            elif node.items is not None and isinstance(part, int) and 0 <= part < len(node.items):
                node = node.items[part]
            else:
                break
        return node.line, node.column

    def where_key(self, path: Path_) -> tuple[int, int]:
        """Line and column of the key that `path` ends with, or as :meth:`where` if there is none."""
        node = self.root
        for part in path[:-1]:
            if node.keys is not None and part in node.keys:
                node = node.keys[str(part)][2]
            elif node.items is not None and isinstance(part, int) and 0 <= part < len(node.items):
                node = node.items[part]
        if node.keys is not None and path and path[-1] in node.keys:
            return node.keys[str(path[-1])][:2]
        return self.where(path)

    def problem(self, path: Path_, message: str) -> None:
        """Notes a mistake in the value at `path`."""
        self.problems.append(Problem(self.name, *self.where(path), message))

    def top_level(self) -> frozenset[str]:
        """The keys at the top of the file: enough to tell what kind of file it is."""
        return frozenset(self.root.keys or ())

    def validate(self, model: type[Model]) -> Model | None:
        """The file as a `model`, or None after its mistakes were added to :attr:`problems`."""
        if self.broken:
            return None
        try:
            return model.model_validate(_plain(self.root))
        except ValidationError as error:
            for said in words.explain(error, model, _plain(self.root)):
                place = self.where_key(said.path) if said.at_key else self.where(said.path)
                self.problems.append(Problem(self.name, *place, said.message))
            return None

    def raise_problems(self) -> None:
        """Raises :class:`YamlError` if any problem was noted, sorted by place."""
        if self.problems:
            raise YamlError(tuple(in_order(self.problems)))


def in_order(problems: list[Problem]) -> list[Problem]:
    """`problems` without repetition, sorted by place within each file, cut after :data:`PROBLEM_LIMIT`."""
    files = {problem.file: i for i, problem in reversed(list(enumerate(problems)))}
    unique = sorted(dict.fromkeys(problems), key=lambda p: (files[p.file], p.line, p.column))
    if len(unique) > PROBLEM_LIMIT:
        last = unique[PROBLEM_LIMIT]
        more = Problem(
            last.file, last.line, last.column, f"and {len(unique) - PROBLEM_LIMIT} more problems from here on"
        )
        unique[PROBLEM_LIMIT:] = [more]
    return unique


def load(path: str | os.PathLike[str], model: type[Model]) -> Model:
    """The file `path` as a `model`. Raises :class:`YamlError`; a file that cannot be read is one, too."""
    return _finish(parse(read(path), os.fspath(path)), model)


def loads(text: str | bytes, model: type[Model], name: str) -> Model:
    """`text` as a `model`; `name` stands for the file in problems. Raises :class:`YamlError`."""
    return _finish(parse(text, name), model)


def validate(data: object, model: type[Model], name: str) -> Model:
    """Plain `data` (from a command line, say) as a `model`, with the same words for mistakes but no line numbers."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        said = [Problem(name, 0, 0, s.with_path()) for s in words.explain(error, model, data)]
        raise YamlError(tuple(in_order(said))) from None


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file of at most :data:`SIZE_LIMIT`. Raises :class:`YamlError`."""
    name = os.fspath(path)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise YamlError((Problem(name, 1, 1, "cannot be read: it is not a regular file"),))
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise YamlError((Problem(name, 1, 1, f"cannot be read: {error.strerror}"),)) from None
    except ValueError:  # a NUL in the path
        raise YamlError((Problem(repr(name), 1, 1, "cannot be read: this is not a file name"),)) from None


def parse(text: str | bytes, name: str | Path) -> Document:
    """`text` with the place of every value. Never raises: what is wrong is in the document's problems."""
    document = Document(str(name), _Node(1, 1, keys={}))
    try:
        decoded = _decode(text)
        document.root = _compose(decoded, document) or document.root
    except _StopError as stop:
        document.problems.append(Problem(document.name, stop.line, stop.column, stop.message))
        document.broken = True
    except yaml.YAMLError as error:
        document.problems.append(_syntax_problem(error, decoded, document.name))
        document.broken = True
    return document


def _finish(document: Document, model: type[Model]) -> Model:
    result = document.validate(model)
    document.raise_problems()
    assert result is not None, "validate returns None only with a problem"  # noqa: S101 - an invariant, for mypy
    return result


class _StopError(Exception):
    """A mistake after which reading on makes no sense."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line, self.column, self.message = line, column, message


def _decode(text: str | bytes) -> str:
    if len(text) > SIZE_LIMIT:
        raise _StopError(1, 1, f"the file is larger than {SIZE_LIMIT:,} bytes")
    decoded = _from_utf8(text) if isinstance(text, bytes) else text
    decoded = decoded.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(decoded):
        message = f"the character U+{ord(found[0]):04X} cannot be part of a text file"
        raise _StopError(*_place(decoded[: found.start()]), message)
    return decoded


def _from_utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = _place(data[: error.start].decode())
        raise _StopError(*place, "this is not UTF-8 text; save the file as UTF-8") from None


def _place(before: str) -> tuple[int, int]:
    """Line and column right after `before`, 1-based."""
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _compose(text: str, document: Document) -> _Node | None:
    """The nodes of the one document in `text`, made from the parser's events.

    PyYAML's own composer calls itself for each level and for aliases, so depth and aliases are judged here, on the
    events, before anything is built.
    """
    loader = _Loader(io.StringIO(text) if _Loader is yaml.SafeLoader else text)
    try:
        return _Composer(document).run(_events(loader))
    finally:
        loader.dispose()


def _events(loader: yaml.SafeLoader) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


class _Composer:
    """Builds nodes from events, with the open maps and lists on a stack of its own."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._root: _Node | None = None
        self._open: list[_Node] = []
        self._keys: list[tuple[int, int, str | None] | None] = []
        """For each open map, the key that waits for its value; None in place of a key that is no text."""
        self._values = 0

    def run(self, events: Iterator[yaml.Event]) -> _Node | None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _StopError(*_at(event), "a second document starts here; a file holds one")
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._keys.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
        if self._root is not None and self._root.keys is None:
            if self._root.items is None and self._root.value is None:
                return None
            raise _StopError(self._root.line, self._root.column, "the file must consist of keys, as in `name: value`")
        return self._root

    def _node(self, event: yaml.NodeEvent) -> None:
        line, column = _at(event)
        self._values += 1
        if self._values > VALUE_LIMIT:
            raise _StopError(line, column, f"the file holds more than {VALUE_LIMIT:,} values")
        node = _Node(line, column)
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
                raise _StopError(line, column, f"maps and lists are nested deeper than {DEPTH_LIMIT} levels")
            self._open.append(node)
            self._keys.append(None)

    def _attach(self, node: _Node) -> None:
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

    def _key(self, node: _Node, parent: _Node) -> tuple[int, int, str | None]:
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

    def _note(self, line: int, column: int, message: str) -> None:
        self._document.problems.append(Problem(self._document.name, line, column, message))


def _at(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _plain(node: _Node) -> object:
    """The values alone. Depth is bounded by the composer."""
    if node.keys is not None:
        return {key: _plain(value) for key, (_, _, value) in node.keys.items()}
    if node.items is not None:
        return [_plain(item) for item in node.items]
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


def _syntax_problem(error: yaml.YAMLError, text: str, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem(name, 1, 1, "this is not YAML")
    line, column = mark.line + 1, mark.column + 1
    lines = _LINE_BREAK.split(text)
    here = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    said = str(getattr(error, "problem", None) or "this is not YAML")
    if "tab character" in said or ("cannot start any token" in said and here == "\t"):
        return Problem(name, line, column, "a tab cannot indent; use spaces")
    if "cannot start any token" in said:
        return Problem(name, line, column, f"a value cannot start with {here!r}; put quotes around it")
    if context := getattr(error, "context", None):
        said = f"{said} {context}"
    for jargon, plain in _PARSER_WORDS:
        said = said.replace(jargon, plain)
    return Problem(name, line, column, said)
