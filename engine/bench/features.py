"""`python -m engine.bench.features`: how soon each thing that can be changed is in a finished latent.

For every feature two settings are flipped as in `engine.bench.flip`, on a small network with random weights: how many
ticks a change takes does not depend on the weights. Printed are the most ticks up to the first changed latent and up
to the converged one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from engine import dcw, guidance
from engine.bench.flip import Turn, flipped
from engine.bench.stand import SHAPES, Stand, random
from engine.conditioning import Condition
from engine.curves import Curves
from engine.knobs import Knobs
from engine.stream import Result, Ring

DESCRIPTION = "Counts, for everything that can be changed, the ticks until it is in a latent."
STEPS, FRAMES, FLIPS = 8, 10, 16
DEPTHS = (4, 8)
SIZES = SHAPES["tiny"]


@dataclass(frozen=True, slots=True)
class Feature:
    """What a change of one feature took."""

    name: str
    depth: int
    first: int
    """Most ticks up to the first changed latent; the tick that the change comes before is number 1."""
    converged: int
    """Most ticks up to the first of the latents that stay the same."""


Flip = Callable[[Stand, Ring], tuple[Turn, Turn]]
"""Makes the two ways to do a tick that a feature is flipped between."""
PLAIN = Knobs()
_CURVE = (0.0, 0.5, 1.0)
_SDE = replace(PLAIN, sde=True)
_GUIDED = replace(PLAIN, guidance_mode=int(guidance.Mode.FULL), guidance_scale=5.0)
_BLENDED = replace(PLAIN, prompt_blend=0.5)


def _knobs(one: Knobs, **change: float) -> Flip:
    """Between `one` and the same with a change."""
    other = replace(one, **change)  # type: ignore[arg-type]

    def turns(stand: Stand, ring: Ring) -> tuple[Turn, Turn]:
        return lambda: stand.tick(ring, one), lambda: stand.tick(ring, other)

    return turns


def _curve(name: str, knobs: Knobs = PLAIN, values: Sequence[float] = _CURVE) -> Flip:
    """Between the knob's number and a curve."""

    def turns(stand: Stand, ring: Ring) -> tuple[Turn, Turn]:
        drawn: Curves = stand.curves.drawn(name, values)
        return lambda: stand.tick(ring, knobs), lambda: stand.tick(ring, knobs, drawn)

    return turns


def _act(act: Callable[[Stand, Ring, int], None]) -> Flip:
    """Between two states that `act` brings about, the second argument being 0 or 1."""

    def turns(stand: Stand, ring: Ring) -> tuple[Turn, Turn]:
        state: list[int] = []

        def turn(wanted: int) -> list[Result]:
            if state != [wanted]:
                state[:] = [wanted]
                act(stand, ring, wanted)
            return stand.tick(ring, PLAIN)

        return lambda: turn(0), lambda: turn(1)

    return turns


def _gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _new_text(stand: Stand, ring: Ring, variant: int) -> None:
    stand.guides.replace("a", Condition(_gaussian(1, 20, SIZES.encoder_hidden_size, seed=variant)))


def _structure_clip(stand: Stand, ring: Ring, variant: int) -> None:
    stand.guides.follow(_gaussian(*stand.source.shape, seed=5) if variant else None)


def _lora(stand: Stand, ring: Ring, variant: int) -> None:
    """Other weights in a feed-forward matrix, swapped in as a LoRA's are."""
    width = SIZES.intermediate_size
    weight = _gaussian(SIZES.hidden_size, width, seed=6) / width**0.5
    ring.backend = stand.backend.retuned({"layers.0.mlp.down.weight": weight}) if variant else stand.backend
    _new_text(stand, ring, 0)  # keys and values are computed anew with the weights


FEATURES: Mapping[str, Flip] = {
    "denoise": _knobs(PLAIN, denoise=0.3),
    "velocity_scale curve": _curve("velocity_scale"),
    "sde": _knobs(PLAIN, sde=True),
    "sde_amp curve": _curve("sde_amp", _SDE),
    "sde_rate": _knobs(_SDE, sde_rate=6.0),
    "ode_noise": _knobs(PLAIN, ode_noise=0.3),
    "source_lock": _knobs(PLAIN, source_lock=0.5),
    "source_lock curve": _curve("source_lock"),
    "initial_noise curve": _curve("initial_noise"),
    "protect curve": _curve("protect"),
    "channel gains": _knobs(PLAIN, ch_g0=0.5, ch23=2.0),
    "prompt_blend": _knobs(PLAIN, prompt_blend=0.5),
    "prompt_blend curve": _curve("prompt_blend"),
    "prompts by steps": _knobs(_BLENDED, prompt_a_to=0.5),
    "a new text": _act(_new_text),
    "hint_strength": _knobs(PLAIN, hint_strength=0.3),
    "structure clip": _act(_structure_clip),
    "guidance_mode": _knobs(PLAIN, guidance_mode=1, guidance_scale=5.0),
    "guidance_scale curve": _curve("guidance_scale", _GUIDED, (1.0, 7.0)),
    "dcw_mode": _knobs(PLAIN, dcw_mode=int(dcw.Mode.DOUBLE)),
    "seed": _knobs(PLAIN, seed=2),
    "shift": _knobs(PLAIN, shift=1.0),
    "LoRA": _act(_lora),
}
"""One for each feature; feedback never comes to rest, so it is not here: it acts as the seed does."""


def measure(name: str, depth: int, flips: int = FLIPS) -> Feature:
    """Flips one feature over a ring of its own."""
    stand = random(SIZES, FRAMES, torch.device("cpu"))
    ring = stand.ring(depth, STEPS)
    first, converged, _ = flipped(ring, FEATURES[name](stand, ring), name, flips)
    return Feature(name, depth, max(first), max(converged))


def table(measured: Sequence[Feature]) -> str:
    """A line for each feature, with both numbers at each depth."""
    lines = [
        f"most ticks from a change to the first changed and to the converged latent, {STEPS} steps",
        f"{'':22}" + "".join(f"{f'depth {depth}':>12}" for depth in DEPTHS),
    ]
    for name in FEATURES:
        cells = [f"{each.first} / {each.converged}" for each in measured if each.name == name]
        lines.append(f"{name:22}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures all features, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.features", description=DESCRIPTION)
    parser.add_argument("--flips", type=int, default=FLIPS, help="changes of each feature at each depth")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    measured = [measure(name, depth, asked.flips) for name in FEATURES for depth in DEPTHS]
    sys.stdout.write(
        json.dumps([asdict(each) for each in measured], indent=2) + "\n" if asked.json else table(measured)
    )


if __name__ == "__main__":
    main()
