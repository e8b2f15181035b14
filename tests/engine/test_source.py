"""Sources: what is accepted, what is said about the rest, and the seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine import SourceError, embedded
from engine.source import load_source, looped


def sine(seconds: float, rate: int, channels: int = 2, hertz: float = 100.0) -> NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def written(path: Path, audio: NDArray[np.float32], rate: int) -> Path:
    soundfile.write(path, audio, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def step_at_seam(loop: NDArray[np.float32]) -> float:
    """The largest second difference around the seam over the largest elsewhere."""
    around = np.abs(np.diff(np.roll(loop, 200, axis=1)[:, :400], n=2)).max()
    return float(around / np.abs(np.diff(loop[:, 2_000:-2_000], n=2)).max())


def test_the_built_in_clip_is_sixteen_seconds_and_closes() -> None:
    clip = load_source(embedded.CLIP)
    assert clip.shape == (2, 768_000)
    assert 0.1 < np.sqrt((clip**2).mean()) < 0.3
    assert np.abs(clip).max() < 0.9
    assert step_at_seam(clip) < 1.5


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1), (22_050, 2), (96_000, 1)])
def test_any_rate_mono_or_stereo(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    loop = load_source(written(tmp_path / f"loop{suffix}", sine(2.07, rate, channels), rate))
    assert loop.shape == (2, 10 * 9_600)
    assert loop.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(loop[0]))
    assert spectrum.argmax() == 200  # 100 Hz in two seconds


def test_what_was_cut_off_sounds_into_the_beginning(tmp_path: Path) -> None:
    """A sine that does not close in 2 s: cut hard it would click."""
    audio = sine(2.05, 48_000, hertz=110.25)
    loop = load_source(written(tmp_path / "a.wav", audio, 48_000))
    assert step_at_seam(audio.T[:, :96_000]) > 20
    assert step_at_seam(loop) < 1.5
    assert np.array_equal(loop[:, 960:], audio.T[:, 960:96_000])


def test_without_a_tail_the_ends_are_bent_to_meet() -> None:
    wave = 0.5 * np.cos(2 * np.pi * 110.25 * np.arange(96_000) / 48_000)
    audio = np.stack((wave, wave)).astype(np.float32)
    loop = looped(audio, 96_000)
    assert np.abs(audio[:, 0] - audio[:, -1]).min() > 0.9
    assert np.abs(loop[:, 0] - loop[:, -1]).max() <= 1.5 * np.abs(np.diff(audio)).max()


def test_a_loop_that_closes_is_left_as_it_is() -> None:
    audio = sine(2, 48_000).T
    assert np.abs(looped(audio, 96_000) - audio).max() < 5e-3


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (sine(0.5, 48_000), "0.50 s; at least 1 s"),
        (np.zeros((0, 2), np.float32), "is empty"),
        (np.full((96_000, 2), np.nan, np.float32), "no numbers"),
        (sine(2, 48_000, channels=3), "3 channels"),
        (np.zeros((8_000 * 241, 1), np.float32), "241 s; 240 s is the most"),
    ],
)
def test_a_fault_is_said_with_the_file_s_name(tmp_path: Path, audio: NDArray[np.float32], words: str) -> None:
    rate = 8_000 if len(audio) > 1_000_000 else 48_000
    path = written(tmp_path / "fault.wav", audio, rate)
    with pytest.raises(SourceError, match=r"fault\.wav") as caught:
        load_source(path)
    assert words in str(caught.value)


def test_a_file_that_is_no_audio_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(SourceError, match=r"text\.wav cannot be read as audio"):
        load_source(tmp_path / "text.wav")
    with pytest.raises(SourceError, match="there is no such file"):
        load_source(tmp_path / "none.wav")
    with pytest.raises(SourceError):
        load_source(tmp_path)
