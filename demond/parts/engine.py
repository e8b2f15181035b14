"""The engine process, as the daemon sees it, with the prompts that it is to play."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from demond.audio.loop import SharedLoop
from demond.config import Engine
from demond.control import Outcome, RefusedError
from demond.messages import (
    AnyMessage,
    Done,
    Failed,
    Fatal,
    Message,
    Playing,
    Progress,
    Ready,
    SetPrompt,
    StartEngine,
)
from demond.parts import Surroundings
from demond.supervisor import Child, Plan

log = logging.getLogger(__name__)

PROMPT_LIMIT = 4096
"""Characters of a prompt. The real text encoder reads 256 tokens."""
_WAITING_LIMIT = 64
"""Prompts that may wait for the engine."""
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
    fail: Callable[[str], None]
    """Ends the daemon with a reason that the user must mend."""


@dataclass(frozen=True, slots=True)
class _Request:
    slot: str
    text: str
    done: Callable[[Outcome], None]


class EnginePart:
    """Starts the engine, repairs what it leaves when it dies, and brings the next one to the present state."""

    def __init__(
        self, engine: Engine, loop: SharedLoop, doorbell: int, around: Surroundings, reports: Reports
    ) -> None:
        """`doorbell` is the eventfd that wakes an idle engine."""
        self._engine, self._loop, self._around, self._reports = engine, loop, around, reports
        self.state: State = "starting"
        self.ready: Ready | None = None
        """What it said of its model; of the last engine while there is none."""
        self.prompts = {"a": engine.prompt_a, "b": engine.prompt_b}
        """What was asked for last: what a new engine starts with."""
        self._played = dict(self.prompts)
        self._started_with: dict[str, str] = {}
        self._requests: dict[int, _Request] = {}
        self._next_request = 0
        self._seen = time.monotonic()
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

    def set_prompt(self, slot: str, text: str, done: Callable[[Outcome], None]) -> None:
        """Gives prompt `slot` a new text; `done` is called once. Raises `RefusedError`."""
        if slot not in self.prompts:
            raise RefusedError(404, "unknown_address", f"there is no prompt {slot!r}; there are a and b")
        if len(text) > PROMPT_LIMIT:
            raise RefusedError(413, "too_large", f"a prompt may have {PROMPT_LIMIT} characters, this has {len(text)}")
        if len(self._requests) >= _WAITING_LIMIT:
            raise RefusedError(429, "rate_limited", f"{_WAITING_LIMIT} prompts are waiting to be encoded; send fewer")
        self._next_request += 1
        self.prompts[slot] = text
        self._requests[self._next_request] = _Request(slot, text, done)
        if self.state in ("ready", "playing"):
            self.child.send(SetPrompt(id=self._next_request, slot=cast(Literal["a", "b"], slot), text=text))

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
            "idle": bool(engine.idle) and engine.knob_version == knob_version and not self._requests,
            "tick_ms_p50": engine.tick_us_p50 / 1000,
            "tick_ms_p99": engine.tick_us_p99 / 1000,
            "decode_ms_p50": engine.decode_us_p50 / 1000,
            "decode_ms_p99": engine.decode_us_p99 / 1000,
            "writes": engine.writes,
            "late_writes": engine.late_writes,
            "lead_ms": round(engine.lead_frames * 1000 / rate, 2),
            "write_ahead_ms": round(engine.write_ahead_frames * 1000 / rate, 2),
        }

    def _started(self, send: Callable[[Message], bool]) -> None:
        engine, names = self._engine, self._around.names
        self._seen = time.monotonic()
        self.state = "loading"
        self._started_with = dict(self.prompts)
        send(
            StartEngine(
                loop=names.loop,
                knob_table=names.knob_table,
                trace=names.trace,
                checkpoint=str(engine.checkpoint) if engine.checkpoint else None,
                device=engine.device,
                depth=engine.depth,
                steps=engine.steps,
                threads=engine.threads,
                source=str(engine.source) if engine.source else None,
                prompt_a=self.prompts["a"],
                prompt_b=self.prompts["b"],
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
            case Fatal() if self.ready is None:
                self._reports.fail(message.message)
            case Fatal():
                log.error("the engine: %s", message.message)
            case _:
                log.error("the engine sent an unexpected %s", message.type)

    def _take_ready(self, message: Ready) -> None:
        """It was started with the newest prompts of that moment; what was asked for since, it is told now."""
        first, self.ready, self.state = self.ready is None, message, "ready"
        for number, request in list(self._requests.items()):
            if self._started_with.get(request.slot) == request.text:
                self._answer(number, Outcome(True, ""))
            else:
                self.child.send(SetPrompt(id=number, slot=cast(Literal["a", "b"], request.slot), text=request.text))
        if first:
            self._reports.ready()

    def _died(self) -> None:
        """The music goes on from the loop; a block that was being copied is finished here, before it is heard."""
        if self._loop.repair():
            log.info("finished the block that the engine was writing")
        self.state = "restarting"

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
        request = self._requests.pop(number, None)
        if request is None:
            return
        if outcome.ok:
            self._played[request.slot] = request.text
        elif self.prompts[request.slot] == request.text:
            self.prompts[request.slot] = self._played[request.slot]
        request.done(outcome)
