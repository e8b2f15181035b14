"""The mapping lines that were learned, in a file of the machine's: `learned.yaml` beside the state.

The loader reads it after the user's files, which are never touched. It is written anew each time, beside and moved
into place, so that it is whole at any time; one that cannot be understood is set aside, never written over.
Used by :mod:`demond.mapping.lesson`. The methods of :class:`LearnedFile` may block.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demond._files import write_whole
from demond._yaml_nodes import plain
from demond.mapping.raw import Entry
from demond.mapping.schema import MappingFile
from demond.strict_yaml import YamlError, parse, read

HEAD = """\
# Lines that `demond learn` has written. demond writes this file anew each time and loads it after your own mappings;
# take what you want to keep into one of those, and `demond learn --undo` takes the last line back.
"""
LINE_LIMIT = 1_000
"""Lines that may be learned."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")
_WORDS = ("true", "false", "null")
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True, slots=True)
class Learned:
    """What the file says. Never changed: what is added makes a new one."""

    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Devices that have no profile, or send what their profile does not know, by name."""
    maps: tuple[dict[str, Any], ...] = ()
    """The lines, oldest first."""

    def with_line(self, line: dict[str, Any]) -> Learned:
        """With one more line, in place of the one of the same control or of the same id."""
        name = line.get("id")
        kept = [
            one
            for one in self.maps
            if not (one["from"] == line["from"] and "when" not in one) and (name is None or one.get("id") != name)
        ]
        return Learned(self.devices, (*kept, line))._pruned()

    def with_control(self, device: str, match: str, name: str, entry: Entry) -> Learned:
        """With a control of a device that is known by the glob `match` for its port's name."""
        known = self.devices.get(device, {"match": {"name": match}, "controls": {}})
        changed = {**known, "controls": {**known.get("controls", {}), name: entry}}
        return Learned({**self.devices, device: changed}, self.maps)

    def without_last(self) -> Learned:
        """Without the line that was learned last."""
        return Learned(self.devices, self.maps[:-1])._pruned()

    def _pruned(self) -> Learned:
        """Without controls that no line names, and devices that have none left."""
        used = {str(one["from"]) for one in self.maps}
        devices = {}
        for name, entry in self.devices.items():
            left = {one: how for one, how in entry.get("controls", {}).items() if f"{name}/{one}" in used}
            if left or "profile" in entry:
                devices[name] = {**entry, "controls": left}
        return Learned(devices, self.maps)

    def text(self) -> str:
        """The file as it is written: a control and a line on one line each."""
        rows = [HEAD + "demond: 1"]
        if self.devices:
            rows.append("devices:")
        for name, entry in self.devices.items():
            rows.append(f"  {name}:")
            rows += [f"    {key}: {_flow(value)}" for key, value in entry.items() if key != "controls"]
            if entry.get("controls"):
                rows.append("    controls:")
                rows += [f"      {one}: {_flow(how)}" for one, how in entry["controls"].items()]
        if self.maps:
            rows.append("maps:")
        rows += [f"  - {_flow(line)}" for line in self.maps]
        return "\n".join(rows) + "\n"


class LearnedFile:
    """One file."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self.path = path

    def load(self) -> Learned:
        """What was learned; nothing where there is no file, or where it had to be set aside. Raises `OSError`."""
        if not self.path.exists():
            return Learned()
        try:
            document = parse(read(self.path), self.path)
            document.validate(MappingFile)
            document.raise_problems()
        except YamlError:
            os.replace(self.path, self.path.with_suffix(".damaged.yaml"))
            return Learned()
        found = plain(document.root)
        assert isinstance(found, dict)  # noqa: S101 - as the schema says
        return Learned(found.get("devices", {}), tuple(found.get("maps", ())))

    def save(self, learned: Learned) -> None:
        """Puts `learned` in the file's place. Raises `OSError`, and the old file stays."""
        write_whole(self.path, learned.text().encode())


def line_text(line: dict[str, Any]) -> str:
    """A line as it stands in the file: `- {from: nk2/fader1, to: denoise}`."""
    return f"- {_flow(line)}"


def _flow(value: object) -> str:
    """`value` as YAML on one line. Text that might be read as something else stands in double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return (
        '"'
        + "".join(_ESCAPES.get(one) or (one if one.isprintable() else f"\\U{ord(one):08x}") for one in value)
        + '"'
    )
