"""The mapping as the daemon uses it: loaded, kept up to date with its files, and asked for each message.

It lives in the daemon's event loop, and gives the mapper its sense of time. A file with mistakes never takes the
mapping away that is being played with.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from demond._process import be_prompt
from demond.control import Control, Origin, Outcome
from demond.mapping import told
from demond.mapping.journal import Journal, LastMessage
from demond.mapping.learned import LearnedFile
from demond.mapping.lesson import Lessons
from demond.mapping.loader import DEFAULT, MappingError, load_mapping
from demond.mapping.mapper import HearClock, Mapper
from demond.mapping.mapping import Mapping
from demond.mapping.painter import Send
from demond.mapping.plugs import PortIdentity
from demond.mapping.reload import changes
from demond.mapping.roll import GRACE_SECONDS, Roll
from demond.mapping.search import Search
from demond.osc.codec import Argument
from demond.strict_yaml import YamlError

log = logging.getLogger(__name__)

MESSAGES_LIMIT, MESSAGES_BYTES = 200, 50_000
"""Control messages that are told at once, and their size as JSON: what fits into one packet."""

Report = Callable[[YamlError | None], None]
Done = Callable[[Outcome], None]

_LAST = ("midi/last",)
WAITING_LIMIT = 64
"""Requests for a reload that may wait for the one under way."""


class MappingSource:
    """Mapping files, and the :class:`Mapper` that goes by them."""

    def __init__(
        self,
        paths: Sequence[Path] | None,
        control: Control,
        report: Report | None = None,
        learned: Path | None = None,
    ) -> None:
        """`paths` are mapping files, later ones winning; None means the ready ones of every known controller.

        `report` is called after each reload with what was wrong, or None. What is learned is kept in the file
        `learned`; without one, nothing is. Nothing is read yet.
        """
        self._paths = list(paths) if paths is not None else [DEFAULT]
        self._load = functools.partial(load_mapping, self._paths, learned=learned)
        self._mapper = Mapper(Mapping(), control)
        self._mapper.hear_layers = lambda names: control.feed.tell([f"layer/{name}" for name in names])
        self._control = control
        self._report = report
        self._watched: tuple[Path, ...] = tuple(self._paths)
        self._waiting: list[Done] = []
        self._task: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        # Prompt, since it holds the interpreter's lock: put aside by the kernel meanwhile, it would keep the event
        # loop waiting for as long.
        self._loader = ThreadPoolExecutor(1, "mapping", be_prompt)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._roll = Roll(lambda: self.mapping, lambda: {one for ids in self.devices.values() for one in ids})
        self.lessons = Lessons(
            LearnedFile(learned) if learned is not None else None, lambda: self.mapping, self.journal.after
        )
        """Learns lines from what hands move."""
        self.lessons.reload = self.reload
        self.lessons.changed = self._search
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

    def _search(self, search: Search | None) -> None:
        self._mapper.search = search
        self._control.feed.tell(("learn/target",))
        self._wait()

    def load(self) -> YamlError | None:
        """Reads the files and uses them; with mistakes in them, the mapping stays and the error is returned."""
        try:
            mapping = self._load()
        except MappingError as error:
            self._refuse(error)
            return error
        self._use(mapping)
        return None

    @property
    def journal(self) -> Journal:
        """What came of the last messages."""
        return self._mapper.journal

    def messages(self, number: int) -> dict[str, object]:
        """The control messages after message `number` as JSON values: `count` of all, and `messages`, newest last."""
        found: list[dict[str, object]] = []
        room = MESSAGES_BYTES
        for message in reversed(self.journal.since(number, MESSAGES_LIMIT)):
            room -= len(json.dumps(asdict(message)))
            if room < 0:
                break
            found.append(asdict(message))
        return {"count": self.journal.count, "messages": found[::-1]}

    @property
    def addresses(self) -> Collection[str]:
        """The OSC addresses outside of /demond that are mapped; another object after each reload."""
        return self._mapper.mapping.osc

    def pickup(self, knob: str) -> int:
        """Which way the control that waits to pick `knob` up must be moved: -1 down, 1 up; 0 for none."""
        return self._mapper.pickup(knob)

    def hear_pickup(self, hear: Callable[[str], None]) -> None:
        """`hear(knob)` is told from now on whenever :meth:`pickup` answers something else for a knob."""
        self._mapper.hear_pickup(hear)

    @property
    def layers(self) -> dict[str, bool]:
        """Every layer, and whether it is on."""
        return {name: name in self._mapper.layers for name in self._mapper.mapping.layers}

    @property
    def devices(self) -> dict[str, list[str]]:
        """The MIDI ports that are there, and the devices that each is taken for."""
        return self._mapper.devices

    def touch(self, knob: str, origin: Origin, address: str, fires: bool = False) -> bool:
        """Whether `origin`, which no line concerns, may move `knob`; if not, the journal says who has it.

        What `fires` is a touch at once, whatever moves meanwhile.
        """
        touches, hand = self._mapper.strokes.touches, f"{origin.kind} {origin.detail}"
        if fires:
            touches.pressed(knob, hand, origin.received_ns)
            return True
        other = touches.moved(knob, hand, origin.received_ns)
        if other is not None:
            self.journal.begin(origin.received_ns, origin.detail, address).reason = touches.taken(knob, other)
        return other is None

    def finger(self, knob: str, origin: Origin, down: bool) -> None:
        """A finger was put on `knob` at `origin`, which has it until the finger is lifted."""
        self._mapper.strokes.fingers.put(knob, f"{origin.kind} {origin.detail}", origin, down)

    def held(self, knob: str) -> bool:
        """Whether a finger lies on any control of `knob`."""
        return self._mapper.strokes.touches.held(knob)

    def show_with(self, send: Send) -> None:
        """Lamps, rings and motors are set through `send(port, messages)` from now on."""
        self._mapper.show_with(send)

    def hear_clock(self, hear: HearClock) -> None:
        """`hear(port, clock, time_ns)` is told of MIDI clock, start, continue, stop and song position from now on."""
        self._mapper.hear_clock = hear

    def midi(self, port: str, messages: Sequence[bytes], time_ns: int) -> None:
        """MIDI messages from `port`, received by `time_ns` on the monotonic clock. Never raises."""
        journal = self._mapper.journal
        count = journal.count
        self._mapper.midi_batch(port, messages, time_ns)
        if journal.count != count:
            self._control.feed.tell(_LAST)
        self._wait()

    def ports(self, identities: Iterable[PortIdentity]) -> None:
        """These MIDI ports are there now. What is new there must pick its knobs up, and is painted."""
        self._mapper.ports(identities)
        self._roll.look()
        self._wait()

    @property
    def missing(self) -> list[str]:
        """The devices that should be there and are not."""
        return [device.id for device in self._roll.missing]

    def call_roll(self, fail: Callable[[str], None]) -> None:
        """From some seconds on, what is missing is said; `fail` is told of what demond may not play without."""

        def begin() -> None:
            if why := self._roll.begin():
                fail(why)

        asyncio.get_running_loop().call_later(GRACE_SECONDS, begin)

    def changed(self, knobs: Iterable[str]) -> None:
        """Knobs have new values, whoever set them: lamps, rings and motors follow."""
        self._mapper.changed(knobs)
        self._wait()

    def lines(self, part: str) -> Iterable[dict[str, object]]:
        """The lines whose id has `part` in it, or that have it as a tag, as plain JSON values."""
        return told.lines(self._mapper.situation, part)

    def line_is_on(self, name: str) -> bool | None:
        """Whether all lines with the id or tag `name` are on; None if there are none."""
        return told.is_on(self._mapper.situation, name)

    @property
    def line_names(self) -> list[str]:
        """All ids and tags."""
        return told.names(self._mapper.situation)

    @property
    def last_told(self) -> dict[str, object] | None:
        """The last control message as plain JSON values; None before the first."""
        last = self.last
        return None if last is None else asdict(last)

    def switch_layer(self, name: str, on: bool) -> bool:
        """Switches a layer on or off; False if there is none of that name."""
        return self._mapper.switch_layer(name, on)

    def switch_line(self, name: str, on: bool) -> int:
        """Switches the line with the id `name`, or those with that tag, on or off; returns how many there are."""
        count = self._mapper.switch_line(name, on)
        switched = (one for one in self.mapping.bindings() if name == one.id or name in one.tags)
        names = {called for one in switched for called in (one.id, *one.tags)}
        self._control.feed.tell([f"map/{called}/enable" for called in names])
        return count

    def osc(
        self, address: str, arguments: tuple[Argument, ...], origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """As :meth:`Mapper.osc`."""
        taken = self._mapper.osc(address, arguments, origin, changes)
        self._control.feed.tell(_LAST)
        self._wait()
        return taken

    def _wait(self) -> None:
        """Wakes the mapper when it wants to be. Without a running event loop, as in a test, nothing wakes it."""
        due_ns, lesson_ns = self._mapper.due_ns, self.lessons.due_ns
        if lesson_ns is not None and (due_ns is None or lesson_ns < due_ns):
            due_ns = lesson_ns
        if due_ns is None or (self._timer is not None and self._timer_ns <= due_ns):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = loop.call_later(max(due_ns - time.monotonic_ns(), 0) / 1e9, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        self._mapper.advance(now_ns)
        self.lessons.advance(now_ns)
        self._wait()

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

    def check(self, done: Done) -> None:
        """Reads the files beside the event loop, calls `done` with how they are, and changes nothing."""

        def ended(reading: asyncio.Future[Mapping]) -> None:
            error = reading.exception()
            if error is None:
                found = reading.result()
                words = (f"{len(found.files)} files, no mistakes", *(f"warning: {one}" for one in found.warnings))
                done(Outcome(True, "\n".join(words)))
            elif isinstance(error, MappingError):
                done(Outcome(False, str(error)))
            else:
                raise error

        asyncio.get_running_loop().run_in_executor(self._loader, self._load).add_done_callback(ended)

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
                mapping = await asyncio.get_running_loop().run_in_executor(self._loader, self._load)
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
        for warning in mapping.warnings:
            log.warning("%s", warning)
        self._mapper.replace(mapping)
        self._roll.look()
        played = mapping.performance
        self._control.stage.define(played.scenes.values(), played.safe, played.lfos)
        # It lives long. Looking through it, and all that was imported, costs the garbage collector 20 ms each time.
        gc.freeze()
        self._watched = mapping.files
        self.error = None

    def _refuse(self, error: MappingError) -> None:
        # The files in use are watched on, and those that the broken ones wanted.
        self._watched = tuple(dict.fromkeys((*self._mapper.mapping.files, *error.files)))
        self.error = str(error)
