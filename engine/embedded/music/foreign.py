"""Sounds from outside the eight styles: what a user's own file may hold. For the codec's training and its judgement.

Eleven families, each drawn from a seed: voices (pulse trains through moving formants, with fricatives), plucked
strings, struck metal, chimes, held tones, sets of partials, chords, noise through moving filters, steady noise,
grains of tone, and music of the generator gone through a chain of damage. Strings, metal and steady noise are kept
out of training, so that the codec can be judged by sounds that it has never met.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.embedded.music.compose import Request, compose
from engine.embedded.music.render import render
from engine.geometry import SAMPLE_RATE

TAU = 2 * math.pi


def _curve(rng: np.random.Generator, samples: int, rate: float, device: torch.device) -> Tensor:
    """A smooth random curve [N] within -1 to 1 with about `rate` turns a second."""
    points = max(4, int(samples / SAMPLE_RATE * rate) + 3)
    values = torch.from_numpy(rng.uniform(-1, 1, points).astype(np.float32)).to(device)
    place = torch.linspace(1, points - 2.001, samples, device=device)
    left = place.long()
    w = (1 - torch.cos(math.pi * (place - left))) / 2
    return torch.lerp(values[left], values[left + 1], w)


def _bursts(rng: np.random.Generator, samples: int, rate: float, device: torch.device) -> Tensor:
    """Seconds since the last of randomly timed events, about `rate` of them a second [N]."""
    gaps = rng.gamma(3.0, 1 / (3 * rate), max(2, int(samples / SAMPLE_RATE * rate * 2)))
    onsets = torch.from_numpy((np.cumsum(gaps) * SAMPLE_RATE - 0.5 * SAMPLE_RATE / rate).astype(np.int64)).to(device)
    clock = torch.arange(samples, device=device)
    last = onsets[(torch.searchsorted(onsets, clock, right=True) - 1).clamp(min=0)]
    return ((clock - last).clamp(min=0) / SAMPLE_RATE).float()


def _released(age: Tensor) -> Tensor:
    """One, and down to 0 in the last 10 ms before each of the events that `age` [N] counts from."""
    after = torch.arange(1, len(age) + 1, device=age.device)
    events = torch.cat((after[:-1][age.diff() < 0], after[-1:] + SAMPLE_RATE))
    left = events[torch.searchsorted(events, after, right=False)] - after
    return (left / (0.01 * SAMPLE_RATE)).clamp(max=1)


def _noise(rng: np.random.Generator, samples: int, device: torch.device, channels: int = 1) -> Tensor:
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
    return torch.randn(channels, samples, generator=generator, device=device)


def _shaped(x: Tensor, gains: Callable[[Tensor], Tensor]) -> Tensor:
    f = torch.fft.rfftfreq(x.shape[-1], 1 / SAMPLE_RATE, device=x.device)
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x) * gains(f), x.shape[-1])
    return y


def voice(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Syllables: harmonics of a gliding pitch under moving formants, with breath and fricatives [2,N]."""
    pitch = float(rng.uniform(80, 320)) * torch.exp2(_curve(rng, samples, 3, device) * float(rng.uniform(0.1, 0.6)))
    phase = torch.cumsum(pitch.double() / SAMPLE_RATE, 0)
    phase = (TAU * (phase - phase.floor())).float()
    formants = [(500, 300, 80), (1_500, 700, 120), (2_600, 400, 160), (3_600, 300, 250)]
    moving = [(c + d * _curve(rng, samples, 5, device), float(b * rng.uniform(0.8, 1.6))) for c, d, b in formants]
    sound = torch.zeros(samples, device=device)
    for k in range(1, 33):
        f = pitch * k
        level = sum(
            (1 / (1 + ((f - centre) / width) ** 2) for centre, width in moving), torch.zeros((), device=device)
        )
        sound = sound + torch.sin(k * phase) * level / k**0.3 * (f < 9_000)
    age = _bursts(rng, samples, float(rng.uniform(2.5, 6)), device)
    voiced = (age / 0.02).clamp(max=1) * torch.exp(-((age / float(rng.uniform(0.12, 0.35))) ** 2))
    hiss = _shaped(_noise(rng, samples, device), lambda f: torch.sigmoid((f - 3_500) / 700))[0]
    fricative = torch.exp(-(((_bursts(rng, samples, 3, device) - 0.05) / 0.03) ** 2)) * float(rng.uniform(0.2, 0.7))
    return (sound * voiced + hiss * (fricative + 0.05 * voiced)).expand(2, -1)


def strings(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Plucked strings: slightly stretched partials whose decay grows with frequency [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(2, 6))):
        age = _bursts(rng, samples, float(rng.uniform(1, 5)), device)
        f0, stretch = float(rng.uniform(60, 500)), float(rng.uniform(0, 4e-4))
        place, decay = float(rng.uniform(0.08, 0.4)), float(rng.uniform(0.3, 1.6))
        pan = float(rng.uniform(-0.7, 0.7))
        sound = torch.zeros(samples, device=device)
        for k in range(1, 29):
            f = f0 * k * math.sqrt(1 + stretch * k * k)
            if f > 15_000:
                break
            level = math.sin(math.pi * k * place) / k
            sound = sound + level * torch.sin(TAU * f * age) * torch.exp(-age * (1 + 0.004 * f * 0.4) / decay)
        sound = sound * (age / 0.001).clamp(max=1)
        out = out + torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def metal(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Bells, plates and cymbals: inharmonic partials, each with its own decay [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(1, 4))):
        age = _bursts(rng, samples, float(rng.uniform(0.7, 4)), device)
        base = float(rng.uniform(150, 1_500))
        for ratio in np.sort(rng.uniform(1, 9, 22)):
            f = base * float(ratio)
            if f > 16_000:
                break
            level = torch.tensor(rng.uniform(0.1, 1, (2, 1)).astype(np.float32), device=device) / float(ratio) ** 0.5
            out = out + level * torch.sin(TAU * f * age) * torch.exp(-age / float(rng.uniform(0.03, 0.9)))
    return out


def sweeps(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Noise through a moving band: wind, surf, risers, brushes [2,N]."""
    noise = _noise(rng, samples, device, 2)
    width = float(rng.uniform(0.3, 1.5))

    def around(centre: float) -> Tensor:
        return _shaped(noise, lambda f: torch.exp(-((torch.log2(f.clamp(min=10) / centre) / width) ** 2)))

    bands = torch.stack([around(centre) for centre in (200, 600, 1_800, 5_400, 12_000)])
    centre = 2 + 2 * _curve(rng, samples, float(rng.uniform(0.3, 4)), device)
    steps = torch.arange(5, device=device)[:, None]
    weights = torch.exp(-((steps - centre) ** 2))
    out = (bands / bands.std((1, 2), keepdim=True) * weights[:, None]).sum(0)
    if rng.random() < 0.5:
        out = out * torch.exp(
            -_bursts(rng, samples, float(rng.uniform(1, 8)), device) / float(rng.uniform(0.05, 0.5))
        )
    return out


def noise(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Steady noise of one colour, from brown to white: rain, tape, a fan [2,N]."""
    slope, shared = float(rng.uniform(-6, 0)), float(rng.uniform(0, 1))
    both = torch.lerp(_noise(rng, samples, device, 2), _noise(rng, samples, device), shared)
    return _shaped(both, lambda f: (f.clamp(min=40) / 1_000) ** (slope / (20 * math.log10(2))))


def grains(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Clouds of short tones at unrelated pitches [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(4, 10))):
        age = _bursts(rng, samples, float(rng.uniform(3, 20)), device)
        length, f = float(rng.uniform(0.02, 0.15)), float(np.exp(rng.uniform(np.log(80), np.log(7_000))))
        glide = float(rng.uniform(-0.5, 0.5)) * f
        tone = torch.sin(TAU * (f * age + glide * age * age / (2 * length)))
        tone = torch.tanh(tone * float(rng.uniform(0.5, 6)))
        pan = float(rng.uniform(-1, 1))
        sound = tone * torch.exp(-(((age - length) / (0.4 * length)) ** 2)) * float(rng.uniform(0.3, 1))
        out = out + torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def chimes(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Struck things by other recipes than :func:`metal`: modulated bells, bars, clusters of squares [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(2, 5))):
        age = _bursts(rng, samples, float(rng.uniform(0.8, 6)), device)
        f, decay = float(np.exp(rng.uniform(np.log(120), np.log(3_500)))), float(np.exp(rng.uniform(-2.5, 0.4)))
        kind = rng.random()
        if kind < 0.4:  # frequency modulation (Chowning, 1973)
            ratio, depth = float(rng.choice((1.4, 1.41, 2.76, 3.5, 7.0))), float(rng.uniform(0.5, 5))
            bend = depth * torch.exp(-age / (0.6 * decay)) * torch.sin(TAU * f * ratio * age)
            sound = torch.sin(TAU * f * age + bend) * torch.exp(-age / decay)
        elif kind < 0.75:  # the modes of a bar with free ends
            sound = torch.zeros(samples, device=device)
            for ratio in (1.0, 2.756, 5.404, 8.933):
                if f * ratio < 16_000:
                    ring = torch.exp(-age * ratio**0.7 / decay)
                    sound = sound + float(rng.uniform(0.2, 1)) / ratio**0.5 * torch.sin(TAU * f * ratio * age) * ring
        else:  # an electronic cymbal
            cluster = sum((torch.sin(TAU * f * r * age).sign() for r in rng.uniform(1, 3, 6)), torch.zeros_like(age))
            sound = _shaped(cluster, lambda f: torch.sigmoid((f - 4_000) / 600)) * torch.exp(-age / decay)
        pan = float(rng.uniform(-0.8, 0.8))
        sound = sound * (age / 0.001).clamp(max=1) * float(rng.uniform(0.3, 1))
        out = out + torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def tones(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Held tones of few harmonics that swell and waver: organs, pipes, bowed glass [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(1, 6))):
        f = float(np.exp(rng.uniform(np.log(60), np.log(3_000))))
        waver = 1 + float(rng.uniform(0, 0.012)) * _curve(rng, samples, float(rng.uniform(3, 7)), device)
        phase = torch.cumsum((f * waver).double() / SAMPLE_RATE, 0)
        phase = (TAU * (phase - phase.floor())).float()
        level = 0.5 + 0.5 * _curve(rng, samples, float(rng.uniform(0.3, 4)), device)
        count = int(rng.integers(1, max(2, min(12, int(14_000 / f)))))
        sound = torch.zeros(samples, device=device)
        for k in range(1, count + 1):
            sound = sound + float(rng.uniform(0, 1)) / k**0.7 * torch.sin(k * phase + float(rng.uniform(0, TAU)))
        pan = float(rng.uniform(-0.8, 0.8))
        out = out + level * torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def partials(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Sets of few partials at unrelated pitches, struck or swelling, that beat and die away together [2,N]."""
    out = torch.zeros(2, samples, device=device)
    for _ in range(int(rng.integers(1, 4))):
        age = _bursts(rng, samples, float(rng.uniform(0.4, 3)), device)
        attack, decay = float(np.exp(rng.uniform(-7, -1.5))), float(np.exp(rng.uniform(-1.5, 1.2)))
        damping, tilt = float(rng.uniform(0, 0.9)), float(rng.uniform(0, 1))
        pan = float(rng.uniform(-0.9, 0.9))
        sound = torch.zeros(samples, device=device)
        for f in np.exp(rng.uniform(np.log(70), np.log(9_000), int(rng.integers(3, 13)))):
            level, beat = float(rng.uniform(0.2, 1)) * float(f / 300) ** -tilt, float(rng.uniform(0, 6))
            ring = torch.exp(-age * float(f / 500) ** damping / decay)
            tone = torch.sin(TAU * float(f) * age) + 0.4 * torch.sin(TAU * (float(f) + beat) * age)
            sound = sound + level * ring * tone
        sound = sound * (age / attack).clamp(max=1) * _released(age)
        out = out + torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def chords(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Chords of a keyed instrument in some tuning: notes of up to eight harmonics, each shimmering [2,N]."""
    out = torch.zeros(2, samples, device=device)
    age = _bursts(rng, samples, float(rng.uniform(0.5, 3)), device)
    attack, decay = float(np.exp(rng.uniform(-6, -2))), float(np.exp(rng.uniform(-1.5, 1.5)))
    tuning, tilt = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.5, 2.5))
    for note in rng.integers(36, 90, int(rng.integers(2, 7))):
        f = 440 * 2 ** ((float(note) - 69 + tuning) / 12)
        shimmer = 1 + 0.3 * _curve(rng, samples, float(rng.uniform(1, 8)), device)
        pan = float(rng.uniform(-0.6, 0.6))
        sound = torch.zeros(samples, device=device)
        for k in range(1, int(rng.integers(2, 9))):
            if f * k < 14_000:
                ring = torch.exp(-age * k**0.5 / decay)
                sound = sound + torch.sin(TAU * f * k * age + float(rng.uniform(0, TAU))) * ring / k**tilt
        sound = sound * shimmer * (age / attack).clamp(max=1) * _released(age)
        out = out + torch.stack((sound * (1 - pan), sound * (1 + pan)))
    return out


def damaged(rng: np.random.Generator, samples: int, device: torch.device) -> Tensor:
    """Music of the generator at another speed, filtered at random, distorted, reversed, swapped [2,N]."""
    piece = compose(Request(), int(rng.integers(2**31)), samples / SAMPLE_RATE)
    x = render([piece], samples / SAMPLE_RATE, device)[0]
    speed = float(rng.uniform(0.6, 1.6))
    place = torch.remainder(torch.arange(samples, device=device) * speed, samples - 1)
    left = place.long()
    x = torch.lerp(x[:, left], x[:, left + 1], (place - left).float())
    slope, notch = float(rng.normal(0, 4)), float(np.exp(rng.uniform(np.log(100), np.log(8_000))))
    x = _shaped(
        x,
        lambda f: 10 ** (slope * torch.log2(f.clamp(60, 12_000) / 1_000) / 20)
        * (1 - 0.9 * torch.exp(-((torch.log2(f.clamp(min=10) / notch) / 0.5) ** 2))),
    )  # fmt: skip
    if rng.random() < 0.4:
        x = torch.tanh(x * float(rng.uniform(2, 20)))
    if rng.random() < 0.3:
        x = x.flip(1)
    if rng.random() < 0.3:
        x = x * torch.sin(TAU * float(rng.uniform(20, 900)) * torch.arange(samples, device=device) / SAMPLE_RATE)
    return x


TRAINING = {
    "voice": voice,
    "sweeps": sweeps,
    "grains": grains,
    "damaged": damaged,
    "chimes": chimes,
    "tones": tones,
    "partials": partials,
    "chords": chords,
}
HELD_OUT = {"strings": strings, "metal": metal, "noise": noise}
"""Families that the codec's training never meets."""


def foreign(family: str, seed: int, seconds: float, device: torch.device | None = None) -> Tensor:
    """One clip [2,N] of `family`, at -26 to -14 dBFS and under one."""
    rng = np.random.default_rng((seed, 2))
    device = device or torch.device("cpu")
    samples = round(seconds * SAMPLE_RATE)
    x = (TRAINING | HELD_OUT)[family](rng, samples, device)
    x = x * (10 ** (float(rng.uniform(-26, -14)) / 20) / (x.square().mean().sqrt() + 1e-6))
    return torch.tanh(x)
