"""Which depth suits this machine: what a tick costs at each, measured once, and what follows from that.

Used by a session that is asked for the depth `auto`, at its start or when a performer asks again, and by `demond
bench advise`. Nothing here decides anything by itself while music plays.

The rule: of the depths that keep up with the loop and whose knobs are heard within the target, the one that finishes
the most latents a second; among those within :data:`ALIKE` of it, the one whose knobs are heard soonest. When none is
within the target, the one whose knobs are heard soonest. How soon follows from `engine.knob_time`, for the worse of a
ring at rest and one at work; of those that differ in it by less than :data:`NEAR`, the one is soonest that has all of
a change soonest.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine import knob_time
from engine.curves import Curves
from engine.geometry import LATENT_RATE
from engine.knobs import Knobs
from engine.model.checkpoint import Progress
from engine.playback import KEEP
from engine.rig import DEPTH_MOST, Rig
from engine.stream import Ring
from engine.timing import timed
from engine.vae import decode_window

TARGET = 250.0
"""Milliseconds from a shared knob to the ear that a depth is to keep to."""
ALIKE = 0.03
"""Depths whose rates of latents differ by less than this share give as many."""
NEAR = 0.10
"""Knobs that are heard within this share of each other are heard alike; ticks wander by as much."""
PERIOD, RATE = 256, 48_000
"""Of the port, which is not known yet when a session starts; a few milliseconds hang on it."""
_KEPT = 64
"""Tables that the file holds; the oldest go."""
_TURNS = 5
_CUDA_DEPTHS = (1, 2, 4, 8)
"""On a GPU another depth may mean another graph, which takes long to make; what lies between is interpolated."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What one model costs on one device over one length, undisturbed, in milliseconds."""

    key: str
    """The model, its sizes, the backend, the device and T: what else is the same as here costs the same."""
    ticks: tuple[float, ...]
    """At depths 1, 2, and so on; guidance off."""
    decode: float
    """Of the block that is written after a latent."""

    def __post_init__(self) -> None:
        """Raises `ValueError` unless there is a time for every depth."""
        times = (*self.ticks, self.decode)
        if len(self.ticks) != DEPTH_MOST or not all(math.isfinite(each) and each > 0 for each in times):
            raise ValueError(f"a pace has {DEPTH_MOST} ticks and a decode, all of them positive")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a depth would mean. Times in milliseconds."""

    depth: int
    tick: float
    latents: float
    """Finished a second."""
    knob: float
    """From a shared knob to the ear, in the median, the device's own latency left out."""
    fresh: float
    """From any change to the first music that is made entirely after it."""
    keeps_up: bool
    """Whether a loop of this length is brought up to date before it is heard again."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A depth, and why."""

    depth: int
    choices: tuple[Choice, ...]
    why: str
    """A sentence for the performer."""


def key_of(rig: Rig, device: str) -> str:
    """What a rig's pace is remembered by; `device` is as the session names it, threads included."""
    sizes = rig.model.transformer.sizes
    weights = f"{sizes.num_hidden_layers}x{sizes.hidden_size}x{sizes.intermediate_size}"
    dtype = str(rig.model.transformer.proj_in.weight.dtype).removeprefix("torch.")
    covered = rig.window or rig.frames
    torch_version = str(torch.__version__)
    return ", ".join(
        (rig.model.name, weights, dtype, rig.backend.name, device, f"T {covered}", f"torch {torch_version}")
    )


@torch.inference_mode()
def measure(rig: Rig, device: str, progress: Progress = lambda stage, share: None) -> Pace:
    """Times whole ticks of full rings over `rig`, and a decode: seconds on a CPU, minutes where graphs are made.

    The depths take turns, so that what else the machine does at a time meets all of them; and the shortest of a
    depth's ticks counts, as that can only add to them. What `progress` raises ends it.
    """
    place, vae = rig.latents.device, rig.model.vae
    cuda = place.type == "cuda"
    depths = _CUDA_DEPTHS if cuda else tuple(range(1, DEPTH_MOST + 1))
    work: dict[int, Callable[[], object]] = {}
    for done, depth in enumerate(depths):
        progress("measuring ticks", done / len(depths) / 2)
        work[depth] = _ticking(rig, depth)
    work[0] = lambda: decode_window(vae, rig.latents, 0, KEEP)
    work[0]()
    shortest = dict.fromkeys(work, math.inf)
    for turn in range(_TURNS):
        progress("measuring ticks", (1 + turn / _TURNS) / 2)
        for each, run in work.items():
            shortest[each] = min(shortest[each], *timed(run, place, 8 if cuda else 1).runs)
    progress("measuring ticks", 1.0)
    decode = shortest.pop(0)
    return Pace(key_of(rig, device), _between(shortest), decode)


def _ticking(rig: Rig, depth: int) -> Callable[[], object]:
    """Does one tick of a ring of `depth` slots that is full and warm."""
    backend, place = rig.tuned.retuned({}), rig.latents.device
    backend.prepare(depth, rig.window or rig.frames, rig.condition_length)
    # With one step to go all slots are in flight at once; on a GPU their births would count too much.
    steps = rig.setup.steps if place.type == "cuda" else 1
    ring = Ring(backend, rig.latents, depth, steps, rig.window)
    knobs, curves, guides = Knobs(), Curves(rig.frames, place), rig.new_guides()

    def tick() -> object:
        return ring.tick(knobs, guides.at(knobs, curves), curves)

    for _ in range(steps):
        tick()
    return tick


def _between(found: dict[int, float]) -> tuple[float, ...]:
    """Ticks at all depths: interpolated where a depth was not measured, and never longer than at a larger one."""
    found = {depth: min(found[other] for other in found if other >= depth) for depth in found}
    known = sorted(found)
    ticks = []
    for depth in range(1, DEPTH_MOST + 1):
        below = max(each for each in known if each <= depth)
        above = min(each for each in known if each >= depth)
        share = 0.0 if above == below else (depth - below) / (above - below)
        ticks.append(found[below] + share * (found[above] - found[below]))
    return tuple(ticks)


def choices(pace: Pace, steps: int, loop_seconds: float) -> tuple[Choice, ...]:
    """What every depth would mean, with results of so many `steps`, in a loop of so many seconds."""
    return tuple(_choice(pace, depth, steps, loop_seconds) for depth in range(1, DEPTH_MOST + 1))


def _choice(pace: Pace, depth: int, steps: int, loop_seconds: float) -> Choice:
    tick, gap = pace.ticks[depth - 1], knob_time.gap(depth, steps)
    ahead = knob_time.write_ahead(pace.decode, PERIOD, RATE)
    ways = [knob_time.way(tick, depth, steps, ahead, PERIOD, RATE, at_rest=rest) for rest in (True, False)]
    interval = gap * tick + pace.decode
    return Choice(
        depth=depth,
        tick=tick,
        latents=knob_time.results_per_second(tick, depth, steps),
        knob=max(way.port for way in ways),
        fresh=tick * (steps + gap / 2) + ahead,
        keeps_up=interval + ahead < 1e3 * loop_seconds / 2 and pace.decode < 1e3 * KEEP / LATENT_RATE,
    )


def advise(pace: Pace, steps: int, loop_seconds: float, target: float = TARGET) -> Advice:
    """The depth for this pace, by the rule above."""
    found = choices(pace, steps, loop_seconds)
    able = [each for each in found if each.keeps_up] or list(found)
    soon = [each for each in able if each.knob <= target]
    if soon:
        most = max(each.latents for each in soon)
        chosen = _soonest([each for each in soon if each.latents >= most * (1 - ALIKE)])
        reason = f"the most latents among the depths that keep to {target:.0f} ms"
    else:
        chosen = _soonest(able)
        reason = f"no depth keeps to {target:.0f} ms here, and this one comes nearest"
    why = (
        f"depth {chosen.depth} of {steps} steps was chosen: a knob is heard in about {chosen.knob:.0f} ms, with "
        f"{chosen.latents:.1f} latents a second; {reason}"
    )
    return Advice(chosen.depth, found, why if chosen.keeps_up else why + "; the loop is too short to keep up with")


def _soonest(among: Sequence[Choice]) -> Choice:
    """The one with which a performer waits least; there is at least one."""
    soon = min(each.knob for each in among)
    return min((each for each in among if each.knob <= soon * (1 + NEAR)), key=lambda each: each.fresh)


def read(path: Path) -> dict[str, Pace]:
    """The paces in a file, by their keys. It only keeps what can be measured again, so one that is missing or damaged
    holds none; raises `OSError` for one that may not be read.
    """
    try:
        found = [
            Pace(str(each["key"]), tuple(map(float, each["ticks"])), float(each["decode"]))
            for each in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (FileNotFoundError, UnicodeDecodeError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {}
    return {each.key: each for each in found}


def keep(path: Path, pace: Pace) -> None:
    """Puts `pace` into the file, in the place of one with its key. Raises `OSError`, and the old file stays."""
    others = [each for key, each in read(path).items() if key != pace.key]
    entries = [{"key": e.key, "ticks": e.ticks, "decode": e.decode} for e in (*others, pace)[-_KEPT:]]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def longest(advices: Iterable[tuple[float, Advice]], target: float = TARGET) -> float | None:
    """Of contexts in seconds and the advice for each, the longest that keeps to `target`."""
    fitting = []
    for seconds, advice in advices:
        chosen = advice.choices[advice.depth - 1]
        if chosen.keeps_up and chosen.knob <= target:
            fitting.append(seconds)
    return max(fitting, default=None)


def known_or_measured(
    rig: Rig, device: str, path: Path | None, progress: Progress = lambda stage, share: None
) -> tuple[Pace, str]:
    """The pace of `rig`: from the file, or measured and put there; and what a user should know, often nothing."""
    try:
        known = {} if path is None else read(path)
    except OSError as error:
        return measure(rig, device, progress), _unkept(path, error)
    found = known.get(key_of(rig, device))
    if found is not None:
        return found, ""
    found = measure(rig, device, progress)
    if path is not None:
        try:
            keep(path, found)
        except OSError as error:
            return found, _unkept(path, error)
    return found, ""


def _unkept(path: Path | None, error: OSError) -> str:
    return f"; it is measured at every start, since {path} cannot be used: {error.strerror}"
