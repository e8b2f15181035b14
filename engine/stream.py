"""The ring: slots in flight, each at its own step of the schedule, all advanced by one step a tick.

Owned by the session's one thread. A slot is built from the freshest knobs at the tick that admits it, finishes
`steps` ticks later, and is returned by that very tick with its story. There is no queue, so no request gets stale;
and a slot in flight that a change leaves far behind is born anew with the steps that it has left (`engine.renewal`).

Promises: constant knobs give bit-identical latents; a latent does not depend on the slots beside it, on depth, or on
when it was admitted; :func:`generate` gives the same bits in one call. Feedback is the exception: it mixes in earlier
results on purpose.

A loop longer than the `window` is played by overlapping regions of that length (`engine.windows`): the first quarter
of a region goes on from what was there, so that two regions join. Then a result covers its region only, and what the
region goes on from is the second exception.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.advance import advance
from engine.backends import Backend
from engine.curves import Curves
from engine.guide import Guide
from engine.knobs import Knobs
from engine.noise import noise
from engine.plan import Scene, kept
from engine.renewal import WORTH, size
from engine.rows import Rows
from engine.schedule import Admission
from engine.settings import Settings, read
from engine.slot import Slot, birth, replan
from engine.windows import Canvas, Windows

FEEDBACK_MOST = 8
"""Results that are kept for feedback."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A finished latent and its story."""

    latent: Tensor
    """[T,64] in fp32, T the frames of its region. Never written to again, and not to be written to."""
    id: int
    admitted_tick: int
    finished_tick: int
    admitted_version: int
    """Version of the knobs that the slot was built from, the last time that it was."""
    version: int
    """Version of the knobs at its last step: every shared change up to it can be heard."""
    region: tuple[int, int]
    """The latent frames of the loop that it covers: first, and how many. The whole loop has neither end nor seam."""
    part: tuple[int, int]
    """The frames of the region that are its to say: first in the loop, and how many. The rest is what is around."""
    seed: int
    settled: bool
    """Whether the next result for this region would be the same bit for bit if nothing is changed."""

    def digest(self) -> str:
        """SHA-256 of the latent's bytes."""
        return hashlib.sha256(self.latent.cpu().contiguous().numpy().tobytes()).hexdigest()


class _History:
    """Earlier results of one region, newest first."""

    def __init__(self) -> None:
        self._latents: deque[Tensor] = deque()
        self._first = 0

    def add(self, latent: Tensor, first: int, depth: int) -> None:
        """Remembers a result of the region that begins at `first`; another region's are forgotten."""
        if first != self._first:
            self._latents.clear()
        self._first = first
        self._latents.appendleft(latent)
        while len(self._latents) > FEEDBACK_MOST + depth + 1:
            self._latents.pop()

    def mixed(self, source: Tensor, first: int, share: float, back: int) -> Tensor:
        """`source` with `share` of the result `back` results ago; of the oldest there is while there are fewer."""
        if share <= 0 or not self._latents or first != self._first:
            return source
        return torch.lerp(source, self._latents[min(back, len(self._latents)) - 1], share)

    def repeats(self, depth: int, back: int) -> bool:
        """Whether feeding results back changes nothing any more.

        The newest result was born from the one `back` results before the `depth` that finished in its life. When all
        of them are equal it reproduces itself, and so will the slots in flight, which were born from the later ones.
        """
        needed = depth + back + 1
        recent = list(self._latents)[:needed]
        return len(recent) == needed and all(torch.equal(recent[0], other) for other in recent[1:])


class Ring:
    """Up to `depth` slots in flight over the loop `source`."""

    def __init__(self, backend: Backend, source: Tensor, depth: int, steps: int, window: int | None = None) -> None:
        """`source` [T,64] are the loop's latents; a slot covers `window` frames of it, or all.

        Raises `ValueError` unless `depth` and `steps` are at least 1 and a window is at least `windows.SHORTEST`.
        """
        _check(depth, steps)
        self.backend = backend
        """Runs the network. May be replaced between two ticks by one of the same shapes with other weights."""
        self._source = self._target = source.to(backend.device)
        self._depth, self.steps = depth, steps
        self._windows = Windows(len(source), window, backend.device)
        self._canvas = Canvas(self._source) if self._windows.many else None
        self._rows = Rows(depth, self._windows.length, backend.device)
        self._slots: list[Slot] = []
        self._admission = Admission(steps, depth)
        self._history = _History()
        self._settings: Settings | None = None
        self._scene: tuple[tuple[object, ...], Scene] | None = None
        self._admitted = 0
        self.ticks = 0
        """Ticks done since the ring was made."""
        self.load = 0
        """Slots that the last tick ran through the network; slots at strength 0 do not need it."""

    @property
    def depth(self) -> int:
        """Slots in flight. A smaller number lets the surplus finish, a larger one is filled as slots fall due."""
        return self._depth

    @depth.setter
    def depth(self, depth: int) -> None:
        _check(depth, self.steps)
        self._depth = depth

    @property
    def lock_target(self) -> Tensor:
        """The latents [T,64] over the loop that `source_lock` draws to; the source at first."""
        return self._target

    @lock_target.setter
    def lock_target(self, latents: Tensor) -> None:
        self._target = latents.to(self.backend.device)
        self._settings = None

    def region(self, at: int) -> tuple[int, int]:
        """The region (first frame, count) that a slot admitted for a write at frame `at` of the loop covers."""
        return self._windows.first(at), self._windows.length

    def ticks_to_result(self) -> int:
        """How many ticks from now the next result comes: 1 means with the next tick."""
        if self._slots:
            return self.steps - max(slot.step for slot in self._slots)
        return self._admission.wait(self._depth) + self.steps

    @torch.inference_mode()
    def tick(self, knobs: Knobs, guide: Guide, curves: Curves, at: int = 0) -> list[Result]:
        """Admits what is due, advances every slot by one step, and returns the latents that this finished.

        `at` is the frame of the loop that is to be written next: slots are admitted for the region around it.
        """
        settings = self._read(knobs, guide, curves)
        due = self._admission.due(self._depth)
        self._make_room(len(self._slots) + due)
        for _ in range(due):
            self._admit(knobs, settings, at)
        self._follow(knobs, settings)
        self.load = advance(self.backend, self._rows, self._slots, self._shared(settings)) if self._slots else 0
        done = [slot for slot in self._slots if slot.step == self.steps]
        self._slots = [slot for slot in self._slots if slot.step < self.steps]
        results = [self._finish(slot, knobs, settings) for slot in done]
        self.ticks += 1
        return results

    def _read(self, knobs: Knobs, guide: Guide, curves: Curves) -> Settings:
        """The settings; the same object for as long as they ask for the same music."""
        now = self._settings
        if now and now.guide is guide and now.curves is curves and now.knobs.sounds_like(knobs):
            return now
        self._settings = read(knobs, curves, guide)
        return self._settings

    def _make_room(self, needed: int) -> None:
        """Follows a change of depth, as soon as the slots in flight allow it."""
        wanted = max(self._depth, needed)
        if self._rows.count != wanted:
            self._rows = self._rows.moved([slot.row for slot in self._slots], wanted)
            for row, slot in enumerate(self._slots):
                slot.row = row

    def _admit(self, knobs: Knobs, settings: Settings, at: int) -> None:
        used = {slot.row for slot in self._slots}
        self._admitted += 1
        slot = Slot(
            id=self._admitted,
            row=next(row for row in range(self._rows.count) if row not in used),
            tick=self.ticks,
            knobs=knobs,
            settings=settings,
            first=self._windows.first(at),
            steps=self.steps,
        )
        self._bear(slot, knobs, settings)
        self._slots.append(slot)

    def _bear(self, slot: Slot, knobs: Knobs, settings: Settings) -> None:
        """Makes `slot` begin at the step where it is, from the freshest knobs."""
        windows = self._windows
        slot.knobs, slot.settings = knobs, settings
        slot.hold = self._canvas.hold(windows, slot.first, settings) if self._canvas else None
        source, n = self._source, noise(knobs.seed, len(self._source), self.backend.device)
        share = settings.curves.get("initial_noise")
        frames = windows.frames(slot.first)
        if frames is not None:
            source, n, share = source[frames], n[frames], None if share is None else share[frames]
        source = self._history.mixed(source, slot.first, knobs.feedback, knobs.feedback_depth)
        birth(self._rows, slot, source, n, share)

    def _follow(self, knobs: Knobs, settings: Settings) -> None:
        """Takes the slots in flight to settings that they were not born from."""
        moved = []
        for slot in self._slots:
            if slot.settings is settings:
                continue
            slot.steady = False
            if slot.left * size(slot.settings, settings, self.steps) >= WORTH:
                self._bear(slot, knobs, settings)
            elif slot.denoise != knobs.denoise:
                moved.append(slot)
        if moved:
            replan(self._rows, moved, knobs.denoise)

    def _shared(self, settings: Settings) -> Scene:
        """What the slots share, kept for as long as neither they nor the settings change."""
        windows = self._windows
        key: tuple[object, ...] = (settings, self._target)
        if windows.many:
            key += tuple((slot.id, slot.row) for slot in self._slots)
        if self._scene and len(key) == len(self._scene[0]) and all(map(_same, key, self._scene[0])):
            return self._scene[1]
        source, target = self._source[None], self._target[None]
        frames: Tensor | None = None
        if windows.many:
            firsts = [0] * self._rows.count
            for slot in self._slots:
                firsts[slot.row] = slot.first
            frames = torch.stack([windows.at(first) for first in firsts])
            source, target, settings = self._source[frames], self._target[frames], settings.over(frames)
        held = kept(settings, source, self._rows, self._slots)
        scene = Scene(settings, source, target, frames, len(self._source), held)
        self._scene = key, scene
        return scene

    def _finish(self, slot: Slot, knobs: Knobs, settings: Settings) -> Result:
        latent = self._rows.x[slot.row].clone()
        self._history.add(latent, slot.first, self._depth)
        # On a GPU the comparison would wait for the device: there a ring with feedback is never at rest.
        repeats = knobs.feedback <= 0 or (
            not latent.is_cuda and self._history.repeats(self._depth, knobs.feedback_depth)
        )
        if self._canvas and slot.steady:
            self._canvas.paint(self._windows, slot.first, latent, settings)
        return Result(
            latent=latent,
            id=slot.id,
            admitted_tick=slot.tick,
            finished_tick=self.ticks,
            admitted_version=slot.knobs.version,
            version=knobs.version,
            region=(slot.first, self._windows.length),
            part=self._windows.part(slot.first),
            seed=slot.knobs.seed,
            settled=slot.steady and repeats,
        )


@torch.inference_mode()
def generate(backend: Backend, source: Tensor, guide: Guide, curves: Curves, knobs: Knobs, steps: int) -> Tensor:
    """One latent [T,64] over the whole loop, without a ring (and so without feedback): what a steady stream gives."""
    ring = Ring(backend, source, 1, steps)
    results = [result for _ in range(steps) for result in ring.tick(knobs, guide, curves)]
    return results[-1].latent


def _check(depth: int, steps: int) -> None:
    if depth < 1 or steps < 1:
        raise ValueError(f"a ring wants at least one slot and one step, got depth {depth} and {steps} steps")


def _same(a: object, b: object) -> bool:
    return a is b or (isinstance(a, tuple) and a == b)
