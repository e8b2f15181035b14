"""The judges, on signals whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.embedded.judge import fidelity, harmony, rhythm
from engine.embedded.music import STYLES, Request, compose, render
from engine.geometry import SAMPLE_RATE

SECOND = SAMPLE_RATE


def clicks_at(bpm: float, seconds: float = 8.0) -> Tensor:
    audio = torch.zeros(1, 2, int(seconds * SECOND))
    for beat in range(int(seconds * bpm / 60)):
        start = int(beat * 60 / bpm * SECOND)
        audio[..., start : start + 200] = torch.randn(200, generator=torch.Generator().manual_seed(beat)) * 0.3
    return audio


def chord(*pitches: int, seconds: float = 3.0) -> Tensor:
    t = torch.arange(int(seconds * SECOND)) / SECOND
    tones = sum((torch.sin(2 * math.pi * 440 * 2 ** ((p - 69) / 12) * t) for p in pitches), torch.zeros_like(t))
    return (0.1 * tones).expand(1, 2, -1)


@pytest.mark.parametrize("bpm", [72.0, 120.0, 174.0])
def test_a_metronome_has_its_tempo_and_no_other(bpm: float) -> None:
    flux = rhythm.onsets(clicks_at(bpm))[0]
    assert rhythm.obeys_tempo(flux, bpm)
    assert not rhythm.obeys_tempo(flux, bpm * 1.08)
    assert not rhythm.obeys_tempo(flux, bpm * 0.92)


def test_onsets_are_counted() -> None:
    assert float(rhythm.onset_rate(clicks_at(120))) == pytest.approx(2, abs=0.3)


def test_the_onsets_counted_are_those_of_the_score_in_every_style() -> None:
    """Ripples that belong to no note are not counted, however sparse the piece is."""
    counted, written, seconds = [], [], 8.0
    for style in (name for name, idiom in STYLES.items() if idiom.kick.strip(".")):
        bpm = sum(STYLES[style].bpm) / 2
        for density in (0, 2):
            piece = compose(Request(style, bpm, density=density, energy=1, space=0), 70, seconds)
            counted.append(float(rhythm.onset_rate(render([piece], seconds))))
            written.append(piece.score.on.any(0).sum() / seconds)
    assert np.corrcoef(counted, written)[0, 1] > 0.85
    assert np.median(np.array(counted) / written) == pytest.approx(1, abs=0.15)


def test_onsets_agree_with_themselves_and_not_with_others() -> None:
    a, b = rhythm.onsets(clicks_at(120)), rhythm.onsets(clicks_at(97))
    assert float(rhythm.onset_agreement(a, a)) == pytest.approx(1, abs=1e-4)
    assert float(rhythm.onset_agreement(a, b)) < 0.4


def test_a_scale_has_its_root() -> None:
    scale = [60 + n for n in (0, 2, 4, 5, 7, 9, 11)]
    right, share = harmony.key(harmony.chroma(chord(*scale))[0].mean(-1), 0, "major")
    assert right
    assert share > 0.95
    assert harmony.key(harmony.chroma(chord(*scale))[0].mean(-1), 6, "major")[1] < 0.6


def test_progressions_agree_when_the_chords_do() -> None:
    a, b = chord(60, 64, 67), chord(61, 66, 70)
    assert float(harmony.progression_agreement(harmony.chroma(a), harmony.chroma(a * 0.3))) > 0.99
    assert float(harmony.progression_agreement(harmony.chroma(a), harmony.chroma(b))) < 0.2


def test_silence_is_no_part_of_a_progression() -> None:
    """Digital silence has no pitches: a clip agrees with itself whether it begins with some or not."""
    rests = torch.cat((torch.zeros(1, 2, SECOND), chord(60, 64, 67)), -1)
    a = harmony.chroma(rests)
    assert float(harmony.progression_agreement(a, a)) > 0.99
    hiss = rests + 1e-4 * torch.randn(rests.shape, generator=torch.Generator().manual_seed(1))
    assert float(harmony.progression_agreement(harmony.chroma(hiss), a)) > 0.99
    assert float(harmony.progression_agreement(a, torch.zeros_like(a))) == 0


def test_a_copy_is_faithful_and_a_muffled_one_is_not() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(2, 2 * SECOND, generator=generator)
    same = fidelity.fidelity(noise, noise)
    assert same.mel == 0
    assert same.sdr > 60
    muffled = torch.fft.rfft(noise)
    muffled[:, int(5_000 / 24_000 * muffled.shape[1]) :] *= 0.1
    worse = fidelity.fidelity(torch.fft.irfft(muffled, noise.shape[1]), noise)
    assert worse.high == pytest.approx(-20, abs=2)
    assert worse.mel > 0.1


def test_clicks_gaps_and_bad_seams_are_found() -> None:
    t = torch.arange(4 * SECOND) / SECOND
    tone = (0.2 * torch.sin(2 * math.pi * 220 * t)).expand(2, -1)
    assert fidelity.click_ratio(tone) < 2
    clicked = tone.clone()
    clicked[:, SECOND] += 0.3
    assert fidelity.click_ratio(clicked) > 6
    assert fidelity.seam_ratio(tone) < 1.5
    assert fidelity.seam_ratio(tone[:, : 3 * SECOND + 77]) > 1.5
    holed = tone.clone()
    holed[:, SECOND : 2 * SECOND] = 0
    assert fidelity.quietest_second(tone) > -20
    assert fidelity.quietest_second(holed) < -50
