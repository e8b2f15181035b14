"""What mapping files say of scenes and LFOs, put together. Used by the loader of mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from demond.knobs import UnknownKnobError, knob
from demond.scenes.modulate import Lfo
from demond.scenes.scene import Scene
from demond.scenes.schema import LfoEntry, Note, SceneEntry, lfo_of, scene_of


@dataclass(frozen=True, slots=True)
class Performance:
    """Never changed: a reload makes a new one."""

    scenes: Mapping[str, Scene] = field(default_factory=dict)
    safe: frozenset[str] = frozenset()
    """Knobs that no recall changes."""
    lfos: Mapping[str, Lfo] = field(default_factory=dict)
    """By knob."""

    def with_file(
        self, scenes: Mapping[str, SceneEntry], safe: Sequence[str], lfos: Mapping[str, LfoEntry], note: Note
    ) -> Performance:
        """This and what one more file says, which wins. `note(path, message)` is told of each mistake."""
        found = dict(self.scenes)
        for name, entry in scenes.items():
            scene = scene_of(name, entry, _inside(note, "scenes", name))
            other = next(
                (each.name for each in found.values() if each.program == entry.program and each.name != name), None
            )
            if entry.program is not None and other is not None:
                note(("scenes", name, "program"), f"program {entry.program} is the scene {other} already")
            if scene is not None:
                found[name] = scene
        for i, name in enumerate(safe):
            try:
                knob(name[:60])
            except UnknownKnobError as error:
                note(("recall_safe", i), str(error))
        moved = {name: lfo_of(name, entry, _inside(note, "lfos", name)) for name, entry in lfos.items()}
        good = {name: lfo for name, lfo in moved.items() if lfo is not None}
        return Performance(found, self.safe | set(safe), {**self.lfos, **good})


def _inside(note: Note, *path: str | int) -> Note:
    return lambda inside, message: note((*path, *inside), message)
