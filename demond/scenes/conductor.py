"""Wakes the stage when it wants to be, and keeps what was stored on it. Used by the daemon, in its event loop."""

from __future__ import annotations

import asyncio
import logging
import time

from demond.config import Tempo
from demond.scenes.stage import Stage
from demond.scenes.store import Store
from demond.scenes.transport import Sync

log = logging.getLogger(__name__)


class Conductor:
    """One timer, and one writer of the file of stored scenes."""

    def __init__(self, stage: Stage, store: Store | None, tempo: Tempo) -> None:
        """Without a `store`, what is stored is forgotten at the end. Nothing is timed before :meth:`start`."""
        self._stage, self._store = stage, store
        transport = stage.transport
        transport.bpm, transport.beats_per_bar, transport.start_stop = tempo.bpm, tempo.meter, tempo.start_stop
        self._sync, self._lead = Sync(tempo.sync), tempo.lead
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._writing: asyncio.Task[None] | None = None
        self._unwritten = False

    def start(self) -> None:
        """Called in the event loop."""
        self._stage.wake = self._wake
        self._stage.library.stored_changed = self._changed
        self._stage.choose_sync(self._sync)
        self._stage.jack_lead.choose(self._lead)
        self._wake()

    def _wake(self) -> None:
        due_ns = self._stage.due_ns
        if self._timer is not None:
            if due_ns is not None and self._due_ns <= due_ns:
                return
            self._timer.cancel()
            self._timer = None
        if due_ns is not None:
            self._due_ns = due_ns
            seconds = max(due_ns - time.monotonic_ns(), 0) / 1e9
            self._timer = asyncio.get_running_loop().call_later(seconds, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self._stage.advance()

    def _changed(self) -> None:
        self._unwritten = True
        if self._store is not None and self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write(self._store))

    async def _write(self, store: Store) -> None:
        try:
            while self._unwritten:
                self._unwritten = False
                await asyncio.to_thread(store.save, dict(self._stage.library.stored))
        except OSError as error:
            log.warning("stored scenes will not outlive demond: %s: %s", store.path, error.strerror)
        finally:
            self._writing = None

    async def close(self) -> None:
        """Writes what has not been written yet, and wakes the stage no more."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
