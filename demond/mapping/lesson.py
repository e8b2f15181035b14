"""Learning: a target, the search for the control that shall move it, and the line that comes of it.

Owned by :class:`demond.mapping.source.MappingSource` in the daemon's event loop, called by OSC. One lesson is under
way at a time. It ends when somebody accepts a candidate, when somebody cancels it, or when its time is over; what was
accepted is written to the learned file and is in force with the reload that follows, or nothing has changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from demond.control import Outcome, RefusedError
from demond.knobs import did_you_mean
from demond.mapping import raw
from demond.mapping.journal import Record
from demond.mapping.learned import LINE_LIMIT, Learned, LearnedFile, line_text
from demond.mapping.lines import bind
from demond.mapping.mapping import Mapping
from demond.mapping.profile import DeviceControl
from demond.mapping.schema import MapEntry
from demond.mapping.search import Busy, Found, Search, Who
from demond.midi.decode import decode
from demond.osc.codec import Argument

SECONDS = 30.0
"""How long a control is searched for unless the client says so."""
LONGEST_SECONDS = 600.0
BUSY_NS = 3_000_000_000
"""A control that was heard of within this time before the start, in ns, may move by itself."""
TELL_NS = 100_000_000
"""Candidates are told this often, in ns."""
HISTORY_LIMIT = 32
"""Lines that an undo can take back with what they replaced."""

Tell = Callable[..., None]
"""`tell(what, *arguments)` tells whoever began: `candidate`, `done`, `timeout` or `cancelled`."""
Done = Callable[[Outcome], None]
Reload = Callable[[Done], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be learned."""

    target: str
    """As after `to:` in a mapping."""
    id: str = ""
    """What the line is to be called; empty for the name that it has by default."""
    seconds: float = SECONDS
    guess: bool = False
    """Encodings and 14-bit pairs may be proposed."""


@dataclass(slots=True)
class _Lesson:
    """The one that is under way."""

    wish: Wish
    search: Search
    tell: Tell
    ends_ns: int
    due_ns: int
    told: dict[Who, tuple[object, ...]] = field(default_factory=dict)


class Lessons:
    """Begins lessons and ends them."""

    def __init__(
        self, file: LearnedFile | None, mapping: Callable[[], Mapping], records: Callable[[int], Iterable[Record]]
    ) -> None:
        """`mapping` tells what is mapped, `records` what came since a time. Without a `file` nothing is learned."""
        self._file, self._mapping, self._records = file, mapping, records
        self._lesson: _Lesson | None = None
        self._history: list[Learned] = []
        self._writing: asyncio.Task[None] | None = None
        self.reload: Reload = lambda done: done(Outcome(False, "there is nothing to reload"))
        """Reads the mapping again and says how it went."""
        self.changed: Callable[[Search | None], None] = lambda search: None
        """Told of the search when one begins, and of None when it is over."""

    @property
    def target(self) -> str:
        """What is being learned; empty for nothing."""
        return self._lesson.wish.target if self._lesson is not None else ""

    @property
    def due_ns(self) -> int | None:
        """When :meth:`advance` is wanted next; None while nothing is learned."""
        return None if self._lesson is None else min(self._lesson.due_ns, self._lesson.ends_ns)

    def start(self, wish: Wish, tell: Tell) -> None:
        """Begins; `tell` is told from now on. Raises :class:`RefusedError`, and nothing has changed then."""
        if self._file is None:
            raise RefusedError(503, "not_here", "nothing can be learned: there is no file to keep it in")
        if self._lesson is not None or self._writing is not None:
            what = f"{self.target} is being learned" if self._lesson is not None else "a line is being written"
            raise RefusedError(409, "busy", f"{what}; cancel that, or wait for its end")
        if not 1 <= wish.seconds <= LONGEST_SECONDS:
            raise RefusedError(400, "bad_args", f"a search takes 1 to {LONGEST_SECONDS:g} seconds")
        entry = self._entry(wish)
        layers = self._mapping().layers

        def fits(name: str, control: DeviceControl | None) -> bool:
            return bind(entry, name, control, layers, lambda path, message: None) is not None

        now_ns = time.monotonic_ns()
        search = Search(fits, self._busy(now_ns - BUSY_NS), wish.guess)
        ends_ns = now_ns + round(wish.seconds * 1e9)
        self._lesson = _Lesson(wish, search, tell, ends_ns, now_ns + TELL_NS)
        self.changed(search)

    def _entry(self, wish: Wish) -> MapEntry:
        """The line without its control. Raises :class:`RefusedError` for what no line could say."""
        wrong: list[str] = []
        data = {"from": "osc:/x", "to": wish.target} | ({"id": wish.id} if wish.id else {})
        try:
            entry = MapEntry.model_validate(data)
        except ValidationError as error:
            raise RefusedError(400, "bad_args", str(error.errors()[0]["msg"])) from None
        if bind(entry, "osc:/x", None, self._mapping().layers, lambda path, message: wrong.append(message)) is None:
            raise RefusedError(404, "unknown_target", wrong[0])
        return entry

    def _busy(self, since_ns: int) -> dict[Who, Busy]:
        found: dict[Who, Busy] = {}
        last: dict[Who, int] = {}
        for record in self._records(since_ns):
            name = record.control
            if not name and isinstance(record.message, bytes):
                key = raw.key_of(decode(record.message))
                name = raw.described(key)[0] if key is not None else ""
            who = (record.source, name)
            busy = found.setdefault(who, Busy(record.time_ns))
            busy.before(record.time_ns, last.get(who, record.time_ns))
            last[who] = record.time_ns
        return found

    def cancel(self, why: str = "it was cancelled") -> None:
        """Ends the search without a line. Raises :class:`RefusedError` if there is none."""
        lesson = self._ended()
        lesson.tell("cancelled", lesson.wish.target, why)

    def accept(self, name: str, done: Done) -> None:
        """Takes the best candidate, or the one called `name`. Raises :class:`RefusedError`.

        `done` is told when the line is in force, with it as text, or why it is not.
        """
        lesson = self._running()
        found = lesson.search.found()
        named = [one for one in found if name in ("", one.name)]
        if not named:
            known = [one.name for one in found]
            words = f"{name!r} was not moved{did_you_mean(name, known)}" if name else "nothing was moved yet"
            heard = "; ".join(lesson.search.heard()[:4])
            raise RefusedError(409, "busy", f"{words}{f' ({heard})' if heard else ''}")
        self._ended()
        self._write(lambda learned: self._with(learned, lesson.wish, named[0]), done, lesson)

    def undo(self, done: Done) -> None:
        """Takes back the line that was learned last, and brings back what it replaced. Raises RefusedError."""
        if self._file is None or self._writing is not None or self._lesson is not None:
            raise RefusedError(409, "busy", "something is being learned; cancel that, or wait for its end")

        def undone(learned: Learned) -> tuple[Learned, str]:
            if not learned.maps:
                raise RefusedError(409, "busy", "no line is learned, so there is nothing to undo")
            before = self._history[-1] if self._history else learned.without_last()
            return before, line_text(learned.maps[-1])

        self._write(undone, done)

    # -- time ---------------------------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Tells what was found since the last time, and ends a search whose time is over."""
        lesson = self._lesson
        if lesson is None or now_ns < min(lesson.due_ns, lesson.ends_ns):
            return
        lesson.due_ns = now_ns + TELL_NS
        found = lesson.search.found()
        best = found[0] if found else None
        for one in reversed(found):
            who, told = (one.candidate.port, one.name), _told(one)
            if lesson.told.get(who) != (told, one is best):
                lesson.told[who] = (told, one is best)
                lesson.tell("candidate", *told)
        if now_ns >= lesson.ends_ns:
            heard = "; ".join(lesson.search.heard()[:8])
            self._ended().tell("timeout", lesson.wish.target, heard or "nothing was heard of")

    # -- the file -----------------------------------------------------------------------------------------------

    def _running(self) -> _Lesson:
        if self._lesson is None:
            raise RefusedError(409, "busy", "nothing is being learned; begin with /demond/learn/start TARGET")
        return self._lesson

    def _ended(self) -> _Lesson:
        lesson, self._lesson = self._running(), None
        self.changed(None)
        return lesson

    def _with(self, learned: Learned, wish: Wish, found: Found) -> tuple[Learned, str]:
        """`learned` with the line for `found`, and that line as text. Raises :class:`RefusedError`."""
        if len(learned.maps) >= LINE_LIMIT:
            raise RefusedError(413, "too_large", f"{LINE_LIMIT} lines are learned already; undo some")
        name = found.name
        if found.entry is not None:
            port = found.candidate.port
            taken = {device.id for device in self._mapping().devices} | {"osc"}
            device = raw.known_device(port, learned.devices) or raw.device_name(port, taken)
            learned = learned.with_control(device, raw.glob(port), found.name, found.entry)
            name = f"{device}/{found.name}"
        line = {"from": name, "to": wish.target} | ({"id": wish.id} if wish.id else {})
        return learned.with_line(line), line_text(line)

    def _write(
        self, change: Callable[[Learned], tuple[Learned, str]], done: Done, lesson: _Lesson | None = None
    ) -> None:
        assert self._file is not None  # noqa: S101 - asked for before
        self._writing = asyncio.get_running_loop().create_task(self._written(self._file, change, done, lesson))

    async def _written(
        self,
        file: LearnedFile,
        change: Callable[[Learned], tuple[Learned, str]],
        done: Done,
        lesson: _Lesson | None,
    ) -> None:
        """Writes the file and reads the mapping again; if that is refused, the file is as it was."""
        try:
            before = await asyncio.to_thread(file.load)
            after, text = change(before)
            await asyncio.to_thread(file.save, after)
            outcome = await self._reloaded()
            if not outcome.ok:
                await asyncio.to_thread(file.save, before)
        except RefusedError as error:
            outcome, text = Outcome(False, str(error)), ""
        except OSError as error:
            outcome, text = Outcome(False, f"{file.path} cannot be written: {error.strerror}"), ""
        finally:
            self._writing = None
        if outcome.ok and lesson is not None:
            self._history = [*self._history, before][-HISTORY_LIMIT:]
            lesson.tell("done", self._id_of(after), text)
        elif outcome.ok:
            self._history = self._history[:-1]
        elif lesson is not None:
            lesson.tell("cancelled", lesson.wish.target, outcome.message)
        done(Outcome(True, text) if outcome.ok else outcome)

    async def _reloaded(self) -> Outcome:
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.reload(ended.set_result)
        return await ended

    def _id_of(self, learned: Learned) -> str:
        """The id of the line that was learned last, as it is in force."""
        source = str(learned.maps[-1]["from"])
        given = str(learned.maps[-1].get("id", ""))
        return given or next((one.id for one in self._mapping().bindings() if one.source == source), source)

    async def close(self) -> None:
        """Ends what is under way; what is being written is written to its end."""
        if self._lesson is not None:
            self.cancel("demond ends")
        if self._writing is not None:
            await self._writing


def _told(one: Found) -> tuple[Argument, ...]:
    """A candidate as it is sent: device, control, count, span, and what its numbers look like."""
    if one.entry is not None:
        device, control = one.candidate.port, one.name
    elif one.name.startswith("osc:"):
        device, control = "osc", one.name[4:]
    else:
        device, _, control = one.name.partition("/")
    return device, control, one.candidate.count, one.candidate.span, one.why
