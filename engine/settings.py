"""What all slots read at a step: shared knobs and curves, made ready for the device once per change.

Made by the ring when a knob, a curve or the guide has changed, and used for every tick until the next change. Two
ticks with the same `Settings` object ask for the same music.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from engine.curves import Amount, Curves, amount
from engine.dcw import Dcw, Mode
from engine.geometry import CHANNELS, LATENT_RATE
from engine.guide import Guide
from engine.knobs import Knobs

KEYSTONES = tuple(int(f.name[2:]) for f in fields(Knobs) if f.name.startswith("ch") and f.name[2:].isdigit())
"""Channels with a gain of their own."""
_GROUPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """See the module. An `Amount` is a number or a curve over the whole loop; :meth:`over` cuts curves to regions."""

    knobs: Knobs
    curves: Curves
    guide: Guide
    velocity_scale: Amount
    source_lock: Amount
    protect: Amount
    sde: Amount | None
    """Share of the prediction in SDE steps; none for Euler steps."""
    ode_noise: Amount
    guidance_scale: Amount
    guidance_rescale: Amount
    dcw: Dcw | None
    gains: Tensor | None
    """[1,64] or [T,64]; none when all are 1."""

    @property
    def noisy(self) -> bool:
        """Whether steps need fresh noise."""
        return self.sde is not None or acts(self.ode_noise)

    def over(self, frames: Tensor) -> Settings:
        """With all curves at the loop's `frames` [B,T]: [T,1] become [B,T,1]."""

        def cut(value: Amount) -> Amount:
            return value[frames] if isinstance(value, Tensor) else value

        dcw, gains = self.dcw, self.gains
        return replace(
            self,
            velocity_scale=cut(self.velocity_scale),
            source_lock=cut(self.source_lock),
            protect=cut(self.protect),
            sde=None if self.sde is None else cut(self.sde),
            ode_noise=cut(self.ode_noise),
            guidance_scale=cut(self.guidance_scale),
            guidance_rescale=cut(self.guidance_rescale),
            dcw=None if dcw is None else replace(dcw, low=cut(dcw.low), high=cut(dcw.high)),
            gains=gains[frames] if gains is not None and len(gains) > 1 else gains,
        )


def acts(value: Amount) -> bool:
    """Whether an amount can do anything: a curve may, the number 0 does not. Reads nothing back from the device."""
    return isinstance(value, Tensor) or value != 0


def read(knobs: Knobs, curves: Curves, guide: Guide) -> Settings:
    """The settings of a reading of the knobs, with the curves in their places."""

    def of(name: str) -> Amount:
        return amount(knobs, curves, name)

    dcw = None
    if knobs.dcw_mode != Mode.OFF:
        mode = Mode(knobs.dcw_mode)
        dcw = Dcw(mode, of("dcw_low"), of("dcw_high"), knobs.dcw_soft, knobs.dcw_ratio, knobs.dcw_magnitude)
    return Settings(
        knobs=knobs,
        curves=curves,
        guide=guide,
        velocity_scale=of("velocity_scale"),
        source_lock=of("source_lock"),
        protect=of("protect"),
        sde=swelling(of("sde_amp"), knobs.sde_rate, curves) if knobs.sde else None,
        ode_noise=of("ode_noise"),
        guidance_scale=of("guidance_scale"),
        guidance_rescale=of("guidance_rescale"),
        dcw=dcw,
        gains=gains(knobs, curves),
    )


def swelling(amp: Amount, rate: float, curves: Curves) -> Amount:
    """`amp` that falls to 0 and swells again `rate` times a second along the loop, beginning at its height.

    `s = amp (1 + cos(2 pi rate seconds)) / 2`; at rate 0 it is `amp`.
    """
    if rate == 0:
        return amp
    seconds = torch.arange(curves.frames, dtype=torch.float32, device=curves.device)[:, None] / LATENT_RATE
    return amp * (1 + torch.cos(2 * math.pi * rate * seconds)) / 2


def gains(knobs: Knobs, curves: Curves) -> Tensor | None:
    """Gains [1,64], or [T,64] when one is a curve, of what the network sees; none when all are 1."""
    groups = [amount(knobs, curves, f"ch_g{group}") for group in range(_GROUPS)]
    stones = {channel: amount(knobs, curves, f"ch{channel}") for channel in KEYSTONES}
    if all(not isinstance(value, Tensor) and value == 1 for value in (*groups, *stones.values())):
        return None
    width = CHANNELS // _GROUPS
    columns = [groups[channel // width] * stones.get(channel, 1.0) for channel in range(CHANNELS)]
    frames = curves.frames if any(isinstance(column, Tensor) for column in columns) else 1
    return torch.cat(
        [
            column if isinstance(column, Tensor) else torch.full((frames, 1), column, device=curves.device)
            for column in columns
        ],
        dim=1,
    )
