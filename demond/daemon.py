"""The daemon: owns the shared memory, the control surface and the three processes, and answers for all of them.

`demond run` makes one :class:`Daemon` and awaits :meth:`Daemon.run`, which starts the parts in order and stops them
in reverse. It implements :class:`demond.control.Control`, which is how OSC and MIDI reach the knobs. Everything runs
on one event loop, nothing on it takes more than some milliseconds, and nothing here loads torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from demond import __version__, jack_server, notify
from demond.audio.loop import SharedLoop
from demond.config import Config
from demond.control import Origin, Outcome, RefusedError
from demond.knob_table import KnobTable
from demond.knobs import INDEX, Kind, knob
from demond.mapping import MappingSource
from demond.messages import (
    AnyMessage,
    Done,
    Failed,
    Fatal,
    JackState,
    Message,
    MidiIn,
    MidiPorts,
    Playing,
    Progress,
    Ready,
    SetPrompt,
    StartEngine,
)
from demond.osc.server import OscServer
from demond.supervisor import Child, Plan
from demond.trace import Trace

log = logging.getLogger(__name__)

LONGEST_LOOP_SECONDS = 600
_LEAST_LOOP_SECONDS = 60
_HIGHEST_RATE = 192_000
_PROMPT_LIMIT = 4096
"""Characters of a prompt. The real text encoder reads 256 tokens."""
_CYCLES_STILL_SECONDS = 1.0
_AUDIO_SILENT_SECONDS = 3.0
_CONNECTING_SILENT_SECONDS = 10.0
"""libjack's calls hang while a server is frozen and go on when it is not, so there is no haste to replace them."""
_MIDI_SILENT_SECONDS = 8.0
_ENGINE_SILENT_SECONDS = 10.0
_LOADING_SILENT_SECONDS = 180.0


class StartError(RuntimeError):
    """The daemon cannot start; the message says why and what to do."""


class Presenter(Protocol):
    """How what happens is shown to whoever started the daemon."""

    def progress(self, stage: str, share: float) -> None:
        """`share` (0–1) of `stage` is done."""

    def playing(self, daemon: Daemon) -> None:
        """Sound comes out, for the first time or again after the engine was replaced."""

    def note(self, text: str) -> None:
        """One sentence on a choice the daemon made, or on something that changed."""


class Daemon:
    """One instrument."""

    def __init__(self, config: Config, presenter: Presenter, loop_seconds: float | None = None) -> None:
        """Nothing starts before :meth:`run`. `loop_seconds` is the length of a source of the user's own."""
        self.config = config
        self._presenter = presenter
        self._loop_seconds = loop_seconds or 0.0
        self._stop = asyncio.Event()
        self._failure: str | None = None
        self._started = time.monotonic()
        self._prompts = {"a": config.engine.prompt_a, "b": config.engine.prompt_b}
        self._played_prompts = dict(self._prompts)
        self._requests: dict[int, tuple[str, str, Callable[[Outcome], None]]] = {}
        self._next_request = 0
        self.engine_state = "starting"
        self.ready: Ready | None = None
        self.jack: JackState | None = None
        self.midi: MidiPorts | None = None
        self.server_is_ours = False
        self._engine_seen = self._audio_seen = self._midi_seen = time.monotonic()
        self._cycles = 0
        self._cycles_moved = time.monotonic()

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Starts everything, plays until :meth:`stop`, ends everything. Raises :class:`StartError`."""
        async with contextlib.AsyncExitStack() as stack:
            self._open_memory(stack)
            await self._find_jack(stack)
            await self._open_control(stack)
            await self._start_processes(stack)
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
        frames = int(max(self._loop_seconds, _LEAST_LOOP_SECONDS) * _HIGHEST_RATE)
        self._names = {part: f"{prefix}-{part}" for part in ("loop", "knobs", "trace")}
        self._loop = SharedLoop.create(self._names["loop"], frames)
        self._table = KnobTable.create(self._names["knobs"])
        self._trace = Trace.create(self._names["trace"])
        for memory in (self._loop, self._table, self._trace):
            stack.callback(memory.unlink)
            stack.callback(memory.close)
        self._doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        stack.callback(os.close, self._doorbell)
        self._apply_output()
        self._loop.set_running(True)

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

    async def _open_control(self, stack: contextlib.AsyncExitStack) -> None:
        osc = self.config.osc
        self.mapping = MappingSource(self.config.mappings, self)
        problems = self.mapping.load()
        if problems is not None:
            raise StartError(str(problems))
        self.osc = OscServer(self, self.mapping, bind=osc.bind, port=osc.port, allow=osc.allow)
        try:
            await self.osc.start()
        except OSError as error:
            raise StartError(
                f"OSC port {osc.port} on {osc.bind} cannot be opened ({error.strerror}). Is another demond running? "
                f"Choose another with --osc-port, or osc.port in the settings file."
            ) from error
        stack.callback(self.osc.close)
        self._background(stack, self.mapping.watch())

    async def _start_processes(self, stack: contextlib.AsyncExitStack) -> None:
        jack, midi = self.config.jack, self.config.midi
        environment = {"JACK_NO_START_SERVER": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if jack.server:
            environment["JACK_DEFAULT_SERVER"] = jack.server
        connect = jack.connect if isinstance(jack.connect, str) else ",".join(jack.connect)
        arguments = ["--loop", self._names["loop"], "--client-name", jack.client, "--connect", connect]
        self.audio = Child(
            Plan(
                "the audio process",
                "demond.audio.process",
                [*arguments, *(["--server", jack.server] if jack.server else [])],
                self._from_audio,
                on_start=self._audio_started,
                on_death=self._loop.forget_audio,
                hung=self._audio_hung,
                environment=environment,
            )
        )
        self.engine = Child(
            Plan(
                "the engine",
                "demond.engine_process",
                ["--doorbell", str(self._doorbell)],
                self._from_engine,
                on_start=self._engine_started,
                on_death=self._engine_died,
                hung=self._engine_hung,
                environment=environment,
                inherit=(self._doorbell,),
            )
        )
        children = [self.audio, self.engine]
        if midi.backend != "none":
            arguments = ["--client-name", jack.client, "--backend", midi.backend]
            self.midi_child = Child(
                Plan(
                    "the MIDI process",
                    "demond.midi.process",
                    arguments,
                    self._from_midi,
                    on_start=self._midi_started,
                    hung=self._midi_hung,
                    environment=environment,
                )
            )
            children.append(self.midi_child)

        async def stop_all() -> None:
            await asyncio.gather(*(child.stop() for child in children))

        for child in children:
            self._background(stack, child.run())
        stack.push_async_callback(stop_all)
        self._background(stack, self._keep_alive())

    def _background(self, stack: contextlib.AsyncExitStack, work: object) -> None:
        """Runs a coroutine until the stack unwinds; its failure ends the daemon with the reason."""
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]

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
            if self.ready is not None:
                notify.status(self._one_line())
            await asyncio.sleep(min(interval / 3 if interval else 1.0, 1.0))

    # -- the audio process --------------------------------------------------------------------------------------

    def _audio_started(self, send: Callable[[Message], bool]) -> None:
        self._audio_seen = self._cycles_moved = time.monotonic()
        self.jack = None

    def _from_audio(self, message: AnyMessage) -> None:
        if isinstance(message, JackState):
            changed = self.jack is None or self.jack.state != message.state
            self.jack = message
            self._cycles_moved = time.monotonic()
            if message.state == "connected":
                self.audio.mark_well()
            if changed:
                log.info("JACK: %s", message.detail)
        elif isinstance(message, Fatal):
            self._fail(message.message)

    def _audio_hung(self) -> str | None:
        now, figures = time.monotonic(), self._loop.audio()
        if figures.heartbeat_ns:
            self._audio_seen = max(self._audio_seen, figures.heartbeat_ns / 1e9)
        if figures.cycles != self._cycles or not figures.connected:
            self._cycles, self._cycles_moved = figures.cycles, now
        if now - self._cycles_moved > _CYCLES_STILL_SECONDS:
            return "has lost JACK's cycles without being told"
        patience = _AUDIO_SILENT_SECONDS if figures.connected else _CONNECTING_SILENT_SECONDS
        if now - self._audio_seen > patience:
            return f"gave no sign of life for {patience:.0f} s"
        return None

    def _apply_output(self) -> None:
        self._loop.set_output(self._table.value("volume_db"), bool(self._table.value("mute")))

    # -- the engine ---------------------------------------------------------------------------------------------

    def _engine_started(self, send: Callable[[Message], bool]) -> None:
        engine = self.config.engine
        self._engine_seen = time.monotonic()
        self.engine_state = "loading"
        send(
            StartEngine(
                loop=self._names["loop"],
                knob_table=self._names["knobs"],
                trace=self._names["trace"],
                checkpoint=str(engine.checkpoint) if engine.checkpoint else None,
                device=engine.device,
                depth=engine.depth,
                steps=engine.steps,
                threads=engine.threads,
                source=str(engine.source) if engine.source else None,
                prompt_a=self._prompts["a"],
                prompt_b=self._prompts["b"],
            )
        )

    def _from_engine(self, message: AnyMessage) -> None:
        self._engine_seen = time.monotonic()
        match message:
            case Progress():
                self._presenter.progress(message.stage, message.share)
            case Ready():
                first = self.ready is None
                self.ready, self.engine_state = message, "ready"
                self._played_prompts.update(self._prompts)
                if first:
                    notify.ready(self._one_line())
            case Playing():
                self.engine_state = "playing"
                self.engine.mark_well()
                self._answer_all()
                self._presenter.playing(self)
            case Done():
                self._answer(message.id, Outcome(True, message.message))
            case Failed():
                self._answer(message.id, Outcome(False, message.message))
            case Fatal():
                if self.ready is None:
                    self._fail(message.message)
                else:
                    log.error("the engine: %s", message.message)
            case _:
                log.error("the engine sent an unexpected %s", message.type)

    def _engine_died(self) -> None:
        """The music goes on from the loop; a block that was being copied is finished here, before it is heard."""
        if self._loop.repair():
            log.info("finished the block that the engine was writing")
        self.engine_state = "restarting"

    def _engine_hung(self) -> str | None:
        now = time.monotonic()
        if self.engine_state in ("ready", "playing"):
            seen = max(self._engine_seen, self._loop.engine().heartbeat_ns / 1e9)
            if now - seen > _ENGINE_SILENT_SECONDS:
                return f"gave no sign of life for {_ENGINE_SILENT_SECONDS:.0f} s"
        elif self.engine_state == "loading" and now - self._engine_seen > _LOADING_SILENT_SECONDS:
            return f"made no progress in loading for {_LOADING_SILENT_SECONDS:.0f} s"
        return None

    def _answer(self, request: int, outcome: Outcome) -> None:
        if request not in self._requests:
            return
        slot, text, done = self._requests.pop(request)
        if outcome.ok:
            self._played_prompts[slot] = text
        elif self._prompts[slot] == text:
            self._prompts[slot] = self._played_prompts[slot]
        done(outcome)

    def _answer_all(self) -> None:
        """A new engine was started with the newest prompts, so every request that the old one took is granted."""
        for request in list(self._requests):
            self._answer(request, Outcome(True, ""))

    # -- MIDI ---------------------------------------------------------------------------------------------------

    def _midi_started(self, send: Callable[[Message], bool]) -> None:
        self._midi_seen = time.monotonic()

    def _midi_hung(self) -> str | None:
        """It says its ports every two seconds; while libjack hangs in it, it does not."""
        if time.monotonic() - self._midi_seen > _MIDI_SILENT_SECONDS:
            return f"gave no sign of life for {_MIDI_SILENT_SECONDS:.0f} s"
        return None

    def _from_midi(self, message: AnyMessage) -> None:
        self._midi_seen = time.monotonic()
        if isinstance(message, MidiIn):
            self.mapping.midi(message.port, bytes.fromhex(message.data), message.time_ns)
        elif isinstance(message, MidiPorts):
            self.midi_child.mark_well()
            known = set(self.midi.ports) if self.midi else set()
            for port in message.ports:
                if port not in known:
                    self.mapping.connected(port)
            if self.midi is None or self.midi.ports != message.ports:
                log.info("MIDI inputs (%s): %s", message.backend, ", ".join(message.ports) or "none")
            self.midi = message

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
        version = self._table.write(clamped)
        stored_ns = time.monotonic_ns()
        os.eventfd_write(self._doorbell, 1)
        for name, value in clamped.items():
            self._trace.changed(version, INDEX[name], value, origin.received_ns, stored_ns, origin.detail)
        if any(knob(name).kind is Kind.OUTPUT for name in clamped):
            self._apply_output()

    def prompt(self, slot: str) -> str:
        """The text of prompt `a` or `b`."""
        return self._prompts[slot]

    def set_prompt(self, slot: str, text: str, done: Callable[[Outcome], None]) -> None:
        """Gives a prompt a new text; `done` is called when the engine plays it or refused it."""
        if slot not in self._prompts:
            raise RefusedError(404, "unknown_address", f"there is no prompt {slot!r}; there are a and b")
        if len(text) > _PROMPT_LIMIT:
            raise RefusedError(
                413, "too_large", f"a prompt may have {_PROMPT_LIMIT} characters, this has {len(text)}"
            )
        if len(self._requests) >= 64:
            raise RefusedError(429, "rate_limited", "64 prompts are waiting to be encoded; send fewer")
        self._next_request += 1
        self._prompts[slot] = text
        self._requests[self._next_request] = (slot, text, done)
        if self.engine_state in ("ready", "playing"):
            self.engine.send(SetPrompt(id=self._next_request, slot=slot, text=text))  # type: ignore[arg-type]

    def status(self) -> dict[str, object]:
        """Everything a person or a script may want to know, as plain values in sections."""
        audio, engine = self._loop.audio(), self._loop.engine()
        rate = audio.rate or 1

        def milliseconds(frames: float) -> float:
            return round(frames * 1000 / rate, 2)

        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "engine": {
                "state": self.engine_state,
                "pid": self.engine.pid,
                "restarts": self.engine.restarts,
                **({} if self.ready is None else self.ready.model_dump(exclude={"type"})),
                "tick": engine.tick,
                "idle": bool(engine.idle) and engine.knob_version == self._table.version and not self._requests,
                "tick_ms_p50": engine.tick_us_p50 / 1000,
                "tick_ms_p99": engine.tick_us_p99 / 1000,
                "decode_ms_p50": engine.decode_us_p50 / 1000,
                "decode_ms_p99": engine.decode_us_p99 / 1000,
                "writes": engine.writes,
                "late_writes": engine.late_writes,
                "lead_ms": milliseconds(engine.lead_frames),
                "write_ahead_ms": milliseconds(engine.write_ahead_frames),
            },
            "audio": {
                "state": self.jack.state if self.jack else "starting",
                "pid": self.audio.pid,
                "restarts": self.audio.restarts,
                "client": self.config.jack.client,
                "rate": audio.rate,
                "period": audio.period,
                "port_latency_ms": milliseconds(audio.port_latency_max),
                "playhead": audio.playhead,
                "position": audio.position,
                "loop_frames": self._loop.geometry().frames,
                "cycles": audio.cycles,
                "xruns": audio.xruns,
                "skipped_cycles": audio.skipped_cycles,
                **{f"callback_us_{name}": value for name, value in audio.callback_us.items()},
            },
            "midi": {
                "backend": self.midi.backend if self.midi else "none",
                "ports": list(self.midi.ports) if self.midi else [],
            },
            "osc": {"bind": self.config.osc.bind, "port": self.osc.port},
            "mapping": {"files": [str(path) for path in self.mapping.files], "error": self.mapping.error},
            "prompt": dict(self._prompts),
        }

    def trace(self, count: int) -> list[dict[str, object]]:
        """The last `count` control changes, newest last, each with the times of its way to the ear."""
        return self._trace.journeys(count)

    def _one_line(self) -> str:
        jack = self.jack.state if self.jack else "starting"
        model = self.ready.model if self.ready else "no model yet"
        return f"{self.engine_state}: {model}; JACK {jack}; OSC {self.config.osc.bind}:{self.osc.port}"
