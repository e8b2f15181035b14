"""What the codec is trained to keep: spectra of left, right, mid and side at six resolutions or seven.

The sums over bins (`terms`) are real-valued and may be compiled; the transforms stay outside. All in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.embedded.judge.spectra import mel_filters, window

SIZES = (4096, 2048, 1024, 512, 256, 128)
FINE = (8192, *SIZES)
"""With one more that tells partials 12 Hz apart from each other: bells and low chords."""
_ENERGY_SIZE = 1024
_MELS = {2048: 128, 1024: 80, 512: 48}


def spectra(audio: Tensor, size: int) -> Tensor:
    """[B,2,N] -> [B,2,frames,bins,2]; white noise of deviation s has magnitudes about s."""
    w = window(size, audio.device)
    frames = audio.unfold(-1, size, size // 4) * (w / w.square().sum().sqrt())
    return torch.view_as_real(torch.fft.rfft(frames))


def energy(ys: Tensor, xs: Tensor, filters: Tensor) -> Tensor:
    """Mean distance of the log energy of mel bands over 16 frames, of spectra [B,2,frames,bins,2].

    What cannot be foretold bin by bin (noise, cymbals) is best left out by the other losses; this one misses it.
    """
    a, b = (
        F.avg_pool1d(z.square().sum(-1).flatten(0, 1).transpose(1, 2), 16, 8).transpose(1, 2) @ filters
        for z in (ys, xs)
    )
    return ((a + 1e-6).log() - (b + 1e-6).log()).abs().mean() / 2


def terms(y: Tensor, x: Tensor) -> Tensor:
    """Sums over [B,2,K,2]: spectral convergence (two), log magnitude, compressed complex distance (two)."""
    half = math.sqrt(0.5)
    sums = []
    pairs = (
        (y[:, 0], x[:, 0]),
        (y[:, 1], x[:, 1]),
        ((y[:, 0] + y[:, 1]) * half, (x[:, 0] + x[:, 1]) * half),
        ((y[:, 0] - y[:, 1]) * half, (x[:, 0] - x[:, 1]) * half),
    )
    for a, b in pairs:
        pa, pb = a.square().sum(-1), b.square().sum(-1)
        ma, mb = (pa + 1e-8).sqrt(), (pb + 1e-8).sqrt()
        ga, gb = (pa + 1e-6).pow(-0.3), (pb + 1e-6).pow(-0.3)  # |X|^0.4 with its phase
        compressed = (a * ga[..., None] - b * gb[..., None]).square().sum(-1)
        sums.append(
            torch.stack(
                (
                    (ma - mb).square().sum(),
                    pb.sum(),
                    (ma.log() - mb.log()).abs().mean() / 4,
                    compressed.sum(),
                    (pb * gb.square()).sum(),
                )
            )
        )
    return torch.stack(sums).sum(0)


class Reconstruction:
    """Spectral convergence + log magnitude + compressed complex + log mel, each averaged over its sizes."""

    def __init__(self, compiled: bool, sizes: tuple[int, ...] = SIZES, energy: float = 0.0) -> None:
        """Compiled terms are worth a factor of four on a GPU. No clip may be shorter than the largest of `sizes`.

        `energy` is the weight of :func:`energy`.
        """
        self._sizes, self._energy = sizes, energy
        self._terms: Callable[[Tensor, Tensor], Tensor] = torch.compile(terms, dynamic=True) if compiled else terms

    def __call__(self, y: Tensor, x: Tensor, complex_weight: float = 1.0) -> Tensor:
        """The loss of `y` against `x`, both [B,2,N] in fp32."""
        total = y.new_zeros(())
        for size in self._sizes:
            ys = spectra(y, size)
            with torch.no_grad():
                xs = spectra(x, size)
            far, power, log, compressed, norm = self._terms(ys.flatten(2, 3), xs.flatten(2, 3)).unbind()
            convergence = (far / (power + 1e-3) + 1e-8).sqrt()
            total = total + (convergence + log + complex_weight * compressed / (norm + 1e-2)) / len(self._sizes)
            if size in _MELS:
                filters = mel_filters(size, _MELS[size], y.device).T
                a, b = (((z.square().sum(-1) + 1e-10).sqrt() @ filters + 1e-4).log() for z in (ys, xs))
                total = total + (a - b).abs().mean() / len(_MELS)
            if size == _ENERGY_SIZE and self._energy > 0:
                filters = mel_filters(size, _MELS[size], y.device).T
                total = total + self._energy * energy(ys, xs, filters)
        return total


def divergence(means: Tensor, log_variances: Tensor) -> Tensor:
    """Kullback–Leibler divergence of the posterior [B,T,64] from a standard normal, in nats a frame."""
    return 0.5 * (means.square() + log_variances.exp() - log_variances - 1).sum(-1).mean()
