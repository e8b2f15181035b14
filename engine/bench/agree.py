"""`python -m engine.bench.agree`: whether a captured tick does what the same tick in torch does.

Each step is done twice, on copies of the same slots: as one captured piece (`engine.backends.graph`) and by calls of
torch around the same network (`engine.advance`). Printed is the largest difference of states, velocities and guidance
averages, relative to the largest value, for each way through a step; rounding leaves about 1e-7. Needs a CUDA GPU: on
the CPU the tests do this with Triton's interpreter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine import dcw
from engine.advance import in_torch
from engine.backends import Backend, Side
from engine.backends.choose import choose
from engine.bench.audit import CASES
from engine.bench.stand import SHAPES, TOKENS, Stand, random
from engine.guidance import Mode
from engine.knobs import Knobs
from engine.plan import Plan, Scene
from engine.rows import Rows
from engine.stream import Ring

DESCRIPTION = "Compares captured ticks with the same ticks in torch, step by step."
LIMIT = 1e-4
KEPT_LIMIT = {"graph": 5e-2, "graph-fp8": 2e-1}
"""Where something is kept, the state is rounded once more before the network sees it in bf16. A last bit there turns
a bf16 here and there, and a network makes of that what it makes of any other rounding: more where its own is coarse.
"""
_RAMP, _HALF = (0.0, 1.0), (1.0, 0.0)
MORE: Mapping[str, tuple[Knobs, Mapping[str, Sequence[float]]]] = {
    **CASES,
    "guidance initialize": (Knobs(guidance_mode=Mode.INITIALIZE, guidance_scale=5.0, guidance_rescale=0.5), {}),
    "guidance self": (Knobs(guidance_mode=Mode.SELF, guidance_scale=5.0), {"guidance_scale": (1.0, 7.0)}),
    "DCW bent": (Knobs(dcw_mode=dcw.Mode.DOUBLE, dcw_low=0.3, dcw_soft=0.1, dcw_ratio=0.3, dcw_magnitude=0.5), {}),
    "lock, noise, gains": (Knobs(ode_noise=0.3, ch_g1=1.5), {"source_lock": _RAMP, "ch_g3": (0.0, 2.0)}),
    "all at once": (
        Knobs(sde=True, dcw_mode=dcw.Mode.HIGH, guidance_mode=Mode.FULL, guidance_scale=3.0, source_lock=0.2),
        {"prompt_blend": _RAMP, "protect": _HALF, "velocity_scale": (0.8, 1.2)},
    ),
}
"""Knobs and curves of each way through a step."""


class Twice:
    """A backend whose steps are done twice, and compared; the ring goes on with what torch made."""

    def __init__(self, captured: Backend, forward: Backend | None = None) -> None:
        """`captured` does whole steps; `forward` is the network of those in torch, by default the same one."""
        self._captured, self._forward = captured, forward or captured
        self.name, self.device, self.most = captured.name, captured.device, self._forward.most
        self.worst, self.steps = 0.0, 0

    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`."""
        self._captured.prepare(batch, frames, length)
        self._forward.prepare(batch, frames, length)
        self.most = self._forward.most

    def retuned(self, tensors: Mapping[str, Tensor]) -> Twice:
        """See `engine.backends.Backend`."""
        return Twice(self._captured.retuned(tensors), self._forward.retuned(tensors))

    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return self._forward.keys_values(states)

    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """See `engine.backends.Backend`."""
        return self._forward.velocity(x, t, sides)

    def step(self, rows: Rows, asked: Plan, scene: Scene) -> bool:
        """See `engine.backends.Backend`. Raises `RuntimeError` where nothing is captured for the step."""
        twin = rows.moved(list(range(rows.count)), rows.count)
        if not self._captured.step(twin, asked, scene):
            raise RuntimeError("nothing is captured for this step")
        in_torch(self._forward, rows, asked, scene)
        chosen = [slot.row for slot in asked.slots]
        pairs = [(twin.x, rows.x), (twin.before, rows.before), (twin.v, rows.v), (twin.guidance[0], rows.guidance[0])]
        for got, wanted in pairs:
            difference = (got[chosen] - wanted[chosen]).abs().max() / wanted[chosen].abs().max().clamp_min(1)
            self.worst = max(self.worst, float(difference))
        self.steps += 1
        return True


def difference(stand: Stand, case: str, depth: int, steps: int) -> float:
    """The largest that was left by a step, over two schedules and one in which `denoise` moves."""
    knobs, drawn = MORE[case]
    curves, twice = stand.curves, Twice(stand.backend)
    for name, values in drawn.items():
        curves = curves.drawn(name, values)
    twice.prepare(depth, len(stand.source), TOKENS)
    ring = Ring(twice, stand.source, depth, steps)
    for tick in range(3 * steps):
        moved = replace(knobs, denoise=0.7 - 0.01 * (tick % 5)) if tick >= 2 * steps else knobs
        stand.tick(ring, moved, curves)
    return twice.worst


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares all cases; the exit status is 1 when one differs by more than rounding."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.agree", description=DESCRIPTION)
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="the network, with random weights")
    parser.add_argument("--backend", choices=("graph", "graph-fp8"), default="graph", help="what captures")
    parser.add_argument("--frames", type=int, default=251, help="length of the loop in latent frames of 40 ms")
    parser.add_argument("--depth", type=int, default=4, help="slots in flight")
    parser.add_argument("--steps", type=int, default=8, help="steps of the schedule")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("a CUDA GPU is needed; on the CPU the tests compare the same")
    device = torch.device("cuda", 0)
    stand = random(SHAPES[asked.shape], asked.frames, device, lambda model: choose(asked.backend, model, device))
    found = {case: difference(stand, case, asked.depth, asked.steps) for case in MORE}
    kept = KEPT_LIMIT[asked.backend]
    differ = [case for case, worst in found.items() if worst >= (kept if "protect" in MORE[case][1] else LIMIT)]
    for case, worst in found.items():
        sys.stdout.write(f"{case:24}{worst:10.1e}{'  differs' if case in differ else ''}\n")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
