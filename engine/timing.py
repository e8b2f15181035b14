"""Durations of work on any device, without a wait in their midst.

Used by the benches and by `engine.pace`. On a GPU the device's own clock counts, by events that lie in its queue; on
the CPU the monotonic clock does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Durations:
    """Of so many runs one after the other, in milliseconds."""

    runs: list[float]
    """On the device: from the end of what came before to the end of the run."""
    host: list[float]
    """Of the call itself, after which the device may still be at it; the same on the CPU."""

    @property
    def seconds(self) -> float:
        """Of all runs together."""
        return sum(self.runs) / 1e3


def timed(work: Callable[[], object], device: torch.device, count: int) -> Durations:
    """Runs `work` `count` times; waits for the device before and after, and not between."""
    if device.type != "cuda":
        host = [_call(work) for _ in range(count)]
        return Durations(host, host)
    with torch.cuda.device(device):  # an event lies in the queue of the present one
        return _by_events(work, count)


def _by_events(work: Callable[[], object], count: int) -> Durations:
    marks: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    marks[0].record()
    host = []
    for mark in marks[1:]:
        host.append(_call(work))
        mark.record()
    torch.cuda.synchronize()
    runs = [before.elapsed_time(after) for before, after in pairwise(marks)]
    return Durations(runs, host)


def _call(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)
