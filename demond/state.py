"""What a performer has set, kept in a file over the end of the daemon.

The daemon calls :meth:`StateFile.load` at its start, :meth:`Keeper.changed` whenever something was set, and
:meth:`Keeper.close` at its end. The file is written beside and moved into place, so it is whole at any time: a daemon
that is killed loses the last second. A file that cannot be read is set aside, never written over.

Each setting is kept with what the settings file said of it at the time. If the file or the command line says
something else at the next start, that is the newer wish, and it counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from demond._files import write_whole
from demond.knobs import INDEX
from demond.session import Session
from demond.setting import Setting

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
"""How long nothing must have changed before the file is written."""
LONGEST_SECONDS = 10.0
"""How long it may stay unwritten while something changes all the time."""


class Kept(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    demond: Literal[1] = 1
    """The version of this layout."""
    knobs: dict[str, FiniteFloat]
    """The knobs that are not at their default."""
    configured: tuple[Setting, ...]
    """What the settings file and the command line said."""
    settings: tuple[Setting, ...]
    """What was asked for last."""

    def onto(self, configured: Session) -> Session:
        """The kept settings, on top of what is `configured` now."""
        before, kept, now = Session(self.configured), Session(self.settings), Session(configured.settings)
        for key in dict.fromkeys(each.key for each in (*self.configured, *self.settings)):
            if before.get(key) == configured.get(key):
                now.restore(key, kept.get(key))
        return now

    def known_knobs(self) -> dict[str, float]:
        """The kept values of the knobs that this version has."""
        return {name: value for name, value in self.knobs.items() if name in INDEX}


class StateFile:
    """One file. Its methods may block."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self.path = path

    def load(self) -> tuple[Kept | None, str]:
        """What was kept, None where nothing was; and what a user should know, often nothing."""
        try:
            return Kept.model_validate_json(self.path.read_bytes()), ""
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"what was set before cannot be read: {self.path}: {error.strerror}"
        except (ValidationError, ValueError):
            aside = self.path.with_suffix(".damaged.json")
            try:
                os.replace(self.path, aside)
            except OSError as error:
                return None, f"{self.path} is damaged, and cannot be set aside: {error.strerror}"
            return None, f"{self.path} is damaged; it was set aside as {aside.name}, and demond starts afresh"

    def save(self, kept: Kept) -> None:
        """Puts `kept` in the file's place. Raises `OSError`, and the old file stays."""
        write_whole(self.path, kept.model_dump_json(indent=1).encode())


class Keeper:
    """Writes the file when things have calmed down. All calls come from the daemon's event loop."""

    def __init__(self, file: StateFile, present: Callable[[], Kept]) -> None:
        """`present` tells what is to be kept now."""
        self._file, self._present = file, present
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._first = self._last = 0.0
        self._complained = False

    def changed(self) -> None:
        """Something was set."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        if self._timer is None:
            self._first = self._last
            self._timer = loop.call_later(QUIET_SECONDS, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        due = min(self._last + QUIET_SECONDS, self._first + LONGEST_SECONDS)
        if self._writing is not None:
            due = loop.time() + QUIET_SECONDS
        if due > loop.time():
            self._timer = loop.call_at(due, self._look)
            return
        self._timer = None
        self._writing = loop.create_task(self._write(self._present()))

    async def _write(self, kept: Kept) -> None:
        try:
            await asyncio.to_thread(self._save, kept)
        finally:
            self._writing = None

    def _save(self, kept: Kept) -> None:
        try:
            self._file.save(kept)
        except OSError as error:
            if not self._complained:
                log.warning("what is set will not outlive demond: %s: %s", self._file.path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    async def close(self) -> None:
        """Writes what has not been written yet."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._save(self._present())
