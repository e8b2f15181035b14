"""G8: what a morph does to the knobs, step by step, as the daemon's own trace has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demond.bench.hands import Watch
from demond.bench.rows import Row, row
from demond.client import Client
from demond.knobs import INDEX
from demond.scenes.running import LATE_STEPS, STEP_SECONDS

SECONDS = 1.0
SCENES = """scenes:
  low: {set: {denoise: 0.1, feedback: 0.1, hint_strength: 0.2, source_lock: 0, feedback_depth: 1},
        morph: {time: 1 s}, discrete: at_end}
  high: {set: {denoise: 0.9, feedback: 0.8, hint_strength: 0.9, source_lock: 0.7, feedback_depth: 6},
         morph: {time: 1 s}, discrete: at_end}
"""
AIMS = {
    "low": {"denoise": 0.1, "feedback": 0.1, "hint_strength": 0.2, "source_lock": 0.0},
    "high": {"denoise": 0.9, "feedback": 0.8, "hint_strength": 0.9, "source_lock": 0.7},
}
HAND = "hint_strength"
"""The knob that a hand takes in the middle of each morph."""
_HAND_AT = 0.55
_ROUNDING = 1e-6


def moves(values: Sequence[float], start: float, aim: float) -> list[float]:
    """How far each value is from the one before, in steps: a step is what 10 ms are of the whole way."""
    step = abs(aim - start) * STEP_SECONDS / SECONDS
    return [abs(after - before) / step for before, after in pairwise([start, *values])]


def _of(changes: NDArray[Any], name: str) -> list[float]:
    mine = changes[changes["knob"] == INDEX[name]] if len(changes) else changes
    return [float(change["value"]) for change in mine]


def morphs(client: Client, watch: Watch, turns: int) -> Row:
    """Morphs to and fro, `turns` times, a hand on one knob in the middle of each."""
    found: list[float] = []
    wrong: list[str] = []
    client.change(("/demond/scene/low", (None, 0.0)))
    for turn in range(turns):
        here, there = ("low", "high") if turn % 2 == 0 else ("high", "low")
        client.change((f"/demond/scene/{here}", (None, 0.0)))
        watch.take()
        client.change((f"/demond/scene/{there}", ()))
        _follow(client, watch, SECONDS / 2)
        client.ask(f"/demond/knob/{HAND}", _HAND_AT)
        _follow(client, watch, None)
        changes = watch.take()
        for name, aim in AIMS[there].items():
            values = _of(changes, name)
            if name == HAND:
                wrong += [] if values and abs(values[-1] - _HAND_AT) < _ROUNDING else [f"{name} left the hand"]
                continue
            found += moves(values, AIMS[here][name], aim)
            if not values or abs(values[-1] - aim) > _ROUNDING:
                wrong.append(f"{name} did not arrive")
        switches = _of(changes, "feedback_depth")
        wrong += [] if len(switches) == 1 else [f"feedback_depth switched {len(switches)} times"]
    jumps = int(np.count_nonzero(np.array(found) > LATE_STEPS + _ROUNDING))
    notes = f"{jumps} jumps; {'; '.join(sorted(set(wrong))) or 'touched knobs stay, discrete ones switch once'}"
    what = "a knob's moves in a morph of 1 s, in steps of 10 ms"
    most = f"none > {LATE_STEPS:g}, as a late step is"
    return row("G8", what, "steps", found, most, not jumps and not wrong, notes)


def _follow(client: Client, watch: Watch, seconds: float | None) -> None:
    """Takes the trace in for so long, or until the morph has ended."""
    deadline = time.monotonic() + (seconds or 20.0)
    while time.monotonic() < deadline:
        watch.look()
        if seconds is None:
            [reply] = client.ask("/demond/scene/morph")
            if reply.arguments[0] == 1.0:
                watch.look()
                return
        time.sleep(0.02)
