"""How much of a sound survives the codec, and whether audio clicks, gapes or shouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from engine.embedded.judge.rhythm import onset_agreement, onsets
from engine.embedded.judge.spectra import magnitudes, mel_filters
from engine.geometry import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Of one clip, against its original."""

    mel: float
    """Mean distance of log10 mel spectra, two sizes."""
    stft: float
    """Spectral convergence plus mean distance of log magnitudes, mean of five sizes (Yamamoto et al., 2020)."""
    sdr: float
    """Scale-invariant signal-to-distortion ratio, dB (Le Roux et al., 2019)."""
    high: float
    """dB by which the energy over 5 kHz is off."""
    onsets: float
    """Correlation of the spectral flux."""


def fidelity(audio: Tensor, original: Tensor) -> Fidelity:
    """Of one clip: both [2,N]."""
    mel = 0.0
    for size in (2048, 1024):
        filters = mel_filters(size, 80, audio.device)
        a, b = (torch.log10((filters @ magnitudes(x, size, size // 4)).clamp(min=1e-4)) for x in (audio, original))
        mel += float((a - b).abs().mean()) / 2
    stft = 0.0
    for size in (2048, 1024, 512, 256, 128):
        a, b = (magnitudes(x, size, size // 4).clamp(min=1e-4) for x in (audio, original))
        stft += float((a - b).norm() / b.norm() + (a.log() - b.log()).abs().mean()) / 5
    above = int(5_000 / SAMPLE_RATE * 1024)
    a, b = (magnitudes(x, 1024, 256)[:, above:].square().sum() + 1e-3 for x in (audio, original))
    return Fidelity(
        mel=mel,
        stft=stft,
        sdr=_sdr(audio, original),
        high=float(10 * torch.log10(a / b)),
        onsets=float(onset_agreement(onsets(audio[None]), onsets(original[None]))),
    )


def mean(found: Sequence[Fidelity]) -> Fidelity:
    """The mean of each measure over at least one clip."""
    columns = zip(*(astuple(each) for each in found), strict=True)
    return Fidelity(*(sum(column) / len(found) for column in columns))


def _sdr(audio: Tensor, original: Tensor) -> float:
    a, b = (x.flatten().double() - x.mean() for x in (audio, original))
    wanted = (a @ b) / (b @ b).clamp(min=1e-9) * b
    ratio = wanted.square().sum().clamp(min=1e-12) / (a - wanted).square().sum().clamp(min=1e-12)
    return float(10 * torch.log10(ratio))


def loudness(audio: Tensor) -> Tensor:
    """Root mean square in dBFS, [...,2,N] -> [...]."""
    return 20 * torch.log10(audio.square().mean((-2, -1)).sqrt() + 1e-7)


def quietest_second(audio: Tensor) -> float:
    """The lowest loudness of any whole second of [2,N], in dBFS."""
    seconds = audio[:, : audio.shape[1] // SAMPLE_RATE * SAMPLE_RATE].reshape(2, -1, SAMPLE_RATE)
    return float(loudness(seconds.transpose(0, 1)).min())


def click_ratio(audio: Tensor) -> float:
    """The largest second difference of [2,N] over its own 99.9 % quantile: a click stands out of any music."""
    steps = audio.diff(n=2, dim=-1).abs().amax(0)
    return float(steps.max() / (torch.quantile(steps[:: max(1, len(steps) // 2_000_000)], 0.999) + 1e-6))


def seam_ratio(audio: Tensor) -> float:
    """The largest second difference within 1 ms of the ends of the loop [2,N], over the largest anywhere else."""
    near = SAMPLE_RATE // 1_000
    steps = torch.cat((audio[:, -near:], audio, audio[:, :near]), 1).diff(n=2, dim=-1).abs().amax(0)
    seam = torch.cat((steps[: 2 * near], steps[-2 * near :])).max()
    return float(seam / (steps[2 * near : -2 * near].max() + 1e-6))
