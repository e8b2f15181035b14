"""`demond fmt`: YAML files in demond's own style, with their comments. Nothing of what a file means is changed.

The style: two spaces, list entries indented by two, a line of `maps` and a control on one line each as long as they
fit, keys of a line in the order in which they are explained. Blank lines and comments stay where they are.
"""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from demond._yaml_nodes import plain
from demond.mapping.profile_schema import ControlEntry
from demond.mapping.schema import MapEntry
from demond.strict_yaml import Problem, YamlError, parse

WIDTH = 118
"""Columns before a line is broken."""
_LINE_KEYS = [info.alias or name for name, info in MapEntry.model_fields.items()]
_CONTROL_KEYS = list(ControlEntry.model_fields)


def formatted(text: bytes, name: str) -> str:
    """`text` in demond's style. Raises :class:`YamlError` for what is not the YAML that demond reads."""
    document = parse(text, name)
    document.raise_problems()
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    data = yaml.load(text.decode("utf-8-sig"))
    if data is None:
        return text.decode("utf-8-sig")
    for line in _lists(data.get("maps")):
        _order(line, _LINE_KEYS)
    controls = data.get("controls")
    for control in controls.values() if isinstance(controls, CommentedMap) else ():
        _order(control, _CONTROL_KEYS)
    stream = io.StringIO()
    yaml.dump(data, stream)
    new = "\n".join(row.rstrip() for row in stream.getvalue().splitlines()) + "\n"
    if plain(parse(new, name).root) != plain(document.root):
        words = "this file cannot be laid out without changing what it means; please write to demond's authors"
        raise YamlError((Problem(name, 1, 1, words),))
    return new


def _lists(value: Any) -> list[Any]:
    return list(value) if isinstance(value, CommentedSeq) else []


def _order(entry: Any, keys: list[str]) -> None:
    """Puts the keys of `entry` in the order of `keys`; one with comments inside is left as it is."""
    if not isinstance(entry, CommentedMap) or entry.ca.items:
        return
    known = [key for key in keys if key in entry]
    for key in [*known, *(key for key in list(entry) if key not in known)]:
        entry.move_to_end(key)
