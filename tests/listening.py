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
from scipy.ndimage import maximum_filter1d

from tests.native import program

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


def clicks(audio: NDArray[np.float32], rate: int, times: float = 12.0, floor: float = 0.004) -> list[int]:
    """The frames at which a click is heard: a step, a lost or repeated stretch, a single wrong sample.

    Looks at the second difference, which flattens music (its energy lies low) and keeps steps. A click stands out of
    what surrounds it: the value must be above `times` the 99th percentile of the 20 ms around it (its own 1 ms left
    out) and above `floor` (-48 dB of full scale). Drums do not fire, because their attack fills the surroundings too.
    Clicks within 5 ms count as one.
    """
    if len(audio) < 3:
        return []
    bend = np.abs(np.diff(audio.astype(np.float64), n=2, axis=0)).max(axis=1)
    around, own, apart = int(0.010 * rate), max(1, int(0.0005 * rate)), int(0.005 * rate)
    found: list[int] = []
    for at in np.flatnonzero((bend > floor) & (bend == maximum_filter1d(bend, 2 * apart + 1))):
        if found and at + 1 - found[-1] <= apart:
            continue
        before, after = bend[max(0, at - around) : max(0, at - own)], bend[at + own + 1 : at + around]
        # A note may begin here: then what follows is as rough as this. A click has calm on both sides.
        calm = max((float(np.percentile(side, 99)) for side in (before, after) if len(side) >= 8), default=0.0)
        if bend[at] > times * calm:
            found.append(int(at) + 1)
    return found


def longest_silence(audio: NDArray[np.float32], rate: int, level: float = 1e-5) -> float:
    """The longest time in s for which no channel rises above `level` (-100 dB of full scale)."""
    loud = np.flatnonzero(np.abs(audio).max(axis=1) > level)
    edges = np.concatenate(([-1], loud, [len(audio)]))
    return float(np.max(np.diff(edges) - 1)) / rate
