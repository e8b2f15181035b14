"""Keeps latents where they are while the codec learns: the transformer was trained on them.

Called by `training.vae --anchor`. The encoder is free on sounds from outside the generator's world, and held to what
an earlier encoder made of the generator's music.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.embedded.vae import StftVae

_FIRST, _LEAST, _MOST = 100.0, 1.0, 1e4
"""The weight of the anchor at first, and between which it is steered."""
_LOUDEST, _LOUD_WEIGHT = 1.5, 0.1
"""The mean square of latents from outside that costs nothing (music has 1), and the weight of what is beyond."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How far latents of music are from where they were, in deviations of a channel."""

    rms: float
    worst_channel: float


class Anchor:
    """An earlier codec, and how close the one in training is held to it."""

    def __init__(self, vae: StftVae, drift: float) -> None:
        """Music may move by `drift`: the root mean square in deviations of a channel (above 0)."""
        self.vae, self._drift = vae.eval().requires_grad_(False), drift
        self._weight = torch.tensor(_FIRST, device=vae.latent_mean.device)
        self.moved = torch.zeros((), device=vae.latent_mean.device)
        """Of the last step."""

    def loss(self, means: Tensor, kept: Tensor, music: Tensor) -> Tensor:
        """For `means` [B,T,64] where the earlier encoder says `kept`; `music` [B] says which clips are music.

        Steers its own weight, so that music moves by no more than asked for. Outside sounds may move, but their
        latents stay about as large as those of music.
        """
        distance = ((means - kept) / self.vae.latent_deviation).square().mean((1, 2))
        of_music = (distance * music).sum() / music.sum().clamp(min=1)
        size = ((means - self.vae.latent_mean) / self.vae.latent_deviation).square().mean((1, 2))
        loud = ((size - _LOUDEST).clamp(min=0) * ~music).mean()
        self.moved = of_music.detach().sqrt()
        weight = self._weight.clone()
        self._weight *= 1 + 0.01 * (self.moved / self._drift - 1).clamp(-1, 1) * music.any()
        self._weight.clamp_(_LEAST, _MOST)
        return weight * of_music + _LOUD_WEIGHT * loud

    @torch.no_grad()
    def compare(self, vae: StftVae, clips: Iterable[Tensor]) -> Moved:
        """Over clips of music [2,N], in fp32."""
        far = torch.stack([(vae.encode(clip) - self.vae.encode(clip)).square().mean(0) for clip in clips]).mean(0)
        return Moved(float(far.mean().sqrt()), float(far.max().sqrt()))
