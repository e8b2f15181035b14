"""The loops and prompts that ship inside."""

from __future__ import annotations

import pytest
import soundfile
import torch

from engine import embedded
from engine.conditioning import Prompt, load_conditioner
from engine.embedded.judge import fidelity, rhythm
from engine.embedded.judge.style import Probe
from engine.geometry import GRID, SAMPLE_RATE
from engine.source import load_source


@pytest.mark.parametrize("name", embedded.CLIPS)
def test_a_loop_is_in_the_style_and_tempo_of_its_name_and_closes(name: str) -> None:
    audio = torch.from_numpy(load_source(embedded.CLIPS[name]))
    style, bpm = name.split("-")
    assert audio.shape[1] % GRID == 0
    assert (audio.shape[1] / SAMPLE_RATE * int(bpm) / 60) % 4 == pytest.approx(0, abs=1e-9)  # whole bars
    assert Probe.load()(audio[None]) == [style]
    assert fidelity.seam_ratio(audio) < 1.2
    if style != "ambient":
        assert rhythm.obeys_tempo(rhythm.onsets(audio[None])[0], float(bpm))


@pytest.mark.parametrize("name", embedded.CLIPS)
def test_a_loop_is_used_as_it_lies_in_its_file(name: str) -> None:
    """Nothing is cut off: the file already has whole frames."""
    assert load_source(embedded.CLIPS[name]).shape[1] == soundfile.info(embedded.CLIPS[name]).frames


def test_every_prompt_is_understood_word_for_word() -> None:
    conditioner = load_conditioner(embedded.CHECKPOINT, torch.device("cpu"))
    for text in (embedded.PROMPT_A, embedded.PROMPT_B, *embedded.PROMPTS.values()):
        assert conditioner.encode(Prompt(text)).remark == ""
