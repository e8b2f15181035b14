"""A daemon whose surfaces are exported and used, for the tests of `demond export`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demond.knobs import Knob
from tests.e2e.instrument import Instrument
from tests.export.wire import PATIENCE
from tests.jack import wait_for


class Running:
    """The daemon that all tests here share, and the folder of what they export."""

    def __init__(self, instrument: Instrument, folder: Path, server: str, clip: Path) -> None:
        self.instrument, self.folder, self.server, self.clip = instrument, folder, server, clip

    def export(self, program: str, *arguments: object) -> dict[str, Any]:
        """What `demond export PROGRAM --json` says."""
        done = demond("export", program, "--port", self.instrument.port, "--json", *arguments, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def told(self, address: str) -> object:
        """The value of an address; a number as a float."""
        replies = self.instrument.client.ask(address)
        assert [reply.address for reply in replies] == [address], replies
        value = replies[0].arguments[0]
        # A seed beyond 31 bits is told as a text.
        return float(str(value)) if isinstance(value, int) or address == "/demond/knob/seed" else value

    def scenes(self) -> list[str]:
        """The names of all scenes."""
        [reply] = self.instrument.client.ask("/demond/scene/list")
        return [row["name"] for row in json.loads(str(reply.arguments[0]))]

    def until(self, address: str, value: object, apart: float = 1e-4) -> None:
        """Waits for the value of an address; a number may be so far `apart`."""
        if isinstance(value, float | int):
            value = pytest.approx(value, rel=1e-7, abs=apart)
        wait_for(lambda: self.told(address) == value, PATIENCE, f"{address} is {value}")


def demond(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demond.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=cwd)


def other_value(knob: Knob, share: float) -> float:
    """A value of the knob at this share of its range."""
    return knob.clamp(knob.minimum + share * (knob.maximum - knob.minimum))
