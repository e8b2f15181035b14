"""The arithmetic of the way to the ear, against a ring's own admission and against the lead controller."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import knob_time
from engine.lead import LeadController
from engine.schedule import Admission

RATE = 48_000


def finishing(depth: int, steps: int, ticks: int) -> list[int]:
    """The numbers of the ticks at whose end a latent is finished."""
    admission = Admission(steps, depth)
    admitted = [admission.due(depth) for _ in range(ticks)]
    return [tick + steps - 1 for tick, count in enumerate(admitted) if count]


@pytest.mark.parametrize("steps", [4, 8, 12])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_a_knob_that_meets_a_ring_at_work_takes_what_admission_makes_it_take(depth: int, steps: int) -> None:
    tick = 100.0
    ends = finishing(depth, steps, 400)
    dice, taken = random.Random(1), []  # noqa: S311
    for _ in range(4000):
        moved = dice.uniform(steps, 300)  # in ticks; the tick that reads it begins at the next whole number
        taken.append(tick * (next(end + 1 for end in ends if end >= math.ceil(moved)) - moved))
    way = knob_time.way(tick, depth, steps, ahead=0.0, period=256, rate=RATE)
    assert way.wait + way.ticks == pytest.approx(float(np.median(taken)), rel=0.08)


@pytest.mark.parametrize(("depth", "ticks"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_a_knob_that_meets_a_ring_at_rest_takes_a_whole_gap(depth: int, ticks: int) -> None:
    ends = finishing(depth, 8, 40)
    assert {after - before for before, after in pairwise(ends)} == {ticks}
    assert knob_time.way(10.0, depth, 8, 0.0, 256, RATE, at_rest=True).ticks == 10.0 * ticks


def test_the_parts_add_up() -> None:
    way = knob_time.way(100.0, 4, 8, ahead=30.0, period=480, rate=RATE, device=10.0, at_rest=True, wait=7.0)
    assert (way.wait, way.ticks, way.ahead, way.cycle, way.device) == (7.0, 200.0, 30.0, 5.0, 10.0)
    assert way.port == 242.0
    assert way.ear == 252.0
    assert knob_time.way(100.0, 4, 8, 30.0, 480, RATE).port == 50 + 150 + 30 + 5


@given(st.floats(0, 0.4), st.sampled_from([64, 128, 256, 1024]), st.sampled_from([44_100, 48_000, 96_000]))
def test_what_is_written_ahead_is_what_the_lead_controller_says(decode: float, period: int, rate: int) -> None:
    lead = LeadController(rate, period, 0, 240 * rate)
    lead.decoded(decode)
    ahead = knob_time.write_ahead(1e3 * decode, period, rate)
    assert ahead == pytest.approx(lead.write_ahead * 1e3 / rate, abs=period * 1.001e3 / rate)
    assert ahead >= 1e3 * (decode + period / rate) * (1 - 1e-9)


def test_more_slots_give_more_latents_until_every_tick_gives_one() -> None:
    assert [knob_time.results_per_second(100.0, depth, 8) for depth in (1, 4, 8, 16)] == [1.25, 5, 10, 10]


@pytest.mark.parametrize("wrong", [{"tick": -1.0}, {"depth": 0}, {"period": 0}, {"ahead": -1.0}])
def test_what_is_no_engine_is_refused(wrong: dict[str, float]) -> None:
    asked = {"tick": 10.0, "depth": 4, "steps": 8, "ahead": 10.0, "period": 256, "rate": RATE, **wrong}
    with pytest.raises(ValueError, match="no such engine"):
        knob_time.way(**asked)  # type: ignore[arg-type]
