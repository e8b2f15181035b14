"""`python -m engine.bench.strength`: what a move of `denoise` does to the latents that were in flight.

A slot that lives through a move is led on or born anew with the steps that it has left (`engine.renewal`), and so not
quite what would have been admitted after it; this says how near it comes.
For each move the next latents are compared with the steady one under the new strength. The distance is relative to
that between the steady latents before and after: 1 is no change at all, 0 is arrived. It is given for latents and for
what is heard of them, as log-spectra. Beside it stand the ticks at which the change is first in a latent, and what a
slot knob would take.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from engine import embedded
from engine.bench.stand import Stand, built_in
from engine.geometry import HOP
from engine.knobs import Knobs
from engine.vae import Vae, decode_window, load_vae

DESCRIPTION = "How near slots in flight come to slots born after a move of denoise."
MOVES = ((0.9, 0.3), (0.7, 0.5), (0.7, 0.1), (0.3, 0.7), (0.5, 0.9), (0.0, 0.7))
STEPS, DEPTH, FRAMES = 8, 4, 100
_WINDOW = 1024
_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Move:
    """One move, and the latents that finished after it."""

    before: float
    after: float
    ticks: list[int]
    """When each finished; the tick that the move comes before is number 1."""
    latents: list[float]
    """Distance to the steady latent under the new strength, relative to the size of the change."""
    sound: list[float]
    """The same of log-spectra of the decoded audio."""


def measure(stand: Stand, vae: Vae, before: float, after: float, depth: int = DEPTH, steps: int = STEPS) -> Move:
    """Moves from `before` to `after` in a settled stream and follows it until the new latents are steady."""
    ring = stand.ring(depth, steps)
    old = [result for _ in range(3 * steps) for result in stand.tick(ring, Knobs(denoise=before))][-1].latent
    moved = [
        (tick, result.latent) for tick in range(1, 2 * steps + 1) for result in stand.tick(ring, Knobs(denoise=after))
    ]
    new = moved[-1][1]
    count = sum(not torch.equal(latent, new) for _, latent in moved) + 1
    spectra = {id(latent): _spectrum(vae, latent) for latent in (old, *(latent for _, latent in moved))}

    def share(a: Tensor, b: Tensor, whole: Tensor) -> float:
        return float((a - b).norm() / (whole - b).norm())

    return Move(
        before,
        after,
        [tick for tick, _ in moved[:count]],
        [share(latent, new, old) for _, latent in moved[:count]],
        [share(spectra[id(latent)], spectra[id(new)], spectra[id(old)]) for _, latent in moved[:count]],
    )


@torch.inference_mode()
def _spectrum(vae: Vae, latent: Tensor) -> Tensor:
    """Log-magnitudes of the loop's sound, in windows of 21 ms."""
    audio = decode_window(vae, latent, 0, len(latent))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(audio, _WINDOW, HOP // 4, window=window, return_complex=True).abs()
    return spectrum.clamp_min(_FLOOR).log10()


def table(moves: Sequence[Move], depth: int, steps: int) -> str:
    """One line a move: distance of latents / of sound at each finished latent."""
    slowest = max(len(move.ticks) for move in moves)
    gap = steps / depth
    lines = [
        f"depth {depth} of {steps} steps: the next latent finishes 1 to {gap:g} ticks after a move, others every "
        f"{gap:g} ticks; the first that was admitted",
        f"after it, {steps} to {steps + gap - 1:g} ticks after it",
        f"{'denoise':14}" + "".join(f"{f'latent {i + 1}':>14}" for i in range(slowest)) + "   (latents / sound)",
    ]
    for move in moves:
        pairs = zip(move.latents, move.sound, strict=True)
        cells = "".join(f"{f'{latent:.2f} / {sound:.2f}':>14}" for latent, sound in pairs)
        lines.append(f"{f'{move.before:g} to {move.after:g}':14}{cells}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures all moves on the built-in model, and prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.strength", description=DESCRIPTION)
    parser.add_argument("--depth", type=int, default=DEPTH, help="slots in flight")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the schedule")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    stand, vae = built_in(FRAMES), load_vae(embedded.CHECKPOINT, torch.device("cpu"))
    moves = [measure(stand, vae, before, after, asked.depth, asked.steps) for before, after in MOVES]
    if asked.json:
        sys.stdout.write(json.dumps([asdict(move) for move in moves], indent=2) + "\n")
    else:
        sys.stdout.write(table(moves, asked.depth, asked.steps))


if __name__ == "__main__":
    main()
