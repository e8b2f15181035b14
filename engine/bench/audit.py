"""`python -m engine.bench.audit`: what a tick asks of the host and of the device, counted by torch's profiler.

A tick shall never wait for the device, copy little to it and nothing back; its cost on the host is that of the
operators it calls and the kernels it launches. Counted are steady ticks and ticks that follow a change of `denoise`
(which moves every slot to another schedule), for the settings that take different ways through a step. Numbers are
means over a whole schedule, so admissions and finished latents are in them. On the CPU there are operators only.
"""

from __future__ import annotations

import argparse
import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from engine import dcw, guidance
from engine.backends.choose import NAMES, choose
from engine.bench.stand import SHAPES, Stand, random
from engine.curves import Curves
from engine.knobs import Knobs
from engine.stream import Ring

DESCRIPTION = "Counts what a tick costs the host: waits for the device, copies, kernel launches and operators."
STEPS, DEPTH = 8, 4
FRAMES = 250
_RAMP = (0.0, 1.0)
CASES: Mapping[str, tuple[Knobs, Mapping[str, Sequence[float]]]] = {
    "plain": (Knobs(), {}),
    "guidance full": (Knobs(guidance_mode=guidance.Mode.FULL), {}),
    "SDE": (Knobs(sde=True, sde_amp=0.8), {}),
    "DCW": (Knobs(dcw_mode=dcw.Mode.DOUBLE), {}),
    "mask": (Knobs(), {"protect": _RAMP}),
    "two conditions": (Knobs(), {"prompt_blend": _RAMP}),
}
"""Knobs and curves of each way through a step."""

_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_TICK = "engine.bench.tick"


@dataclass(frozen=True, slots=True)
class Cost:
    """Means of one tick. What only a GPU has is none on the CPU."""

    waits: float | None
    """Calls of CUDA that wait: synchronisations of a stream, of an event or of the device."""
    reads: float
    """Single numbers read back (`item()`), which wait for the device where the tensor is on it."""
    to_device: float | None
    """Copies from the host."""
    to_host: float | None
    launches: float | None
    """Kernels and CUDA graphs launched."""
    operators: float
    """Calls of aten operators, those inside others included."""
    most_called: dict[str, float]
    """The ten operators that are called most."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One way through a step."""

    case: str
    steady: Cost
    changed: Cost
    """Of ticks that each follow a change."""


def audit(stand: Stand, case: str, depth: int = DEPTH, steps: int = STEPS) -> Audit:
    """Counts over `steps` steady ticks and over as many with a change before each."""
    knobs, drawn = CASES[case]
    curves = stand.curves
    for name, values in drawn.items():
        curves = curves.drawn(name, values)
    ring = stand.ring(depth, steps)
    moved = [replace(knobs, denoise=denoise) for denoise in (0.6, 0.7)]
    for tick in range(4 * steps):
        stand.tick(ring, knobs if tick % steps else moved[0], curves)
    for _ in range(2 * steps):
        stand.tick(ring, knobs, curves)
    steady = _counted(stand, ring, curves, steps, lambda tick: knobs)
    changed = _counted(stand, ring, curves, steps, lambda tick: moved[tick % 2])
    return Audit(case, steady, changed)


def _counted(stand: Stand, ring: Ring, curves: Curves, ticks: int, knobs: Callable[[int], Knobs]) -> Cost:
    cuda = stand.backend.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as profiler:
        for tick in range(ticks):
            asked = knobs(tick)
            with record_function(_TICK):
                stand.tick(ring, asked, curves)
        if cuda:
            torch.cuda.synchronize()
    recorded: Any = profiler.profiler
    return cost(recorded.kineto_results.events(), ticks, cuda)  # made into `events()` they take minutes


def cost(events: Sequence[Any], ticks: int, cuda: bool) -> Cost:
    """The means per tick of a profile in which every tick is a range of its own."""
    host = [event for event in events if event.device_type().name == "CPU"]
    ranges = sorted((event.start_ns(), event.end_ns()) for event in host if event.name() == _TICK)
    if len(ranges) != ticks:
        raise RuntimeError(f"the profiler saw {len(ranges)} of {ticks} ticks")
    starts = [start for start, _ in ranges]

    def within(event: Any) -> bool:
        """Whether it began in a tick: the profiler itself waits for the device once it is done."""
        place = bisect_right(starts, event.start_ns()) - 1
        return place >= 0 and bool(event.start_ns() <= ranges[place][1])

    calls = Counter(event.name() for event in host if within(event))
    device = Counter(event.name() for event in events if event.device_type().name == "CUDA")
    if cuda and not device:
        raise RuntimeError("the profiler saw nothing on the device: copies and launches cannot be counted here")
    operators = {name: count for name, count in calls.items() if name.startswith("aten::")}

    def mean(counts: Mapping[str, int], wanted: Callable[[str], bool]) -> float:
        return sum(count for name, count in counts.items() if wanted(name)) / ticks

    def on_gpu(counts: Mapping[str, int], wanted: Callable[[str], bool]) -> float | None:
        return mean(counts, wanted) if cuda else None

    return Cost(
        waits=on_gpu(calls, lambda name: name in _WAITS),
        reads=mean(calls, lambda name: name == "aten::_local_scalar_dense"),
        to_device=on_gpu(device, lambda name: name.startswith("Memcpy HtoD")),
        to_host=on_gpu(device, lambda name: name.startswith("Memcpy DtoH")),
        launches=on_gpu(calls, lambda name: "Launch" in name and name.startswith("cu")),
        operators=mean(operators, lambda name: True),
        most_called={name: count / ticks for name, count in Counter(operators).most_common(10)},
    )


def table(audits: Sequence[Audit]) -> str:
    """One line for each case and kind of tick."""
    cuda = any(each.steady.waits is not None for each in audits)
    columns = ["waits", "reads", "to device", "to host", "launches", "operators"]
    if not cuda:
        columns = ["reads", "operators"]
    lines = [
        "per tick"
        + ("" if cuda else "; on the CPU, so without waits for a device, copies to and from it, and launches"),
        f"{'':24}" + "".join(f"{column:>11}" for column in columns),
    ]
    for each in audits:
        for kind, found in (("", each.steady), (", changed", each.changed)):
            numbers = [getattr(found, column.replace(" ", "_")) for column in columns]
            lines.append(f"{each.case + kind:24}" + "".join(f"{number:11.1f}" for number in numbers))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Audits all cases, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.audit", description=DESCRIPTION)
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="the network, with random weights")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--backend", choices=NAMES, default="auto", help="what runs the network")
    parser.add_argument("--frames", type=int, default=FRAMES, help="length of the loop in latent frames of 40 ms")
    parser.add_argument("--depth", type=int, default=DEPTH, help="slots in flight")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the schedule")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(auto if asked.device == "auto" else asked.device)
    stand = random(SHAPES[asked.shape], asked.frames, device, lambda model: choose(asked.backend, model, device))
    audits = [audit(stand, case, asked.depth, asked.steps) for case in CASES]
    sys.stdout.write(json.dumps([asdict(each) for each in audits], indent=2) + "\n" if asked.json else table(audits))


if __name__ == "__main__":
    main()
