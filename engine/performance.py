"""One rig playing into one loop: a tick and its writes, or the idle top-up.

Used by the session for the port it is attached to, for every render, and for the rehearsal of a rig that is to take
another's place. All run the same code; only the port and the clock differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.curves import Curves
from engine.guide import Guide, Guides
from engine.knobs import Knobs
from engine.model.checkpoint import Progress
from engine.offline import VirtualPort
from engine.playback import Playback
from engine.port import LoopPort, Write
from engine.rig import Rig
from engine.stream import Result, Ring


@dataclass(frozen=True, slots=True)
class Step:
    """What one call of `Session.step` did."""

    ticked: bool
    tick: int
    """Ticks done since the port was attached."""
    tick_ms: float
    """The network's part of this step; 0 when no tick was run."""
    writes: tuple[Write, ...]
    idle: bool
    """Nothing that is asked for could change the music. With no writes either, the caller may sleep."""


class Stopwatch:
    """Times work of a device. On a GPU by events, and waiting is what keeps the host from running ahead of it: the
    next tick reads its knobs when this one is done, not before.
    """

    def __init__(self, device: torch.device) -> None:
        """Of the device where the work is done."""
        self._events = _events() if device.type == "cuda" else None
        self._start = self._stop = 0

    def start(self) -> None:
        """Before the work."""
        self._start = time.monotonic_ns()
        if self._events:
            self._events[0].record()

    def stop(self) -> None:
        """After it, or after it has been launched."""
        self._stop = time.monotonic_ns()
        if self._events:
            self._events[1].record()

    def wait(self) -> float:
        """Milliseconds that the work took, once it is done."""
        if self._events:
            self._events[1].synchronize()
            return float(self._events[0].elapsed_time(self._events[1]))
        return (self._stop - self._start) / 1e6


def _events() -> list[Any]:
    return [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """What a rig played where nobody heard it: how it comes in."""

    rig: Rig
    guides: Guides
    """What the slots in flight were guided by."""
    ring: Ring
    """Full: every slot that a steady ring has in flight is in flight."""
    result: Result
    """The ring's last one."""
    loop: Tensor | None
    """[2,N] at 48 kHz: another source's loop, with that result in it."""


class Performance:
    """Drives a ring by knobs and a playback by its results."""

    def __init__(
        self,
        rig: Rig,
        guides: Guides,
        port: LoopPort,
        clock: Callable[[], int] = time.monotonic_ns,
        keep: bool = False,
        behind: bool = False,
    ) -> None:
        """The source is what the loop holds first, unless it is to `keep` what it has. Raises `RateError`.

        With `behind`, a GPU decodes a block while the next tick runs, and its audio comes with the next step.
        """
        self._rig, self._guides, self._port, self._clock = rig, guides, port, clock
        self.ring = new_ring(rig)
        behind = behind and rig.latents.is_cuda
        self.playback = Playback(rig.model.vae, port, rig.audio, clock, keep, behind)
        self._ticked = Stopwatch(rig.latents.device)
        self.result: Result | None = None
        """The last one that was written."""
        self._settled: tuple[Knobs, Guide, Curves] | None = None
        self._entering = False
        self._ticks_before = self._results_before = 0

    @property
    def place(self) -> float:
        """Where the playhead is in the loop, 0–1."""
        return self._port.place()[1] / self._port.frames

    def change(self, rig: Rig, rehearsal: Rehearsal | None = None) -> None:
        """Plays from `rig` from the next step on.

        Slots in flight go on with other prompts and weights. Where they cannot (`Rig.shares_ring`), the ring of the
        `rehearsal` takes over, and its result is written at once. Another source's loop takes the place of the
        present one; else what the loop holds plays on until it is overwritten. Raises what the port raises, and then
        nothing has changed.
        """
        before = self._rig
        if rig.audio is not before.audio or rig.model is not before.model:
            self.playback.swap(rig.model.vae, rig.audio, rehearsal.loop if rehearsal else None)
        if not rig.shares_ring(before):
            old, self.ring = self.ring, rehearsal.ring if rehearsal else new_ring(rig)
            self._ticks_before += old.ticks - self.ring.ticks
            self._results_before += self.result.id if self.result else 0
            self.result = rehearsal.result if rehearsal else None
            self._entering, self._settled = rehearsal is not None, None
        elif rig.target is not before.target:
            self.ring.lock_target, self._settled = rig.target, None
        self.ring.depth, self.ring.backend = rig.setup.depth, rig.backend
        if rehearsal and rig.guides is rehearsal.rig.guides:
            self._guides = rehearsal.guides  # with others of the same content all slots would seem to be changed
        elif rig.guides is not before.guides:
            self._guides = rig.guides
        self._rig = rig

    @torch.inference_mode()
    def step(self, knobs: Knobs, curves: Curves) -> Step:
        """One tick and its writes; when nothing can change any more, a part of the loop brought up to date.

        Of a loop longer than the window, one region after another is then made.
        """
        playback, ring = self.playback, self.ring
        playback.follow()
        guide = self._guides.at(knobs, curves)
        writes: list[Write | None] = []
        begun = self._clock()
        if self._entering and self.result:
            self._entering = False
            writes.append(playback.write(self._numbered(self.result), tick=(self._tick, begun)))
        settled = self._settled
        if settled and not (settled[1:] == (guide, curves) and settled[0].sounds_like(knobs)):
            settled = None
        wanted = playback.wanted_frame() if settled else None
        if settled and wanted is None:
            writes += [playback.finish(), playback.fill(), playback.finish()]
            return self._did(writes)
        at = playback.next_frame(ring.steps) if wanted is None else wanted
        self._ticked.start()
        results = ring.tick(knobs, guide, curves, at)
        self._ticked.stop()
        writes.append(playback.finish())  # what was decoded while this tick was being launched
        tick_ms = self._ticked.wait()
        if ring.load == ring.depth:  # a ring that is filling up, or at strength 0, says nothing about a full one
            playback.lead.ticked((self._clock() - begun) / 1e9)
        playback.lead.scheduled(math.ceil(ring.steps / ring.depth), ring.ticks_to_result())
        if results:
            self.result = results[-1]
            if not self.result.settled:
                settled = None
            elif settled is None:
                settled = (knobs, guide, curves)
            self._settled = settled
            writes.append(playback.write(self._numbered(self.result), settled, (self._tick, begun)))
        else:
            writes.append(playback.top_up())
        return self._did(writes, tick_ms)

    @property
    def _tick(self) -> int:
        return self._ticks_before + self.ring.ticks

    def _numbered(self, result: Result) -> Result:
        """`result` with an id that no result of an earlier ring had."""
        return replace(result, id=self._results_before + result.id)

    def _did(self, writes: list[Write | None], tick_ms: float | None = None) -> Step:
        done = tuple(write for write in writes if write)
        return Step(tick_ms is not None, self._tick, tick_ms or 0.0, done, idle=tick_ms is None)


@torch.inference_mode()
def rehearse(rig: Rig, knobs: Knobs, curves: Curves, place: float, whole: bool, progress: Progress) -> Rehearsal:
    """Plays `rig` where nobody hears it until its ring is full and has given a result.

    `place` (0–1) is where in the loop it is to come in; of a long loop, a playhead that has left the result's region
    by then hears the old music until the next one. With `whole` there will be a loop, as much of it decoded as
    the result covers. Calls `progress` between two ticks; what that raises ends the rehearsal.
    """
    port, guides = VirtualPort(), rig.new_guides()
    performance = Performance(rig, guides, port, port.clock)
    port.play(int(place * port.frames))
    while performance.result is None:
        progress("rehearsal", 0.0)
        performance.step(knobs, curves)  # which waits for its tick, so that one at most is queued before the music's
    for _ in range(2 if whole else 0):  # a lap in two halves, as nothing is written where the playhead is
        while performance.playback.fill():
            progress("rehearsal", 0.5)
        port.play(port.frames // 2)
    loop = torch.from_numpy(port.loop.T.copy()) if whole else None
    return Rehearsal(rig, guides, performance.ring, performance.result, loop)


def new_ring(rig: Rig) -> Ring:
    """A ring over the rig's loop, with nothing in flight."""
    ring = Ring(rig.backend, rig.latents, rig.setup.depth, rig.setup.steps, rig.window)
    if rig.target is not rig.latents:
        ring.lock_target = rig.target
    return ring
