"""A performer's own file through the whole engine: it comes back recognisably, and `denoise` leads away from it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor

from engine import Knobs, Session
from engine.embedded.gate.outside import recognised
from engine.embedded.judge import rhythm
from engine.embedded.judge.fidelity import fidelity
from engine.embedded.music.foreign import foreign
from engine.geometry import SAMPLE_RATE

FAMILIES = ("strings", "voice", "noise")
"""Two that the codec never met, and one of which it met other examples."""
SECONDS = 2.0


def played(session: Session, **knobs: float) -> Tensor:
    """One pass of the loop [2,N]."""
    return torch.from_numpy(session.render(SECONDS, Knobs(**knobs)).T.copy())  # type: ignore[arg-type]


def written(path: Path, sound: Tensor) -> Path:
    """As a file of another rate with one channel."""
    mono = soxr.resample(sound.mean(0).numpy(), SAMPLE_RATE, 44_100)
    soundfile.write(path, mono, 44_100, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Path]]:
    folder = tmp_path_factory.mktemp("own")
    sounds = {family: foreign(family, 4_000_000_000, SECONDS) for family in FAMILIES}
    return {family: (sound, written(folder / f"{family}.wav", sound)) for family, sound in sounds.items()}


def test_own_files_come_back_recognisably(own: dict[str, tuple[Tensor, Path]]) -> None:
    copies = []
    for _, path in own.values():
        session = Session(source=path, device="cpu", depth=1, steps=2)
        copies.append(played(session, denoise=0.0))
        session.close()
    originals = torch.stack([sound.mean(0).expand(2, -1) for sound, _ in own.values()])
    assert recognised(torch.stack(copies), originals) == 1
    follow = [
        float(rhythm.onset_agreement(rhythm.onsets(a[None]), rhythm.onsets(b[None])))
        for a, b in zip(copies, originals, strict=True)
    ]
    assert min(follow[:2]) > 0.5


def test_denoise_leads_away_from_the_source_step_by_step_and_seeds_differ(
    own: dict[str, tuple[Tensor, Path]],
) -> None:
    session = Session(source=own["voice"][1], prompt_a="house, 120 bpm, a minor", device="cpu", depth=2, steps=4)
    try:
        source = played(session, denoise=0.0)
        far = [fidelity(played(session, denoise=share), source).mel for share in (0.3, 0.6, 1.0)]
        assert all(a < b for a, b in pairwise([0.0, *far]))
        seeds = [played(session, denoise=1.0, seed=seed) for seed in (1, 2, 1)]
        assert fidelity(seeds[0], seeds[1]).mel > 0.2
        assert np.array_equal(seeds[0].numpy(), seeds[2].numpy())
    finally:
        session.close()
