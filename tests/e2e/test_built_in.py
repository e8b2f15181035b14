"""Loops and prompts inside, asked for by name while the daemon plays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demond.built_in import CLIPS, PROMPTS
from demond.jack_server import DummyServer
from tests.e2e.instrument import Instrument
from tests.e2e.test_commands import demond

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_loops_and_prompts_inside_are_played_by_name(jackd: DummyServer, tmp_path: Path) -> None:
    with Instrument(jackd.name, tmp_path / "log", "--source", "lofi-75") as instrument:
        playing = instrument.until_playing()
        to = ("--port", instrument.port)
        assert (playing["engine"]["loop_seconds"], playing["session"]["source"]) == (12.8, "lofi-75")
        assert demond("source", *to).stdout == "lofi-75\n"

        misspelt = demond("source", "trap150", *to)
        assert misspelt.returncode == 1
        assert "did you mean 'trap-150'?" in misspelt.stderr
        assert demond("source", "trap-150", *to).returncode == 0
        assert instrument.status()["engine"]["loop_seconds"] == 6.4
        instrument.client.change(("/demond/source", ("synthwave-100",)), ("/demond/structure", ("trap-150",)))
        assert instrument.status()["engine"]["loop_seconds"] == 9.6

        assert demond("prompt", "b", "--named", "cellar", *to).returncode == 0
        instrument.client.change(("/demond/prompt/a/named", ("attic",)))
        told = instrument.status()["prompt"]
        assert (told["a"], told["b"]) == (PROMPTS["attic"], PROMPTS["cellar"])
        [named] = instrument.client.ask("/demond/prompt/b/named")
        assert named.arguments == ("cellar",)
        [wrong] = instrument.client.ask("/demond/prompt/b/named", "attik")
        assert wrong.arguments[:3] == (404, "unknown_prompt", "/demond/prompt/b/named")
        assert "did you mean 'attic'?" in str(wrong.arguments[3])
        [listed] = instrument.client.ask("/demond/built_in")
        assert listed.address == "/demond/built_in.reply"
        found = json.loads(str(listed.arguments[0]))
        assert (list(found["sources"]), found["prompts"]) == (list(CLIPS), PROMPTS)
