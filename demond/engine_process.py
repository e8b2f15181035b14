"""The engine process: the one place where the daemon's world and the engine meet.

Started by the daemon as `python -m demond.engine_process`. It reads knobs from the table at the top of every step,
drives an :class:`engine.Session`, and lets it write into the shared loop. It never touches JACK, sockets or MIDI; if
it is killed between any two instructions the daemon finishes the block it was writing and starts another.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import select
import signal
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import engine
from demond._process import be_child
from demond.audio.figures import EngineFigures
from demond.audio.loop import SharedLoop
from demond.engine_session import REFUSALS, about, open_session, request
from demond.knob_table import KnobState, KnobTable
from demond.messages import (
    AnyMessage,
    Channel,
    ChannelClosedError,
    Done,
    Failed,
    Fatal,
    Playing,
    Progress,
    Ready,
    Request,
    Shutdown,
    StartEngine,
)
from demond.trace import Trace

_IDLE_SECONDS = 0.05
"""How long an idle engine sleeps when nobody rings; it looks for a changed JACK rate then."""


class _Port:
    """The shared loop as `engine.LoopPort`: everything at JACK's rate, which is looked at once a step."""

    def __init__(self, loop: SharedLoop) -> None:
        self._loop = loop
        self.look()

    def look(self) -> None:
        """Takes in what the audio process says of JACK now."""
        self.audio = self._loop.audio()

    @property
    def rate(self) -> int:
        return self.audio.rate

    @property
    def frames(self) -> int:
        return self._loop.geometry().frames

    @property
    def period(self) -> int:
        return self.audio.period

    @property
    def port_latency(self) -> int:
        return self.audio.port_latency_max

    def place(self) -> tuple[int, int]:
        place = self._loop.place()
        return place.playhead, place.position

    def band(self) -> tuple[int, int]:
        return self._loop.band()

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        return self._loop.read(position, count)

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        self._loop.commit(position, block)

    def replace(self, rate: int, content: NDArray[np.float32], dry: NDArray[np.float32]) -> None:
        self._loop.replace(rate, content, dry)


_ENGINE_KNOBS: dict[str, type] = {
    f.name: type(f.default) for f in dataclasses.fields(engine.Knobs) if f.name != "version"
}
"""Name and type of every knob that the engine reads; a test holds them to the daemon's table."""


def knobs_of(state: KnobState) -> engine.Knobs:
    """The engine's view of a table state. Output knobs are the audio process's business."""
    values: dict[str, Any] = {name: kind(state[name]) for name, kind in _ENGINE_KNOBS.items()}
    return engine.Knobs(version=state.version, **values)


class _Play:
    """The engine's main loop, from the first message to the last."""

    def __init__(self, channel: Channel, doorbell: int) -> None:
        self._channel = channel
        self._doorbell = doorbell
        self._requests: dict[int, Future[str]] = {}
        self._running = True
        self._writes = 0

    def run(self) -> None:
        start = self._first_message()
        if start is None:
            return
        self._loop = SharedLoop.attach(start.loop)
        self._table = KnobTable.attach(start.knob_table)
        self._trace = Trace.attach(start.trace)
        # Where Triton keeps compiled kernels by itself, a service may not write.
        os.environ.setdefault("TRITON_CACHE_DIR", str(Path(start.cache) / "triton"))
        self._session = open_session(
            start.settings,
            start.device,
            start.threads,
            Path(start.cache),
            lambda stage, share: self._channel.send(Progress(stage=stage, share=share)),
            start.backend,
            Path(start.engines),
            Path(start.paces),
            start.knob_ms,
        )
        session = self._session
        self._ready = self._description()
        self._channel.send(self._ready)
        # What was loaded lives as long as the process: the collector need never look at it again.
        gc.collect()
        gc.freeze()
        if self._wait_for_jack():
            self._port = _Port(self._loop)
            session.attach(self._port, keep=self._loop.geometry().generation > 0)
            self._channel.send(Playing(rate=self._port.rate))
        while self._running:
            self._step()
            self._take_messages()

    def _description(self) -> Ready:
        session = self._session
        return Ready(
            model=session.model_name,
            backend=session.backend_name,
            device=session.device_name,
            loop_seconds=session.loop_seconds,
            depth=session.setup.depth,
            steps=session.setup.steps,
            advice=session.advice,
        )

    def _first_message(self) -> StartEngine | None:
        while True:
            select.select([self._channel], [], [])
            for message in self._channel.receive():
                if isinstance(message, StartEngine):
                    return message
                if isinstance(message, Shutdown):
                    return None

    def _wait_for_jack(self) -> bool:
        """Until the audio process has met a server and its rate is known; False when told to end before."""
        while self._running and self._loop.audio().rate == 0:
            self._loop.beat_engine()
            select.select([self._channel], [], [], _IDLE_SECONDS)
            self._take_messages()
        return self._running

    def _step(self) -> None:
        self._port.look()
        state = self._table.read()
        step = self._session.step(knobs_of(state))
        lead = self._session.lead
        for write in step.writes:
            self._record(write)
        self._writes += len(step.writes)
        self._loop.publish_engine(
            EngineFigures(
                heartbeat_ns=time.monotonic_ns(),
                tick=step.tick,
                knob_version=state.version,
                idle=int(step.idle and not step.writes),
                lead_frames=lead.lead,
                write_ahead_frames=lead.write_ahead,
                writes=self._writes,
                late_writes=lead.late_writes,
                tick_us_p50=int(lead.tick_p50_ms * 1000),
                tick_us_p95=int(lead.tick_p95_ms * 1000),
                tick_us_p99=int(lead.tick_p99_ms * 1000),
                decode_us_p50=int(lead.decode_p50_ms * 1000),
                decode_us_p95=int(lead.decode_p95_ms * 1000),
                decode_us_p99=int(lead.decode_p99_ms * 1000),
            )
        )
        if step.idle and not step.writes:
            # A knob that changed since it was read above has rung the bell by now, so nothing is slept through.
            ready, _, _ = select.select([self._doorbell, self._channel.fileno()], [], [], _IDLE_SECONDS)
            if self._doorbell in ready:
                os.eventfd_read(self._doorbell)

    def _record(self, write: engine.Write) -> None:
        """Puts a write into the trace; when it is heard follows from how far off the playhead is now."""
        playhead, now_ns = self._loop.place().playhead, time.monotonic_ns()
        frames = write.start_playhead - playhead + self._port.port_latency
        self._trace.wrote(
            result=write.result,
            knob_version=write.knob_version,
            admitted_version=write.admitted_version,
            tick=write.tick,
            tick_started_ns=write.tick_started_ns,
            latent_ns=write.latent_ready_ns,
            decode_us=int(write.decode_ms * 1000),
            written_ns=write.written_ns,
            heard_ns=now_ns + frames * 1_000_000_000 // self._port.rate,
            start_playhead=write.start_playhead,
            frames=write.frames,
        )

    def _take_messages(self) -> None:
        for message in self._channel.receive():
            self._take(message)
        for number in [number for number, future in self._requests.items() if future.done()]:
            self._answer(number, self._requests.pop(number))

    def _answer(self, number: int, future: Future[str]) -> None:
        """Tells the daemon how a request ended; an error that is no refusal ends the process."""
        try:
            remark = future.result()
        except REFUSALS as error:
            self._channel.send(Failed(id=number, message=str(error)))
            return
        if (description := self._description()) != self._ready:
            self._ready = description
            self._channel.send(description)
        self._channel.send(Done(id=number, message=remark))

    def _take(self, message: AnyMessage) -> None:
        match message:
            case Request():
                self._requests[message.id] = request(self._session, message.setting)
            case Shutdown():
                self._running = False
            case _:
                raise RuntimeError(f"the daemon sent the engine a {message.type}")


def main() -> int:
    """The process. Its exit status is 0 when it was told to end, 1 when the user must mend something first."""
    parser = argparse.ArgumentParser(prog="demond-engine", description="demond's engine; the daemon starts it.")
    parser.add_argument("--fd", type=int, required=True, help="the daemon's line")
    parser.add_argument("--doorbell", type=int, required=True, help="the eventfd that rings when a knob moves")
    arguments = parser.parse_args()
    be_child("demond-engine", signal.SIGKILL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    channel = Channel.from_fd(arguments.fd)
    try:
        _Play(channel, arguments.doorbell).run()
    except ChannelClosedError:
        return 0
    except REFUSALS as error:
        channel.send(Fatal(message=str(error), about=about(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
