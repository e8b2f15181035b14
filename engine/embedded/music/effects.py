"""Reverberation, echo, filters and the wear of old machines, on stereo batches [2,B,N]. Pure functions.

Called by the renderer. Convolutions are circular for pieces that loop, so that their tails sound on into the
beginning; for the others the tail is cut off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.embedded.music.synth import Numbers
from engine.geometry import SAMPLE_RATE

_ROOM_SECONDS = 3.0
_LOUDNESS = 0.16
"""Root mean square of a finished piece before its peaks are rounded off (-16 dBFS)."""


def finished(dry: Tensor, wet: Tensor, echoed: Tensor, room: Numbers, loops: Tensor, noise: Tensor) -> Tensor:
    """The mix [B,2,N] of what the voices sent to the three busses [2,B,N].

    `room` holds the fields of a `Room` and `echo_samples`; `loops` [B,1] says which pieces are periodic; `noise`
    [B,N] is each piece's own.
    """
    echo = echoes(echoed, room["echo_samples"], loops) * room["echo"]
    mix = dry + echo + reverberation(wet + 0.3 * echo, room, loops) * room["reverb"]
    middle, side = (mix[0] + mix[1]) / 2, (mix[0] - mix[1]) / 2 * room["width"]
    mix = torch.stack((middle + side, middle - side))
    mix = mix * (_LOUDNESS / (mix.square().mean((0, 2), keepdim=True)[0].sqrt() + 1e-6)).clamp(max=20)
    mix = mix + worn(noise, room)
    mix = coloured(mix, room["lowpass"], room["tilt"])
    mix = mix * (_LOUDNESS / (mix.square().mean((0, 2), keepdim=True)[0].sqrt() + 1e-6)).clamp(max=20)
    mix = torch.tanh(mix * room["drive"]) / room["drive"].clamp(min=1)
    return (crushed(mix, room) * 0.95).transpose(0, 1).contiguous()


def band(noise: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`noise` [B,N] between two frequencies [B,1], of deviation one."""
    f = torch.fft.rfftfreq(noise.shape[1], 1 / SAMPLE_RATE, device=noise.device)
    gains = torch.sigmoid((f - low) / (low * 0.12 + 20)) * torch.sigmoid((high - f) / (high * 0.12 + 20))
    y: Tensor = torch.fft.irfft(torch.fft.rfft(noise) * gains, noise.shape[1])
    return y / y.std(1, keepdim=True)


def reverberation(x: Tensor, room: Numbers, loops: Tensor) -> Tensor:
    """`x` [2,B,N] in a room of noise that decays with `reverb_time` and is cut at `gate` seconds."""
    samples, length = x.shape[2], int(_ROOM_SECONDS * SAMPLE_RATE)
    generator = torch.Generator(x.device).manual_seed(7)
    impulse = torch.randn(2, 1, length, generator=generator, device=x.device)
    t = torch.arange(length, device=x.device) / SAMPLE_RATE
    shape = torch.exp(-t / room["reverb_time"]) * torch.sigmoid((room["gate"] - t) / 0.008) * (t / 0.002).clamp(max=1)
    size = -(-(samples + length) // 96_000) * 96_000
    f = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=x.device)
    colour = torch.sigmoid((f - 220) / 60) * torch.sigmoid((7_000 - f) / 900)
    impulse = impulse * shape
    impulse = impulse / impulse.norm(dim=2, keepdim=True)
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(impulse, size) * colour, size)
    tail = y[..., samples : samples + length]
    out = y[..., :samples].clone()
    for start in range(0, length, samples):  # a tail may go round a short loop more than once
        part = tail[..., start : start + samples]
        out[..., : part.shape[-1]] += part * loops
    return out


def echoes(x: Tensor, delay: Tensor, loops: Tensor) -> Tensor:
    """Three echoes of `x` [2,B,N], each `delay` [B,1] samples after the one before and crossed between the sides."""
    samples = x.shape[2]
    clock = torch.arange(samples, device=x.device)
    out = torch.zeros_like(x)
    for turn in range(1, 4):
        place = clock - (turn * delay).long()
        heard = torch.where((place >= 0) | loops, 0.55**turn, 0.0)
        late = x.gather(2, torch.remainder(place, samples).expand_as(x)) * heard
        out = out + (late.flip(0) if turn % 2 else late)
    return out


def coloured(x: Tensor, lowpass: Tensor, tilt: Tensor) -> Tensor:
    """`x` [2,B,N] under a low-pass of fourth order and a slope of `tilt` decibels an octave around 1 kHz."""
    f = torch.fft.rfftfreq(x.shape[2], 1 / SAMPLE_RATE, device=x.device)
    octaves = torch.log2((f / 1_000).clamp(0.05, 12))
    gains = 10 ** (tilt * octaves / 20) / (1 + (f / lowpass) ** 8).sqrt()
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x) * gains, x.shape[2])
    return y


def worn(noise: Tensor, room: Numbers) -> Tensor:
    """Hiss, and the crackle of a record: the rare large values of `noise` [B,N], as clicks [B,N]."""
    if not bool(((room["hiss"] + room["crackle"]) > 0).any()):
        return torch.zeros_like(noise)
    other = noise.roll(noise.shape[1] // 5, -1)
    return noise * room["hiss"] + other.sign() * (other.abs() > 4.0) * room["crackle"]


def crushed(x: Tensor, room: Numbers) -> Tensor:
    """`x` [2,B,N] at fewer levels and held for several samples, where the room asks for it."""
    if not bool((room["crush"] > 0).any()):
        return x
    clock = torch.arange(x.shape[2], device=x.device)
    held = x.gather(2, (clock - clock % room["hold"].round().long()).expand_as(x))
    levels = room["crush"].clamp(min=1)
    coarse = torch.round(held * levels * 2) / (levels * 2)
    return torch.where(room["crush"] > 0, coarse, x)
