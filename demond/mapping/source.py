"""The mapping as the daemon uses it: loaded, kept up to date with its files, and asked for each message.

It lives in the daemon's event loop. A file with mistakes never takes the mapping away that is being played with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from demond.control import Control, Origin, Outcome
from demond.mapping.loader import DEFAULT, Mapping, MappingError, load_mapping
from demond.mapping.mapper import LastMessage, Mapper
from demond.mapping.reload import changes
from demond.osc.codec import Argument
from demond.strict_yaml import YamlError

log = logging.getLogger(__name__)

Report = Callable[[YamlError | None], None]
Done = Callable[[Outcome], None]

WAITING_LIMIT = 64
"""Requests for a reload that may wait for the one under way."""


class MappingSource:
    """Mapping files, and the :class:`Mapper` that goes by them."""

    def __init__(self, paths: Sequence[Path] | None, control: Control, report: Report | None = None) -> None:
        """`paths` are mapping files, later ones winning; None means the ready ones of every known controller.

        `report` is called after each reload with what was wrong, or None. Nothing is read yet.
        """
        self._paths = list(paths) if paths is not None else [DEFAULT]
        self._mapper = Mapper(Mapping(), control)
        self._report = report
        self._watched: tuple[Path, ...] = tuple(self._paths)
        self._waiting: list[Done] = []
        self._task: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self.error: str | None = None
        """What is wrong with the files as they are now, one problem a line; None when nothing is."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that make the mapping that is in use."""
        return tuple(path for path in dict.fromkeys(map(Path.resolve, self._mapper.mapping.files)) if path.is_file())

    @property
    def mapping(self) -> Mapping:
        """The mapping in use."""
        return self._mapper.mapping

    @property
    def last(self) -> LastMessage | None:
        """The last control message and what came of it."""
        return self._mapper.last

    def load(self) -> YamlError | None:
        """Reads the files and uses them; with mistakes in them, the mapping stays and the error is returned."""
        try:
            mapping = load_mapping(self._paths)
        except MappingError as error:
            self._refuse(error)
            return error
        self._use(mapping)
        return None

    def midi(self, port: str, data: bytes, time_ns: int) -> None:
        """One MIDI message from `port`, received at `time_ns` on the monotonic clock. Never raises."""
        self._mapper.midi(port, data, time_ns)

    def connected(self, port: str) -> None:
        """`port` has just appeared: whatever is plugged in there must pick its knobs up again."""
        self._mapper.rearm(port)

    def osc(
        self, address: str, arguments: tuple[Argument, ...], origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """As :meth:`Mapper.osc`."""
        return self._mapper.osc(address, arguments, origin, changes)

    @property
    def addresses(self) -> Collection[str]:
        """The OSC addresses outside of /demond that are mapped; another object after each reload."""
        return self._mapper.mapping.osc

    def pickup(self, knob: str) -> int:
        """As :meth:`Mapper.pickup`."""
        return self._mapper.pickup(knob)

    def reload(self, done: Done) -> None:
        """Reads the files again, beside the event loop, and calls `done` with how it went.

        Requests that come while one is under way share the next one.
        """
        if len(self._waiting) >= WAITING_LIMIT:
            done(Outcome(False, "too many reloads are waiting already"))
            return
        self._waiting.append(done)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._answer_requests())

    async def _answer_requests(self) -> None:
        while self._waiting:
            asking, self._waiting = self._waiting, []
            error = await self._reload()
            if error is None:
                outcome = Outcome(True, f"{len(self.files)} files, no mistakes")
            else:
                outcome = Outcome(False, f"the mapping stays as it was:\n{error}")
            for done in asking:
                done(outcome)

    async def watch(self) -> None:
        """Reloads whenever one of the files changes. Runs until cancelled."""
        async for _ in changes(lambda: self._watched):
            error = await self._reload()
            if error is None:
                log.info("mapping reloaded")
            else:
                log.warning("the mapping stays as it was:\n%s", error)

    async def _reload(self) -> YamlError | None:
        async with self._reloading:
            try:
                mapping = await asyncio.to_thread(load_mapping, self._paths)
            except MappingError as error:
                self._refuse(error)
                found: YamlError | None = error
            else:
                self._use(mapping)
                found = None
        if self._report is not None:
            self._report(found)
        return found

    def _use(self, mapping: Mapping) -> None:
        self._mapper.replace(mapping)
        self._watched = mapping.files
        self.error = None

    def _refuse(self, error: MappingError) -> None:
        # The files in use are watched on, and those that the broken ones wanted.
        self._watched = tuple(dict.fromkeys((*self._mapper.mapping.files, *error.files)))
        self.error = str(error)
