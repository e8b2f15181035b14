"""Wavelet-domain correction of a step (DCW; Yu et al., CVPR 2026).

Called by the ring after each step. The new state x' is compared with the clean latent y = x - t v that the network
predicts, in the two halves of a one-level Haar wavelet over time, and moved away from it: the slow half by t, the
fast one by 1 - t, so that early steps settle the form and late ones the detail.

With the wavelet's halves as projections P and Q (P the mean of each pair of frames, Q the rest) the whole correction
is `x' + t low P(x' - y) + (1 - t) high Q(x' - y)`; no coefficient is ever laid out. A last frame without a partner is
all slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from engine.curves import Amount


class Mode(IntEnum):
    """Of which part of the music."""

    OFF = 0
    LOW = 1
    HIGH = 2
    DOUBLE = 3
    PIX = 4
    """Of the state as it is: `x' + low (x' - y)`, without wavelet and times."""


@dataclass(frozen=True, slots=True, eq=False)
class Dcw:
    """Strengths of a correction. The last three bend its form; at 0 it is exactly the published one."""

    mode: Mode
    low: Amount
    high: Amount
    soft: float = 0.0
    """Soft threshold: differences are drawn towards 0 by this much, smaller ones vanish."""
    ratio: float = 0.0
    """Share that scales what is there, by (|x'| - |y|) / (|x'| + |y|), instead of adding the difference."""
    magnitude: float = 0.0
    """Share that takes the difference of magnitudes and the sign of x', instead of the difference."""

    @property
    def plain(self) -> bool:
        """Whether it is the published form."""
        return self.soft == self.ratio == self.magnitude == 0

    def corrected(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The new state `x` [B,T,64] corrected by the prediction `y`; `t` [B,1,1] is the time of the step."""
        if self.mode is Mode.PIX:
            return x + self.low * self._difference(x, y)
        if self.mode is Mode.LOW:
            return x + t * self.low * self._difference(slow(x), slow(y))
        if self.mode is Mode.HIGH:
            return x + (1 - t) * self.high * self._difference(x - slow(x), y - slow(y))
        if not self.plain:
            x_slow, y_slow = slow(x), slow(y)
            low = self._difference(x_slow, y_slow)
            high = self._difference(x - x_slow, y - y_slow)
        else:
            d = x - y
            low = slow(d)
            high = d - low
        return x + t * self.low * low + (1 - t) * self.high * high

    def _difference(self, x: Tensor, y: Tensor) -> Tensor:
        """What x is moved by, before its strength; the plain form is x - y."""
        d = x - y
        if self.plain:
            return d
        louder = x.abs() - y.abs()
        d = torch.lerp(d, x.sign() * louder, self.magnitude)
        d = d.sign() * (d.abs() - self.soft).clamp_min(0)
        return torch.lerp(d, x * louder / (x.abs() + y.abs()).clamp_min(1e-6), self.ratio)


def slow(x: Tensor) -> Tensor:
    """The slow half of the Haar wavelet of `x` [B,T,C] over T: each pair of frames is its mean, twice."""
    batch, frames, channels = x.shape
    even = frames // 2 * 2
    pairs = x[:, :even].reshape(batch, -1, 2, channels).mean(2, keepdim=True)
    means = pairs.expand(-1, -1, 2, -1).reshape(batch, even, channels)
    return means if even == frames else torch.cat((means, x[:, even:]), dim=1)
