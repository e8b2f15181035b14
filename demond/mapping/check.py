"""What kind of file somebody has written, and whether it is right. Called by `demond check`."""

from __future__ import annotations

from pathlib import Path

from demond.mapping.loader import load_mapping
from demond.mapping.profile import expand
from demond.mapping.profile_schema import ProfileFile
from demond.strict_yaml import Problem, parse, read


def check_file(path: Path) -> tuple[str, tuple[Problem, ...]]:
    """What kind of file `path` is, if it has no mistakes, and warnings: a mapping, a device profile or settings.

    Raises :class:`YamlError`.
    """
    document = parse(read(path), path)
    keys = document.top_level()
    if "controls" in keys or ("profile" in keys and "demond" not in keys):
        profile = document.validate(ProfileFile)
        controls = expand(profile, document).controls if profile else {}
        document.raise_problems()
        return f"device profile with {len(controls)} controls", ()
    if keys & {"demond", "maps", "include", "devices", "layers", "scenes", "lfos"}:
        mapping = load_mapping([path])
        lines = sum(1 for _ in mapping.bindings())
        return f"mapping with {lines} lines for {len(mapping.devices)} devices", mapping.warnings
    from demond.config import Config  # the settings import YAML reading, which must not import them back

    document.validate(Config)
    document.raise_problems()
    return "settings file", ()
