"""What the daemon knows of each of its processes: how to start it, what it said last, and when it must be replaced.

All of it lives on the daemon's event loop. Each part owns its :class:`demond.supervisor.Child` and its section of the
status; the daemon owns what the parts share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SharedNames:
    """The names of the shared memory that the daemon made."""

    loop: str
    knob_table: str
    trace: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every process is started with."""

    names: SharedNames
    environment: Mapping[str, str]
