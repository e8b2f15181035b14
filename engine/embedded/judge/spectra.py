"""Magnitude spectra and mel filters, made once per size and device."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from engine.geometry import SAMPLE_RATE


@lru_cache(maxsize=32)
def window(size: int, device: torch.device) -> Tensor:
    """A Hann window. Shared: never write to it."""
    with torch.inference_mode(False):  # training uses it too
        return torch.hann_window(size, device=device)


def magnitudes(x: Tensor, size: int, hop: int) -> Tensor:
    """`x` [...,N] -> [..., bins, frames]."""
    flat = x.reshape(-1, x.shape[-1]).float()
    spectrum: Tensor = torch.stft(flat, size, hop, window=window(size, x.device), return_complex=True).abs()
    return spectrum.view(*x.shape[:-1], *spectrum.shape[1:])


@lru_cache(maxsize=32)
def mel_filters(size: int, bands: int, device: torch.device, low: float = 30.0, high: float = 20_000.0) -> Tensor:
    """Triangles [bands, size/2+1] on the mel scale (O'Shaughnessy, 1987: 2595 lg(1 + f/700))."""
    with torch.inference_mode(False):  # training uses them too
        return _triangles(bands, size, low, high).to(device)


def _triangles(bands: int, size: int, low: float, high: float) -> Tensor:
    ends = torch.tensor([low, high]).div(700).log1p()
    edges = 700 * torch.expm1(torch.linspace(float(ends[0]), float(ends[1]), bands + 2))
    f = torch.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    rising = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)
