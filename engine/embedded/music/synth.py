"""Oscillators, envelopes and drums on tensors. Pure functions; [B,1] parameters broadcast over [B,N] samples.

Called by the renderer. The oscillators are sums of harmonics in closed form (discrete summation: Moorer, 1976), so
their brightness is one number and they hardly alias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TAU = 2 * math.pi
Numbers = Mapping[str, Tensor]
"""The fields of a voice or a kit, [B,1] each."""


@dataclass(frozen=True, slots=True)
class Events:
    """What every sample knows of the last event of its track, [B,N] each."""

    age: Tensor
    """Seconds since the onset."""
    velocity: Tensor
    """0 before the first event; faded over 4 ms before the next."""
    pitch: Tensor
    gate: Tensor
    """Seconds from onset to release."""


def hertz(pitch: Tensor) -> Tensor:
    """The frequency of a MIDI note."""
    return 440.0 * torch.exp2((pitch - 69) / 12)


def saw(phase: Tensor, a: Tensor) -> Tensor:
    """The sum of `a^k sin((k+1) phase)` over all k >= 0, scaled to about one."""
    return torch.sin(phase) * (1 - a) / (1 - 2 * a * torch.cos(phase) + a * a) * (1 + a)


def square(phase: Tensor, a: Tensor) -> Tensor:
    """The sum of `q^k sin((2k+1) phase)` over all k >= 0 with `q = a^2`, scaled to about one."""
    q = a * a
    return torch.sin(phase) * (1 + q) / (1 - 2 * q * torch.cos(2 * phase) + q * q) * (1 - 0.4 * q)


def envelope(events: Events, v: Numbers) -> Tensor:
    """Linear attack, exponential decay to the sustained level, exponential release."""
    body = v["sustain"] + (1 - v["sustain"]) * torch.exp(-events.age / v["decay"])
    tail = torch.exp(-(events.age - events.gate).clamp(min=0) / v["release"])
    return (events.age / v["attack"]).clamp(max=1) * body * tail * events.velocity


def voice(events: Events, v: Numbers, sway: Tensor) -> Tensor:
    """One voice in stereo [2,B,N]; `sway` [B,N] is added to its phase for each hertz.

    Oscillators that no piece of the batch uses are left out.
    """
    age = events.age
    f = hertz(events.pitch + 12 * v["octave"])
    a = (v["bright"] + v["sweep"] * torch.exp(-age / v["sweep_decay"])).clamp(max=0.93)
    depth = v["vibrato"] * (math.log(2) / 1200 / (TAU * 5.2))
    bend = depth * torch.sin(TAU * 5.2 * age) * (age / 0.3).clamp(max=1) + sway
    loudness = envelope(events, v)
    if bool((v["detune"] != 0).any()):
        ratio = torch.exp2(v["detune"] / 2400)
        phases = [TAU * f * (age * ratio + bend), TAU * f * (age / ratio + bend) + 0.7 * (ratio != 1)]
    else:
        phases = [TAU * f * (age + bend)]
    left, right = (_wave(phase, a, age, v) for phase in (phases[0], phases[-1]))
    if bool((v["drive"] != 0).any()):
        gain = 1 + v["drive"]
        left, right = (torch.lerp(x, torch.tanh(x * gain), (v["drive"] > 0).float()) for x in (left, right))
    sides = torch.stack((left * (1 - v["pan"]), right * (1 + v["pan"])))
    if bool((v["tremolo"] != 0).any()):
        lfo = v["tremolo"] * torch.sin(TAU * 4.2 * age)
        sides = sides * torch.stack((1 + lfo, 1 - lfo))
    return sides * (loudness * v["level"])


def _wave(phase: Tensor, a: Tensor, age: Tensor, v: Numbers) -> Tensor:
    out = torch.zeros_like(phase)
    if bool((v["saw"] != 0).any()):
        out = out + v["saw"] * saw(phase, a)
    if bool((v["square"] != 0).any()):
        out = out + v["square"] * square(phase, a)
    if bool((v["pulse"] != 0).any()):
        out = out + v["pulse"] * 0.7 * (saw(phase, a) - saw(phase + TAU * v["width"], a))
    if bool((v["sine"] != 0).any()):
        out = out + v["sine"] * torch.sin(phase)
    if bool((v["fm"] != 0).any()):
        index = v["index"] * (0.33 + 0.67 * torch.exp(-age / v["index_decay"]))
        out = out + v["fm"] * torch.sin(phase + index * torch.sin(v["ratio"] * phase))
    return out


def kick(events: Events, k: Numbers) -> Tensor:
    """A sine that falls from `kick_high` to `kick_low`, saturated, with a click [B,N]."""
    age, drop = events.age, k["kick_drop"]
    cycles = k["kick_low"] * age + (k["kick_high"] - k["kick_low"]) * drop * (1 - torch.exp(-age / drop))
    tone = torch.sin(TAU * cycles) * torch.exp(-age / k["kick_decay"]) * (age / 0.001).clamp(max=1)
    click = torch.sin(TAU * 3_500 * age) * torch.exp(-age / 0.002) * k["kick_click"]
    return (torch.tanh(tone * k["kick_drive"]) + click) * events.velocity * k["kick"]


def snare(events: Events, k: Numbers, noise: Tensor) -> Tensor:
    """A short tone and a burst of `noise` [B,N], or three bursts 11 ms apart as of hands [B,N]."""
    age = events.age
    body = torch.sin(TAU * k["snare_tone"] * age) * torch.exp(-age / 0.055) * k["snare_body"]
    burst = torch.exp(-age / k["snare_decay"])
    hands = torch.exp(-torch.remainder(age, 0.011).where(age < 0.033, age - 0.033) / 0.008)
    hands = torch.maximum(hands, burst * 0.6)
    shape = torch.lerp(burst, hands, k["snare_claps"].clamp(0, 1))
    return (body + noise * shape * 0.6) * (age / 0.0006).clamp(max=1) * events.velocity * k["snare"]


def hat(events: Events, decay: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """Noise [B,N] that dies with `decay` [B,1]."""
    return noise * torch.exp(-events.age / decay) * (events.age / 0.0006).clamp(max=1) * events.velocity * level


def perc(events: Events, k: Numbers) -> Tensor:
    """A short tuned blip [B,N]."""
    f = k["perc_tone"] * torch.exp2(events.pitch / 12)
    phase = TAU * f * events.age + k["perc_fm"] * torch.exp(-events.age / 0.02) * torch.sin(
        TAU * 1.6 * f * events.age
    )
    return torch.sin(phase) * torch.exp(-events.age / k["perc_decay"]) * events.velocity * k["perc"]
