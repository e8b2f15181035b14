"""Where the files are that travel with demond. Called by the daemon, the CLI and the doctor."""

from __future__ import annotations

from pathlib import Path


def mappings_dir() -> Path:
    """The folder of the ready mappings, with the device profiles in `devices/`.

    In a source tree `demond/_mappings` is a link to `mappings/` at the top; in a wheel it is a folder of its own.
    """
    return (Path(__file__).parent / "_mappings").resolve()
