"""The generator: what is asked for is what is heard, and the same in any batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.embedded.judge import fidelity, harmony, rhythm
from engine.embedded.judge.spectra import magnitudes
from engine.embedded.judge.style import Probe
from engine.embedded.music import STYLES, Piece, Request, compose, compose_pair, loop_tempo, render
from engine.embedded.music.foreign import HELD_OUT, TRAINING, foreign
from engine.embedded.music.score import LAYERS, make_plan, play

DRUMMED = [name for name, style in STYLES.items() if style.kick.strip(".")]


def heard(request: Request, seed: int, seconds: float = 6.0) -> Tensor:
    return render([compose(request, seed, seconds)], seconds)


def centroid(audio: Tensor) -> float:
    mean = magnitudes(audio.mean(1), 2048, 1024).mean((0, 2))
    return float((mean * torch.arange(len(mean))).sum() / mean.sum())


@pytest.fixture(scope="module")
def one_of_each() -> dict[str, Tensor]:
    """Six seconds of every style at its own middle tempo, in D minor."""
    return {
        name: heard(Request(name, bpm=sum(style.bpm) / 2, root=2, mode="minor"), 7) for name, style in STYLES.items()
    }


def test_there_are_at_least_eight_styles() -> None:
    assert len(STYLES) >= 8


def test_every_style_is_told_apart_by_the_probe(one_of_each: dict[str, Tensor]) -> None:
    assert Probe.load()(torch.cat(list(one_of_each.values()))) == list(one_of_each)


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_as_loud_as_the_others_and_never_clips(one_of_each: dict[str, Tensor], name: str) -> None:
    audio = one_of_each[name]
    assert audio.isfinite().all()
    assert audio.abs().max() < 0.98
    assert -19 < float(fidelity.loudness(audio)) < -14
    assert (audio[0, 0] - audio[0, 1]).abs().max() > 0


@pytest.mark.parametrize("name", DRUMMED)
def test_the_tempo_asked_for_is_heard_and_no_other(one_of_each: dict[str, Tensor], name: str) -> None:
    flux, bpm = rhythm.onsets(one_of_each[name])[0], sum(STYLES[name].bpm) / 2
    assert rhythm.obeys_tempo(flux, bpm)
    assert not rhythm.obeys_tempo(flux, bpm * 1.08)


def test_the_key_asked_for_is_heard() -> None:
    shares = []
    for root in range(0, 12, 3):
        chroma = harmony.chroma(heard(Request("synthwave", root=root, mode="minor"), root + 1))
        shares.append(harmony.key(chroma[0].mean(-1), root, "minor")[1])
    assert min(shares) > 0.7


def test_a_request_and_a_seed_are_one_piece_and_another_seed_is_another() -> None:
    first, again, other = (heard(Request("lofi"), seed, 2.0) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.05


def test_a_piece_sounds_the_same_alone_and_in_a_batch() -> None:
    pieces = [compose(Request(name), 3, 2.0) for name in ("house", "chiptune", "dnb")]
    # Chiptune rounds to few levels, where a rounding error may show as a whole level.
    for alone, together in zip((render([p], 2.0)[0] for p in pieces), render(pieces, 2.0), strict=True):
        assert (alone - together).abs().mean() < 1e-4


@pytest.mark.parametrize("name", STYLES)
def test_a_loop_closes_as_smoothly_as_it_plays(name: str) -> None:
    bpm = loop_tempo(sum(STYLES[name].bpm) / 2, 8.0)
    assert bpm is not None
    piece = compose(Request(name, bpm), 11, 8.0)
    assert piece.loops
    assert fidelity.seam_ratio(render([piece], 8.0)[0]) < 1.2


def test_a_loop_has_no_beginning() -> None:
    """Rotated by a bar, its tails and echoes are where they were: nothing starts from silence."""
    piece = compose(Request("ambient", bpm=60.0), 5, 8.0)
    audio = render([piece], 8.0)[0]
    assert fidelity.loudness(audio[:, : 48_000 // 4]) > fidelity.loudness(audio) - 12


def test_tempos_that_do_not_fit_do_not_loop() -> None:
    assert not compose(Request("house", bpm=121.3), 1, 16.0).loops
    assert loop_tempo(121.3, 16.0) == 120
    assert loop_tempo(61.0, 1.5) is None


def test_a_cover_is_the_same_music_in_another_sound() -> None:
    agreements, strangers = [], []
    for seed in range(40, 46):
        pair = compose_pair(Request(), seed, 6.0)
        assert pair[0].bpm == pair[1].bpm
        assert (pair[0].root, pair[0].mode) == (pair[1].root, pair[1].mode)
        a, b = (harmony.chroma(render([piece], 6.0)) for piece in pair)
        stranger = harmony.chroma(heard(Request(root=(pair[0].root + 6) % 12), seed + 100))
        agreements.append(float(harmony.progression_agreement(a, b)))
        strangers.append(float(harmony.progression_agreement(a, stranger)))
    assert np.mean(agreements) > np.mean(strangers) + 0.3


def test_a_layer_is_a_function_of_plan_and_style_alone() -> None:
    plan = make_plan(np.random.default_rng(1), "house", 4, 0, "minor", 1)
    own, borrowed = play(plan, "techno"), play(plan, "house", dict.fromkeys(LAYERS, "techno"))
    assert np.array_equal(own.on, borrowed.on)
    assert np.array_equal(own.pitch * own.on, borrowed.pitch * borrowed.on)


@pytest.mark.parametrize("name", ["house", "techno", "lofi", "dnb", "synthwave"])
def test_busier_pieces_have_more_onsets_and_brighter_ones_a_higher_centroid(name: str) -> None:
    bpm = sum(STYLES[name].bpm) / 2
    clips = [[heard(Request(name, bpm, density=d, brightness=1), s) for s in (1, 2, 3)] for d in range(3)]
    rates = [float(torch.cat([rhythm.onset_rate(clip) for clip in same]).mean()) for same in clips]
    assert rates[0] < rates[2]
    tones = [centroid(heard(Request(name, bpm, density=1, brightness=b), 1)) for b in range(3)]
    assert tones == sorted(tones)


def test_spacious_pieces_ring_on_after_the_last_note() -> None:
    tails = []
    for space in range(3):
        piece: Piece = compose(Request("house", bpm=119.0, space=space), 2, 4.0)
        on = piece.score.on.copy()
        on[:, 8:] = False
        audio = render([replace(piece, score=replace(piece.score, on=on))], 4.0)
        tails.append(float(fidelity.loudness(audio[..., 96_000:])))
    assert tails == sorted(tails)


@pytest.mark.parametrize("family", TRAINING | HELD_OUT)
def test_sounds_from_outside_are_finite_seeded_and_of_ordinary_loudness(family: str) -> None:
    audio, again = foreign(family, 5, 2.0), foreign(family, 5, 2.0)
    assert torch.equal(audio, again)
    assert audio.shape == (2, 96_000)
    assert audio.isfinite().all()
    assert audio.abs().max() <= 1
    assert -32 < float(fidelity.loudness(audio)) < -12
