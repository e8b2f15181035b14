"""`python -m engine.bench.table`: the real sizes on a CUDA GPU, beside diffusers, in one run.

Random weights, since speed does not depend on their values. For each length and number of slots: diffusers' model as
it is and compiled, ours without graphs, and the captured graph in bf16 and in fp8, each as a network alone and as a
whole tick (admission, guide, network, step, finished latents). Beside them stands the floor: what the matrix products
take at the rate that one large product reaches in the same run. Then the VAE's windows, and what a performer feels:
the milliseconds from a shared knob to the ear over random phases, JACK's two periods included.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.backends import Backend, Name
from engine.backends.choose import choose
from engine.bench import cost
from engine.bench.reaction import ClockPort
from engine.bench.stand import SHAPES, Stand
from engine.bench.stand import random as random_stand
from engine.captured import CapturedVae
from engine.geometry import HOP
from engine.guidance import Mode
from engine.knobs import Knobs
from engine.model.dit import DiT
from engine.performance import Performance
from engine.rig import Model, Rig, Setup
from engine.timing import timed
from engine.vae import OobleckVae, Vae, begin_window

DESCRIPTION = "Measures ACE-Step's real sizes on a CUDA GPU, beside diffusers in the same run."
STEPS, TOKENS, RUNS = 8, 200, 48
SIZES = ((1500, 4), (750, 4), (250, 4), (1500, 8), (1500, 1))
"""Latent frames and slots."""
WINDOWS = (10, 25, 50)
"""Latent frames of a decode: 0.4, 1 and 2 s."""
_WARM_UP = 20
"""Changes that are followed before they count: the lead finds its place."""
_LONGEST = 20_000_000_000
"""Nanoseconds after which a change will never be heard."""
_BACKENDS: tuple[Name, ...] = ("eager", "graph", "graph-fp8")
_PLAYED: tuple[tuple[Name, int, int], ...] = (("graph", 250, 4), ("graph", 1500, 4), ("graph-fp8", 1500, 4))
"""Backend, latent frames and slots of what is followed to the ear."""
_PERIOD, _RATE = 128, 48_000
_JACK = 2 * _PERIOD


@dataclass
class Row:
    """One length and number of slots; milliseconds, medians."""

    frames: int
    slots: int
    floor: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    host: dict[str, float] = field(default_factory=dict)
    """What the host does for a tick, with nothing queued before it."""
    errors: dict[str, float] = field(default_factory=dict)
    """Relative to our own model in bf16 without graphs, which is off its fp32 self by as much as bf16 rounds."""
    prepare: dict[str, float] = field(default_factory=dict)
    """Seconds."""
    memory: dict[str, float] = field(default_factory=dict)
    """GiB at most, weights included."""


def row(frames: int, slots: int, device: torch.device, peers: Sequence[str]) -> Row:
    """Measures one line of the table."""
    found, reference = Row(frames, slots), None
    for name in _BACKENDS:
        gc.collect()  # or what was measured before would be counted
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        stand = random_stand(SHAPES["2b"], frames, device, partial(_chosen, name, device))
        found.floor = cost.floor(stand, slots, frames)
        begun = time.perf_counter()
        stand.backend.prepare(slots, frames, TOKENS)
        found.prepare[name] = time.perf_counter() - begun
        network = _network(stand, slots, frames, device)
        v = network()
        reference = v if reference is None else reference
        found.errors[name] = float((v - reference).norm() / reference.norm())
        found.measured[name] = _median(network, device)
        for mode in (Mode.OFF, Mode.FULL):
            label = f"{name} tick" + (", guidance full" if mode else "")
            found.measured[label], found.host[label] = _tick(stand, slots, mode, device)
        found.memory[name] = torch.cuda.max_memory_allocated(device) / 2**30
        if name == "eager":
            _peers(found, stand, slots, frames, device, peers)
        del stand, network
        torch.cuda.empty_cache()
    return found


def _chosen(name: Name, device: torch.device, model: DiT) -> Backend:
    return choose(name, model, device)


def _network(stand: Stand, slots: int, frames: int, device: torch.device) -> Callable[[], Tensor]:
    guide = stand.guides.at(Knobs(), stand.curves)
    side = guide.side(guide.conditions[0])
    x = torch.randn(slots, frames, 64, device=device, generator=torch.Generator(device).manual_seed(5))
    times = [(row + 1) / slots for row in range(slots)]
    return lambda: stand.backend.velocity(x, times, [side] * slots)


def _tick(stand: Stand, slots: int, mode: Mode, device: torch.device) -> tuple[float, float]:
    """Of a full ring: on the device, and on the host."""
    ring, knobs = stand.ring(slots, STEPS), Knobs(guidance_mode=mode, guidance_scale=3.0 if mode else 1.0)
    for _ in range(3 * STEPS):
        stand.tick(ring, knobs)
    took = statistics.median(timed(lambda: stand.tick(ring, knobs), device, RUNS).runs)
    host = []
    for _ in range(RUNS):
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        stand.tick(ring, knobs)
        host.append(1e3 * (time.perf_counter() - begun))
    return took, statistics.median(host)


def _peers(found: Row, stand: Stand, slots: int, frames: int, device: torch.device, peers: Sequence[str]) -> None:
    """Adds diffusers' model of the same sizes, as it is and compiled."""
    if not peers:
        return
    from diffusers import AceStepTransformer1DModel

    with torch.device(device):
        model: Any = AceStepTransformer1DModel(**asdict(stand.sizes))  # type: ignore[no-untyped-call]
        model = model.bfloat16().eval()
    x, context = (torch.randn(slots, frames, n, device=device, dtype=torch.bfloat16) for n in (64, 128))
    states = torch.randn(slots, TOKENS, stand.sizes.encoder_hidden_size, device=device, dtype=torch.bfloat16)
    t = torch.linspace(0.1, 1, slots, device=device, dtype=torch.bfloat16)
    for peer in peers:
        begun = time.perf_counter()
        with torch.inference_mode():
            run: Any = model if peer == "eager" else torch.compile(model, mode=peer)
            for _ in range(3):
                run(x, t, t, states, context)
            torch.cuda.synchronize(device)
            found.prepare[f"diffusers {peer}"] = time.perf_counter() - begun
            found.measured[f"diffusers {peer}"] = _median(partial(run, x, t, t, states, context), device)
        torch._dynamo.reset()


def _median(work: Callable[[], object], device: torch.device) -> float:
    for _ in range(3):
        work()
    return statistics.median(timed(work, device, RUNS).runs)


def oobleck(device: torch.device) -> OobleckVae:
    """ACE-Step's VAE with random weights."""
    from diffusers import AutoencoderOobleck

    ratios = [2, 4, 4, 6, 10]
    with torch.random.fork_rng(devices=[device]):
        torch.manual_seed(1)
        model: Any = AutoencoderOobleck(downsampling_ratios=ratios, sampling_rate=48_000)  # type: ignore[no-untyped-call]
    return OobleckVae(model).to(device).eval().requires_grad_(False)


@torch.inference_mode()
def decodes(vae: Vae, device: torch.device) -> dict[int, float]:
    """Milliseconds until a window is in the host's memory, by its latent frames."""
    latents = torch.randn(400, 64, device=device)
    found = {}
    for count in WINDOWS:
        took = []
        for _ in range(RUNS):
            torch.cuda.synchronize(device)
            begun = time.perf_counter()
            begin_window(vae, latents, 17, count)()
            took.append(1e3 * (time.perf_counter() - begun))
        found[count] = statistics.median(took)
    return found


def knob_to_ear(name: Name, frames: int, slots: int, vae: Vae, device: torch.device, phases: int) -> dict[str, float]:
    """Milliseconds from a change of `denoise` at a random phase until its first sample leaves JACK's last buffer."""
    stand = random_stand(SHAPES["2b"], frames, device, partial(_chosen, name, device))
    stand.backend.prepare(slots, frames, TOKENS)
    rig = _rig(stand, vae, slots)
    port = ClockPort(_RATE, _PERIOD)
    performance = Performance(rig, rig.guides, port, time.monotonic_ns, behind=True)
    dice, found = np.random.default_rng(3), list[float]()
    due, asked, at_work = time.monotonic_ns(), 0, 0
    knobs = Knobs()
    while len(found) < phases + _WARM_UP:
        # The ring is kept at work, as by a performer: a velocity scale that moves by less than anybody hears. The
        # knob itself may be turned in the midst of a step; it is read at the beginning of the next one.
        at_work = 1 - at_work
        now = time.monotonic_ns()
        if now >= due and asked == len(found):
            asked += 1
        knobs = replace(knobs, velocity_scale=1 - 1e-4 * at_work, denoise=0.7 + 0.01 * (asked % 2), version=asked)
        for write in performance.step(knobs, stand.curves).writes:
            if write.knob_version == asked > len(found):
                found.append((port.heard_ns(write.start_playhead + _JACK) - due) / 1e6)
                due = time.monotonic_ns() + int(dice.uniform(0, 0.1) * 1e9)
        if time.monotonic_ns() > due + _LONGEST:
            raise RuntimeError(f"a change of a knob was not heard within {_LONGEST / 1e9:.0f} s")
    del found[:_WARM_UP]
    lead = performance.playback.lead.read()
    cuts = statistics.quantiles(found, n=100)
    return {
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
        "tick p50": lead.tick_p50_ms,
        "decode p50": lead.decode_p50_ms,
        "write ahead": 1e3 * lead.write_ahead / _RATE,
        "late writes": lead.late_writes,
    }


def _rig(stand: Stand, vae: Vae, slots: int) -> Rig:
    """What a performance plays from, without a checkpoint."""
    parts: dict[str, Any] = {"conditioner": None, "transformer": None}
    model = Model(name="random", backend=stand.backend, vae=vae, **parts)
    source = stand.source
    return Rig(
        setup=Setup(depth=slots, steps=STEPS),
        model=model,
        audio=torch.zeros(2, len(source) * HOP),
        remark="",
        latents=source,
        hint=source,
        structure=None,
        target=source,
        conditions={},
        loras={},
        tuned=stand.backend,
        backend=stand.backend,
        condition_length=TOKENS,
        guides=stand.guides,
        parts={},
    )


def _print(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(found: Row) -> None:
    _print(f"T {found.frames}, {found.slots} slots: floor {found.floor:.2f} ms")
    for name, took in found.measured.items():
        notes = [f"{100 * found.floor / took:.0f} % of the floor's rate"] if "guidance" not in name else []
        notes += [f"host {found.host[name]:.2f} ms"] if name in found.host else []
        notes += [f"error {found.errors[name]:.1e}"] if found.errors.get(name) else []
        notes += [f"{found.memory[name]:.2f} GiB"] if name in found.memory else []
        notes += [f"ready in {found.prepare[name]:.1f} s"] if name in found.prepare else []
        _print(f"  {name:34}{took:9.2f} ms   {', '.join(notes)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures all of it, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.table", description=DESCRIPTION)
    parser.add_argument("--sizes", default=" ".join(f"{t}x{b}" for t, b in SIZES), help="frames x slots, with blanks")
    parser.add_argument("--peers", default="eager default", help="diffusers as it is, and modes of torch.compile")
    parser.add_argument(
        "--phases", type=int, default=200, help="changes of a knob that are followed to the ear; 0 for none"
    )
    parser.add_argument("--json", help="also writes everything to this file")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("a CUDA GPU is needed; `demond bench engine` measures on any machine")
    device = torch.device("cuda", 0)
    rate, sustained = (each(device, torch.bfloat16) / 1e12 for each in (cost.rate, cost.sustained_rate))
    machine = f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    _print(machine)
    _print(f"large bf16 product: {rate:.0f} TFLOP/s, and {sustained:.0f} after a second at the limit of power")
    rows = []
    document: dict[str, Any] = {"machine": machine}
    document["large product, TFLOP/s"] = {"at first": rate, "sustained": sustained}
    for size in asked.sizes.split():
        frames, slots = map(int, size.split("x"))
        rows.append(row(frames, slots, device, asked.peers.split()))
        _show(rows[-1])
    plain, vae = oobleck(device), CapturedVae(oobleck(device), device)
    latents = torch.randn(100, 64, device=device)
    wanted, got = (begin_window(each, latents, 17, 25)() for each in (plain, vae))
    _print(f"decode captured, in half precision: error {np.linalg.norm(got - wanted) / np.linalg.norm(wanted):.1e}")
    document["decode"] = {"eager": decodes(plain, device), "captured": decodes(vae, device)}
    for name, found in document["decode"].items():
        _print(f"decode {name}: " + ", ".join(f"{n * 40 / 1000:g} s {took:.2f} ms" for n, took in found.items()))
    document["knob to ear"] = {}
    for name, frames, slots in _PLAYED if asked.phases else ():
        heard = knob_to_ear(name, frames, slots, vae, device, asked.phases)
        document["knob to ear"][f"{name} {frames}x{slots}"] = heard
        _print(f"knob to ear, {name}, T {frames}, {slots} slots, period {_PERIOD}: " + _figures(heard))
        torch.cuda.empty_cache()
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump({"rows": [asdict(each) for each in rows], **document}, file, indent=2)


def _figures(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in found.items())


if __name__ == "__main__":
    main()
