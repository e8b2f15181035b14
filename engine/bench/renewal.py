"""`python -m engine.bench.renewal`: slots that live through a change, led on and born anew, by the steps left.

What `engine.renewal` rests on: the distance of the latent to the steady one after the change, relative to the size of
the change. Born anew, a slot is the steady latent of a schedule of the steps that are left.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from unittest.mock import patch

import torch
from torch import Tensor

from engine import stream
from engine.bench.stand import Stand, built_in
from engine.knobs import Knobs
from engine.stream import generate

DESCRIPTION = "How near slots in flight come to what a change asks for, led on and born anew."
STEPS, FRAMES = 8, 100
LEFT = (1, 3, 5)
CHANGES = {
    "denoise .9 to .3": (Knobs(denoise=0.9), Knobs(denoise=0.3)),
    "denoise .3 to .9": (Knobs(denoise=0.3), Knobs(denoise=0.9)),
    "denoise .7 to .5": (Knobs(denoise=0.7), Knobs(denoise=0.5)),
    "seed": (Knobs(), Knobs(seed=5)),
    "prompt A to B": (Knobs(), Knobs(prompt_blend=1.0)),
    "prompt_blend 0 to .3": (Knobs(), Knobs(prompt_blend=0.3)),
    "hint_strength 1 to .3": (Knobs(), Knobs(hint_strength=0.3)),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One change with so many steps left."""

    change: str
    left: int
    led_on: float
    born_anew: float


def measure(stand: Stand, change: str) -> list[Outcome]:
    """Both ways for each number of steps left."""
    before, after = CHANGES[change]
    old, new = _steady(stand, before, STEPS), _steady(stand, after, STEPS)
    whole = (old - new).norm()
    found = []
    for left in LEFT:
        with patch.object(stream, "WORTH", math.inf):  # nothing is worth a new birth
            ring = stand.ring(1, STEPS)
            knobs = [before] * (STEPS - left) + [after] * left
            (result,) = [result for each in knobs for result in stand.tick(ring, each)]
        anew = _steady(stand, after, left)
        led_on, born_anew = (float((each - new).norm() / whole) for each in (result.latent, anew))
        found.append(Outcome(change, left, led_on, born_anew))
    return found


def _steady(stand: Stand, knobs: Knobs, steps: int) -> Tensor:
    guide = stand.guides.at(knobs, stand.curves)
    return generate(stand.backend, stand.source, guide, stand.curves, knobs, steps)


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each change: led on / born anew."""
    lines = [f"{'led on / born anew':24}" + "".join(f"{f'{left} left':>14}" for left in LEFT)]
    for change in CHANGES:
        cells = [f"{each.led_on:.2f} / {each.born_anew:.2f}" for each in outcomes if each.change == change]
        lines.append(f"{change:24}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures all changes on the built-in model, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.renewal", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    stand = built_in(FRAMES)
    outcomes = [outcome for change in CHANGES for outcome in measure(stand, change)]
    found = [asdict(outcome) for outcome in outcomes]
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if asked.json else table(outcomes))


if __name__ == "__main__":
    main()
