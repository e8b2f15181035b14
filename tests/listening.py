"""Listens to JACK ports with a client that is none of demond's, and finds clicks and holes in what it heard.

with Capture(["demond:out_1", "demond:out_2"], 5, server="name") as capture:
    ...                                # what should not be heard
    audio = capture.audio              # waits for the 5 s; float32 (n, 2)
assert clicks(audio, capture.rate) == []
assert longest_silence(audio, capture.rate) < 0.02
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from demond.bench.clicks import clicks, longest_silence
from tests.native import program

__all__ = ["Capture", "clicks", "longest_silence"]

_numbers = itertools.count()


class Capture:
    """A recording of `seconds` from `ports`, which runs from the beginning of the `with` block."""

    def __init__(
        self, ports: Sequence[str], seconds: float, server: str | None = None, channels: int | None = None
    ) -> None:
        """`ports` are output ports; with none of them `channels` inputs wait for others to connect to them."""
        self.channels = channels or len(ports)
        self.name = f"capture-{os.getpid()}-{next(_numbers)}"
        """Its JACK client; the inputs are `in_1`, `in_2` and so on."""
        self._folder = tempfile.TemporaryDirectory(prefix="demond-capture-")
        self._file = Path(self._folder.name) / "audio"
        self._command = [
            *(str(program("capture")), server or "-", self.name, str(seconds), str(self.channels), str(self._file)),
            *ports,
        ]
        self._result: dict[str, int] | None = None

    def __enter__(self) -> Capture:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            _, errors = self._process.communicate()
            self._folder.cleanup()
            raise RuntimeError(f"the recording did not start: {errors}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.communicate(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
        self._folder.cleanup()

    def stop(self) -> None:
        """Ends the recording before its time; what was heard so far is kept."""
        self._process.terminate()
        self._finish()

    @property
    def audio(self) -> NDArray[np.float32]:
        """What was heard, (frames, channels). Waits for the end of the recording."""
        self._finish()
        return self._audio

    @property
    def cycles(self) -> NDArray[np.uint32]:
        """(cycles, 2): JACK's frame time at the start of each cycle, and its frames."""
        self._finish()
        return self._cycles

    @property
    def rate(self) -> int:
        return self._finish()["rate"]

    @property
    def skipped(self) -> int:
        """Cycles that JACK left out; what is heard next to one is no fault of the player's."""
        return self._finish()["skipped"]

    @property
    def xruns(self) -> int:
        return self._finish()["xruns"]

    def _finish(self) -> dict[str, int]:
        if self._result is None:
            output, errors = self._process.communicate()
            if self._process.returncode:
                raise RuntimeError(f"the recording failed: {errors}")
            self._result = json.loads(output)
            self._audio = np.fromfile(self._file, np.float32).reshape(-1, self.channels)
            self._cycles = np.fromfile(f"{self._file}.cycles", np.uint32).reshape(-1, 2)
        return self._result
