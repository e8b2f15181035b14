"""What a tick costs, by depth, context and way through a step; `demond bench engine` is this as a command.

A tick is all that it is in performance: admission, the guide, the network, guidance, the step, the finished latents.
On a GPU it is timed by events, with no wait inside the loop. The floor is what the matrix products alone would take
at the rate that this device shows on one large product in the same run; attention itself is not in it.
"""

from __future__ import annotations

import gc
import os
import resource
import statistics
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from engine.bench.audit import CASES
from engine.bench.stand import Stand
from engine.geometry import LATENT_RATE
from engine.guidance import Mode
from engine.model.dit import Sizes
from engine.timing import timed
from engine.vae import decode_window

_PRODUCT = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the product that the rate is measured with."""
_SMALLEST = (1, 64, 64)
"""Slots, frames and condition tokens of a ring that costs next to no memory."""
WINDOWS = (9, 25, 75)
"""Latent frames of the decodes that are timed: what is written at least, what a filling takes, and three seconds."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one depth, one context and one case. Durations in milliseconds."""

    case: str
    depth: int
    frames: int
    ticks: list[float]
    host: list[float]
    """What the host needs for a tick; on the CPU the same."""
    results: int
    """Latents that these ticks finished."""
    floor: float
    """Of the matrix products of a tick."""
    memory: float
    """MiB: on a GPU the most that was held by tensors, on the CPU what the process holds."""

    @property
    def latents_per_second(self) -> float:
        """Finished latents a second."""
        return 1e3 * self.results / sum(self.ticks)

    @property
    def times_real_time(self) -> float:
        """Seconds of music finished in a second."""
        return self.latents_per_second * self.frames / LATENT_RATE

    @property
    def of_floor(self) -> float:
        """The share of the median tick that the floor is."""
        return self.floor / statistics.median(self.ticks)


@dataclass(frozen=True, slots=True)
class Decode:
    """Of a window of so many latent frames. Durations in milliseconds."""

    frames: int
    runs: list[float]


def measure(stand: Stand, case: str, depth: int, steps: int, ticks: int) -> Cost:
    """Times at least `ticks` ticks of a full ring, a whole number of schedules."""
    knobs, drawn = CASES[case]
    curves, device = stand.curves, stand.backend.device
    for name, values in drawn.items():
        curves = curves.drawn(name, values)
    finished = 0
    if device.type == "cuda":
        stand.backend.prepare(*_SMALLEST)  # what the last shape needed is not of this one
        let_go(device)
        torch.cuda.reset_peak_memory_stats(device)
    ring = stand.ring(depth, steps)

    def tick() -> None:
        nonlocal finished
        finished += len(stand.tick(ring, knobs, curves))

    for _ in range(2 * steps):
        tick()
    finished = 0
    found = timed(tick, device, -(-ticks // steps) * steps)
    rows = ring.load * (2 if knobs.guidance_mode == Mode.FULL else 1)
    frames = len(stand.source)
    return Cost(case, depth, frames, found.runs, found.host, finished, floor(stand, rows, frames), _memory(device))


def let_go(device: torch.device) -> None:
    """Gives memory back that nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@torch.inference_mode()
def decodes(stand: Stand, runs: int) -> list[Decode]:
    """Times the windows that are shorter than the source; none where the model has no VAE."""
    vae, source = stand.vae, stand.source
    if vae is None:
        return []
    found = []
    for frames in WINDOWS:
        if frames + 2 * vae.reach > len(source):
            continue
        for _ in range(2):
            decode_window(vae, source, 0, frames)
        taken = timed(lambda n=frames: decode_window(vae, source, 0, n), source.device, runs)  # type: ignore[misc]
        found.append(Decode(frames, taken.runs))
    return found


def weights_per_token(sizes: Sizes) -> int:
    """Weights of the matrices that every token meets: attention's projections, the feed-forward, in and out.

    Keys and values of the prompt are computed once, and the modulation once per time.
    """
    s = sizes
    d, q, kv = s.hidden_size, s.num_attention_heads * s.head_dim, s.num_key_value_heads * s.head_dim
    layer = (2 * d * q + 2 * d * kv) + 2 * d * q + 3 * d * s.intermediate_size
    return s.num_hidden_layers * layer + d * s.patch_size * (s.in_channels + s.audio_acoustic_hidden_dim)


def floor(stand: Stand, rows: int, frames: int) -> float:
    """Milliseconds that the matrix products of a forward take at the rate of one large product."""
    sizes = stand.sizes
    tokens = -(-frames // sizes.patch_size) * rows
    device = stand.backend.device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return 2e3 * weights_per_token(sizes) * tokens / rate(device, dtype)


@lru_cache(maxsize=8)
def rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of one large product of random numbers; on the CPU over all its cores."""
    n = _PRODUCT[device.type]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        timed(lambda: a @ b, device, 3)
        return 2e3 * n**3 / min(timed(lambda: a @ b, device, 10).runs)
    finally:
        torch.set_num_threads(threads)


def sustained_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """What :func:`rate` is after so long of nothing else: a GPU at the limit of its power lowers its clock."""
    n = _PRODUCT[device.type]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    took: list[float] = []
    while sum(took) < 1e3 * seconds:
        took += timed(lambda: a @ b, device, 20).runs
    return 2e3 * n**3 / statistics.median(took[-20:])


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
