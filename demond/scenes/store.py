"""The scenes that were stored while playing, in a file of the machine's. Its methods may block.

The file is written beside and moved into place, so that it is whole at any time, and the user's own files are never
touched. One that cannot be understood is set aside, never written over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from demond._files import write_whole
from demond.scenes.scene import Scene
from demond.scenes.schema import SCENE_LIMIT, SceneEntry, entry_of, scene_of
from demond.strict_yaml import YamlError, parse, read

HEAD = "# Scenes stored while playing. demond writes this file anew each time; take what you want from it.\n"


class ScenesFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    demond: Literal[1]
    scenes: Annotated[dict[str, SceneEntry], Field(max_length=SCENE_LIMIT)] = {}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Anchors are no part of demond's YAML."""
        return True


class Store:
    """One file."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self.path = path

    def load(self) -> tuple[dict[str, Scene], str]:
        """The stored scenes by name, none where nothing was stored; and what a user should know, often nothing."""
        if not self.path.exists():
            return {}, ""
        try:
            return _scenes(self.path), ""
        except YamlError as error:
            aside = self.path.with_suffix(".damaged.yaml")
            try:
                os.replace(self.path, aside)
            except OSError as failed:
                return {}, f"{self.path} is damaged, and cannot be set aside: {failed.strerror}"
            return {}, f"stored scenes were set aside as {aside}: {error.problems[0].message}"

    def save(self, scenes: Mapping[str, Scene]) -> None:
        """Puts `scenes` in the file's place. Raises `OSError`, and the old file stays."""
        content = {"demond": 1, "scenes": {name: entry_of(scene) for name, scene in scenes.items()}}
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        write_whole(self.path, f"{HEAD}{text}".encode())


def _scenes(path: Path) -> dict[str, Scene]:
    document = parse(read(path), path)
    content = document.validate(ScenesFile)
    found: dict[str, Scene] = {}
    for name, entry in content.scenes.items() if content is not None else ():

        def note(inside: tuple[str | int, ...], message: str, name: str = name) -> None:
            document.problem(("scenes", name, *inside), message)

        scene = scene_of(name, entry, note, stored=True)
        if scene is not None:
            found[name] = scene
    document.raise_problems()
    return found
