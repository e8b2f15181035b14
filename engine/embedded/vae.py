"""The embedded VAE: latents at 25 Hz to the short-time spectrum of mid and side, and back.

Called through the interface of `engine.vae`. One latent frame owns exactly eight spectral frames (200 Hz) and 1,920
samples; spectral frames are centred in their hop, so the maps are symmetric in time. The blocks are those of ConvNeXt
(Liu et al., 2022), the inverse-transform head follows Vocos (Siuzdak, 2023) with a phasor in place of the angle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.geometry import CHANNELS, HOP

_RAW, _LOG = 0.35, 5.0
"""Compression of the encoder's spectra: a power law for the complex values and an offset for the log power."""

_KNEE, _ROUND = 0.9, 0.08
"""Where peaks begin to be rounded off, and how far over that they may come."""


class Block(nn.Module):
    """Depthwise convolution over time, then a two-layer network per frame, on [B,T,C] with a residual."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        """`kernel` is odd; `expansion` times `width` is the inner width."""
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width * expansion)
        self.project = nn.Linear(width * expansion, width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B,T,C]."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return torch.addcmul(x, self.project(F.gelu(self.expand(self.norm(y)))), self.gain)


class Encoder(nn.Module):
    """Audio to the posterior of the latents."""

    window: Tensor

    def __init__(self, n_fft: int, up: int, width: int, blocks: int, latent_width: int, latent_blocks: int) -> None:
        """`up` spectral frames make one latent frame."""
        super().__init__()
        self.n_fft, self.up, self.hop = n_fft, up, HOP // up
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.input = nn.Linear(2 * 3 * (n_fft // 2 + 1), width)
        self.blocks = nn.ModuleList(Block(width, 7, 3) for _ in range(blocks))
        self.down = nn.Linear(width * up, latent_width)
        self.latent_blocks = nn.ModuleList(Block(latent_width, 5, 3) for _ in range(latent_blocks))
        self.norm = nn.LayerNorm(latent_width)
        self.output = nn.Linear(latent_width, 2 * CHANNELS)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Left and right [B, 2, T*1920] -> means and log-variances [B,T,64]."""
        return self.posterior(self.features(audio))

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`features` found -> means and log-variances [B,T,64]."""
        h = self.input(features)
        for block in self.blocks:
            h = block(h)
        h = self.down(h.unflatten(1, (-1, self.up)).flatten(2))
        for block in self.latent_blocks:
            h = block(h)
        means, log_variances = self.output(self.norm(h)).chunk(2, -1)
        return means, log_variances

    def features(self, audio: Tensor) -> Tensor:
        """Left and right [B, 2, T*1920] -> compressed spectra of mid and side [B, 8T, 2*3*bins], in fp32."""
        margin = (self.n_fft - self.hop) // 2
        frames = F.pad(mid_side(audio), (margin, margin)).unfold(-1, self.n_fft, self.hop)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))  # [B, 2, 8T, bins, 2]
        power = spectrum.square().sum(-1, keepdim=True)
        compressed = torch.cat(
            (spectrum * (power + 1e-7) ** -_RAW * 1.5, 0.25 * (0.5 * (power + 1e-8).log() + _LOG)), -1
        )
        return compressed.permute(0, 2, 1, 4, 3).flatten(2)


class Decoder(nn.Module):
    """Latents to log magnitudes and phasors, and by overlap-add to audio."""

    window: Tensor

    def __init__(self, n_fft: int, up: int, width: int, blocks: int, latent_width: int, latent_blocks: int) -> None:
        """`up` spectral frames come of one latent frame."""
        super().__init__()
        self.n_fft, self.up, self.hop, self.bins = n_fft, up, HOP // up, n_fft // 2 + 1
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.gain = math.sqrt(3 * n_fft / 8)
        self.input = nn.Conv1d(CHANNELS, latent_width, 3, padding=1)
        self.latent_blocks = nn.ModuleList(Block(latent_width, 5, 4) for _ in range(latent_blocks))
        self.widen = nn.Linear(latent_width, width * up)
        self.blocks = nn.ModuleList(Block(width, 7, 3) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * 3 * self.bins)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents in the encoder's own scale [B,T,64] -> left and right [B, 2, T*1920]."""
        return self.synthesised(self.head(self.norm(self.trunk(latents))))

    def trunk(self, latents: Tensor) -> Tensor:
        """Latents [B,T,64] -> [B, 8T, width]."""
        h: Tensor = self.input(latents.transpose(1, 2)).transpose(1, 2)
        for block in self.latent_blocks:
            h = block(h)
        h = self.widen(h).unflatten(-1, (self.up, -1)).flatten(1, 2)
        for block in self.blocks:
            h = block(h)
        return h

    def synthesised(self, spectrum: Tensor) -> Tensor:
        """What the head says of every spectral frame [B, 8T, 2*3*bins] -> left and right [B, 2, T*1920], in fp32."""
        log_magnitude, a, b = spectrum.view(*spectrum.shape[:2], 2, 3, self.bins).permute(3, 0, 2, 1, 4)
        magnitude = log_magnitude.clamp(-14, 4).exp() * self.gain * torch.rsqrt(a * a + b * b + 0.1)
        frames = torch.fft.irfft(torch.complex(magnitude * a, magnitude * b), self.n_fft) * self.window
        envelope = self._overlap_add(self.window.square().expand(1, 1, frames.shape[2], -1))
        return mid_side(self._overlap_add(frames) / envelope)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Frames [B,C,T,n_fft], centred in their hops -> [B, C, T*hop]."""
        parts = frames.view(*frames.shape[:3], -1, self.hop).unbind(3)
        last = len(parts) - 1
        total = sum((F.pad(part, (0, 0, i, last - i)) for i, part in enumerate(parts)), torch.zeros(()))
        margin = (self.n_fft - self.hop) // 2
        return total.flatten(2)[..., margin : margin + frames.shape[2] * self.hop]


class StftVae(nn.Module):
    """The embedded model's VAE; latents outside are normalised per channel. See `engine.vae.Vae`."""

    reach = 8
    encoder_reach = 8
    latent_mean: Tensor
    latent_deviation: Tensor

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        """The two halves; weights are loaded afterwards."""
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("latent_mean", torch.zeros(CHANNELS))
        self.register_buffer("latent_deviation", torch.ones(CHANNELS))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> StftVae:
        """Raises `KeyError` for a missing size and `ValueError` for rates other than the engine's."""
        if (config["hop_length"], config["latent_channels"]) != (HOP, CHANNELS):
            raise ValueError(f"it does not make {CHANNELS} channels of {HOP} samples a frame")
        halves = {
            half: (
                config["n_fft"],
                config["frames_per_latent"],
                *(config[f"{half}_{part}"] for part in ("width", "blocks", "latent_width", "latent_blocks")),
            )
            for half in ("encoder", "decoder")
        }
        return cls(Encoder(*halves["encoder"]), Decoder(*halves["decoder"]))

    def encode(self, audio: Tensor) -> Tensor:
        """Audio [2, T*1920] -> normalised latents [T,64]."""
        means: Tensor = self.encoder(audio[None])[0][0]
        return (means - self.latent_mean) / self.latent_deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [T,64] -> audio [2, T*1920] under 0.98."""
        audio: Tensor = self.decoder((latents * self.latent_deviation + self.latent_mean)[None])
        return limited(audio[0])


def limited(audio: Tensor) -> Tensor:
    """`audio` as it is up to 0.9, and rounded off under 0.98 beyond: generated latents may ask for louder peaks.

    Without memory, so that a window is what it is in the whole loop.
    """
    beyond = (audio.abs() - _KNEE).clamp(min=0)
    return audio.clamp(-_KNEE, _KNEE) + audio.sign() * _ROUND * torch.tanh(beyond / _ROUND)


def mid_side(x: Tensor) -> Tensor:
    """Left and right [...,2,N] to mid and side; orthonormal, so its own inverse."""
    left, right = x.unbind(-2)
    return torch.stack((left + right, left - right), -2) * math.sqrt(0.5)
