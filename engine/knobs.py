"""The knobs that the engine reads at the top of a tick.

Filled in by the caller (in the daemon: from the knob table in shared memory) and never changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Knobs:
    """One consistent reading of all knobs. Shared ones act at every slot's next step, slot ones at admission."""

    denoise: float = 0.7
    """Shared, 0–1: strength; 0 is the source untouched."""
    velocity_scale: float = 1.0
    """Shared, 0–2: scales every Euler step."""
    source_lock: float = 0.0
    """Shared, 0–1: pulls the prediction towards the source in the second half of the schedule."""
    prompt_blend: float = 0.0
    """Shared, 0–1: from prompt A to prompt B."""
    hint_strength: float = 1.0
    """Shared, 0–1: structure hints of the source against silence."""
    seed: int = 1
    """Slot: the noise at birth."""
    feedback: float = 0.0
    """Slot, 0–1: share of an earlier result in the source at birth."""
    feedback_depth: int = 1
    """Slot, 1–8: how many results back that is."""
    shift: float = 3.0
    """Slot, 1–6: the warp of the schedule."""
    version: int = 0
    """Counts changes of the knob table; it names a reading and has no effect on the music."""

    def sounds_like(self, other: Knobs) -> bool:
        """Whether both readings ask for the same music: equal but for the version."""
        return replace(self, version=other.version) == other
