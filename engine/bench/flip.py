"""`python -m engine.bench.flip`: how many ticks a change takes to be in the finished latents.

With constant knobs successive latents are equal bit for bit, so their hashes tell when a change begins to act and
when it has acted in full. Something is flipped between two settings, before ticks at all places of the schedule.
Counted are the ticks up to the one that returns the first latent with another hash, and up to the first of those that
stay the same; the tick that the flip comes before is number 1.

Predicted: slots are admitted `steps / depth` ticks apart and take `steps` ticks, so a latent finishes every
`steps / depth` ticks. What all slots read is in the next that finishes; what a slot is born with, in the next that
has `renewal.CHOICE_STEPS` steps left, with which it is born anew; and all of a change is in the first latent that was
admitted after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from engine.backends import Backend, Side
from engine.bench.stand import SHAPES, Stand, built_in, random
from engine.knobs import Knobs
from engine.plan import Plan, Scene
from engine.renewal import CHOICE_STEPS
from engine.rows import Rows
from engine.stream import Result, Ring

DESCRIPTION = "Counts the ticks from a change to the first latent that has it, and to the first that has all of it."
STEPS = 8
DEPTHS = (1, 2, 4, 8)
FLIPS = 50
FRAMES = 10
KINDS: Mapping[str, tuple[Knobs, Knobs]] = {
    "shared knob": (Knobs(denoise=0.7), Knobs(denoise=0.5)),
    "slot knob": (Knobs(seed=1), Knobs(seed=2)),
    "prompt": (Knobs(prompt_blend=0.0), Knobs(prompt_blend=1.0)),
}
"""What is flipped, by the kind of change that it stands for."""


Turn = Callable[[], list[Result]]
"""Does one tick."""


@dataclass(frozen=True, slots=True)
class Flips:
    """Ticks that the changes of one kind took at one depth."""

    kind: str
    depth: int
    first: list[int]
    """For each flip: up to the first changed latent."""
    converged: list[int]
    """For each flip: up to the first of the latents that stay the same."""
    expected_first: tuple[int, int]
    """What even admission predicts: fewest and most ticks."""
    expected_converged: tuple[int, int]
    repeatable: bool
    """Whether both settings gave the same hash after every flip."""


class Remembering:
    """A backend that runs the network once for each input and answers from memory after that.

    A flip at a place of the schedule asks for the same velocities every time that it comes, at every depth. A row's
    velocity is a function of the row alone, which every backend promises and its tests hold it to.
    """

    def __init__(self, backend: Backend) -> None:
        """`backend` runs what has not been asked before."""
        self._backend = backend
        self.name, self.device, self.most = backend.name, backend.device, backend.most
        self._known: dict[bytes, Tensor] = {}
        self._sides: dict[int, tuple[Side, bytes]] = {}

    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`."""
        self._backend.prepare(batch, frames, length)
        self.most = self._backend.most

    def retuned(self, tensors: Mapping[str, Tensor]) -> Remembering:
        """See `engine.backends.Backend`."""
        return Remembering(self._backend.retuned(tensors))

    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return self._backend.keys_values(states)

    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """See `engine.backends.Backend`."""
        rows = []
        for i, (time, side) in enumerate(zip(t, sides, strict=True)):
            key = _digest(x[i]) + time.hex().encode() + self._side(side)
            if key not in self._known:
                self._known[key] = self._backend.velocity(x[i : i + 1], [time], [side])
            rows.append(self._known[key])
        return torch.cat(rows)

    def step(self, rows: Rows, asked: Plan, scene: Scene) -> bool:
        """See `engine.backends.Backend`: what is to be remembered is single velocities."""
        return False

    def _side(self, side: Side) -> bytes:
        if id(side) not in self._sides:
            tensors = (side.context, side.kv) if side.mask is None else (side.context, side.kv, side.mask)
            self._sides[id(side)] = side, b"".join(map(_digest, tensors))  # kept, so that its id stays its own
        return self._sides[id(side)][1]


def _digest(tensor: Tensor) -> bytes:
    return hashlib.blake2b(tensor.contiguous().numpy().tobytes(), digest_size=16).digest()


def measure(stand: Stand, kind: str, depth: int, flips: int = FLIPS, steps: int = STEPS) -> Flips:
    """Flips between the settings of `kind`; raises as :func:`flipped` does."""
    ring = stand.ring(depth, steps)
    one, other = (lambda knobs=knobs: stand.tick(ring, knobs) for knobs in KINDS[kind])
    first, converged, repeatable = flipped(ring, (one, other), kind, flips)
    gap = -(-steps // depth)
    soon, late = (1, gap), (steps, steps + gap - 1)
    born = (CHOICE_STEPS, CHOICE_STEPS + gap - 1) if steps > CHOICE_STEPS else late
    return Flips(
        kind=kind,
        depth=depth,
        first=first,
        converged=converged,
        expected_first=born if kind == "slot knob" else soon,
        expected_converged=late,
        repeatable=repeatable,
    )


def flipped(ring: Ring, turns: tuple[Turn, Turn], name: str, flips: int) -> tuple[list[int], list[int], bool]:
    """Flips `flips` times between two ways to do a tick, evenly over the places of the schedule.

    Ticks up to the first changed latent and to the converged one, for each flip, and whether both ways gave the same
    hash after every flip. Raises `RuntimeError` when a flip changes nothing or the stream does not settle.
    """
    steps = ring.steps
    hashes = [{_settle(ring, turns[0])[-1][1]}, set()]
    first, converged = [], []
    places: Counter[int] = Counter()
    for flip in range(flips):
        old, new = flip % 2, 1 - flip % 2
        while places[ring.ticks % steps] > flip // steps:
            turns[old]()
        places[ring.ticks % steps] += 1
        latents = _settle(ring, turns[new])
        last = latents[-1][1]
        hashes[new].add(last)
        changed = [tick for tick, digest in latents if digest not in hashes[old]]
        if not changed:
            raise RuntimeError(f"flipping the {name} changes nothing, so there is nothing to measure")
        first.append(changed[0])
        converged.append(next(t for i, (t, _) in enumerate(latents) if all(d == last for _, d in latents[i:])))
    return first, converged, all(len(seen) == 1 for seen in hashes)


def _settle(ring: Ring, turn: Turn) -> list[tuple[int, str]]:
    """Ticks until a latent says that the next will be the same: the tick and the hash of each."""
    latents = []
    for tick in range(1, 4 * ring.steps + 1):
        for result in turn():
            latents.append((tick, result.digest()))
            if result.settled:
                return latents
    raise RuntimeError(f"with constant knobs the stream did not settle within {4 * ring.steps} ticks")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures all kinds at all depths, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.flip", description=DESCRIPTION)
    parser.add_argument("--shape", choices=SHAPES, help="a network with random weights instead of the built-in model")
    parser.add_argument("--frames", type=int, default=FRAMES, help="length of the loop in latent frames of 40 ms")
    parser.add_argument("--flips", type=int, default=FLIPS, help="changes of each kind at each depth")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the schedule")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    shape = SHAPES.get(asked.shape)
    stand = random(shape, asked.frames, torch.device("cpu")) if shape else built_in(asked.frames)
    stand = replace(stand, backend=Remembering(stand.backend))
    depths = [depth for depth in DEPTHS if depth <= asked.steps]
    measured = [measure(stand, kind, depth, asked.flips, asked.steps) for kind in KINDS for depth in depths]
    if asked.json:
        sys.stdout.write(json.dumps([asdict(each) for each in measured], indent=2) + "\n")
    else:
        sys.stdout.write(table(measured, asked.steps))


def table(measured: Sequence[Flips], steps: int) -> str:
    """One line for each kind and depth: fewest, median and most ticks, and those that even admission predicts."""
    head = (
        f"{'':12} depth   {'first changed latent':22} {'predicted':10} {'converged latent':22} {'predicted':10} flips"
    )
    lines = [f"ticks of a ring of {steps} steps from a change to its latents: fewest, median, most", head]
    for each in measured:
        parts = [
            f"{min(ticks):3} {statistics.median(ticks):6g} {max(ticks):4}".ljust(22) + f" {low} to {high}".ljust(11)
            for ticks, (low, high) in (
                (each.first, each.expected_first),
                (each.converged, each.expected_converged),
            )
        ]
        note = "" if each.repeatable else "   hashes differ between repeats"
        lines.append(f"{each.kind:12} {each.depth:5}   {' '.join(parts)} {len(each.first)}{note}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
