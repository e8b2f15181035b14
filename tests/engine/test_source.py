"""Sources: what is accepted, what is said about the rest, and the seam."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine import SourceError, embedded
from engine.source import load_source, looped, remark_on


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
        (np.full((96_000, 2), np.inf, np.float32), "no numbers"),
        (32_768 * sine(2, 48_000), "samples up to 16384; audio goes from -1 to 1"),
    ],
)
def test_a_fault_is_said_with_the_file_s_name(tmp_path: Path, audio: NDArray[np.float32], words: str) -> None:
    rate = 8_000 if len(audio) > 1_000_000 else 48_000
    path = written(tmp_path / "fault.wav", audio, rate)
    with pytest.raises(SourceError, match=r"fault\.wav") as caught:
        load_source(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("rate", [4_000, 11_025, 37_123, 192_000, 384_000])
def test_odd_rates_keep_their_pitch(tmp_path: Path, rate: int) -> None:
    loop = load_source(written(tmp_path / "loop.wav", sine(2.01, rate, 1), rate))
    assert loop.shape == (2, 96_000)
    assert np.abs(np.fft.rfft(loop[0])).argmax() == 200


@pytest.mark.parametrize("rate", [1, 3_999, 500_000])
def test_a_rate_that_no_audio_has_is_refused(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "rate.wav", sine(2, 4_000), rate)
    with pytest.raises(SourceError, match=f"has {rate} samples a second; 4000 to 384000 are wanted"):
        load_source(path)


def test_a_thousand_channels_are_refused_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    soundfile.write(path, np.zeros((10, 1_000), np.float32), 48_000)
    with pytest.raises(SourceError, match="1000 channels; mono or stereo"):
        load_source(path)


@pytest.mark.parametrize(
    ("audio", "remark"),
    [
        (sine(2, 48_000), ""),
        (2 * sine(2, 48_000), ""),
        (2 * sine(2, 48_000, hertz=31), ""),
        (np.zeros((96_000, 2), np.float32), "it is silent"),
        (np.full((96_000, 2), 1e-5, np.float32), "it is silent"),
        (4 * sine(2, 48_000), "it is 6.0 dB above full scale"),
        (np.clip(2.1 * sine(2, 48_000), -1, 1), "it clips in 800 places"),
        (np.clip(2 * sine(2, 48_000, hertz=0.25), -1, 0.995), "it clips in 2 places"),
    ],
)
def test_what_is_odd_about_a_loop_is_said(audio: NDArray[np.float32], remark: str) -> None:
    assert remark_on(np.ascontiguousarray(audio.T)) == remark


def test_a_file_that_is_no_audio_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(SourceError, match=r"text\.wav cannot be read as audio"):
        load_source(tmp_path / "text.wav")
    with pytest.raises(SourceError, match="there is no such file"):
        load_source(tmp_path / "none.wav")
    with pytest.raises(SourceError, match="it is no file"):
        load_source(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for a writer
    with pytest.raises(SourceError, match="it is no file"):
        load_source(tmp_path / "pipe.wav")
    (tmp_path / "bytes.raw").write_bytes(bytes(400_000))
    with pytest.raises(SourceError, match="raw samples have no header"):
        load_source(tmp_path / "bytes.raw")
    with pytest.raises(SourceError, match="File name too long"):
        load_source(tmp_path / ("x" * 300 + ".wav"))


WHOLE: dict[str, bytes] = {}
for kind, subtype in (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
    buffer = io.BytesIO()
    soundfile.write(buffer, sine(1.1, 8_000, 1), 8_000, format=kind, subtype=subtype)
    WHOLE[f"{kind} {subtype}"] = buffer.getvalue()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data(), kind=st.sampled_from(sorted(WHOLE)))
def test_a_damaged_file_is_a_loop_or_said_to_be_none(tmp_path: Path, draw: st.DataObject, kind: str) -> None:
    data = bytearray(WHOLE[kind])
    for _ in range(draw.draw(st.integers(0, 3))):
        at = draw.draw(st.one_of(st.integers(0, 80), st.integers(0, len(data) - 1)))
        data[at : at + 4] = draw.draw(st.binary(min_size=4, max_size=4))
    cut = draw.draw(st.one_of(st.just(len(data)), st.integers(0, 100), st.integers(0, len(data))))
    path = tmp_path / "damaged.wav"
    path.write_bytes(data[:cut])
    said = ""
    try:
        loop = load_source(path)
    except SourceError as error:
        said = str(error)
    if said:
        assert said.startswith(str(path))
        assert "\n" not in said
        return
    assert loop.dtype == np.float32
    assert loop.shape[0] == 2
    assert loop.shape[1] % 9_600 == 0
    assert 1 <= loop.shape[1] / 48_000 <= 240
    assert np.isfinite(loop).all()
    assert "\n" not in remark_on(loop)
