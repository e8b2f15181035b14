"""Pitch classes, key, and how alike two progressions are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.embedded.judge.spectra import magnitudes
from engine.embedded.music.theory import SCALES
from engine.geometry import SAMPLE_RATE

_SIZE, _HOP = 16_384, 4_096
_SILENCE = 10 ** (-80 / 20)
"""Of a clip's loudest frame: below it is digital silence, whose chroma is what rounding left."""


def chroma(audio: Tensor) -> Tensor:
    """Magnitude of the twelve pitch classes between 70 and 1,500 Hz, [B,2,N] -> [B,12,frames]."""
    spectrum = magnitudes(audio.mean(1), _SIZE, _HOP)
    f = torch.arange(spectrum.shape[1], device=audio.device) * (SAMPLE_RATE / _SIZE)
    pitch = 69 + 12 * torch.log2(f.clamp(min=1.0) / 440)
    near = (f > 70) & (f < 1500) & ((pitch - pitch.round()).abs() < 0.3)
    classes = torch.remainder(pitch.round().long(), 12)
    sums = torch.zeros(12, spectrum.shape[1], device=audio.device)
    sums[classes[near], near.nonzero()[:, 0]] = 1.0
    return sums @ spectrum


def key(mean_chroma: Tensor, root: int, mode: str) -> tuple[bool, float]:
    """Whether `root` is the best of the twelve for `mode`, and the share of [12] that lies in its scale."""
    c = mean_chroma - mean_chroma.min()
    scale = torch.tensor(SCALES[mode], device=c.device)
    shares = torch.stack([c[(scale + r) % 12].sum() for r in range(12)]) / (c.sum() + 1e-9)
    return int(shares.argmax()) == root, float(shares[root])


def progression_agreement(a: Tensor, b: Tensor) -> Tensor:
    """Correlation [B] of two chroma sequences [B,12,frames] over pitch classes, averaged over time.

    Frames where `b`, the original, is silent have no pitches to agree with and are left out.
    """
    each = F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
    level = b.norm(dim=1)
    heard = level > _SILENCE * level.amax(1, keepdim=True)
    agreement: Tensor = (each * heard).sum(1) / heard.sum(1).clamp(min=1)
    return agreement
