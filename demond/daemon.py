"""The daemon: owns the shared memory, the control surface and the processes, and answers for all of them.

`demond run` makes one :class:`Daemon` and awaits :meth:`Daemon.run`, which starts the parts in order and stops them
in reverse. It implements :class:`demond.control.Control`, which is how OSC and MIDI reach the knobs. Everything runs
on one event loop, nothing on it takes more than some milliseconds, and nothing here loads torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, TypeVar

from demond import __version__, jack_server, notify
from demond._process import be_prompt
from demond.audio.loop import SharedLoop
from demond.config import Config, OscQuery
from demond.control import Origin, Outcome, RefusedError
from demond.feed import Feed
from demond.knob_table import KnobTable
from demond.knobs import INDEX, KNOBS, Kind, knob
from demond.mapping import MappingSource
from demond.osc.server import OscPortError, OscServer
from demond.parts import SharedNames, Surroundings
from demond.parts.audio import AudioPart
from demond.parts.engine import EnginePart, Reports
from demond.parts.midi import MidiPart
from demond.paths import learned_file, scenes_file, state_file
from demond.presenter import Presenter
from demond.roots import Roots
from demond.scenes.conductor import Conductor
from demond.scenes.stage import Stage
from demond.scenes.store import Store
from demond.session import Session, prompts_told, told
from demond.setting import LONGEST_SECONDS, LORA_LIMIT, SetLora, Setting
from demond.shm import SharedMemoryError
from demond.state import Keeper, Kept, StateFile
from demond.strict_yaml import YamlError
from demond.trace import Trace

if TYPE_CHECKING:
    from demond.osc.query import QueryServer

log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
"""How long the event loop waits for another thread, such as the one that loads mappings, to give way."""

_HIGHEST_RATE = 192_000


_Memory = TypeVar("_Memory", SharedLoop, KnobTable, Trace)


def _owned(stack: contextlib.AsyncExitStack, memory: _Memory) -> _Memory:
    """`memory`, which is closed and removed when `stack` unwinds."""
    stack.callback(memory.unlink)
    stack.callback(memory.close)
    return memory


class StartError(RuntimeError):
    """The daemon cannot start; the message says why and what to do."""


class Daemon:
    """One instrument."""

    def __init__(self, config: Config, presenter: Presenter, fresh: bool = False) -> None:
        """Nothing starts before :meth:`run`. A `fresh` start leaves aside what was set before."""
        self.config = config
        self._presenter = presenter
        self._fresh = fresh
        self._roots = Roots.of(config)
        self._keeper: Keeper | None = None
        self._stop = asyncio.Event()
        self._failure: str | None = None
        self._started = time.monotonic()
        self.server_is_ours = False
        """Whether the JACK server is one without a sound card that the daemon started."""
        self.midi: MidiPart | None = None
        self.query: QueryServer | None = None
        self.feed = Feed()
        """Tells of every change of a knob or a setting."""
        self._told: dict[str, Setting] = {}
        """The settings as the feed told them last."""
        self.stage = Stage(self, time.monotonic_ns, self._seconds_to_ear, self._in_hand)
        """What moves knobs besides hands."""

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Starts everything, plays until :meth:`stop`, ends everything. Raises :class:`StartError`."""
        async with contextlib.AsyncExitStack() as stack:
            log.debug("scheduled %s", be_prompt())
            sys.setswitchinterval(_SWITCH_SECONDS)
            self._open_memory(stack)
            await self._find_jack(stack)
            self._assemble(self._remembered(stack))
            await self._open_osc(stack)
            self._start(stack)
            await self._stop.wait()
            notify.stopping()
            self._loop.set_running(False)
        if self._failure is not None:
            raise StartError(self._failure)

    def stop(self) -> None:
        """Ends :meth:`run`. May be called from a signal handler of the event loop, and twice."""
        self._stop.set()

    def _fail(self, message: str) -> None:
        self._failure = message
        self.stop()

    def _open_memory(self, stack: contextlib.AsyncExitStack) -> None:
        prefix = f"demond-{os.getpid()}"
        self._names = SharedNames(f"{prefix}-loop", f"{prefix}-knobs", f"{prefix}-trace")
        frames = int(LONGEST_SECONDS * _HIGHEST_RATE)  # an upper bound: memory is taken when a loop needs it
        try:
            self._loop = _owned(stack, SharedLoop.create(self._names.loop, frames))
            self._table = _owned(stack, KnobTable.create(self._names.knob_table))
            self._trace = _owned(stack, Trace.create(self._names.trace))
        except SharedMemoryError as error:
            raise StartError(str(error)) from error
        self._doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        stack.callback(os.close, self._doorbell)
        self._loop.set_running(True)

    def _remembered(self, stack: contextlib.AsyncExitStack) -> Session:
        """What to begin with: the configured settings, and what a performer set before on top."""
        configured = self.config.engine.session()
        session = configured
        if self.config.state == "keep":
            file = StateFile(state_file(self.config.jack.client))
            if not self._fresh:
                kept, remark = file.load()
                if remark:
                    self._presenter.note(remark)
                if kept is not None:
                    session = self._restore(kept, configured, file)

            def present() -> Kept:
                return Kept(
                    knobs={
                        knob.name: self.value(knob.name) for knob in KNOBS if self.value(knob.name) != knob.default
                    },
                    configured=configured.settings,
                    settings=self.session.settings,
                )

            self._keeper = Keeper(file, present)
            stack.push_async_callback(self._keeper.close)
        self._apply_output()
        return session

    def _restore(self, kept: Kept, configured: Session, file: StateFile) -> Session:
        self._table.write({name: knob(name).clamp(value) for name, value in kept.known_knobs().items()})
        session = kept.onto(configured)
        for setting in session.settings:
            if setting == configured.get(setting.key):
                continue
            try:
                self._roots.admitted(setting, session)
            except RefusedError as error:
                session.restore(setting.key, configured.get(setting.key))
                self._presenter.note(f"{setting.key} is not as it was left: {error}")
        if kept.knobs or session.settings != configured.settings:
            self._presenter.note(f"everything is as it was left ({file.path}); `demond run --fresh` starts afresh")
        return session

    async def _find_jack(self, stack: contextlib.AsyncExitStack) -> None:
        jack = self.config.jack
        if await asyncio.to_thread(jack_server.find_server, jack.server):
            return
        if not jack.start_server:
            self._presenter.note("no JACK server runs yet; demond waits for one (jack.start_server is off)")
            return
        try:
            server = await asyncio.to_thread(jack_server.start_dummy, jack.server, jack.rate, jack.period)
        except jack_server.JackServerError as error:
            raise StartError(f"no JACK server runs, and none could be started: {error}") from error
        stack.callback(server.stop)
        self.server_is_ours = True
        self._presenter.note(
            f"no JACK server ran, so demond started one without a sound card (jackd -d dummy, {jack.rate} Hz, "
            f"period {jack.period}). Start your own server first to hear it on your card."
        )

    def _assemble(self, session: Session) -> None:
        """Makes the parts and what they are told about each other; nothing runs yet, so nothing can ask too early."""
        config = self.config
        self._open_scenes()
        self.mapping = MappingSource(config.mappings, self, self._mapping_reloaded, learned_file(config.jack.client))
        self.mapping.hear_pickup(lambda name: self.feed.tell([f"knob/{name}/pickup"]))
        self.mapping.hear_clock(
            lambda port, clock, time_ns: self.stage.midi_clock(port, clock.kind, clock.sixteenths, time_ns)
        )
        if (problems := self.mapping.load()) is not None:
            raise StartError(str(problems))
        self.osc = OscServer(self, self.mapping, config.osc)
        environment = {"JACK_NO_START_SERVER": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if config.jack.server:
            environment["JACK_DEFAULT_SERVER"] = config.jack.server
        around = Surroundings(self._names, environment)
        reports = Reports(
            progress=self._presenter.progress,
            ready=lambda: notify.ready(self._one_line()),
            playing=lambda: self._presenter.playing(self),
            changed=self._session_changed,
            note=self._presenter.note,
            fail=self._fail,
        )
        self.audio = AudioPart(config.jack, self._loop, around, self._fail, self.stage.jack_transport)
        self.stage.follow_jack, self.stage.jack_lead.roll = self.audio.follow_transport, self.audio.roll_transport
        self.stage.jack_lead.tell = self.audio.lead_transport
        self.engine = EnginePart(config.engine, session, self._loop, self._doorbell, around, reports)
        self._told = {setting.key: setting for setting in self.session.settings}
        if config.midi.backend != "none":
            self.midi = MidiPart(config.jack.client, config.midi.backend, self.mapping, around)

    def _open_scenes(self) -> None:
        store = Store(scenes_file(self.config.jack.client))
        self.stage.library.stored, remark = store.load()
        if remark:
            self._presenter.note(remark)
        self._conductor = Conductor(self.stage, store, self.config.tempo)

    async def _open_osc(self, stack: contextlib.AsyncExitStack) -> None:
        osc = self.config.osc
        try:
            await self.osc.start()
        except OscPortError as error:
            raise StartError(
                f"OSC port {osc.port} on {osc.bind} cannot be opened: {error.strerror}. Is another demond running? "
                f"Choose another port with --osc-port, or osc.port in the settings file."
            ) from error
        stack.callback(self.osc.close)
        if osc.query is not None:
            await self._open_query(stack, osc.query)

    async def _open_query(self, stack: contextlib.AsyncExitStack, query: OscQuery) -> None:
        # Their libraries take a while to load, and most performers need neither.
        from demond.osc.announce import Announcer
        from demond.osc.query import QueryServer

        name = self.config.jack.client
        self.query = QueryServer(self.osc, query.port, name)
        try:
            await self.query.start()
        except OscPortError as error:
            raise StartError(
                f"OSCQuery port {query.port} on {self.config.osc.bind} cannot be opened: {error.strerror}. Choose "
                "another one as osc.query.port in the settings file."
            ) from error
        stack.push_async_callback(self.query.close)
        if query.announce:
            announcer = Announcer(name, self.config.osc.bind, self.osc.port, self.query.port)
            self.osc.announced_port = announcer.port_of
            self._background(stack, announcer.run())

    def _mapping_reloaded(self, error: YamlError | None) -> None:
        if error is None and self.query is not None:
            self.query.reloaded()

    def _start(self, stack: contextlib.AsyncExitStack) -> None:
        children = [part.child for part in (self.audio, self.engine, self.midi) if part is not None]

        async def stop_all() -> None:
            await asyncio.gather(*(child.stop() for child in children))

        for child in children:
            self._background(stack, child.run())
        stack.push_async_callback(stop_all)
        self._background(stack, self.mapping.watch())
        if self.midi is not None:
            self.mapping.call_roll(self._fail)
        stack.push_async_callback(self.mapping.lessons.close)
        self._conductor.start()
        stack.push_async_callback(self._conductor.close)
        self._background(stack, self._keep_alive())

    def _background(self, stack: contextlib.AsyncExitStack, work: Coroutine[None, None, None]) -> None:
        """Runs a coroutine until the stack unwinds; its failure ends the daemon with the reason."""
        task = asyncio.create_task(work)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a part of the daemon failed", exc_info=error)
                self._fail(f"a part of the daemon failed: {error}")

        async def cancel() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(ended)
        stack.push_async_callback(cancel)

    async def _keep_alive(self) -> None:
        """Tells systemd that the event loop turns, and what the instrument does."""
        interval = notify.watchdog_interval()
        while True:
            notify.watchdog()
            if self.engine.ready is not None:
                notify.status(self._one_line())
            await asyncio.sleep(min(interval / 2 if interval else 1.0, 1.0))

    def _one_line(self) -> str:
        model = self.engine.ready.model if self.engine.ready else "no model yet"
        return f"{self.engine.state}: {model}; JACK {self.audio.state}; OSC {self.config.osc.bind}:{self.osc.port}"

    # -- Control ------------------------------------------------------------------------------------------------

    def value(self, name: str) -> float:
        """The present value of a knob in its own unit."""
        knob(name)
        return self._table.value(name)

    def set_knobs(self, changes: Mapping[str, float], origin: Origin) -> None:
        """Clamps and stores all `changes` so that one tick sees all of them or none."""
        clamped = {name: knob(name).clamp(value) for name, value in changes.items()}
        if not clamped:
            return
        moved = [f"knob/{name}" for name, value in clamped.items() if value != self._table.value(name)]
        version = self._table.write(clamped)
        stored_ns = time.monotonic_ns()
        os.eventfd_write(self._doorbell, 1)
        for name, value in clamped.items():
            self._trace.changed(version, INDEX[name], value, origin.received_ns, stored_ns, origin.detail)
        if any(knob(name).kind is Kind.OUTPUT for name in clamped):
            self._apply_output()
        self.feed.tell(moved)
        self.mapping.changed(clamped)
        self.stage.touched(clamped, origin)
        self._changed()

    def _seconds_to_ear(self) -> float:
        return self.engine.seconds_to_ear

    def _in_hand(self, name: str) -> bool:
        return self.mapping.held(name)

    def _session_changed(self) -> None:
        before, self._told = self._told, {setting.key: setting for setting in self.session.settings}
        keys = {**before, **self._told}
        self.feed.tell([key for key in keys if before.get(key) is not self._told.get(key)])
        self._changed()

    def _changed(self) -> None:
        if self._keeper is not None:
            self._keeper.changed()

    def _apply_output(self) -> None:
        value = self._table.value
        self._loop.set_output(value("volume_db"), bool(value("mute")))
        self._loop.set_dry_wet(value("dry_wet"))
        self._loop.set_band(value("loop_a"), value("loop_b"))

    @property
    def session(self) -> Session:
        """What was asked for last besides knobs."""
        return self.engine.session

    def change(self, setting: Setting, done: Callable[[Outcome], None]) -> None:
        """Asks the engine for `setting`; `done` is called when it plays it or refused it. Raises `RefusedError`."""
        setting = self._roots.admitted(setting, self.session)
        loras = self.session.loras
        if isinstance(setting, SetLora) and setting.name not in loras and len(loras) >= LORA_LIMIT:
            raise RefusedError(413, "too_large", f"{LORA_LIMIT} LoRAs are on already; take one off first")
        self.engine.change(setting, done)

    def status(self) -> dict[str, object]:
        """Everything a person or a script may want to know, as plain values in sections."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "engine": self.engine.status(self._table.version),
            "audio": self.audio.status(),
            "midi": self.midi.status()
            if self.midi
            else {"backend": "none", "ports": [], "devices": [], "missing": [], "restarts": 0},
            "osc": self.osc.status(),
            "mapping": {"files": [str(path) for path in self.mapping.files], "error": self.mapping.error},
            "stage": self.stage.status(),
            "prompt": prompts_told(self.session),
            "session": told(self.session),
        }

    def trace(self, count: int) -> list[dict[str, object]]:
        """The last `count` control changes, newest last, each with the times of its way to the ear."""
        return self._trace.journeys(count)
