"""Spectrograms as PNG files, for eyes. Called for docs/ and by the gate's command under `--pictures`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from engine.embedded.judge.spectra import magnitudes, mel_filters
from engine.geometry import SAMPLE_RATE

_BANDS, _LOW, _HIGH = 200, 30.0, 20_000.0
_HOP = 960
_RANGE = 70.0
"""Decibels from black to white."""
_SHADES = ((8, 6, 20), (58, 15, 110), (140, 41, 129), (221, 73, 104), (253, 159, 108), (252, 253, 191))
_STEPS = 32
_MARGIN = 30
"""Pixels left of and below the spectrum, for the scales."""
_INK = _STEPS


def save_spectrogram(audio: Tensor, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """The mel spectrum of [2,N] over 70 dB with scales of Hz and seconds; `notes` are kept in the file as text."""
    mel = mel_filters(4096, _BANDS, audio.device, _LOW, _HIGH) @ magnitudes(audio.mean(0), 4096, _HOP)
    decibels = 20 * torch.log10(mel.clamp(min=1e-5))
    shade = ((decibels - decibels.max()) / _RANGE + 1).clamp(0, 1).flip(0)
    spectrum = Image.fromarray((shade * (_STEPS - 1)).round().to(torch.uint8).cpu().contiguous().numpy(), "P")
    picture = Image.new("P", (spectrum.width + _MARGIN, spectrum.height + _MARGIN // 2), 0)
    picture.putpalette(_palette())
    picture.paste(spectrum, (_MARGIN, 0))
    _scales(ImageDraw.Draw(picture), spectrum.width, spectrum.height)
    text = PngInfo()
    for name, note in (notes or {}).items():
        text.add_text(name, note)
    picture.save(path, optimize=True, pnginfo=text)


def _palette() -> list[int]:
    """Red, green and blue of every step from black to white, and of the ink."""
    colours: list[int] = []
    for step in range(_STEPS):
        place = step / (_STEPS - 1) * (len(_SHADES) - 1)
        left = min(int(place), len(_SHADES) - 2)
        colours += [
            round(a + (b - a) * (place - left)) for a, b in zip(_SHADES[left], _SHADES[left + 1], strict=True)
        ]
    return [*colours, 200, 200, 200]


def _scales(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    for hertz, text in ((100, "100"), (500, "500"), (1_000, "1k"), (2_000, "2k"), (5_000, "5k"), (10_000, "10k")):
        y = height - 1 - _mel(hertz) * height
        draw.text((_MARGIN - 4, y), text, _INK, anchor="rm")
    for second in range(0, int(width * _HOP / SAMPLE_RATE) + 1, 2):
        x = _MARGIN + second * SAMPLE_RATE / _HOP
        draw.line((x, height, x, height + 2), _INK)
        draw.text((x + 2, height + 1), f"{second} s", _INK, anchor="la")


def _mel(hertz: float) -> float:
    """Where a frequency lies between the lowest band (0) and the highest (1)."""
    low, high, here = (math.log1p(f / 700) for f in (_LOW, _HIGH, hertz))
    return (here - low) / (high - low)
