"""The engine process, as the daemon sees it, with the settings that it is to play."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from demond.audio.loop import SharedLoop
from demond.config import Engine
from demond.control import Outcome
from demond.messages import (
    AnyMessage,
    Done,
    Failed,
    Fatal,
    Message,
    Playing,
    Progress,
    Ready,
    Request,
    StartEngine,
)
from demond.parts import Surroundings
from demond.parts._requests import Requests
from demond.paths import cache_dir, engines_dir, paces_file
from demond.session import Session
from demond.setting import Setting
from demond.supervisor import Child, Plan

log = logging.getLogger(__name__)

_SILENT_SECONDS = 10.0
_LOADING_SILENT_SECONDS = 180.0

State = Literal["starting", "loading", "ready", "playing", "restarting"]


@dataclass(frozen=True, slots=True)
class Reports:
    """What the daemon wants to hear of the engine."""

    progress: Callable[[str, float], None]
    ready: Callable[[], None]
    """The model was loaded for the first time."""
    playing: Callable[[], None]
    changed: Callable[[], None]
    """What is asked for or played is something else now."""
    note: Callable[[str], None]
    """One sentence on a choice that was made for the user."""
    fail: Callable[[str], None]
    """Ends the daemon with a reason that the user must mend."""


class EnginePart:
    """Starts the engine, repairs what it leaves when it dies, and brings the next one to where it was."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        loop: SharedLoop,
        doorbell: int,
        around: Surroundings,
        reports: Reports,
    ) -> None:
        """`session` is what to begin with; `doorbell` is the eventfd that wakes an idle engine."""
        self._configured = engine.session()
        self._requests = Requests(session)
        self._engine, self._loop, self._around, self._reports = engine, loop, around, reports
        self.state: State = "starting"
        self.ready: Ready | None = None
        """What it said of its model; of the last engine while there is none."""
        self._seen = time.monotonic()
        self._answered_ns = 0
        """When a request was answered last: what the engine said of itself before is not about the change."""
        self.child = Child(
            Plan(
                "the engine",
                "demond.engine_process",
                ["--doorbell", str(doorbell)],
                self._hear,
                on_start=self._started,
                on_death=self._died,
                hung=self._hung,
                environment=around.environment,
                inherit=(doorbell,),
            )
        )

    @property
    def session(self) -> Session:
        """What was asked for last."""
        return self._requests.asked

    def change(self, setting: Setting, done: Callable[[Outcome], None]) -> None:
        """Asks for `setting`; `done` is called once. Raises `RefusedError`."""
        self._requests.add(setting, done)
        self._send()
        self._reports.changed()

    def _send(self) -> None:
        if self.state in ("ready", "playing"):
            for number, setting in self._requests.to_send():
                self.child.send(Request(id=number, setting=setting))

    def status(self, knob_version: int) -> dict[str, object]:
        """Its section of the status. `knob_version` is that of the table now."""
        engine = self._loop.engine()
        rate = self._loop.audio().rate or 1
        return {
            "state": self.state,
            "pid": self.child.pid,
            "restarts": self.child.restarts,
            **({} if self.ready is None else self.ready.model_dump(exclude={"type"})),
            "tick": engine.tick,
            "idle": bool(engine.idle)
            and engine.knob_version == knob_version
            and engine.heartbeat_ns > self._answered_ns
            and self._requests.idle,
            "tick_ms_p50": engine.tick_us_p50 / 1000,
            "tick_ms_p99": engine.tick_us_p99 / 1000,
            "decode_ms_p50": engine.decode_us_p50 / 1000,
            "decode_ms_p99": engine.decode_us_p99 / 1000,
            "writes": engine.writes,
            "late_writes": engine.late_writes,
            "lead_ms": round(engine.lead_frames * 1000 / rate, 2),
            "write_ahead_ms": round(engine.write_ahead_frames * 1000 / rate, 2),
        }

    @property
    def seconds_to_ear(self) -> float:
        """From a knob to the first sound that has it: a tick, and the lead."""
        engine = self._loop.engine()
        return engine.tick_us_p50 / 1e6 + engine.lead_frames / (self._loop.audio().rate or 1)

    def _started(self, send: Callable[[Message], bool]) -> None:
        engine, names = self._engine, self._around.names
        self._seen = time.monotonic()
        self.state = "loading"
        send(
            StartEngine(
                loop=names.loop,
                knob_table=names.knob_table,
                trace=names.trace,
                device=engine.device,
                threads=engine.threads,
                backend=engine.backend,
                engines=str(engine.engine_folder or engines_dir()),
                cache=str(engine.cache or cache_dir()),
                paces=str(paces_file()),
                knob_ms=engine.knob_ms,
                settings=self._requests.played.settings,
            )
        )

    def _hear(self, message: AnyMessage) -> None:
        self._seen = time.monotonic()
        match message:
            case Progress():
                self._reports.progress(message.stage, message.share)
            case Ready():
                self._take_ready(message)
            case Playing():
                self.state = "playing"
                self.child.mark_well()
                self._reports.playing()
            case Done():
                self._answer(message.id, Outcome(True, message.message))
            case Failed():
                self._answer(message.id, Outcome(False, message.message))
            case Fatal():
                self._take_fatal(message)
            case _:
                log.error("the engine sent an unexpected %s", message.type)

    def _take_ready(self, message: Ready) -> None:
        """It was started with what the last one played; what was asked for since, it is told now."""
        first = self.ready is None
        if message.advice and (self.ready is None or self.ready.advice != message.advice):
            self._reports.note(message.advice)
        self.ready = message
        if self.state == "loading":
            self.state = "ready"
            self._send()
        if first:
            self._reports.ready()

    def _take_fatal(self, message: Fatal) -> None:
        """Gives up what the engine cannot start with, if it was the performer's and not the settings file's."""
        played = self._requests.played
        blamed = [
            setting
            for setting in played.settings
            if setting.key.startswith(message.about) and setting != self._configured.get(setting.key)
        ]
        gone = [setting for setting in blamed if any(not Path(path).exists() for path in setting.files)]
        for setting in gone or blamed:
            self._requests.forget(setting.key, self._configured)
            self._reports.note(f"{setting.key} is as configured again, since the engine said: {message.message}")
        if blamed:
            self._reports.changed()
        elif self.ready is None:
            self._reports.fail(message.message)
        else:
            log.error("the engine: %s", message.message)

    def _died(self) -> None:
        """The music goes on from the loop; a block that was being copied is finished here, before it is heard."""
        if self._loop.repair():
            log.info("finished the block that the engine was writing")
        self.state = "restarting"
        self._requests.engine_died()
        self._reports.changed()

    def _hung(self) -> str | None:
        now = time.monotonic()
        if self.state in ("ready", "playing"):
            seen = max(self._seen, self._loop.engine().heartbeat_ns / 1e9)
            if now - seen > _SILENT_SECONDS:
                return f"gave no sign of life for {_SILENT_SECONDS:.0f} s"
        elif self.state == "loading" and now - self._seen > _LOADING_SILENT_SECONDS:
            return f"made no progress in loading for {_LOADING_SILENT_SECONDS:.0f} s"
        return None

    def _answer(self, number: int, outcome: Outcome) -> None:
        self._answered_ns = time.monotonic_ns()
        self._requests.answered(number, outcome)
        self._send()
        self._reports.changed()
