"""Plays for a long time with the knobs moving and listens: `python -m engine.embedded.soak --minutes 60`.

Music must never drift into noise or silence, click, or clip. Every second is judged; the command ends with status 1
and the seconds that failed. It runs as fast as the machine allows, through the engine's own stream, without JACK. A
short loop (`--loop`) and fewer slots (`--depth`) make it faster.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from engine import Knobs, Session, embedded
from engine.embedded.judge.spectra import magnitudes
from engine.geometry import SAMPLE_RATE
from engine.model.checkpoint import CheckpointError
from engine.source import load_source

_QUIET, _LOUD, _PEAK = -45.0, -8.0, 1.0
_NOISE = 0.75
"""Spectral flatness (0–1) of a whole second: white noise has 0.99, the built-in loops have 0.3 at the most."""
_CLICK = 12.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One second."""

    loudness: float
    peak: float
    flatness: float
    click: float

    @property
    def fault(self) -> str:
        """What is wrong with it; empty when nothing is."""
        faults = {
            f"{self.loudness:.0f} dBFS is silence": self.loudness < _QUIET,
            f"{self.loudness:.0f} dBFS is too loud": self.loudness > _LOUD,
            f"a peak of {self.peak:.2f}": self.peak >= _PEAK,
            f"a flatness of {self.flatness:.2f} is noise": self.flatness > _NOISE,
            f"a click of {self.click:.0f} times the music's own steps": self.click > _CLICK,
        }
        return "; ".join(text for text, found in faults.items() if found)


def listen(audio: NDArray[np.float32]) -> Heard:
    """What one second [frames,2] sounds like."""
    x = torch.from_numpy(audio.T.copy())
    power = magnitudes(x.mean(0), 2048, 1024).square().mean(-1)[8:700] + 1e-9
    steps = x.diff(n=2, dim=-1).abs().amax(0)
    return Heard(
        loudness=float(20 * torch.log10(x.square().mean().sqrt() + 1e-7)),
        peak=float(x.abs().max()),
        flatness=float(power.log().mean().exp() / power.mean()),
        click=float(steps.max() / (steps.quantile(0.999) + 1e-4)),
    )


def moving(seconds: float) -> Knobs:
    """Knobs at a moment: each swings at its own pace, so that no two minutes are alike."""

    def swing(period: float, low: float, high: float) -> float:
        return low + (high - low) * (0.5 - 0.5 * math.cos(2 * math.pi * seconds / period))

    return Knobs(
        denoise=swing(37, 0.0, 1.0),
        prompt_blend=swing(61, 0.0, 1.0),
        hint_strength=swing(97, 0.0, 1.0),
        feedback=swing(53, 0.0, 0.8),
        shift=swing(71, 1.5, 5.0),
        source_lock=swing(113, 0.0, 0.5),
        seed=int(seconds / 9),
    )


def seconds_heard(session: Session, minutes: float) -> Iterator[Heard]:
    """Judges every second of a performance."""
    blocks: list[NDArray[np.float32]] = []
    for block in session.stream(minutes * 60, moving):
        blocks.append(block)
        if sum(len(b) for b in blocks) >= SAMPLE_RATE:
            audio = np.concatenate(blocks)
            yield listen(audio[:SAMPLE_RATE])
            blocks = [audio[SAMPLE_RATE:]]


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 without a fault, 1 with some, 2 for a checkpoint that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.embedded.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="of music (default 60)")
    parser.add_argument(
        "--loop", type=float, default=4.0, help="seconds of the built-in loop that are used (default 4)"
    )
    parser.add_argument("--depth", type=int, default=4, help="slots in flight (default 4); fewer are faster")
    parser.add_argument("--checkpoint", type=Path, help="default: the one inside")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    asked = parser.parse_args(arguments)
    faults, lowest, highest, began = [], 0.0, -99.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.wav"
        loop = load_source(embedded.CLIP)[:, : int(asked.loop * SAMPLE_RATE)]
        soundfile.write(path, loop.T, SAMPLE_RATE, subtype="FLOAT")
        try:
            session = Session(asked.checkpoint, asked.device, asked.depth, source=path)
        except CheckpointError as error:
            print(error, file=sys.stderr)
            return 2
        try:
            for second, heard in enumerate(seconds_heard(session, asked.minutes)):
                lowest, highest = min(lowest, heard.loudness), max(highest, heard.loudness)
                if heard.fault:
                    faults.append(f"second {second}: {heard.fault}")
                    print(faults[-1], flush=True)
                if second % 60 == 59:
                    print(f"{second // 60 + 1} min, {lowest:.0f} to {highest:.0f} dBFS", flush=True)
        finally:
            session.close()
    took = time.monotonic() - began
    print(f"{asked.minutes:g} minutes in {took / 60:.1f}, {lowest:.0f} to {highest:.0f} dBFS, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
