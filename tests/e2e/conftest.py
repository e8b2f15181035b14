"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest
import soundfile

CLIP = Path(__file__).parents[2] / "engine/embedded/clips/house-120.flac"


@pytest.fixture(scope="session")
def four_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two bars of the clip inside: a loop that is soon brought up to date."""
    audio, rate = soundfile.read(CLIP, frames=4 * 48_000)
    path = tmp_path_factory.mktemp("source") / "four-seconds.wav"
    soundfile.write(path, audio, rate)
    return path
