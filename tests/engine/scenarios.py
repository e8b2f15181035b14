"""What the engine can be asked for, one scenario for each feature: for the golden values and the invariance tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine import Knobs
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.dcw import Mode as Dcw
from engine.guidance import Mode as Guidance
from engine.guide import Guides
from engine.stream import Result, Ring


@dataclass(frozen=True)
class Scenario:
    """Knobs, and curves as they are drawn."""

    knobs: Knobs = field(default_factory=Knobs)
    drawn: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def curves(self, frames: int) -> Curves:
        curves = Curves(frames, torch.device("cpu"))
        for name, values in self.drawn.items():
            curves = curves.drawn(name, values)
        return curves


RISE = [0.0, 0.25, 0.5, 0.75, 1.0]
HALF = [1.0] * 25 + [0.0] * 25
SCENARIOS: dict[str, Scenario] = {
    "plain": Scenario(),
    "whole strength": Scenario(Knobs(denoise=1.0)),
    "velocity curve": Scenario(drawn={"velocity_scale": [0.5, 1.5, 1.0]}),
    "source lock": Scenario(Knobs(source_lock=0.4)),
    "source lock curve": Scenario(Knobs(lock_gate=0.3), {"source_lock": RISE}),
    "initial noise curve": Scenario(drawn={"initial_noise": RISE}),
    "sde": Scenario(Knobs(sde=True)),
    "sde swelling": Scenario(Knobs(sde=True, sde_amp=0.8, sde_rate=1.0)),
    "ode noise": Scenario(Knobs(ode_noise=0.3)),
    "protect": Scenario(drawn={"protect": HALF}),
    "channel gains": Scenario(Knobs(ch_g0=0.5, ch13=2.0)),
    "channel gain curve": Scenario(drawn={"ch_g3": [0.0, 2.0]}),
    "guidance full": Scenario(Knobs(guidance_mode=Guidance.FULL, guidance_scale=5.0)),
    "guidance initialize": Scenario(Knobs(guidance_mode=Guidance.INITIALIZE, guidance_scale=5.0)),
    "guidance self": Scenario(Knobs(guidance_mode=Guidance.SELF, guidance_scale=5.0, guidance_rescale=0.5)),
    "guidance curve": Scenario(Knobs(guidance_mode=Guidance.FULL), {"guidance_scale": [1.0, 7.0]}),
    "blended prompts": Scenario(Knobs(prompt_blend=0.5)),
    "prompts by time": Scenario(drawn={"prompt_blend": RISE}),
    "prompts by steps": Scenario(Knobs(prompt_blend=0.5, prompt_a_to=0.5, prompt_b_from=0.25)),
    "hints by time": Scenario(drawn={"hint_strength": RISE}),
    "dcw double": Scenario(Knobs(dcw_mode=Dcw.DOUBLE)),
    "dcw bent": Scenario(Knobs(dcw_mode=Dcw.DOUBLE, dcw_low=0.3, dcw_soft=0.1, dcw_ratio=0.3, dcw_magnitude=0.5)),
    "feedback": Scenario(Knobs(feedback=0.5, feedback_depth=2)),
    "all at once": Scenario(
        Knobs(
            sde=True,
            source_lock=0.2,
            dcw_mode=Dcw.LOW,
            guidance_mode=Guidance.FULL,
            guidance_scale=3.0,
            ch_g1=1.5,
            prompt_blend=0.3,
            velocity_scale=0.9,
        ),
        {"protect": HALF, "initial_noise": [1.0, 0.5]},
    ),
}


def play(
    backend: EagerBackend,
    source: Tensor,
    guides: Guides,
    scenario: Scenario,
    ticks: int,
    depth: int = 4,
    steps: int = 8,
) -> list[Result]:
    """The results of so many ticks of a new ring."""
    curves, ring = scenario.curves(len(source)), Ring(backend, source, depth, steps)
    guide = guides.at(scenario.knobs, curves)
    return [result for _ in range(ticks) for result in ring.tick(scenario.knobs, guide, curves)]
