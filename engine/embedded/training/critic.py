"""The critic of the codec's later stages: convolutions over complex spectra at three resolutions, and its training.

As in EnCodec's multi-scale STFT discriminator (Défossez et al., 2022), with hinge losses and feature matching.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from engine.embedded.training.common import Optimiser
from engine.embedded.training.losses import spectra

Verdict = tuple[Tensor, list[Tensor]]
"""Scores over the time-frequency plane, and the features on the way there."""


class Scale(nn.Module):
    """One resolution."""

    def __init__(self, size: int, width: int) -> None:
        """`size` of the transform in samples."""
        super().__init__()
        self.size = size
        plan = ((5, 1, 1), (1, 2, 1), (2, 3, 2), (3, 4, 4))
        layers = [
            nn.Conv2d(n if n == 5 else n * width, m * width, (3, 9), (1, 2), (d, 4), (d, 1)) for n, m, d in plan
        ]
        layers.append(nn.Conv2d(4 * width, 4 * width, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.output = weight_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Verdict:
        """Audio [B,2,N] in fp32."""
        with torch.autocast(audio.device.type, enabled=False):
            x = spectra(audio, self.size)
            x = x * (x.square().sum(-1, keepdim=True) + 1e-6).pow(-0.3)
            planes = x.permute(0, 1, 4, 2, 3).flatten(1, 2)  # [B, 4, frames, bins]
            height = torch.linspace(-1, 1, planes.shape[-1], device=x.device).expand(len(x), 1, planes.shape[2], -1)
            h = torch.cat((planes, height), 1).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            features.append(h)
        return self.output(h), features


class Critic(nn.Module):
    """All resolutions."""

    def __init__(self, width: int = 16) -> None:
        """`width` of the first layer."""
        super().__init__()
        self.scales = nn.ModuleList(Scale(size, width) for size in (2048, 1024, 512))

    def forward(self, audio: Tensor) -> list[Verdict]:
        """One verdict for each resolution."""
        return [scale(audio) for scale in self.scales]


def critic_loss(real: list[Verdict], fake: list[Verdict]) -> Tensor:
    """Hinge loss of the critic."""
    losses = [
        F.relu(1 - a.float()).mean() + F.relu(1 + b.float()).mean() for (a, _), (b, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def codec_loss(real: list[Verdict], fake: list[Verdict]) -> Tensor:
    """What the codec is told: to be taken for real, and to have the features of the real thing."""
    fooled = torch.stack([-score.float().mean() for score, _ in fake]).mean()
    matched = [
        (a.detach().float() - b.float()).abs().mean() / (a.detach().float().abs().mean() + 1e-4)
        for (_, wanted), (_, got) in zip(real, fake, strict=True)
        for a, b in zip(wanted, got, strict=True)
    ]
    return fooled + 4 * torch.stack(matched).mean()


class Adversary:
    """A critic that learns, and what it tells the codec."""

    def __init__(self, device: torch.device, ramp: int = 300) -> None:
        """A fresh critic, whose word grows over `ramp` calls of :meth:`pull`."""
        self.critic = Critic().to(device)
        self._device = device
        self._optimiser = Optimiser([self.critic], None, 2e-4, (0.8, 0.99), clip=5.0)
        self._ratio = torch.ones((), device=device)
        self._pulls, self._ramp = 0, ramp

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16)

    def learn(self, real: Tensor, heard: Tensor, progress: float) -> None:
        """A step of the critic on audio [B,2,N]; `progress` (0-1) as of :class:`Optimiser`."""
        with self._autocast():
            critic_loss(self.critic(real), self.critic(heard.detach())).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step(progress)

    def pull(self, real: Tensor, heard: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of :func:`codec_loss` at `heard`, brought to the size of `wanted`, and that loss.

        The three are [B,2,N]; `wanted` is the gradient of the other losses.
        """
        self.critic.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                judged = self.critic(real)
            told = codec_loss(judged, self.critic(heard))
        (gradient,) = torch.autograd.grad(told, heard)
        self.critic.requires_grad_(True)
        size = wanted.norm() / (gradient.norm() + 1e-9)
        self._ratio = self._ratio.lerp(size, 0.02 if self._pulls else 1.0)
        share = min(1.0, self._pulls / self._ramp)
        self._pulls += 1
        return share * self._ratio * gradient, told
