"""Makes the built-in loops: `python -m engine.embedded.music.clips` writes them all anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from engine import embedded
from engine.embedded.judge.fidelity import loudness
from engine.embedded.music import Request, compose, render
from engine.geometry import GRID, SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Loop:
    """What a clip is made from."""

    bars: int
    root: int
    mode: str
    seed: int
    density: int = 1
    space: int = 1


_LOOPS = {
    "house-120": Loop(8, 5, "dorian", 31),
    "techno-128": Loop(8, 9, "minor", 32),
    "lofi-75": Loop(4, 2, "dorian", 33),
    "ambient-60": Loop(4, 0, "major", 34, space=2),
    "synthwave-100": Loop(4, 4, "minor", 35),
    "trap-150": Loop(4, 7, "minor", 36),
}


def write(name: str, path: Path) -> None:
    """Writes one loop as 16-bit FLAC; it closes to the sample and has whole frames of structure hints."""
    loop, (style, bpm) = _LOOPS[name], name.split("-")
    seconds = loop.bars * 240 / int(bpm)
    samples = round(seconds * SAMPLE_RATE)
    if samples % GRID:
        raise ValueError(f"{name} lasts {seconds} s, which is no multiple of {GRID} samples")
    request = Request(style, float(bpm), loop.root, loop.mode, density=loop.density, energy=1, space=loop.space)
    audio = render([compose(request, loop.seed, seconds)], seconds)[0]
    print(f"{name}: {seconds} s, {float(loudness(audio)):.1f} dBFS")
    pcm = np.round(audio.T.numpy() * 32_767).astype(np.int16)
    soundfile.write(path, pcm, SAMPLE_RATE, subtype="PCM_16")


def main() -> None:
    """All of them."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    for name, path in embedded.CLIPS.items():
        write(name, path)


if __name__ == "__main__":
    main()
