"""One knob after the other, moved and heard: the ears and the arithmetic of `demond bench latency`.

With constant knobs the music repeats, so a reference of each of two settings is recorded first; then the knob is
moved back and forth at random phases. The first sample that leaves the old reference is the first change, and after
the last one that is not the new reference's the music has converged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demond.bench import timeline
from demond.bench.capture import Capture
from demond.bench.daemon import Writes, engine_of
from demond.client import Client

_CHANGED = 2e-4
"""A sample this far (-74 dBFS) from the reference has changed; repeats of steady music differ by under 1e-5."""
_SETTLE_SECONDS = 60.0
_LONGEST_SECONDS = 5.0
"""A change that is not heard by then counts as lost."""

Reference = tuple[int, NDArray[np.float32]]
"""One pass of the loop under constant knobs, and the number of its first frame."""


@dataclass(frozen=True)
class Probe:
    """A knob to flip between two settings; each kind of knob has one."""

    kind: str
    address: str
    settings: tuple[float | str, float | str]


PROBES = (
    Probe("shared", "/demond/knob/denoise", (0.7, 0.4)),
    Probe("slot", "/demond/knob/seed", (1, 2)),
    Probe("session", "/demond/prompt/a/text", ("synthwave, 120 bpm", "chiptune, 120 bpm")),
    Probe("output", "/demond/knob/volume_db", (0.0, -6.0)),
)


@dataclass
class Reaction:
    """What one kind of knob did, in milliseconds from the message on: one number for each phase that has one."""

    probe: Probe
    lost: int = 0
    first: list[float] = field(default_factory=list)
    """Up to the first changed sample at the port."""
    converged: list[float] = field(default_factory=list)
    """Up to the last sample there that is not yet what it is going to be."""
    fresh: list[float] = field(default_factory=list)
    """Up to the first sample there of music that was made entirely after the message."""
    parts: dict[str, list[float]] = field(default_factory=dict)
    """The daemon's own trace of the way: wait, compute and lead."""


class Bench:
    """The daemon, the ears, and the figures of all phases so far."""

    def __init__(self, client: Client, capture: Capture) -> None:
        """The daemon plays already, and `capture` hears it."""
        self._client, self._capture = client, capture
        self.status = client.status()
        self.figures = timeline.Figures()
        self._writes = Writes(int(self.status["pid"]))
        self.figures.start += self._writes.start_ms()
        self._loop: int = self.status["audio"]["loop_frames"]
        self._device_ms = float(self.status["audio"]["port_latency_ms"])
        self._tick = 0

    def close(self) -> None:
        """Lets go of the daemon's trace."""
        self._writes.close()

    def listen(self, seconds: float) -> None:
        """Until so much more has been captured."""
        until = self._capture.frames + int(seconds * self._capture.rate)
        while self._capture.frames < until:
            time.sleep(0.01)

    def reference(self) -> Reference:
        """Records one. Raises :class:`RuntimeError` when two passes differ: nothing can be measured against them."""
        seconds = self._loop / self._capture.rate
        while not engine_of(self._client).get("idle"):
            self.listen(0.1)
        self.listen(seconds + 0.5)
        first = self._capture.frames - self._loop
        audio = self._capture.read(first, self._loop)
        self.listen(seconds / 2)
        count = self._loop // 2
        difference = float(self._distance((first, audio), self._capture.frames - count, count).max())
        if difference > _CHANGED / 4:
            raise RuntimeError(f"the music does not repeat under constant knobs (difference {difference:.2g})")
        return first, audio

    def measure(self, probe: Probe, phases: int, advance: Callable[[int], None], dice: random.Random) -> Reaction:
        """Flips `probe` at `phases` random phases and times each."""
        references = []
        for setting in reversed(probe.settings):
            self._client.ask(probe.address, setting)
            references.append(self.reference())
        references.reverse()  # the first setting was recorded last, so it is the present one
        found = Reaction(probe)
        for phase in range(phases):
            self._flip(found, references, phase % 2, dice)
            advance(1)
        self._client.ask(probe.address, probe.settings[0])
        return found

    def _flip(self, found: Reaction, references: list[Reference], present: int, dice: random.Random) -> None:
        """One phase, from music as it is under the `present` setting to music as it is under the other."""
        probe = found.probe
        self._settle(references[present])
        self.listen(dice.uniform(0, 0.5))
        self._look()
        ticks = self._tick
        sent, sent_ns = self._capture.now, time.monotonic_ns()
        self._client.send(probe.address, probe.settings[1 - present])
        took = self._first_change(references[present], sent)
        if took is None:
            found.lost += 1
            return
        found.first.append(took)
        self._settle(references[1 - present])
        found.converged.append(self._converged(references[1 - present], sent))
        writes = self._look()
        self.figures.take(writes, self._device_ms)
        heard_ns = timeline.fresh(writes, ticks, int(self.status["engine"]["steps"]))
        if heard_ns is not None:
            found.fresh.append((heard_ns - sent_ns) / 1e6 - self._device_ms)
        knob = probe.address.rpartition("/")[2]
        for part, value in timeline.split(self._client.trace(1), knob, self._device_ms).items():
            found.parts.setdefault(part, []).append(value)

    def _look(self) -> NDArray[Any]:
        """What was written since the last call."""
        writes = self._writes.look()
        if len(writes):
            self._tick = int(writes["tick"][-1])
        return writes

    def _distance(self, reference: Reference, start: int, count: int) -> NDArray[np.float32]:
        """How far each of `count` captured frames from number `start` is from `reference`."""
        first, audio = reference
        expected = audio[(start - first + np.arange(count)) % self._loop]
        distance: NDArray[np.float32] = np.abs(self._capture.read(start, count) - expected).max(axis=1)
        return distance

    def _settle(self, reference: Reference) -> None:
        """Until a quarter of a second on end was as in `reference`. Raises :class:`RuntimeError` if it never is."""
        count = self._capture.rate // 4
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            self.listen(0.05)
            if float(self._distance(reference, self._capture.frames - count, count).max()) < _CHANGED:
                return
        raise RuntimeError(f"{_SETTLE_SECONDS:.0f} s after a change the music is not what it was before")

    def _first_change(self, reference: Reference, sent: int) -> float | None:
        """Milliseconds from frame time `sent` to the first sample that is not of `reference`; None when lost."""
        checked = start = self._capture.frame_at(sent)
        while checked < start + int(_LONGEST_SECONDS * self._capture.rate):
            self.listen(0.05)
            end = self._capture.frames
            changed = np.flatnonzero(self._distance(reference, checked, end - checked) > _CHANGED)
            if len(changed):
                return self._milliseconds(sent, checked + int(changed[0]))
            checked = end
        return None

    def _converged(self, reference: Reference, sent: int) -> float:
        """Milliseconds from frame time `sent` to the last sample that is not of `reference`, which plays now."""
        start = self._capture.frame_at(sent)
        other = np.flatnonzero(self._distance(reference, start, self._capture.frames - start) > _CHANGED)
        return self._milliseconds(sent, start + int(other[-1])) if len(other) else 0.0

    def _milliseconds(self, sent: int, frame: int) -> float:
        return (self._capture.time_of(frame) - sent) * 1000 / self._capture.rate
