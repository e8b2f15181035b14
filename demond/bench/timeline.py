"""What the daemon's trace of writes says of a stream: ticks, decodes, gaps, the lead, and when music was new.

Called by `demond bench latency`, which takes the records of one phase after the other. Arithmetic only; all records
are of `demond.trace.WRITE`, oldest first, and all figures are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Figures:
    """Of all phases so far, in the order in which they came; milliseconds but for `generations`."""

    ticks: list[float] = field(default_factory=list)
    """Of the ticks that finished a latent."""
    decodes: list[float] = field(default_factory=list)
    """Decoding, fading and copying of the block that comes right after a latent."""
    ahead: list[float] = field(default_factory=list)
    """From the beginning of that until the playhead comes to the block."""
    lead: list[float] = field(default_factory=list)
    """From the block being in the loop until the playhead comes to it."""
    gaps: list[float] = field(default_factory=list)
    """From one latent's first block to the next one's, in a ring at work."""
    generations: list[float] = field(default_factory=list)
    """Latents a second, one for each of those gaps."""
    start: list[float] = field(default_factory=list)
    """From the start of the daemon to its first music being in the loop; one, or none where nobody saw it."""

    def take(self, writes: NDArray[Any], device_ms: float) -> None:
        """Adds what was written in one phase, all of it since a ring at rest was woken up."""
        first = first_writes(writes)
        for write in first:
            decode, written = float(write["decode_us"]) / 1e3, int(write["written_ns"])
            lead = (int(write["heard_ns"]) - written) / 1e6 - device_ms
            self.ticks.append((int(write["latent_ns"]) - int(write["tick_started_ns"])) / 1e6)
            self.decodes.append(decode)
            self.lead.append(lead)
            self.ahead.append(lead + decode)
        if len(first) > 1:
            self.gaps += _between(first, "written_ns")
            self.generations += [1e3 / gap for gap in _between(first, "latent_ns") if gap > 0]


def _between(writes: NDArray[Any], column: str) -> list[float]:
    """Milliseconds between each two of the times in `column`."""
    times = writes[column].astype(np.float64) / 1e6
    return [float(after - before) for before, after in pairwise(times)]


def first_writes(writes: NDArray[Any]) -> NDArray[Any]:
    """Of each result that these writes are of, the one that came right after its latent."""
    _, places = np.unique(writes["result"], return_index=True)
    first: NDArray[Any] = writes[np.sort(places)]
    return first[first["latent_ns"] > first["tick_started_ns"]]


def fresh(writes: NDArray[Any], ticks_before: int, steps: int) -> int | None:
    """When the first music is heard (ns) that was made entirely after a change, or None if none was written.

    The ring had done `ticks_before` ticks when the change came, so the first slot that was admitted after it is done
    `steps` ticks later.
    """
    made = writes[writes["tick"] >= ticks_before + steps]
    return int(made["heard_ns"][0]) if len(made) else None


def split(journeys: Sequence[dict[str, Any]], knob: str, device_ms: float) -> dict[str, float]:
    """The parts of the last change's way as the daemon traced it; empty when it was of something else."""
    if not journeys or journeys[-1]["knob"] != knob or "heard_ms" not in journeys[-1]:
        return {}
    last = journeys[-1]
    return {
        "wait": last["tick_ms"],
        "compute": last["written_ms"] - last["tick_ms"],
        "lead": last["heard_ms"] - last["written_ms"] - device_ms,
    }
