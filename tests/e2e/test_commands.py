"""Every command a performer types, against a real daemon or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from demond.jack_server import DummyServer
from demond.knobs import KNOBS
from tests.e2e.instrument import Instrument

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def demond(*arguments: object, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demond.cli", *map(str, arguments)], capture_output=True, text=True, timeout=timeout
    )


def test_a_running_daemon_answers_its_commands(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until_playing()
        to = ("--port", instrument.port)

        set_it = demond("send", *to, "/demond/knob/denoise", "0.25")
        assert (set_it.returncode, set_it.stdout) == (0, "")
        assert demond("send", *to, "/demond/knob/denoise").stdout == "/demond/knob/denoise 0.25\n"
        assert demond("send", *to, "/demond/knob/denoise/norm", "0.95").returncode == 0
        assert demond("send", *to, "/demond/knob/denoise").stdout == "/demond/knob/denoise 0.95\n"

        typo = demond("send", *to, "/demond/knob/denoize", "1")
        assert typo.returncode == 1
        assert "404" in typo.stdout
        assert "/demond/knob/denoise" in typo.stdout

        text = demond("send", *to, "/demond/prompt/a/text", "lofi, calm, 80 bpm", "--", timeout=60)
        assert text.returncode == 0
        instrument.until(lambda s: s["prompt"]["a"] == "lofi, calm, 80 bpm", "the prompt is set")

        status = json.loads(demond("status", *to, "--json").stdout)
        assert status["engine"]["state"] == "playing"
        assert "loop_seconds" in demond("status", *to).stdout

        journeys = json.loads(demond("trace", *to, "--json").stdout)
        assert journeys[0]["knob"] == "denoise"
        assert (
            0
            <= journeys[0]["stored_ms"]
            < journeys[0]["tick_ms"]
            < journeys[0]["written_ms"]
            < journeys[0]["heard_ms"]
        )
        assert "denoise" in demond("trace", *to).stdout

        ports = json.loads(demond("ports", "--server", jackd.name, "--json").stdout)
        assert "system:playback_1" in ports["audio_outputs"]


def test_what_is_set_besides_knobs_is_set_and_told_by_a_command_each(
    jackd: DummyServer, tmp_path: Path, four_seconds: Path
) -> None:
    options = ("--source", str(four_seconds), "--root", str(four_seconds.parent))
    with Instrument(jackd.name, tmp_path / "log", *options) as instrument:
        instrument.until_playing()

        def say(*arguments: object) -> str:
            command, *rest = arguments
            result = demond(command, "--port", instrument.port, *rest)
            assert result.returncode == 0, result.stderr
            return result.stdout

        assert say("set", "volume_db", "-6") == ""
        assert say("set", "guidance_mode", "self") == ""
        assert say("get", "volume_db", "guidance_mode").split() == ["volume_db", "-6", "dB", "guidance_mode", "self"]
        assert json.loads(say("get", "--json", "seed")) == {"seed": 1}
        say("prompt", "a", "house, bright", "--bpm", "124", "--key", "a minor")
        told = json.loads(say("prompt", "a", "--json"))
        assert told == {"a text": "house, bright", "a language": "en", "a bpm": 124.0, "a key": "a minor"}
        say("curve", "protect", "0", "0.5", "-1")
        assert say("curve", "protect") == "0 0.5 0\n"
        assert json.loads(say("curve", "--json")) == {"protect": 3}
        say("curve", "protect", "off")
        assert say("curve") == ""
        assert json.loads(say("steps", "6", "--json"))["ok"] is True
        assert say("steps") == "6\n"
        assert say("source").strip() == str(four_seconds.resolve())
        refused = demond("source", "--port", instrument.port, "/etc/hostname")
        assert refused.returncode == 1
        assert "outside of the folders" in refused.stderr
        assert demond("steps", "--port", instrument.port, "99").returncode == 1
        assert "'protect'" in demond("curve", "--port", instrument.port, "protekt", "1").stderr


def test_without_a_daemon_the_commands_say_what_to_do() -> None:
    for command in (("status",), ("trace",), ("send", "/demond/ping"), ("set", "denoise", "1"), ("steps", "4")):
        result = demond(*command, "--port", 9)
        assert result.returncode == 1
        assert "demond run" in result.stderr
        assert "Traceback" not in result.stderr


def test_two_daemons_on_one_port_are_one_too_many(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log") as instrument:
        instrument.until(lambda s: s, "it answers")
        second = demond("run", "--server", jackd.name, "--osc-port", instrument.port, "--client", "second")
        assert second.returncode == 1
        assert "Another demond" in second.stderr or "another demond" in second.stderr
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--depth", "99"), "8"),
        (("run", "--source", "nothing.wav"), "nothing.wav; `demond source --list`"),
        (("run", "--source", "lofi-57"), "did you mean 'lofi-75'?"),
        (("run", "--source", "/dev/null"), "cannot be read as audio"),
        (("run", "--checkpoint", "/nowhere"), "there is no folder /nowhere"),
        (("run", "--config", "nothing.yaml"), "nothing.yaml"),
        (("run", "--device", "toaster"), "toaster"),
        (("render", "--seconds", "1", "--out", "x.mp3"), ".flac"),
        (("render", "--seconds", "1", "--out", "x.wav", "--set", "denoize=1"), "denoise"),
        (("render", "--seconds", "1", "--out", "x.wav", "--set", "denoise=loud"), "loud"),
        (("render", "--out", "x.wav", "--source", "nothing.wav"), "nothing.wav"),
        (("render", "--out", "x.wav", "--prompt", "a", "--lora", "nothing.safetensors"), "nothing.safetensors"),
        (("render", "--out", "x.wav", "--prompt", "a", "--repaint", "1-2"), "--source"),
        (("render", "--out", "x.wav", "--curve", "protekt=1"), "protect"),
        (("set", "denoize", "1"), "denoise"),
        (("set", "guidance_mode", "selv"), "self"),
        (("prompt", "c", "text"), "a, b and negative"),
    ],
)
def test_a_users_mistake_is_one_clear_sentence(arguments: tuple[str, ...], words: str) -> None:
    result = demond(*arguments)
    assert result.returncode in (1, 2)
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "pydantic" not in result.stderr


def test_knobs_are_listed_for_people_and_for_scripts() -> None:
    assert [knob["name"] for knob in json.loads(demond("knobs", "--json").stdout)] == [knob.name for knob in KNOBS]
    assert all(knob.name in demond("knobs").stdout for knob in KNOBS[:2])


def test_check_names_the_place_of_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("demond: 1\nmapz: []\n")
    result = demond("check", path)
    assert result.returncode == 1
    assert f"{path}:2:1:" in result.stderr
    assert "maps" in result.stderr
    ready = sorted(str(file) for file in Path("mappings").glob("**/*.yaml"))
    assert demond("check", *ready).returncode == 0


def test_a_rendering_is_music_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        result = demond("render", "--seconds", 2, "--out", file, "--set", f"seed={seed}", "--set", "denoise=1")
        assert result.returncode == 0, result.stderr
    audio = [soundfile.read(file)[0] for file in files]
    assert all(part.shape == (96_000, 2) for part in audio)
    assert np.array_equal(audio[0], audio[1])
    assert np.abs(audio[0] - audio[2]).max() > 0.05
    assert 0.01 < np.sqrt((audio[0] ** 2).mean()) < 0.5
    assert not list(tmp_path.glob(".*"))
