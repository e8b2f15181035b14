"""`demond.render` as functions: a new piece from text, another version of one, a part anew. The real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from demond import render
from demond.config import Engine
from demond.knobs import UnknownKnobError
from demond.setting import Prompt
from tests.e2e.conftest import CLIP

ENGINE = Engine(device="cpu", depth=2, steps=4)


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def two_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    audio, rate = soundfile.read(CLIP, frames=2 * 48_000)
    path = tmp_path_factory.mktemp("source") / "two-seconds.wav"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    return path


def heard(piece: render.Piece, out: Path) -> NDArray[np.float32]:
    written = render.write(piece, out)
    audio, rate = soundfile.read(out, dtype="float32")
    assert rate == 48_000
    assert len(audio) == written.seconds * rate
    assert list(out.parent.glob(".*")) == []
    return np.asarray(audio)


def level(audio: NDArray[np.float32]) -> float:
    return float(np.sqrt((audio**2).mean()))


def test_text_alone_is_music_and_other_text_or_another_seed_is_other_music(tmp_path: Path) -> None:
    house = heard(render.text_to_music("house, bright", 1.5, ENGINE), tmp_path / "a.wav")
    again = heard(render.text_to_music("house, bright", 1.5, ENGINE), tmp_path / "b.flac")
    other = heard(render.text_to_music("ambient, dark", 1.5, ENGINE), tmp_path / "c.wav")
    seed = heard(render.text_to_music("house, bright", 1.5, ENGINE, {"seed": 9}), tmp_path / "d.wav")
    assert house.shape == (72_000, 2)
    assert level(house) > 0.01
    assert np.abs(house - again).max() <= 2**-22  # the two formats round to 24 bits each in its way
    assert level(house - other) > 0.01
    assert level(house - seed) > 0.01


def test_a_cover_moves_away_from_its_source_as_far_as_it_is_told(two_seconds: Path, tmp_path: Path) -> None:
    source, _ = soundfile.read(two_seconds, dtype="float32")
    away = [
        level(heard(render.cover(two_seconds, "ambient, dark", denoise, None, ENGINE), tmp_path / "a.wav") - source)
        for denoise in (0.0, 0.5, 1.0)
    ]
    assert away[0] < away[1] < away[2]


def test_a_repaint_keeps_what_is_outside_of_it(two_seconds: Path, tmp_path: Path) -> None:
    kept = heard(render.cover(two_seconds, "ambient, dark", 0.0, None, ENGINE), tmp_path / "kept.wav")
    anew = heard(render.repaint(two_seconds, "ambient, dark", 0.4, 1.2, ENGINE), tmp_path / "anew.wav")
    assert anew.shape == kept.shape
    changed = np.abs(anew - kept).max(axis=1)
    reach = 20_000  # how far the decoder of a latent frame is heard: 8.33 frames of 1,920 samples, and a fade
    assert level(anew[24_000:52_000] - kept[24_000:52_000]) > 0.01
    assert changed[int(1.2 * 48_000) + reach :].max() < 1e-3


def test_more_than_the_source_is_its_loop_again(two_seconds: Path, tmp_path: Path) -> None:
    audio = heard(render.cover(two_seconds, "house", 0.7, 4.0, ENGINE), tmp_path / "a.wav")
    assert len(audio) == 4 * 48_000
    assert np.abs(audio[96_000:] - audio[:96_000]).max() < 1e-3


def test_ogg_is_written_too(two_seconds: Path, tmp_path: Path) -> None:
    audio = heard(render.cover(two_seconds, "house", engine=ENGINE), tmp_path / "a.ogg")
    assert soundfile.info(tmp_path / "a.ogg").format == "OGG"
    assert level(audio) > 0.01


def test_progress_is_told_to_the_end(two_seconds: Path, tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []
    render.write(render.cover(two_seconds, "house", engine=ENGINE), tmp_path / "a.wav", lambda *it: said.append(it))
    assert said[-1] == ("rendering", 1.0)
    assert len({stage for stage, _ in said}) > 1


def test_mistakes_are_named_and_leave_no_file(two_seconds: Path, tmp_path: Path) -> None:
    piece = render.cover(two_seconds, Prompt(text="house"), engine=ENGINE)
    with pytest.raises(render.RenderError, match=r"\.wav, \.flac, \.ogg"):
        render.write(piece, tmp_path / "a.mp3")
    with pytest.raises(render.RenderError, match="there is no folder"):
        render.write(piece, tmp_path / "nowhere/a.wav")
    with pytest.raises(UnknownKnobError, match="did you mean 'denoise'"):
        render.write(render.cover(two_seconds, "house", knobs={"denoize": 1}), tmp_path / "a.wav")
    with pytest.raises(render.RenderError, match="knob of the output"):
        render.write(render.cover(two_seconds, "house", knobs={"mute": 1}), tmp_path / "a.wav")
    with pytest.raises(render.RenderError, match="up to 240 s"):
        render.text_to_music("house", 241)
    with pytest.raises(render.RenderError, match="begins before it ends"):
        render.repaint(two_seconds, "house", 4, 2)
    with pytest.raises(render.RenderError, match="begins at 5 s, and the source lasts 2 s"):
        render.write(render.repaint(two_seconds, "house", 5, 8, ENGINE), tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "cache"])
