"""The knobs of the audio process that choose what is played: the band and the source, on the whole instrument."""

from __future__ import annotations

from pathlib import Path

import pytest

from demond.jack_server import DummyServer
from tests.e2e.instrument import Instrument
from tests.listening import Capture, clicks, longest_silence

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_band_and_source_move_without_a_click_while_the_music_is_rewritten(
    jackd: DummyServer, tmp_path: Path
) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        status = instrument.until_playing()
        frames = status["audio"]["loop_frames"]
        with Capture(instrument.outputs, 14, jackd.name) as capture:
            for step in range(24):
                a = step * 7 % 16 / 16
                instrument.client.send("/demond/knob/loop_a", a)
                instrument.client.send("/demond/knob/loop_b", min(1.0, a + (1 + step % 3) / 8))
                instrument.client.send("/demond/knob/dry_wet", step * 3 % 5 / 4)
                instrument.client.send("/demond/knob/denoise", (step * 37 % 100) / 100)
                writes = instrument.status()["engine"]["writes"]
                instrument.until(lambda s, w=writes: s["engine"]["writes"] > w + 1, "it is written")
            instrument.client.send("/demond/knob/loop_a", 0.25)
            instrument.client.send("/demond/knob/loop_b", 0.5)
            instrument.until(lambda s: 0.25 <= s["audio"]["position"] / frames <= 0.5, "the band is played")
            instrument.until(lambda s: s["engine"]["idle"], "the band is up to date")
            audio = capture.audio
            assert capture.skipped == 0
        assert longest_silence(audio, capture.rate) < 0.1
        assert clicks(audio, capture.rate) == []
