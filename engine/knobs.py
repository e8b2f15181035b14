"""The knobs that the engine reads at the top of a tick.

Filled in by the caller (in the daemon: from the knob table in shared memory) and never changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Knobs:
    """One consistent reading of all knobs. Shared ones act at every slot's next step, slot ones at admission."""

    denoise: float = 0.7
    """Shared, 0–1: strength; 0 is the source untouched."""
    velocity_scale: float = 1.0
    """Shared, 0–2: scales every Euler step."""
    source_lock: float = 0.0
    """Shared, 0–1: pulls the prediction to the lock target; a number acts in the second half of the schedule."""
    lock_gate: float = 0.0
    """Shared, 0–1: share of the schedule before which a curve of `source_lock` does nothing."""
    protect: float = 0.0
    """Shared, 0–1: 1 keeps the source (inpainting's mask is 1 minus this)."""
    sde: bool = False
    """Shared: steps by re-noising the prediction instead of Euler."""
    sde_amp: float = 1.0
    """Shared, 0–1: in SDE steps, share of the prediction; the rest is the source."""
    sde_rate: float = 0.0
    """Shared, Hz: how often `sde_amp` swells along the loop; 0 is constant."""
    ode_noise: float = 0.0
    """Shared, 0–1: fresh noise after each Euler step, times the time reached."""
    guidance_scale: float = 7.0
    """Shared, 1–15."""
    guidance_rescale: float = 0.0
    """Shared, 0–1."""
    apg_momentum: float = -0.75
    """Shared, -1–1."""
    dcw_mode: int = 0
    """Shared: an `engine.dcw.Mode`."""
    dcw_low: float = 0.05
    """Shared, 0–0.5."""
    dcw_high: float = 0.02
    """Shared, 0–0.5."""
    dcw_soft: float = 0.0
    """Shared, 0–1."""
    dcw_ratio: float = 0.0
    """Shared, 0–1."""
    dcw_magnitude: float = 0.0
    """Shared, 0–1."""
    ch_g0: float = 1.0
    """Shared, 0–3: gain of what the network sees of channels 0–7; `ch_g1` of 8–15, and so on."""
    ch_g1: float = 1.0
    ch_g2: float = 1.0
    ch_g3: float = 1.0
    ch_g4: float = 1.0
    ch_g5: float = 1.0
    ch_g6: float = 1.0
    ch_g7: float = 1.0
    ch13: float = 1.0
    """Shared, 0–3: gain of channel 13, times that of its group; so are the other keystones."""
    ch14: float = 1.0
    ch19: float = 1.0
    ch23: float = 1.0
    ch29: float = 1.0
    ch56: float = 1.0
    prompt_blend: float = 0.0
    """Shared, 0–1: from prompt A to prompt B."""
    hint_strength: float = 1.0
    """Shared, 0–1: structure hints of the source against silence."""
    structure_blend: float = 1.0
    """Shared, 0–1: hints of the source against those of the structure clip, where there is one."""
    timbre_strength: float = 1.0
    """Shared, 0–1: the timbre clip against silence."""
    prompt_a_from: float = 0.0
    """Shared, 0–1: share of the schedule at which prompt A begins to act; the three below likewise."""
    prompt_a_to: float = 1.0
    prompt_b_from: float = 0.0
    prompt_b_to: float = 1.0
    seed: int = 1
    """Slot: the noise at birth."""
    feedback: float = 0.0
    """Slot, 0–1: share of an earlier result in the source at birth."""
    feedback_depth: int = 1
    """Slot, 1–8: how many results back that is."""
    shift: float = 3.0
    """Slot, 1–6: the warp of the schedule."""
    guidance_mode: int = 0
    """Slot: an `engine.guidance.Mode`."""
    version: int = 0
    """Counts changes of the knob table; it names a reading and has no effect on the music."""

    def sounds_like(self, other: Knobs) -> bool:
        """Whether both readings ask for the same music: equal but for the version."""
        return self is other or bool(_music(self) == _music(other))


_music = attrgetter(*(f.name for f in fields(Knobs) if f.name != "version"))
