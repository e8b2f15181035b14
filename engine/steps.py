"""One step of the sampler, as pure functions of tensors in the papers' symbols.

Called by the ring for all slots at once: `x`, `v` and `target` are [B,T,64] in fp32 and the times are [B,1,1], so a
step is a few fused passes on the device and nothing is read back. The flow is that of rectified flow (Liu et al.,
2022): `x_t = t n + (1 - t) x0`, `v = n - x0`, with noise n and clean latent x0.
"""

from __future__ import annotations

from torch import Tensor


def birth(n: Tensor, source: Tensor, t: float) -> Tensor:
    """The state of a slot that starts at time `t`: `x = t n + (1 - t) source`."""
    return t * n + (1 - t) * source


def clean(x: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """The predicted clean latent: `x0 = x - t v`."""
    return x - t * v


def euler(x: Tensor, v: Tensor, dt: Tensor) -> Tensor:
    """`x' = x + dt v`, with `dt = (t' - t) velocity_scale`."""
    return x + dt * v


def lock(v: Tensor, x: Tensor, t: Tensor, target: Tensor, a: Tensor) -> Tensor:
    """The velocity whose prediction is drawn to `target`: `x0' = (1 - a) x0 + a target`, `v' = (x - x0') / t`.

    `a` [B,1,1] in 0–1; rows with a = 0 keep their velocity. `t` must be positive.
    """
    return v + a * ((x - target) / t - v)


def reproject(x: Tensor, x0: Tensor, s: float, s_new: float, x0_new: Tensor) -> Tensor:
    """Moves `x` from noise level `s` > 0 to `s_new` without a step of the network.

    The noise in x is what the prediction x0 leaves of it, `e = (x - (1 - s) x0) / s`; mixed anew with the wanted
    prediction it gives `x' = s_new e + (1 - s_new) x0_new`.
    """
    e = (x - (1 - s) * x0) / s
    return s_new * e + (1 - s_new) * x0_new
