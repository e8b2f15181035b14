"""All scenes there are: those of the user's files, and those that were stored while playing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from demond.control import Control, RefusedError
from demond.knobs import KNOBS, did_you_mean
from demond.scenes.scene import (
    NAME_WORDS,
    NEVER_STORED,
    PROGRAM_LIMIT,
    RESERVED,
    SETTING_KEYS,
    Scene,
    is_name,
    setting_of,
)
from demond.scenes.schema import SCENE_LIMIT


class Library:
    """Finds scenes, stores them and forgets them."""

    def __init__(self, control: Control) -> None:
        """There are none."""
        self._control = control
        self._files: dict[str, Scene] = {}
        self.stored: dict[str, Scene] = {}
        """Those that were stored while playing, by name."""
        self.safe: frozenset[str] = frozenset()
        """Knobs that no recall changes."""
        self.stored_changed: Callable[[], None] = lambda: None
        """Called when a scene was stored or removed."""

    @property
    def scenes(self) -> dict[str, Scene]:
        """Every scene by name; one that was stored stands before a file's of the same name."""
        return {**self._files, **self.stored}

    def define(self, scenes: Iterable[Scene], safe: Iterable[str] = ()) -> None:
        """What the user's files say from now on."""
        self._files = {scene.name: scene for scene in scenes}
        self.safe = frozenset(safe)

    def scene(self, name: str) -> Scene:
        """The scene called `name`. Raises :class:`RefusedError` 404 with the nearest."""
        found = self.stored.get(name) or self._files.get(name)
        if found is None:
            words = f"no scene is called {name[:80]!r}{did_you_mean(name[:80], self.scenes)}"
            raise RefusedError(404, "unknown_scene", words)
        return found

    def with_program(self, program: int) -> Scene:
        """The scene with this program number. Raises :class:`RefusedError` 404."""
        for scene in self.scenes.values():
            if scene.program == program:
                return scene
        raise RefusedError(404, "unknown_scene", f"no scene has the program number {program}")

    def store(self, name: str, program: int | None = None) -> None:
        """Stores all knobs and settings as they are now. Over a scene of that name, the rest of it stays as it was.

        Raises :class:`RefusedError`.
        """
        if not is_name(name):
            words = "means something else" if name in RESERVED else f"is no name: take {NAME_WORDS}, 64 at most"
            raise RefusedError(400, "bad_args", f"{name[:80]!r} {words}")
        if program is not None:
            if not 0 <= program <= PROGRAM_LIMIT:
                raise RefusedError(400, "bad_args", f"a program number is 0 to {PROGRAM_LIMIT}, not {program}")
            for other in self.scenes.values():
                if other.program == program and other.name != name:
                    raise RefusedError(409, "busy", f"program {program} is the scene {other.name} already")
        before = self.scenes.get(name)
        if before is None and len(self.scenes) >= SCENE_LIMIT:
            raise RefusedError(413, "too_large", f"there are {SCENE_LIMIT} scenes already; remove one first")
        session = self._control.session
        self.stored[name] = replace(
            before or Scene(name),
            values={one.name: self._control.value(one.name) for one in KNOBS if one.name not in NEVER_STORED},
            settings=tuple(setting_of(session, key) for key in SETTING_KEYS),
            program=program if program is not None else before.program if before is not None else None,
            stored=True,
        )
        self.stored_changed()

    def remove(self, name: str) -> None:
        """Forgets a stored scene; a file's of that name is there again. Raises :class:`RefusedError`."""
        if not self.scene(name).stored:
            raise RefusedError(409, "busy", f"{name} comes from a mapping file, and is removed there")
        del self.stored[name]
        self.stored_changed()
