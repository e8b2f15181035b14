"""Where the files are that travel with demond. Called by the daemon, the CLI and the doctor."""

from __future__ import annotations

import os
from pathlib import Path


def mappings_dir() -> Path:
    """The folder of the ready mappings, with the device profiles in `devices/`.

    In a source tree `demond/_mappings` is a link to `mappings/` at the top; in a wheel it is a folder of its own.
    """
    return (Path(__file__).parent / "_mappings").resolve()


def state_file(client: str) -> Path:
    """Where the daemon with the JACK client name `client` keeps what a performer has set.

    The folder is that of the XDG Base Directory Specification; a service has it from StateDirectory=.
    """
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "demond"
    return folder / ("state.json" if client == "demond" else f"state-{client}.json")


def scenes_file(client: str) -> Path:
    """Where that daemon keeps the scenes that were stored while playing: beside the state."""
    return state_file(client).with_name("scenes.yaml" if client == "demond" else f"scenes-{client}.yaml")


def paces_file() -> Path:
    """Where what ticks took on this machine is kept for the depth `auto`: beside the state of every client."""
    return state_file("demond").with_name("paces.json")


def learned_file(client: str) -> Path:
    """Where that daemon keeps the mapping lines that it has learned: beside the state."""
    return state_file(client).with_name("learned.yaml" if client == "demond" else f"learned-{client}.yaml")


def cache_dir() -> Path:
    """Where demond keeps what it could make again (XDG, as above; CacheDirectory=)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "demond"


def engines_dir() -> Path:
    """Where `demond engine` keeps graphs and engines: DEMOND_ENGINES, else in the cache."""
    return Path(os.environ.get("DEMOND_ENGINES") or cache_dir() / "engines")
