"""How long a shared knob takes to be heard, as arithmetic: what the benches hold their measurements against.

Read by `engine.pace`, which chooses a depth by it, and by `demond bench model`, which prints it beside what was
measured. docs/latency.md has the same on one page, in words. All times are medians in milliseconds.

A ring of `depth` slots and `steps` steps finishes a latent every `steps / depth` ticks, and what all slots read is
in the next that finishes. A knob that meets a ring at rest starts it, and waits for that whole gap; one that meets a
ring at work waits for half a tick and, in the median, for half of the ticks from the next to the gap's last. Then the
music is decoded and written, in the time that it is written ahead, and lies there until JACK comes by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """The parts of the way of one knob."""

    wait: float
    """Until the tick that reads it begins."""
    ticks: float
    """From there to the end of the tick that finishes a latent with it."""
    ahead: float
    """What is written ahead of the playhead, in which the music is decoded."""
    cycle: float
    """The part of a period that passes until JACK asks again: half of one."""
    device: float
    """From the port to the ear, as JACK says it."""

    @property
    def port(self) -> float:
        """Up to the first changed sample at the port."""
        return self.wait + self.ticks + self.ahead + self.cycle

    @property
    def ear(self) -> float:
        """Up to the ear."""
        return self.port + self.device


def gap(depth: int, steps: int) -> float:
    """Ticks between two finished latents, on average; several that finish in one tick are one."""
    return max(1.0, steps / depth)


def write_ahead(decode: float, period: int, rate: int, reserve: float = 0.0) -> float:
    """What `engine.lead` writes ahead, in ms: a period, the decoding and the stall reserve, in whole periods."""
    frames = period + (decode + reserve) * rate / 1e3
    return math.ceil(frames / period) * period * 1e3 / rate


def way(
    tick: float,
    depth: int,
    steps: int,
    ahead: float,
    period: int,
    rate: int,
    device: float = 0.0,
    *,
    at_rest: bool = False,
    wait: float = 0.0,
) -> Way:
    """The way of a shared knob when a tick takes `tick` and music is written `ahead` ms ahead.

    `at_rest` is a ring that constant knobs have brought to rest; `wait` is what else the engine is at then, such as
    a part of the loop that is brought up to date. Raises `ValueError` for a time, a depth or a period that is none.
    """
    if min(tick, ahead, device, wait) < 0 or min(depth, steps, period, rate) < 1:
        raise ValueError(f"no such engine: a tick of {tick} ms, depth {depth}, {steps} steps, period {period}")
    between = gap(depth, steps)
    return Way(
        wait=wait if at_rest else tick / 2,
        ticks=tick * (between if at_rest else (between + 1) / 2),
        ahead=ahead,
        cycle=period * 1e3 / rate / 2,
        device=device,
    )


def results_per_second(tick: float, depth: int, steps: int) -> float:
    """Finished latents a second, of which one a tick is heard at most, with ticks of `tick` ms."""
    return 1e3 / (tick * gap(depth, steps))
