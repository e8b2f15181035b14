"""A tick as one captured piece gives what `engine.advance` gives in torch, whatever is asked for.

Its kernels run in Triton's interpreter, and nothing is captured: see `tests.engine.recorded`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine import Knobs
from engine.bench.agree import LIMIT, Twice
from engine.dcw import Mode as Dcw
from engine.geometry import CHANNELS
from engine.guidance import Mode as Guidance
from engine.model.dit import DiT
from engine.stream import Ring
from tests.engine.parts import FRAMES, random_backend, random_guides, random_source
from tests.engine.scenarios import HALF, RISE, SCENARIOS, Scenario

pytest.importorskip("triton", reason="the kernels of a GPU are written in Triton, which the dev extra brings")

from engine.backends import arithmetic, graph
from engine.model.fused import Sides
from tests.engine.recorded import record

STEPS, DEPTH, TICKS = 4, 2, 6
MORE = {
    "dcw low": Scenario(Knobs(dcw_mode=Dcw.LOW)),
    "dcw high": Scenario(Knobs(dcw_mode=Dcw.HIGH), {"dcw_high": RISE}),
    "dcw pix": Scenario(Knobs(dcw_mode=Dcw.PIX, dcw_low=0.2)),
    "noise by time": Scenario(Knobs(seed=3), {"ode_noise": RISE}),
    "guidance over two prompts": Scenario(
        Knobs(guidance_mode=Guidance.FULL, guidance_scale=4.0, apg_momentum=-0.5), {"prompt_blend": RISE}
    ),
    "rescaled by time": Scenario(
        Knobs(guidance_mode=Guidance.FULL, guidance_scale=4.0), {"guidance_rescale": RISE, "protect": HALF}
    ),
    "no strength": Scenario(Knobs(denoise=0.0)),
}


class Plain:
    """The network in torch, row by row: `engine.model.fused` has tests of its own, and takes its time here."""

    def __init__(self, model: DiT) -> None:
        self._model = model

    def velocity(self, seen: Tensor, rows: Tensor, sides: Sides) -> Tensor:
        context, x = seen.split((seen.shape[2] - CHANNELS, CHANNELS), dim=2)
        found = []
        for i, count in enumerate(sides.counts.tolist()):
            row, kv, bias = slice(i, i + 1), sides.kv[:, :, i : i + 1, :, :count], sides.bias[i : i + 1, :count]
            found.append(self._model(x[row], rows[row], context[row], kv, bias))
        return torch.cat(found)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> graph.GraphBackend:
    record(monkeypatch)
    monkeypatch.setattr(arithmetic, "NARROW", 32)  # fewer programs, each of which takes the interpreter its time
    backend = graph.GraphBackend(random_backend().model)
    backend._fused = Plain(backend.model)  # type: ignore[assignment]
    return backend


def difference(
    captured: graph.GraphBackend, scenario: Scenario, frames: int = 24, window: int | None = None
) -> float:
    """The largest that a step left, over whole lives of slots."""
    eager = random_backend()
    twice = Twice(captured, eager)
    twice.prepare(DEPTH, frames if window is None else window, 6)
    at = torch.arange(frames) % FRAMES
    source, guides = random_source()[at], random_guides(eager, random_source()).over(at)
    curves, ring = scenario.curves(frames), Ring(twice, source, DEPTH, STEPS, window)
    guide = guides.at(scenario.knobs, curves)
    for tick in range(TICKS):
        ring.tick(scenario.knobs, guide, curves, at=20 * tick)
    assert twice.steps == TICKS
    return twice.worst


@pytest.mark.parametrize("name", [*SCENARIOS, *MORE])
def test_every_feature(captured: graph.GraphBackend, name: str) -> None:
    assert difference(captured, {**SCENARIOS, **MORE}[name]) < LIMIT


def test_regions_of_a_longer_loop(captured: graph.GraphBackend) -> None:
    """With what they go on from, and what is drawn over the loop."""
    knobs = Knobs(ode_noise=0.2, guidance_mode=Guidance.FULL, guidance_scale=3.0)
    drawn = {"prompt_blend": RISE, "velocity_scale": RISE, "source_lock": RISE, "ch_g3": [0.0, 2.0], "protect": HALF}
    assert difference(captured, Scenario(knobs, drawn), 120, 100) < LIMIT
    held = Scenario(Knobs(source_lock=0.5, sde=True))
    assert difference(captured, held, 120, 100) < LIMIT


def test_more_slots_than_it_was_prepared_for_are_left_to_torch(captured: graph.GraphBackend) -> None:
    """As for the ticks after the depth was lowered."""
    captured.prepare(DEPTH, 24, 6)
    guides = random_guides(random_backend(), random_source()).over(torch.arange(24))
    scenario = SCENARIOS["plain"]
    curves, ring = scenario.curves(24), Ring(captured, random_source()[:24], 2 * DEPTH, STEPS)
    guide = guides.at(scenario.knobs, curves)
    taken: list[bool] = []
    step = captured.step
    captured.step = lambda *given: taken.append(step(*given)) or taken[-1]  # type: ignore[method-assign, func-returns-value]
    for _ in range(STEPS):
        ring.tick(scenario.knobs, guide, curves)
    ring.depth = DEPTH
    for _ in range(2 * STEPS):
        ring.tick(scenario.knobs, guide, curves)
    assert not any(taken[:STEPS])
    assert all(taken[-DEPTH:])
