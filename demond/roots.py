"""Which files OSC may name: those below the configured folders, and no others. Used by the daemon.

Whoever may send OSC is not thereby allowed to have any file of the machine opened. Links are followed before a path
is judged, and a path outside is refused in the same words whether it exists or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from demond.built_in import CLIPS
from demond.config import Config
from demond.control import RefusedError
from demond.knobs import did_you_mean
from demond.session import Session
from demond.setting import SetLora, Setting

_LISTED = 2_000
"""Names in a folder that a suggestion is looked for in."""


class Roots:
    """The folders."""

    def __init__(self, folders: Iterable[Path], lora_folder: Path | None = None) -> None:
        """Relative paths are looked up in `folders` in order; `lora_folder` is one of them, and where names lead."""
        self._lora_folder = lora_folder
        given = [*folders, *([lora_folder] if lora_folder else [])]
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in given))

    @classmethod
    def of(cls, config: Config) -> Roots:
        """The configured folders; without any, those of the files that the settings name, and the user's ~/Music."""
        engine = config.engine
        if config.roots is not None:
            return cls(config.roots, engine.lora_folder)
        files = (engine.source, engine.timbre, engine.structure, engine.target, *(lora.file for lora in engine.loras))
        folders = [file.absolute().parent for file in files if isinstance(file, Path) and str(file) not in CLIPS]
        checkpoint = [engine.checkpoint] if engine.checkpoint else []
        return cls([*folders, *checkpoint, Path.home() / "Music"], engine.lora_folder)

    def find(self, named: str, known: Iterable[str] = ()) -> Path:
        """The file or folder `named`, with links followed; `known` names may have been meant instead.

        Raises `RefusedError`: 403 for one outside, 404 with the nearest name for one that is not there.
        """
        try:
            path = Path(named).expanduser()
            places = [path] if path.is_absolute() else [root / path for root in self.folders]
            allowed = [place for place in (each.resolve() for each in places) if self._is_inside(place)]
            found = next((place for place in allowed if place.exists()), None)
        except (
            OSError,
            ValueError,
            RuntimeError,
        ):  # a loop of links, a NUL, a name beyond the system's limit, ~nobody
            raise RefusedError(400, "bad_args", f"{_shown(named)} is not the name of a file") from None
        if found is not None:
            return found
        if not allowed and (meant := did_you_mean(named[:200], known)):
            raise RefusedError(404, "unknown_file", f"there is no {_shown(named)}{meant}")
        if not allowed:
            where = ", ".join(map(str, self.folders)) or "nowhere"
            raise RefusedError(
                403, "denied", f"{_shown(named)} is outside of the folders that may be read from: {where}"
            )
        raise RefusedError(404, "unknown_file", f"there is no {_shown(named)}{_nearest(allowed, known)}")

    def admitted(self, setting: Setting, session: Session) -> Setting:
        """`setting` with its paths as they are found, and with the file of a LoRA that was only named.

        Raises `RefusedError`.
        """
        loaded = session.loras.get(setting.name) if isinstance(setting, SetLora) else None
        if isinstance(setting, SetLora) and setting.path is None:
            if loaded is not None:
                return setting.model_copy(update={"path": loaded.path})
            setting = setting.model_copy(update={"path": self._lora(setting.name, session)})
        given = {name: path for name in setting.paths if (path := getattr(setting, name)) is not None}
        found = {
            name: path if path in setting.names else str(self.find(path, setting.names))
            for name, path in given.items()
        }
        if loaded is not None and loaded.path != found["path"]:
            words = f"another LoRA called {loaded.name} is on, from {loaded.path}; take it off first"
            raise RefusedError(409, "busy", words)
        return setting.model_copy(update=found)

    def _lora(self, name: str, session: Session) -> str:
        if self._lora_folder is not None:
            for file in (self._lora_folder / f"{name}.safetensors", self._lora_folder / name):
                if file.exists():
                    return str(file)
        known = [*session.loras, *(each.stem for each in _listed(self._lora_folder))]
        where = f", nor in {self._lora_folder}" if self._lora_folder else ""
        raise RefusedError(
            404, "unknown_lora", f"no LoRA called {name!r} is loaded{where}{did_you_mean(name, known)}"
        )

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self.folders)


def _listed(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    try:
        return [path for path, _ in zip(folder.iterdir(), range(_LISTED), strict=False)]
    except OSError:
        return []


def _nearest(places: list[Path], known: Iterable[str]) -> str:
    names = [other.name for place in places for other in _listed(place.parent)]
    return did_you_mean(places[0].name, [*names, *known])


def _shown(named: str) -> str:
    return named if len(named) <= 200 else f"{named[:200]}…"
