"""How soon a session reacts, without JACK: a loop that is played by the clock, and knobs turned at random phases.

Called by `demond bench latency --level engine`, on whatever device the session runs. It uses what any user of
`engine.Session` may use: steps, their writes, and the port that it made itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine import Knobs, Session, Step, Write

KINDS = ("shared", "moving", "slot", "session")
"""What is turned: a shared knob, one while another moves all the time, a slot knob, and a prompt."""

_DENOISE, _SEEDS = (0.7, 0.4), (1, 2)
_PROMPTS = ("synthwave, 120 bpm", "chiptune, 120 bpm")
_SPREAD = 0.5
"""Seconds over which the phases are spread."""
_LONGEST = 60.0
"""Seconds after which a session that has not come to rest never will."""
_NAP = 0.001


class ClockPort:
    """A `engine.playback.LoopPort` whose playhead goes by the clock, a period at a time, as JACK's does."""

    def __init__(self, rate: int = 48_000, period: int = 256, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """An empty loop; `replace` fills it. `clock` gives nanoseconds."""
        self.rate, self.period, self.port_latency = rate, period, 0
        self._clock, self._began = clock, clock()
        self._loop: NDArray[np.float32] = np.zeros((1, 2), np.float32)
        self._shift = 0

    @property
    def frames(self) -> int:
        """Frames in the loop."""
        return len(self._loop)

    def place(self) -> tuple[int, int]:
        """See `LoopPort`. What the present cycle plays is consumed."""
        cycles = (self._clock() - self._began) * self.rate // (1_000_000_000 * self.period) + 1
        playhead = cycles * self.period
        return playhead, (playhead + self._shift) % self.frames

    def heard_ns(self, playhead: int) -> int:
        """When the frame that is consumed as number `playhead` comes to the port."""
        return self._began + playhead * 1_000_000_000 // self.rate

    def band(self) -> tuple[int, int]:
        """See `LoopPort`."""
        return 0, self.frames

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """See `LoopPort`."""
        return self._loop[np.arange(position, position + count) % self.frames]

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        """See `LoopPort`."""
        self._loop[np.arange(position, position + len(block)) % self.frames] = block

    def replace(self, rate: int, content: NDArray[np.float32], dry: NDArray[np.float32]) -> None:
        """See `LoopPort`."""
        playhead, position = self.place()
        self._shift = position * len(content) // self.frames - playhead
        self.rate, self._loop = rate, content.copy()


@dataclass
class Reaction:
    """What one kind of change did, in milliseconds from the change on: one number for each phase."""

    kind: str
    changed: list[float] = field(default_factory=list)
    """Up to the first latent that has it being in the loop."""
    first: list[float] = field(default_factory=list)
    """Up to the first sample of that latent at the port."""
    converged: list[float] = field(default_factory=list)
    """Up to the first latent that was admitted after it being in the loop."""
    fresh: list[float] = field(default_factory=list)
    """Up to the first sample of that one at the port."""


@dataclass
class Figures:
    """Of all phases so far, in milliseconds but for `generations`."""

    ticks: list[float] = field(default_factory=list)
    decodes: list[float] = field(default_factory=list)
    ahead: list[float] = field(default_factory=list)
    """From the beginning of a decode until the playhead comes to what it decodes."""
    lead: list[float] = field(default_factory=list)
    """From the block being in the loop until the playhead comes to it."""
    gaps: list[float] = field(default_factory=list)
    """From one latent's first block to the next one's, in a ring at work."""
    generations: list[float] = field(default_factory=list)
    """Latents a second, one for each of those gaps."""
    start: list[float] = field(default_factory=list)
    """From the session being attached to its first latent's first block being in the loop; one."""


class Player:
    """A session that plays into a port of its own, and what came of it."""

    def __init__(self, session: Session, rate: int = 48_000, period: int = 256) -> None:
        """Attaches the session."""
        self.session, self.port = session, ClockPort(rate, period)
        self.figures = Figures()
        self._knobs = Knobs(version=1)
        self._moving = False
        self._newest = self._ticks = 0
        self._before: tuple[int, int] | None = None
        """Of the last latent's first block, if the ring has been at work since: latent ready, written."""
        self._began = time.monotonic_ns()
        session.attach(self.port)

    def react(self, kind: str, phases: int, dice: random.Random, advance: Callable[[int], None]) -> Reaction:
        """Changes `kind`, one of :data:`KINDS`, back and forth at `phases` random phases."""
        found = Reaction(kind)
        self._rest()
        self._moving = kind == "moving"
        for phase in range(phases):
            due = self._until(time.monotonic_ns() + int(dice.uniform(0, _SPREAD) * 1e9))
            self._phase(found, 1 - phase % 2, due)
            if not self._moving:
                self._rest()
            advance(1)
        self._moving = False
        return found

    def _phase(self, found: Reaction, setting: int, due: int) -> None:
        """Makes the change that is due and follows it until all of it is heard."""
        asked, version = self._change(found.kind, setting), self._knobs.version
        before = self._ticks if asked is None else None
        """Ticks done when it began to act."""
        changed = False
        deadline = time.monotonic() + _LONGEST
        while time.monotonic() < deadline:
            ticks = self._ticks
            step, write = self._step()
            if before is None and asked is not None and asked.done():
                asked.result()
                before = ticks
            if write is None or before is None:
                self._nap(step)
                continue
            written, heard = ((at - due) / 1e6 for at in (write.written_ns, self.port.heard_ns(write.start_playhead)))
            has = write.admitted_version if found.kind == "slot" else write.knob_version
            if not changed and (asked is not None or has >= version):
                changed = True
                found.changed.append(written)
                found.first.append(heard)
            if step.tick >= before + self.session.setup.steps:
                found.converged.append(written)
                found.fresh.append(heard)
                return
        raise RuntimeError(f"{_LONGEST:.0f} s after a change of kind {found.kind} it is not heard")

    def _change(self, kind: str, setting: int) -> Future[str] | None:
        """Turns the knob; or asks for the prompt, whose future says when it plays."""
        if kind == "session":
            return self.session.request_prompt("a", _PROMPTS[setting])
        turned = {"seed": _SEEDS[setting]} if kind == "slot" else {"denoise": _DENOISE[setting]}
        self._knobs = replace(self._knobs, version=self._knobs.version + 1, **turned)
        return None

    def _step(self) -> tuple[Step, Write | None]:
        """One step; and its write, when that is the first of a new latent."""
        if self._moving:  # by less than anybody hears
            scale = 1.0 if self._knobs.velocity_scale < 1 else 0.9999
            self._knobs = replace(self._knobs, version=self._knobs.version + 1, velocity_scale=scale)
        step = self.session.step(self._knobs)
        self._ticks = step.tick
        if step.ticked:
            self.figures.ticks.append(step.tick_ms)
        else:
            self._before = None
        first = None
        for write in step.writes:
            if write.result > self._newest:
                self._newest, first = write.result, write
                self._note(write)
        return step, first

    def _note(self, write: Write) -> None:
        figures, heard = self.figures, self.port.heard_ns(write.start_playhead)
        if not figures.start:
            figures.start.append((write.written_ns - self._began) / 1e6)
        figures.decodes.append(write.decode_ms)
        figures.lead.append((heard - write.written_ns) / 1e6)
        figures.ahead.append(figures.lead[-1] + write.decode_ms)
        if self._before is not None:
            ready, written = self._before
            figures.gaps.append((write.written_ns - written) / 1e6)
            figures.generations.append(1e9 / (write.latent_ready_ns - ready))
        self._before = write.latent_ready_ns, write.written_ns

    def _until(self, due: int) -> int:
        """Plays until `due`, in ns, as closely as a step allows: a change that comes in one waits for its end."""
        while time.monotonic_ns() < due:
            self._nap(self._step()[0])
        return due

    def _nap(self, step: Step) -> None:
        """After a step that did nothing, as the engine process does; not longer than a phase may be off."""
        if step.idle and not step.writes:
            time.sleep(_NAP)

    def _rest(self) -> None:
        """Plays until the ring is at rest. Raises `RuntimeError` if it never is."""
        deadline = time.monotonic() + _LONGEST
        while not self._step()[0].idle:
            if time.monotonic() > deadline:
                raise RuntimeError(f"with constant knobs the session does not come to rest in {_LONGEST:.0f} s")
