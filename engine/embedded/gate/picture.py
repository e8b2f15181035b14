"""Spectrograms as PNG files, for eyes. Called by the gate's command when `--pictures` names a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from engine.embedded.judge.spectra import magnitudes, mel_filters


def save_spectrogram(audio: Tensor, path: Path) -> None:
    """The mel spectrum of [2,N] over 70 dB, left to right, low to high."""
    mel = mel_filters(4096, 160, audio.device) @ magnitudes(audio.mean(0), 4096, 960)
    decibels = 20 * torch.log10(mel.clamp(min=1e-5))
    shade = ((decibels - decibels.max()) / 70 + 1).clamp(0, 1)
    picture = (shade.flip(0) * 255).to(torch.uint8).cpu().contiguous()
    Image.fromarray(picture.numpy()).resize((picture.shape[1], 2 * picture.shape[0])).save(path)
