"""The style probe: a linear classifier over statistics of the mel spectrum, fitted to the generator's own music.

`python -m engine.embedded.judge.style` fits it and writes `probe.json` beside this file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.embedded.judge.spectra import magnitudes, mel_filters
from engine.embedded.music import STYLES, Request, compose, render

_FILE = Path(__file__).with_name("probe.json")
_SECONDS = 8.0
_BANDS = 40


def features(audio: Tensor) -> Tensor:
    """Statistics of 40 log-mel bands (mean, deviation, that of the differences) and width, [B,2,N] -> [B,121]."""
    mel = torch.log(mel_filters(2048, _BANDS, audio.device) @ magnitudes(audio.mean(1), 2048, 1024) + 1e-2)
    side = (audio[:, 0] - audio[:, 1]).norm(dim=-1) / (audio.sum(1).norm(dim=-1) + 1e-6)
    return torch.cat((mel.mean(-1), mel.std(-1), mel.diff(dim=-1).std(-1), side[:, None].log1p()), 1)


@dataclass(frozen=True, slots=True)
class Probe:
    """Scores of every style are linear in the features (linear discriminant analysis with shrinkage)."""

    weights: Tensor
    """[styles, features]"""
    bias: Tensor

    @classmethod
    def fit(cls, x: Tensor, labels: Tensor, shrinkage: float = 0.05) -> Probe:
        """From features [clips, features] and style numbers [clips]; every style must be there."""
        means = torch.stack([x[labels == i].mean(0) for i in range(len(STYLES))]).double()
        centred = x.double() - means[labels]
        covariance = centred.T @ centred / len(x)
        covariance += shrinkage * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
        weights = torch.linalg.solve(covariance, means.T).T
        return cls(weights.float(), (-(weights * means).sum(1) / 2).float())

    @classmethod
    def load(cls) -> Probe:
        """The probe that ships."""
        numbers = json.loads(_FILE.read_text(encoding="utf-8"))
        return cls(torch.tensor(numbers["weights"]), torch.tensor(numbers["bias"]))

    def scores(self, audio: Tensor) -> Tensor:
        """Probability of each style [B,styles]."""
        logits = features(audio) @ self.weights.to(audio.device).T + self.bias.to(audio.device)
        return torch.softmax(logits, -1)

    def __call__(self, audio: Tensor) -> list[str]:
        """The style that each clip of [B,2,N] sounds like."""
        names = tuple(STYLES)
        return [names[i] for i in self.scores(audio).argmax(1).tolist()]


def clips(per_style: int, first_seed: int) -> tuple[Tensor, Tensor]:
    """Features and style numbers of `per_style` clips of each style."""
    rows, labels = [], []
    for number, name in enumerate(STYLES):
        for at in range(per_style):
            piece = compose(Request(style=name), first_seed + number * 10_000 + at, _SECONDS)
            rows.append(features(render([piece], _SECONDS)))
            labels.append(number)
    return torch.cat(rows), torch.tensor(labels)


def main() -> None:
    """Fits the probe and says how well it does on clips it has not seen."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--clips", type=int, default=60, help="clips a style (default 60)")
    asked = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # rendering is bound by memory: more threads cost more than they bring
    probe = Probe.fit(*clips(asked.clips, 1_000_000_000))
    x, labels = clips(max(8, asked.clips // 4), 1_500_000_000)
    guess = (x @ probe.weights.T + probe.bias).argmax(1)
    for number, name in enumerate(STYLES):
        print(f"{name:10} {float((guess[labels == number] == number).float().mean()):.2f}")
    print(f"all        {float((guess == labels).float().mean()):.3f}")
    numbers = {
        "weights": [[round(v, 4) for v in row] for row in probe.weights.tolist()],
        "bias": [round(v, 3) for v in probe.bias.tolist()],
    }
    _FILE.write_text(json.dumps(numbers, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
