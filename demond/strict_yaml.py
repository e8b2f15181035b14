"""YAML that is read strictly, and whose every mistake is said with file, line and column.

Called by `demond.config` (the daemon's settings) and `demond.mapping` (mapping files and device profiles), in the
daemon and in `demond check`. It promises that any byte string whatever ends in a validated model or in a
:class:`YamlError` that names all problems of the file in plain words.

The language is the part of YAML 1.2 that people write by hand: maps, lists, text, whole and decimal numbers,
`true`, `false` and `null`. `on`, `off`, `yes` and `no` are text. Anchors, aliases, tags, keys that are not text, keys
given twice, files above 1 MiB and nesting deeper than 20 are refused.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from demond import _validation_words as words
from demond._yaml_nodes import SIZE_LIMIT, Node, StopError, plain, read_nodes

PROBLEM_LIMIT = 100
"""How many problems are reported; a file with more is most likely of another kind."""

Model = TypeVar("Model", bound=BaseModel)
Path_ = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top of the file."""


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
class Document:
    """A parsed file that still knows where each value stood."""

    name: str
    root: Node
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
            return model.model_validate(plain(self.root))
        except ValidationError as error:
            for said in words.explain(error, model, plain(self.root)):
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
    document = Document(str(name), Node(1, 1, keys={}))

    def note(line: int, column: int, message: str) -> None:
        document.problems.append(Problem(document.name, line, column, message))

    try:
        document.root = read_nodes(text, note) or document.root
    except StopError as stop:
        note(stop.line, stop.column, stop.message)
        document.broken = True
    return document


def _finish(document: Document, model: type[Model]) -> Model:
    result = document.validate(model)
    document.raise_problems()
    assert result is not None, "validate returns None only with a problem"  # noqa: S101 - an invariant, for mypy
    return result
