"""Changes to the rig while it plays: prepared on two worker threads, committed by the tick thread between two ticks.

The *conditioning* thread makes what is quick (prompts, clips, LoRA weights), the *loading* thread what is slow
(another checkpoint, source, window, number of steps or slots), so that a prompt is not held up by a checkpoint.
Every change passes the conditioning thread in the end: there it is applied to the newest rig, to which all earlier
ones have been applied. What was asked for while a checkpoint was being read is thus on the old model at once, and on
the new one when it comes.

Requests come from any thread. A change that fails leaves everything as it was, and so does one that is overtaken by a
later one of its kind before it was ready.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.model.checkpoint import Progress
from engine.performance import Rehearsal
from engine.rig import Rig, Setup
from engine.threads import settle

OVERTAKEN = "overtaken by a later request"
"""The answer to a request that a later one of its kind made pointless before it was ready."""


class RoomError(ValueError):
    """Memory does not hold what was asked for beside what plays. What the user can do: ask for less."""


class _OvertakenError(Exception):
    """Ends the preparation of a change that nobody waits for any more."""


Build = Callable[[Setup, Rig, Progress], Rig]
"""The rig for a setup, made from another one; see `engine.rig.Builder.build`."""


class Rehearse(Protocol):
    """Plays a new rig where nobody hears it, until its ring is full; see `engine.performance.rehearse`."""

    def __call__(self, rig: Rig, before: Rig, progress: Progress) -> Rehearsal:
        """On the loading thread: `rig` is to follow `before`. What `progress` raises ends the rehearsal."""


@dataclass(slots=True, eq=False)
class _Change:
    """One request on its way."""

    kind: str
    """A later request of the same kind overtakes it; nothing overtakes the kind of no name."""
    edit: Callable[[Setup], Setup]
    remark: Callable[[Rig], str]
    loading: bool
    done: Future[str]
    overtaken: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A change that waits for the tick thread."""

    change: _Change
    after: int
    """Number of the rig that it was applied to."""
    number: int
    """Of the rig that came of it."""
    rig: Rig
    rehearsal: Rehearsal | None


class Changes:
    """The rig that plays, and the changes to it that are being prepared."""

    def __init__(self, rig: Rig, build: Build, rehearse: Rehearse) -> None:
        """`rig` plays; `build` and `rehearse` are called on the workers, `build` on both at once."""
        self.rig = rig
        """What plays: the tick thread's."""
        self._number = 0
        # The conditioning thread's: the rig with all changes that wait to be committed. Rigs are counted there.
        self._newest, self._newest_number, self._made = rig, 0, 0
        self._build, self._rehearse = build, rehearse
        self._asked: dict[str, _Change] = {}
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[_Ready] = queue.SimpleQueue()
        self._busy = self._closed = False
        device = rig.latents.device
        # On a GPU, work in a stream of its own does not hold up the ticks.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._conditioning = ThreadPoolExecutor(1, "conditioning", settle)
        self._loading = ThreadPoolExecutor(1, "loading", settle)

    @property
    def loading(self) -> bool:
        """Whether the loading thread works beside the ticks just now."""
        return self._busy

    def request(
        self,
        edit: Callable[[Setup], Setup],
        *,
        loading: bool = False,
        kind: str = "",
        remark: Callable[[Rig], str] = lambda rig: "",
    ) -> Future[str]:
        """Asks for the setup as `edit` makes it from the present one. From any thread.

        The future holds `remark(rig)` once the rig has been committed, or :data:`OVERTAKEN`, or what was wrong.
        """
        change = _Change(kind, edit, remark, loading, Future())
        with self._lock:
            if kind:
                if kind in self._asked:
                    self._asked[kind].overtaken = True
                self._asked[kind] = change
            self._submit(change)
        return change.done

    def commit(self, play: Callable[[Rig, Rehearsal | None], None]) -> None:
        """Hands every rig that is ready to `play`, in order. From the tick thread, between two ticks.

        When `play` raises, that change has failed; those that were built upon it are built again.
        """
        while not self._ready.empty():
            ready = self._ready.get()
            if ready.after != self._number:
                self._submit(ready.change)
                continue
            try:
                play(ready.rig, ready.rehearsal)
            except Exception as error:
                self._conditioning.submit(self._go_back, self.rig, self._number)
                ready.change.done.set_exception(error)
                continue
            old, self.rig, self._number = self.rig, ready.rig, ready.number
            self._conditioning.submit(self._let_go, [old], old.model is not self.rig.model)
            del old  # or it would be freed here
            ready.change.done.set_result(ready.change.remark(ready.rig))

    def close(self) -> None:
        """Ends both threads, in the middle of a change if need be. What was not committed is cancelled."""
        self._closed = True
        self._loading.shutdown()
        self._conditioning.shutdown()
        while not self._ready.empty():
            self._ready.get().change.done.set_exception(_closed())

    def _submit(self, change: _Change) -> None:
        worker, work = (self._loading, self._load) if change.loading else (self._conditioning, self._apply)
        worker.submit(self._run, change, work)

    def _run(self, change: _Change, work: Callable[[_Change], None]) -> None:
        """On either worker: `work(change)`, and whatever it raises for whoever asked."""
        done = change.done
        if not done.running() and not done.set_running_or_notify_cancel():
            return
        try:
            self._check(change)
            work(change)
        except _OvertakenError:
            done.set_result(OVERTAKEN)
        except (MemoryError, torch.OutOfMemoryError):
            done.set_exception(RoomError("there is not enough memory for that beside what plays now"))
        except Exception as error:
            done.set_exception(error)

    def _load(self, change: _Change) -> None:
        """On the loading thread: makes what takes long, from the rig as it is now, and has the change applied."""
        self._busy = True
        try:
            base = self._newest
            rig = self._built(change, base, base)
            rehearsal = None if rig.shares_ring(base) else self._rehearse(rig, base, self._checking(change))
            self._conditioning.submit(self._apply, change, rig, rehearsal).result()
        finally:
            self._busy = False

    def _apply(self, change: _Change, made: Rig | None = None, rehearsal: Rehearsal | None = None) -> None:
        """On the conditioning thread: applies the change to the newest rig, with what was `made` for it before."""
        rig = self._built(change, self._newest, made or self._newest)
        if made and not rig.shares_ring(made):
            rehearsal = None
        self._check(change)
        self._made += 1
        self._ready.put(_Ready(change, self._newest_number, self._made, rig, rehearsal))
        self._newest, self._newest_number = rig, self._made

    def _built(self, change: _Change, base: Rig, made: Rig) -> Rig:
        """The rig for the setup of `base` with the change, finished on the device."""
        with torch.cuda.stream(self._stream):
            rig = self._build(change.edit(base.setup), made, self._checking(change))
        if self._stream:
            self._stream.synchronize()
        return rig

    def _checking(self, change: _Change) -> Progress:
        return lambda stage, share: self._check(change)

    def _check(self, change: _Change) -> None:
        """Ends the preparation of a change that came to be pointless."""
        if self._closed:
            raise _closed()
        if change.overtaken:
            raise _OvertakenError

    def _go_back(self, rig: Rig, number: int) -> None:
        """On the conditioning thread: what has been built since `rig` will not be played."""
        self._newest, self._newest_number = rig, number

    def _let_go(self, rigs: list[Rig], whole: bool) -> None:
        """On the conditioning thread: frees what only the old rig had, once the device has done with it.

        Memory that was allocated for one stream may be given out again as soon as it is free, whatever another stream
        still does with it. That of a `whole` model goes back to the device.
        """
        if self._stream:
            torch.cuda.synchronize(self._stream.device)
        rigs.clear()
        if self._stream and whole:
            torch.cuda.empty_cache()


def _closed() -> CancelledError:
    return CancelledError("the engine ended before it was played")
