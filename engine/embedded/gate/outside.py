"""Sounds from outside the generator's world, through the codec: does a user's own file come back recognisably?

Called by the gate, and by the codec's training with other seeds. The sounds are nine families of
`engine.embedded.music.foreign`, of seeds that training never met; three of the families it never met at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.embedded.gate.player import Codec
from engine.embedded.judge import fidelity, harmony, rhythm
from engine.embedded.judge.spectra import magnitudes, mel_filters
from engine.embedded.music.foreign import foreign

FAMILIES = ("voice", "sweeps", "grains", "damaged", "chimes", "tones", "strings", "metal", "noise")
"""What is judged, whatever else training may meet."""
_TONAL = ("strings", "metal", "damaged")
"""Families with pitches that stay, so that harmony can be compared."""


@dataclass(frozen=True, slots=True)
class Returned:
    """How sounds from outside come back."""

    recognised: float
    """Share of the copies that are nearer to their own original than to any other clip."""
    rhythm: float
    """Correlation of the onset envelope with the original's, over all families but steady noise."""
    other_rhythm: float
    """The same with another clip of the family, as a floor."""
    harmony: float
    """Correlation of the chroma with the original's, over the tonal families."""
    other_harmony: float
    families: dict[str, fidelity.Fidelity]
    """The mean of each family's clips."""


def sounds(first_seed: int, device: torch.device, clips: int = 3, seconds: float = 6.0) -> dict[str, Tensor]:
    """`clips` (2 or more) clips [clips,2,N] of every family, of seeds from `first_seed` on."""
    seeds = range(first_seed, first_seed + clips)
    return {name: torch.stack([foreign(name, seed, seconds, device) for seed in seeds]) for name in FAMILIES}


def returned(codec: Codec, originals: Mapping[str, Tensor]) -> Returned:
    """Encodes and decodes `originals`, which :func:`sounds` made."""
    copies = {name: codec.decode(codec.encode(x)) for name, x in originals.items()}
    timed = [(copies[name], originals[name]) for name in FAMILIES if name != "noise"]
    own_rhythm, other_rhythm = _agreement(timed, rhythm.onsets, rhythm.onset_agreement)
    tonal = [(copies[name], originals[name]) for name in _TONAL]
    own_harmony, other_harmony = _agreement(tonal, harmony.chroma, harmony.progression_agreement)
    return Returned(
        recognised(torch.cat(list(copies.values())), torch.cat(list(originals.values()))),
        own_rhythm,
        other_rhythm,
        own_harmony,
        other_harmony,
        {
            name: fidelity.mean([fidelity.fidelity(x, y) for x, y in zip(copies[name], originals[name], strict=True)])
            for name in FAMILIES
        },
    )


def recognised(copies: Tensor, originals: Tensor) -> float:
    """Share of the copies [B,2,N] whose nearest original, by mean distance of log10 mel spectra, is their own."""
    a, b = _mel(copies), _mel(originals)
    nearest = torch.stack([(each - b).abs().mean((1, 2)).argmin() for each in a])
    return float((nearest == torch.arange(len(a), device=a.device)).float().mean())


def _mel(audio: Tensor) -> Tensor:
    return torch.log10((mel_filters(2048, 80, audio.device) @ magnitudes(audio.mean(1), 2048, 512)).clamp(min=1e-4))


def _agreement(
    pairs: list[tuple[Tensor, Tensor]], heard: Callable[[Tensor], Tensor], alike: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """How `alike` what is `heard` of copies and originals is, on average; and with the next original instead."""
    own = [alike(heard(copy), heard(original)) for copy, original in pairs]
    other = [alike(heard(copy), heard(original.roll(1, 0))) for copy, original in pairs]
    return float(torch.cat(own).mean()), float(torch.cat(other).mean())
