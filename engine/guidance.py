"""Guidance: pushing the velocity away from what was not asked for.

Called by the ring for the slots whose birth asked for it. The push is adaptive projected guidance (APG; Sadat et al.,
2024), as ACE-Step has it: the difference of the guided and the unguided velocity gains momentum over the steps, is
limited in norm, and only its part across the guided velocity is used, so that a strong push does not overdrive.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from engine.curves import Amount

NORM_LIMIT = 2.5
"""The largest norm over time, per channel, of a push; ACE-Step's value, for windows of 60 s."""
NORM_FRAMES = 1500
"""The window that the limit is meant for. A norm grows with the root of the length, so the limit does, too."""


class Mode(IntEnum):
    """Where the unguided velocity comes from."""

    OFF = 0
    FULL = 1
    """From the network, at every step."""
    INITIALIZE = 2
    """From the network at a slot's first step, kept for the others (residual guidance, as StreamDiffusion has it)."""
    SELF = 3
    """From no network: the slot's own noise against its source, n - S, the way back to where it was born."""


def push(vc: Tensor, vu: Tensor, average: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """The push [B,T,C] across the guided velocity `vc`, away from the unguided `vu`; and the new running average.

    `average` [B,T,C] is that of the step before, 0 at birth: `avg' = (vc - vu) + momentum avg`.
    """
    average = (vc - vu) + momentum * average
    limit = NORM_LIMIT * (vc.shape[1] / NORM_FRAMES) ** 0.5
    norm = average.norm(dim=1, keepdim=True)
    d = average * (limit / norm.clamp_min(1e-12)).clamp_max(1.0)
    along, wide = torch.nn.functional.normalize(vc.double(), dim=1), d.double()
    across = wide - (wide * along).sum(dim=1, keepdim=True) * along
    return across.to(vc.dtype), average


def guided(vc: Tensor, across: Tensor, scale: Amount, rescale: Amount) -> Tensor:
    """`v = vc + (scale - 1) across`, of which the share `rescale` gets the norm of `vc` back.

    The norm is that of a whole row, over time and channels.
    """
    v = vc + (scale - 1) * across
    if not isinstance(rescale, Tensor) and rescale == 0:
        return v
    norms = vc.norm(dim=(1, 2), keepdim=True) / v.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return torch.lerp(v, v * norms, rescale)
