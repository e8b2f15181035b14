"""The instrument plays: real JACK server, real daemon, ears that are not ours, hands that are not ours."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import jack
import numpy as np
import pytest
from numpy.typing import NDArray

from demond.jack_server import DummyServer
from tests.e2e.instrument import Instrument
from tests.listening import Capture, clicks, longest_silence

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def spectrum(audio: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Mean log power in 40 bands spaced like hearing, from 40 Hz up."""
    power = np.abs(np.fft.rfft(audio.mean(axis=1) * np.hanning(len(audio)))) ** 2
    edges = np.geomspace(40, rate / 2, 41)
    bands = np.digitize(np.fft.rfftfreq(len(audio), 1 / rate), edges)
    return np.array(
        [np.log10(power[bands == band].mean() + 1e-9) if (bands == band).any() else -9 for band in range(1, 41)]
    )


def test_twelve_seconds_without_a_gap_or_a_click_while_knobs_move(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until_playing()
        with Capture(instrument.outputs, 12, jackd.name) as capture:
            writes = instrument.status()["engine"]["writes"]
            for step in range(30):
                instrument.client.send("/demond/knob/denoise", (step * 37 % 100) / 100)
                instrument.client.send("/demond/knob/seed", step // 4)
                writes = instrument.until(lambda s, w=writes: s["engine"]["writes"] > w, "it is heard")["engine"][
                    "writes"
                ]
            audio = capture.audio
            assert len(audio) == 12 * capture.rate
            assert capture.skipped == 0
            assert longest_silence(audio, capture.rate) < 0.1
            assert clicks(audio, capture.rate) == []
        assert 0.01 < np.sqrt((audio**2).mean()) < 0.5
        assert np.abs(audio).max() < 1


def test_oscsend_changes_the_spectrum_within_the_lead_and_one_tick(
    jackd: DummyServer, tmp_path: Path, four_seconds: Path
) -> None:
    # From house, which is the source, to what is least like it.
    options = ("--prompt-a", "ambient, dark, calm, sparse, 120 bpm", "--source", str(four_seconds))
    with Instrument(jackd.name, tmp_path / "log", *options) as instrument:
        status = instrument.until_playing()
        rate, loop = status["audio"]["rate"], status["audio"]["loop_frames"]
        command = ["oscsend", "127.0.0.1", str(instrument.port), "/demond/knob/denoise", "f"]
        subprocess.run([*command, "0.0"], check=True)
        instrument.until(lambda s: s["engine"]["idle"], "the loop is converged")
        clock = jack.Client("clock", no_start_server=True, servername=jackd.name)
        before_seconds = 2 * loop / rate + 1
        with Capture(instrument.outputs, before_seconds + 8, jackd.name) as capture:
            first_time = clock.frame_time
            while (clock.frame_time - first_time) / rate < before_seconds:
                time.sleep(0.05)
            sent = clock.frame_time
            subprocess.run([*command, "1.0"], check=True)
            audio = capture.audio
            start = int(capture.cycles[0, 0])
            assert capture.skipped == 0
        clock.close()
        status = instrument.status()
        # The loop repeats to the sample, so what was heard one pass ago is what would be heard without the knob.
        difference = np.abs(audio[loop:] - audio[:-loop]).max(axis=1)
        changed = int(np.flatnonzero(difference > 2e-4)[0]) + loop
        latency = (start + changed - sent) / rate
        allowed = (status["engine"]["lead_ms"] + status["engine"]["tick_ms_p99"]) / 1000
        assert 0 < latency <= allowed
        # Two schedules later the slots that were in flight are through, and all that is heard is new.
        settled = changed + int(rate * 2 * status["engine"]["steps"] * status["engine"]["tick_ms_p50"] / 1000)
        after = slice(settled, settled + 2 * rate)
        # The same part of the loop, in the last pass in which all of it was as before.
        passes = -(-(after.stop - changed) // loop)
        before = slice(after.start - passes * loop, after.stop - passes * loop)
        change = np.abs(spectrum(audio[after], rate) - spectrum(audio[before], rate)).mean()
        assert change > 0.2, f"only {change:.2f}"
        print(f"heard after {1000 * latency:.0f} ms of {1000 * allowed:.0f}; spectrum moved by {10 * change:.1f} dB")


def test_a_real_midi_sender_over_jack_moves_a_mapped_knob(jackd: DummyServer, tmp_path: Path) -> None:
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(
        "demond: 1\ndevices:\n  nk2: {profile: korg/nanokontrol2, match: {name: '*'}}\n"
        "maps:\n  - {from: nk2/fader1, to: denoise, takeover: 'off'}\n"
    )
    with Instrument(jackd.name, tmp_path / "log", "--mapping", str(mapping)) as instrument:
        instrument.until_playing()
        assert instrument.value("denoise") == pytest.approx(0.7)
        score = tmp_path / "fader.csd"
        score.write_text(CONTROL_CHANGE)
        sender = subprocess.Popen(
            ["csound", "-odac", "-+rtaudio=jack", "-+rtmidi=jack", "-Qcsmidi", "-b256", "-B1024", str(score)],
            env={"JACK_DEFAULT_SERVER": jackd.name, "JACK_NO_START_SERVER": "1", "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            instrument.until(lambda s: any("csound" in port for port in s["midi"]["ports"]), "the sender is seen", 20)
            deadline = time.monotonic() + 20
            seen = set()
            while time.monotonic() < deadline and len(seen) < 5:
                seen.add(round(instrument.value("denoise"), 3))
        finally:
            sender.kill()
            sender.wait()
        assert len(seen) >= 5


CONTROL_CHANGE = """
<CsoundSynthesizer>
<CsInstruments>
sr = 48000
ksmps = 256
nchnls = 2
0dbfs = 1
instr 1
  kvalue phasor 0.5
  outkc 1, 0, kvalue * 127, 0, 127
endin
</CsInstruments>
<CsScore>
i 1 0 60
</CsScore>
</CsoundSynthesizer>
"""
