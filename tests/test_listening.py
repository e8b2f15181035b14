"""The ears of the tests: they hear every click, and no click in music."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.listening import clicks, longest_silence

RATE = 48000


def music(seed: int, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A chord with vibrato, a bass, plucked notes with 3 ms attacks, and drum-like bursts of noise; peak 0.9."""
    generator = np.random.default_rng(seed)
    frames = int(seconds * rate)
    time = np.arange(frames) / rate
    sound = np.zeros((frames, 2))
    for _ in range(4):
        hertz, pan = generator.uniform(80, 900), generator.uniform(0.2, 0.8)
        wave = np.sin(2 * np.pi * hertz * time + 0.5 * np.sin(2 * np.pi * 5 * time))
        wave = wave + 0.3 * np.sin(4 * np.pi * hertz * time)
        sound += wave[:, None] * [pan, 1 - pan]
    for start in generator.integers(0, frames - rate // 4, 12):
        length = rate // 4
        decay = np.exp(-np.arange(length) / (0.02 * rate)) * np.minimum(1, np.arange(length) / (0.003 * rate))
        if generator.random() < 0.5:
            hit = generator.normal(size=(length, 2)) * 0.8
        else:
            hit = np.sin(2 * np.pi * generator.uniform(200, 3000) * np.arange(length) / rate)[:, None] * [1, 1]
        sound[start : start + length] += hit * decay[:, None]
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
@pytest.mark.parametrize("seed", range(8))
def test_music_does_not_click(seed: int, rate: int) -> None:
    assert clicks(music(seed, rate=rate), rate) == []


def tonal(seed: int, seconds: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * generator.uniform(60, 1500) * time + generator.uniform(0, 6)) for _ in range(4)]
    sound = 0.2 * np.sum(waves, axis=0)
    return np.stack([sound, sound], axis=1).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), at=st.integers(2000, 40_000), size=st.floats(0.25, 0.8))
def test_a_step_of_a_quarter_of_full_scale_is_heard(seed: int, at: int, size: float) -> None:
    sound = tonal(seed)
    sound[at:] += np.float32(size)
    found = clicks(sound, RATE)
    assert len(found) == 1
    assert abs(found[0] - at) <= 2


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), at=st.integers(2000, 40_000))
def test_a_single_wrong_sample_is_heard(seed: int, at: int) -> None:
    sound = tonal(seed)
    sound[at] = 0.9 if sound[at, 0] < 0 else -0.9
    assert [abs(frame - at) <= 2 for frame in clicks(sound, RATE)] == [True]


def test_a_cut_into_silence_and_back_is_two_clicks() -> None:
    sound = tonal(3)
    sound[10_000:12_000] = 0
    loud = np.abs(sound[[9_999, 12_000], 0])
    assert (loud > 0.05).all(), "a cut at a zero crossing would be no fair test"
    assert len(clicks(sound, RATE)) == 2


def test_a_lost_period_is_heard_unless_the_ends_happen_to_meet() -> None:
    heard = 0
    for seed in range(40):
        sound = tonal(seed)
        heard += bool(clicks(np.concatenate([sound[:20_000], sound[20_256:]]), RATE))
    assert heard >= 34


def test_short_or_silent_recordings_have_no_clicks() -> None:
    assert clicks(np.zeros((2, 2), np.float32), RATE) == []
    assert clicks(np.zeros((RATE, 2), np.float32), RATE) == []


def test_the_longest_silence_is_measured_in_seconds() -> None:
    sound = np.ones((RATE, 2), np.float32)
    assert longest_silence(sound, RATE) == 0
    sound[1000:3400] = 0
    sound[9000:9100] = 1e-6
    assert longest_silence(sound, RATE) == pytest.approx(0.05)
    sound[1000:3400, 1] = 0.1
    assert longest_silence(sound, RATE) == pytest.approx(100 / RATE)
    assert longest_silence(np.zeros((RATE, 2), np.float32), RATE) == pytest.approx(1.0)
