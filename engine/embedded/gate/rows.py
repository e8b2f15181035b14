"""The rows of the gate: what was measured, what it must be, whether it is.

The thresholds are the project's own. Where a measure depends on the judge as much as on the model, the generator's
own music is judged beside it and printed in brackets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from engine.backends import Side
from engine.backends.eager import EagerBackend
from engine.conditioning import Prompt
from engine.embedded.gate.measures import (
    FRAMES,
    SECONDS,
    Covered,
    Judged,
    cover,
    generate,
    judge,
    mel_distance,
    own_music,
    strengths,
)
from engine.embedded.gate.outside import Returned, returned, sounds
from engine.embedded.gate.player import Codec, Player
from engine.embedded.gate.requests import FIRST_SEED, Asked
from engine.embedded.judge import fidelity, rhythm
from engine.embedded.judge.spectra import magnitudes
from engine.embedded.judge.style import Probe
from engine.embedded.music import STYLES, Request, compose, render
from engine.embedded.music.compose import BRIGHTNESS, DENSITY
from engine.embedded.music.foreign import HELD_OUT

HARMONY = "own files: harmony (another file's)"
STRENGTHS = (0.0, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    measure: str
    got: str
    gate: str
    passed: bool | None
    """None for a row that is only reported."""
    numbers: dict[str, float]

    def __str__(self) -> str:
        """As a line of the table."""
        return f"{self.measure:62} {self.got:34} {self.gate}{'  MISSED' if self.passed is False else ''}"


def _at_least(measure: str, value: float, least: float, beside: float | None = None) -> Row:
    return _row(measure, value, f">= {least:.3g}", value >= least, beside)


def _at_most(measure: str, value: float, most: float, beside: float | None = None) -> Row:
    return _row(measure, value, f"<= {most:.3g}", value <= most, beside)


def _row(measure: str, value: float, gate: str, passed: bool | None, beside: float | None = None) -> Row:
    got = f"{value:.2f}" + ("" if beside is None else f" ({beside:.2f})")
    return Row(measure, got, gate, passed, {"value": value} if beside is None else {"value": value, "beside": beside})


def text_rows(found: Judged, own: Judged, few: Judged) -> Iterator[Row]:
    """Text to music in eight steps, the generator's own music, and text to music in four steps."""
    yield _at_least("tempo asked for is the tempo heard", found.tempo, 0.9, own.tempo)
    yield _at_most("the same for a tempo 8 % off", found.wrong_tempo, 0.05, own.wrong_tempo)
    yield _at_least("energy inside the scale", found.in_scale, 0.72, own.in_scale)
    yield _at_least("root is the best of twelve", found.root, 0.55, own.root)
    yield _at_least("style by the probe", found.style, max(0.6, 0.75 * own.style), own.style)
    within = -20 <= found.loudness <= -12
    yield _row("loudness, dBFS, mean of the clips", found.loudness, "-20 to -12", within, own.loudness)
    yield _at_least("loudness of the quietest clip, dBFS", found.quietest, -26.0, own.quietest)
    yield _at_most("loudness of the loudest clip, dBFS", found.loudest, -12.0, own.loudest)
    yield _at_most("peak", found.peak, 0.98, own.peak)
    yield _at_least("quietest second, dBFS", found.quietest_second, -50.0, own.quietest_second)
    yield _at_most("largest click over the music's own steps", found.clicks, 6.0, own.clicks)
    yield _at_most("step at the loop's seam over the largest elsewhere", found.seam, 1.5, own.seam)
    yield _at_least("4 steps: tempo", few.tempo, 0.9)
    yield _at_least("4 steps: root", few.root, 0.55)
    yield _at_least("4 steps: style", few.style, max(0.6, 0.75 * own.style))


def seed_rows(player: Player, asked: Sequence[Asked], first: Tensor) -> Iterator[Row]:
    """Other seeds differ, the same seed gives the same bits; `first` are the latents of `asked`."""
    other = [Asked(a.style, a.bpm, a.root, a.mode, a.seed + 500_000) for a in asked]
    distance = mel_distance(player.decode(generate(player, other)), player.decode(first[: len(asked)]))
    yield _at_least("mel distance between two seeds", distance, 0.4)
    again = generate(player, asked)
    yield _at_least("the same seed gives the same bits", float(torch.equal(again, generate(player, asked))), 1.0)


def cover_rows(found: Covered) -> Iterator[Row]:
    """Covers in a style three further on."""
    yield _at_least("covers: rhythm follows the source (another source)", found.rhythm, 0.5, found.other_rhythm)
    yield _at_least("covers: harmony follows the source", found.harmony, 0.5)
    yield _at_least("covers: style is the prompt's (the source's)", found.style, 0.5, found.kept_style)
    yield _at_least("covers: tempo", found.tempo, 0.9)


def strength_rows(player: Player, source: Tensor, asked: Sequence[Asked], probe: Probe) -> Iterator[Row]:
    """From the source at 0 to the prompt at 1."""
    far, near = strengths(player, source, asked, probe, STRENGTHS)
    for name, values in (("distance from the source", far), ("probability of the prompt's style", near)):
        numbers = {f"{s:g}": v for s, v in zip(STRENGTHS, values, strict=True)}
        got = " ".join(f"{v:.2f}" for v in values)
        rising = all(b >= a - 0.01 for a, b in pairwise(values)) and values[-1] > values[0]
        yield Row(f"strength 0 .3 .5 .7 1: {name}", got, "rises", rising, numbers)


def knob_rows(player: Player, seeds: Sequence[int]) -> Iterator[Row]:
    """Words of density and brightness, in every style with drums; in brackets the generator's own music.

    The reach is how far the first word is from the last one, over how far it is in the generator's music.
    """
    for title, words, measure in (
        ("density to onsets a second", DENSITY, rhythm.onset_rate),
        ("brightness to centroid", BRIGHTNESS, _centroid),
    ):
        ranks, own_ranks, reach = [], [], []
        for name in (name for name, style in STYLES.items() if style.kick.strip(".")):
            played, own = (
                [float(measure(audio(player, name, words, number, seeds)).mean()) for number in range(len(words))]
                for audio in (_described, _own_described)
            )
            ranks.append(_spearman(played))
            own_ranks.append(_spearman(own))
            reach.append((played[-1] - played[0]) / (own[-1] - own[0]))
        rank, own_rank = float(np.mean(ranks)), float(np.mean(own_ranks))
        yield _at_least(f"{title}: rank correlation, mean of styles", rank, 0.8, own_rank)
        lowest, mean = min(reach), float(np.mean(reach))
        yield _row(f"{title}: reach (least of a style)", mean, "", None, lowest)


def _described(player: Player, style: str, words: Sequence[str], number: int, seeds: Sequence[int]) -> Tensor:
    """What the model makes of a style and one of the `words` [B,2,N]."""
    text = f"{style}, {words[number]}, {_middle(style):g} bpm"
    return player.decode(player.sample([text] * len(seeds), player.context(None, len(seeds), FRAMES), seeds))


def _own_described(player: Player, style: str, words: Sequence[str], number: int, seeds: Sequence[int]) -> Tensor:
    """The same from the generator."""
    density, brightness = (number, None) if words is DENSITY else (None, number)
    request = Request(style, _middle(style), density=density, brightness=brightness)
    pieces = [compose(request, FIRST_SEED + seed, SECONDS) for seed in seeds]
    return torch.cat([render([piece], SECONDS, player.device) for piece in pieces])


def _middle(style: str) -> float:
    return float(round(sum(STYLES[style].bpm) / 2))


def _centroid(audio: Tensor) -> Tensor:
    mean = magnitudes(audio.mean(1), 2048, 1024).mean(-1)
    return (mean * torch.arange(mean.shape[1], device=mean.device)).sum(1) / mean.sum(1)


def _spearman(values: Sequence[float]) -> float:
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def survived(codec: Codec, clips: Tensor) -> list[fidelity.Fidelity]:
    """How each of `clips` [B,2,N] comes back."""
    return [fidelity.fidelity(codec.decode(codec.encode(clip[None]))[0], clip) for clip in clips]


def codec_rows(found: fidelity.Fidelity) -> Iterator[Row]:
    """Reconstruction of the generator's music."""
    yield _at_most("codec: mel distance", found.mel, 0.25)
    yield _at_most("codec: multi-resolution STFT", found.stft, 1.2)
    yield _at_least("codec: SI-SDR, dB", found.sdr, 4.0)
    yield _at_most("codec: energy over 5 kHz, dB off", abs(found.high), 3.0)
    yield _at_least("codec: onset flux correlation", found.onsets, 0.8)


def style_rows(found: Mapping[str, fidelity.Fidelity]) -> Iterator[Row]:
    """The same for each style, without limits."""
    for name, each in found.items():
        got = f"{each.mel:.2f}, {each.stft:.2f}, {each.sdr:.1f}, {each.high:.1f}, {each.onsets:.2f}"
        yield Row(f"codec: {name}: mel, STFT, SDR, over 5 kHz, onsets", got, "", None, asdict(each))


def outside_rows(found: Returned) -> Iterator[Row]:
    """A user's own file, as it comes back through the codec."""
    yield _at_least("own files: share nearer to itself than to any other", found.recognised, 0.95)
    yield _at_least("own files: rhythm (another file's)", found.rhythm, 0.7, found.other_rhythm)
    yield _at_least(HARMONY, found.harmony, 0.8, found.other_harmony)
    for name, each in found.families.items():
        met = " (never met)" if name in HELD_OUT else ""
        got = f"{each.mel:.2f}, {each.stft:.2f}, {each.sdr:.1f}, {each.high:.1f}"
        yield Row(f"own files: {name}{met}: mel, STFT, SDR, over 5 kHz, dB", got, "", None, asdict(each))


def speed_rows(player: Player) -> Iterator[Row]:
    """On this machine as it is: a decode on one core, and a tick of four slots over 16 s as the engine runs it."""
    latents = torch.zeros(1, FRAMES, 64, device=player.device)
    took = _median(lambda: player.decode(latents))
    yield _at_least("decode, times real time", 16 / took, 10.0)
    backend = EagerBackend(player.dit, threads=2)
    kv = backend.keys_values(player.front.encode(Prompt("house")).states)
    sides = [Side(player.context(None, 1, FRAMES), kv, None)] * 4
    backend.prepare(4, FRAMES, kv.shape[-2])
    took = _median(lambda: backend.velocity(latents.expand(4, -1, -1), [0.5] * 4, sides))
    yield _at_most("a tick of four slots over 16 s on two cores, ms", took * 1_000, 150.0)


def _median(work: Callable[[], Tensor], times: int = 5) -> float:
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        float(work().sum())  # waits for the device
        taken.append(time.perf_counter() - start)
    return sorted(taken)[times // 2]


def all_rows(player: Player, asked: Sequence[Asked], covers: int) -> Iterator[tuple[Row, dict[str, Tensor]]]:
    """Every row, with the audio that it was judged by where a picture of it is wanted."""
    probe = Probe.load()
    sources = own_music(asked[:covers], player.device)[1]
    own = judge(sources, asked[:covers], probe)
    latents = generate(player, asked)
    audio = player.decode(latents)
    few = judge(player.decode(generate(player, asked[:covers], 4)), asked[:covers], probe)
    for row in text_rows(judge(audio, asked, probe), own, few):
        yield row, {"text": audio}
    covered, did = cover(player, sources, asked[:covers], probe)
    for row in cover_rows(did):
        yield row, {"source": sources, "cover": covered}
    some = max(8, covers // 4)
    for rows in (
        strength_rows(player, sources[:some], asked[:some], probe),
        seed_rows(player, asked[:8], latents),
        knob_rows(player, range(1, 2 + len(asked) // 40)),
        codec_rows(fidelity.mean(survived(player, sources[:some, :, : 6 * 48_000]))),
        outside_rows(returned(player, sounds(FIRST_SEED, player.device))),
        speed_rows(player),
    ):
        for row in rows:
            yield row, {}
