"""Onsets and tempo."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.embedded.judge.spectra import magnitudes, mel_filters
from engine.geometry import SAMPLE_RATE

_RATE, _HOP = 100, 480
_LEVEL = 10 ** (-18 / 20)
_RIVALS = (-0.15, -0.1, -0.08, -0.06, 0.06, 0.08, 0.1, 0.15)


def onsets(audio: Tensor) -> Tensor:
    """Spectral flux of [B,2,N] at 100 Hz over its own mean of 0.4 s [B,frames]."""
    spectrum = torch.log1p(100 * magnitudes(audio.mean(1), 1024, _HOP))
    flux = spectrum.diff(dim=-1).clamp(min=0).sum(1)
    mean = F.avg_pool1d(flux[:, None], 41, 1, 20, count_include_pad=False)[:, 0]
    return (flux - mean).clamp(min=0)


def _comb(flux: Tensor, bpm: Tensor) -> Tensor:
    """How much of `flux` [frames] lies on the beats, halves and quarters of each tempo [K] -> [K]."""
    t = (torch.arange(flux.shape[0], device=flux.device) + 1.5) / _RATE
    harmonics = torch.tensor((1.0, 2.0, 4.0), device=flux.device)
    angle = 2 * math.pi * t * (bpm[:, None, None] / 60) * harmonics[:, None]
    return torch.complex((flux * angle.cos()).sum(-1), (flux * angle.sin()).sum(-1)).abs().sum(-1)


def obeys_tempo(flux: Tensor, bpm: float) -> bool:
    """Whether `bpm` explains `flux` [frames] better than eight tempos 6–15 % beside it."""
    around = torch.tensor([1.0, *(1 + d for d in _RIVALS)], device=flux.device) * bpm
    scores = _comb(flux, around)
    return bool((scores[0] > scores[1:]).all())


def onset_rate(audio: Tensor) -> Tensor:
    """Onsets a second of [B,2,N] -> [B]: peaks of the SuperFlux (Böck & Widmer, DAFx 2013), at any loudness.

    A band that rises beside one that was loud already is a wavering tone, not an onset. The numbers were chosen on
    the generator's own music, whose onsets are known: see `tests/engine/embedded/test_judge.py`.
    """
    level = audio.square().mean((-2, -1), keepdim=True).sqrt() + 1e-6
    mono = (audio * (_LEVEL / level)).mean(1)
    mel = torch.log10(1 + 100 * (mel_filters(2048, 80, audio.device) @ magnitudes(mono, 2048, _HOP)))
    before = F.max_pool1d(mel.transpose(1, 2), 3, 1, 1).transpose(1, 2)[..., :-1]
    flux = (mel[..., 1:] - before).clamp(min=0).mean(1)
    around = F.avg_pool1d(flux[:, None], 21, 1, 10, count_include_pad=False)[:, 0]
    peak = flux == F.max_pool1d(flux[:, None], 7, 1, 3)[:, 0]
    return (peak & (flux >= around + 0.01)).sum(1) / (audio.shape[-1] / SAMPLE_RATE)


def onset_agreement(a: Tensor, b: Tensor) -> Tensor:
    """Correlation [B] of two flux sequences [B,frames], smoothed over 90 ms."""
    kernel = torch.hann_window(11, device=a.device)[None, None]
    smooth = [F.conv1d(x[:, None, : min(a.shape[1], b.shape[1])], kernel, padding=5)[:, 0] for x in (a, b)]
    x, y = (s - s.mean(1, keepdim=True) for s in smooth)
    return F.cosine_similarity(x, y)
