"""The arithmetic on the daemon's trace, on writes with known times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demond.bench import timeline
from demond.trace import WRITE

MS = 1_000_000


def writes(*found: tuple[int, int, float, float, float, float, float]) -> NDArray[Any]:
    """(result, tick, tick started, latent, decode, written, heard): the times in ms."""
    records = np.zeros(len(found), WRITE)
    for record, (result, tick, started, latent, decode, written, heard) in zip(records, found, strict=True):
        record["result"], record["tick"] = result, tick
        record["tick_started_ns"], record["latent_ns"] = started * MS, latent * MS
        record["decode_us"] = decode * 1000
        record["written_ns"], record["heard_ns"] = written * MS, heard * MS
    return records


STREAM = writes(
    (7, 10, 100, 140, 30, 170, 205),
    (8, 12, 200, 260, 40, 300, 340),
    (8, 12, 300, 260, 99, 400, 600),  # a top-up of the same latent
    (9, 14, 400, 440, 30, 470, 500),
)


def test_the_figures_are_of_the_first_write_of_each_latent() -> None:
    figures = timeline.Figures()
    figures.take(STREAM, device_ms=5.0)
    assert figures.ticks == pytest.approx([40, 60, 40])
    assert figures.decodes == pytest.approx([30, 40, 30])
    assert figures.lead == pytest.approx([30, 35, 25])
    assert figures.ahead == pytest.approx([60, 75, 55])
    assert figures.gaps == pytest.approx([130, 170])
    assert figures.generations == pytest.approx([1000 / 120, 1000 / 180])


def test_no_gap_is_counted_between_two_phases() -> None:
    figures = timeline.Figures()
    figures.take(STREAM[:1], 0.0)
    figures.take(STREAM[1:2], 0.0)
    assert len(figures.ticks) == 2
    assert figures.gaps == []


def test_fresh_music_is_that_of_the_first_slot_that_was_admitted_after_the_change() -> None:
    assert timeline.fresh(STREAM, 4, steps=8) == 340 * MS
    assert timeline.fresh(STREAM, 2, steps=8) == 205 * MS
    assert timeline.fresh(STREAM, 7, steps=8) is None


def test_a_way_is_split_into_parts_only_when_it_is_that_of_the_knob() -> None:
    journey = {"knob": "denoise", "tick_ms": 10.0, "written_ms": 50.0, "heard_ms": 75.0}
    assert timeline.split([journey], "denoise", 5.0) == {"wait": 10.0, "compute": 40.0, "lead": 20.0}
    assert timeline.split([journey], "seed", 5.0) == {}
    assert timeline.split([{"knob": "denoise"}], "denoise", 5.0) == {}
    assert timeline.split([], "denoise", 5.0) == {}
