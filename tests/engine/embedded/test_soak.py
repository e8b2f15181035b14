"""The soak's ears, and a quarter of a minute of playing with every knob moving."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import embedded
from engine.embedded.soak import listen, main, moving
from engine.source import load_source

SECOND = 48_000


def music() -> NDArray[np.float32]:
    return np.ascontiguousarray(load_source(embedded.CLIP)[:, :SECOND].T)


def test_music_has_no_fault() -> None:
    assert listen(music()).fault == ""


def test_noise_silence_clicks_and_clipping_are_faults() -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal((SECOND, 2)).astype(np.float32)
    assert "is noise" in listen(noise).fault
    assert "is silence" in listen(0.001 * music()).fault
    assert "a peak of" in listen(music() * 5).fault
    tone = 0.1 * np.sin(np.arange(SECOND, dtype=np.float32) * 0.05)[:, None].repeat(2, 1)
    tone[SECOND // 2 :] += 0.3
    assert "a click" in listen(tone).fault


def test_the_knobs_move_over_their_whole_range_and_never_leave_it() -> None:
    readings = [moving(float(second)) for second in range(600)]
    strengths = [reading.denoise for reading in readings]
    assert min(strengths) < 0.01
    assert max(strengths) > 0.99
    assert all(0 <= reading.prompt_blend <= 1 and 1 <= reading.shift <= 6 for reading in readings)
    assert len({reading.seed for reading in readings}) > 60


@pytest.mark.slow
def test_a_quarter_of_a_minute_of_moving_knobs_has_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.25", "--loop", "2"]) == 0
    assert "0 faults" in capsys.readouterr().out
