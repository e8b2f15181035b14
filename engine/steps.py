"""One step of the sampler, as pure functions of tensors in the papers' symbols.

Called by the ring for all slots at once: `x`, `v` and `target` are [B,T,64] in fp32 and the times are [B,1,1], so a
step is a few fused passes on the device and nothing is read back. The flow is that of rectified flow (Liu et al.,
2022): `x_t = t n + (1 - t) x0`, `v = n - x0`, with noise n and clean latent x0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.curves import Amount


def birth(n: Tensor, source: Tensor, t: float | Tensor) -> Tensor:
    """The state at time `t` between noise and a clean latent: `x = t n + (1 - t) source`."""
    return t * n + (1 - t) * source


def clean(x: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """The predicted clean latent: `x0 = x - t v`."""
    return x - t * v


def sde(x0: Tensor, source: Tensor, n: Tensor, t: Tensor, s: Amount) -> Tensor:
    """The prediction noised afresh: `x' = t n + (1 - t) (s x0 + (1 - s) source)`, with fresh noise n and new time t.

    At s = 1 this is the SDE step of a rectified flow, at s = 0 the source at noise level t.
    """
    return t * n + (1 - t) * torch.lerp(source, x0, s)


def lock(v: Tensor, x: Tensor, t: Tensor, target: Tensor, a: Amount) -> Tensor:
    """The velocity whose prediction is drawn to `target`: `x0' = (1 - a) x0 + a target`, `v' = (x - x0') / t`.

    `a` in 0–1; where a = 0 the velocity is kept. `t` must be positive.
    """
    return v + a * ((x - target) / t - v)


def keep(x: Tensor, n: Tensor, original: Tensor, t: Tensor, share: Amount) -> Tensor:
    """`x` with `share` (0–1) of the `original` at noise level `t`: what inpainting feeds the network."""
    return torch.lerp(x, birth(n, original, t), share)


def reproject(x: Tensor, x0: Tensor, s: float | Tensor, s_new: float | Tensor, x0_new: Tensor) -> Tensor:
    """Moves `x` from noise level `s` > 0 to `s_new` without a step of the network.

    The noise in x is what the prediction x0 leaves of it, `e = (x - (1 - s) x0) / s`; mixed anew with the wanted
    prediction it gives `x' = s_new e + (1 - s_new) x0_new`.
    """
    e = (x - (1 - s) * x0) / s
    return s_new * e + (1 - s_new) * x0_new
