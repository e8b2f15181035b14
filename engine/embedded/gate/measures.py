"""The measures of the gate over lists of requests. Each returns numbers; what they must be stands in `rows`.

Called by the gate's command and by the evaluation during training. Audio is judged one clip after the other, so that
160 requests fit on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.embedded.gate.player import Player
from engine.embedded.gate.requests import FIRST_SEED, Asked
from engine.embedded.judge import fidelity, harmony, rhythm
from engine.embedded.judge.style import Probe, features
from engine.embedded.music import STYLES, Piece, Request, compose, render
from engine.geometry import LATENT_RATE

SECONDS = 16.0
FRAMES = round(SECONDS * LATENT_RATE)


@dataclass(frozen=True, slots=True)
class Judged:
    """Means over clips of what one batch of audio [B,2,N] sounds like, against what was asked for."""

    tempo: float
    """Share of the clips with drums whose tempo is the one asked for."""
    wrong_tempo: float
    """The same for a tempo 8 % off."""
    root: float
    in_scale: float
    style: float
    """Share that the probe takes for the style asked for."""
    loudness: float
    """dBFS, mean of the clips."""
    loudest: float
    quietest: float
    peak: float
    quietest_second: float
    clicks: float
    """The worst clip's."""
    seam: float
    """The worst clip's."""


def judge(audio: Tensor, asked: Sequence[Asked], probe: Probe) -> Judged:
    """What `audio` [B,2,N] sounds like against what was asked for."""
    flux, chroma = _each(rhythm.onsets, audio), _each(harmony.chroma, audio).mean(-1)
    drums = [i for i, a in enumerate(asked) if STYLES[a.style].kick.strip(".")]
    keys = [harmony.key(c, a.root, a.mode) for c, a in zip(chroma, asked, strict=True)]
    levels = fidelity.loudness(audio)
    return Judged(
        tempo=_share([rhythm.obeys_tempo(flux[i], asked[i].bpm) for i in drums]),
        wrong_tempo=_share([rhythm.obeys_tempo(flux[i], asked[i].bpm * 1.08) for i in drums]),
        root=_share([right for right, _ in keys]),
        in_scale=_share([share for _, share in keys]),
        style=_share([guess == a.style for guess, a in zip(_guesses(probe, audio), asked, strict=True)]),
        loudness=float(levels.mean()),
        loudest=float(levels.max()),
        quietest=float(levels.min()),
        peak=float(audio.abs().max()),
        quietest_second=min(fidelity.quietest_second(clip) for clip in audio),
        clicks=max(fidelity.click_ratio(clip) for clip in audio),
        seam=max(fidelity.seam_ratio(clip) for clip in audio),
    )


def _each(measure: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
    """`measure` of one clip after the other."""
    return torch.cat([measure(clip[None]) for clip in audio])


def _guesses(probe: Probe, audio: Tensor) -> list[str]:
    return [guess for clip in audio for guess in probe(clip[None])]


def _share(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def generate(player: Player, asked: Sequence[Asked], steps: int = 8) -> Tensor:
    """Text to music: latents [B,T,64]."""
    context = player.context(None, len(asked), FRAMES)
    return player.sample([a.text for a in asked], context, [a.seed for a in asked], steps)


def own_music(asked: Sequence[Asked], device: torch.device) -> tuple[list[Piece], Tensor]:
    """What the generator itself makes of the requests, as pieces and audio [B,2,N]."""
    pieces = [compose(Request(a.style, a.bpm, a.root, a.mode), FIRST_SEED + a.seed, SECONDS) for a in asked]
    return pieces, torch.cat([render([piece], SECONDS, device) for piece in pieces])


def covers_asked(asked: Sequence[Asked]) -> list[Asked]:
    """The same requests with the style three further on, in the tempo and key of the first."""
    names = tuple(STYLES)
    return [Asked(names[(names.index(a.style) + 3) % len(names)], a.bpm, a.root, a.mode, a.seed) for a in asked]


@dataclass(frozen=True, slots=True)
class Covered:
    """Means over covers."""

    rhythm: float
    """Correlation of the onset envelope with the source's."""
    other_rhythm: float
    """The same with another source's, as a floor."""
    harmony: float
    """Correlation of the chroma with the source's."""
    style: float
    """Share that the probe takes for the prompt's style."""
    kept_style: float
    """Share that it takes for the source's."""
    tempo: float


def cover(player: Player, source: Tensor, asked: Sequence[Asked], probe: Probe) -> tuple[Tensor, Covered]:
    """Covers of `source` [B,2,N] in the next style: audio [B,2,N] and how they do."""
    wanted = covers_asked(asked)
    latents = player.encode(source)
    context = player.context(player.hints(latents), len(asked), latents.shape[1])
    z = player.sample([a.text for a in wanted], context, [a.seed for a in asked], source=latents)
    audio = player.decode(z)
    return audio, covered(audio, source.to(audio.device), asked, wanted, probe)


def covered(audio: Tensor, source: Tensor, asked: Sequence[Asked], wanted: Sequence[Asked], probe: Probe) -> Covered:
    """How covers [B,2,N] of `source`, which was `asked` for, do what was `wanted` of them."""
    flux, original = _each(rhythm.onsets, audio), _each(rhythm.onsets, source)
    drums = [i for i, (a, w) in enumerate(zip(asked, wanted, strict=True)) if "ambient" not in (a.style, w.style)]
    guesses = _guesses(probe, audio)
    return Covered(
        rhythm=float(rhythm.onset_agreement(flux, original)[drums].mean()),
        other_rhythm=float(rhythm.onset_agreement(flux, original.roll(1, 0))[drums].mean()),
        harmony=float(
            harmony.progression_agreement(_each(harmony.chroma, audio), _each(harmony.chroma, source)).mean()
        ),
        style=_share([g == w.style for g, w in zip(guesses, wanted, strict=True)]),
        kept_style=_share([g == a.style for g, a in zip(guesses, asked, strict=True)]),
        tempo=_share([rhythm.obeys_tempo(flux[i], asked[i].bpm) for i in drums]),
    )


def strengths(
    player: Player, source: Tensor, asked: Sequence[Asked], probe: Probe, values: Sequence[float]
) -> tuple[list[float], list[float]]:
    """For each strength: distance from the source (of probe features), and probability of the prompt's style."""
    wanted = covers_asked(asked)
    latents = player.encode(source)
    context = player.context(player.hints(latents), len(asked), latents.shape[1])
    kept = player.decode(latents)
    names = tuple(STYLES)
    columns = torch.tensor([names.index(a.style) for a in wanted])
    far, near = [], []
    for value in values:
        audio = kept
        if value > 0:
            texts, seeds = [a.text for a in wanted], [a.seed for a in asked]
            audio = player.decode(player.sample(texts, context, seeds, 8, value, latents))
        far.append(float((features(audio) - features(kept)).abs().mean()))
        near.append(float(probe.scores(audio).cpu().gather(1, columns[:, None]).mean()))
    return far, near


def mel_distance(a: Tensor, b: Tensor) -> float:
    """Mean mel distance (log10) of clips [B,2,N]: how different two seeds are."""
    return _share([fidelity.fidelity(x, y).mel for x, y in zip(a, b, strict=True)])
