"""The audio process, as the daemon sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from demond.audio.loop import SharedLoop
from demond.config import Jack
from demond.messages import (
    AnyMessage,
    Fatal,
    FollowTransport,
    JackState,
    LeadTransport,
    Message,
    RollTransport,
    TransportLed,
    TransportPlace,
)
from demond.parts import Surroundings
from demond.supervisor import Child, Plan

log = logging.getLogger(__name__)

_CYCLES_STILL_SECONDS = 1.0
_SILENT_SECONDS = 3.0
_CONNECTING_SILENT_SECONDS = 10.0
"""libjack's calls hang while a server is frozen and go on when it is not, so there is no haste to replace them."""


class AudioPart:
    """Starts the audio process, and replaces it when libjack hangs in it."""

    def __init__(
        self,
        jack: Jack,
        loop: SharedLoop,
        around: Surroundings,
        fail: Callable[[str], None],
        hear_transport: Callable[[TransportPlace], None],
    ) -> None:
        """`fail` ends the daemon with a reason that the user must mend.

        `hear_transport` is told where JACK's transport is while that is followed.
        """
        self._jack, self._loop, self._fail, self._hear_transport = jack, loop, fail, hear_transport
        self.said: JackState | None = None
        """What it said last of the JACK server."""
        self._follows_transport = False
        self._lead: LeadTransport | None = None
        self._led = TransportLed(leads=False)
        self._seen = self._cycles_moved = time.monotonic()
        self._cycles = 0
        connect = jack.connect if isinstance(jack.connect, str) else ",".join(jack.connect)
        self.child = Child(
            Plan(
                "the audio process",
                "demond.audio.process",
                [
                    *("--loop", around.names.loop, "--client-name", jack.client, "--connect", connect),
                    *(["--server", jack.server] if jack.server else []),
                ],
                self._hear,
                on_start=self._started,
                on_death=loop.forget_audio,
                hung=self._hung,
                environment=around.environment,
            )
        )

    @property
    def state(self) -> str:
        """`starting`, `waiting` for a server, or `connected`."""
        return self.said.state if self.said else "starting"

    def status(self) -> dict[str, object]:
        """Its section of the status."""
        audio = self._loop.audio()
        rate = audio.rate or 1
        return {
            "state": self.state,
            "pid": self.child.pid,
            "restarts": self.child.restarts,
            "client": self._jack.client,
            "callback": "native" if audio.native else "python",
            "rate": audio.rate,
            "period": audio.period,
            "port_latency_ms": round(audio.port_latency_max * 1000 / rate, 2),
            "playhead": audio.playhead,
            "position": audio.position,
            "loop_frames": self._loop.geometry().frames,
            "cycles": audio.cycles,
            "xruns": audio.xruns,
            "skipped_cycles": audio.skipped_cycles,
            "timebase": "demond" if self._led.leads else self._led.why_not,
            **{f"callback_us_{name}": value for name, value in audio.callback_us.items()},
        }

    def follow_transport(self, on: bool) -> None:
        """Whether to be told where JACK's transport is."""
        self._follows_transport = on
        self.child.send(FollowTransport(on=on))

    def lead_transport(self, lead: LeadTransport) -> None:
        """What others that follow JACK's transport are told of the beat."""
        self._lead = lead if lead.on else None
        self.child.send(lead)

    def roll_transport(self, on: bool) -> None:
        """Starts JACK's transport, or stops it."""
        self.child.send(RollTransport(on=on))

    def _started(self, send: Callable[[Message], bool]) -> None:
        self._seen = self._cycles_moved = time.monotonic()
        self.said = None
        if self._follows_transport:
            send(FollowTransport(on=True))
        self._led = TransportLed(leads=False)
        if self._lead is not None:
            send(self._lead)

    def _hear(self, message: AnyMessage) -> None:
        if isinstance(message, TransportPlace):
            self._hear_transport(message)
        elif isinstance(message, TransportLed):
            self._led = message
            if message.why_not:
                log.warning("JACK's transport does not follow: %s", message.why_not)
        elif isinstance(message, JackState):
            if self.said is None or self.said.state != message.state:
                log.info("JACK: %s", message.detail)
            self.said = message
            self._cycles_moved = time.monotonic()
            if message.state == "connected":
                self.child.mark_well()
        elif isinstance(message, Fatal):
            self._fail(message.message)

    def _hung(self) -> str | None:
        now, figures = time.monotonic(), self._loop.audio()
        if figures.heartbeat_ns:
            self._seen = max(self._seen, figures.heartbeat_ns / 1e9)
        if figures.cycles != self._cycles or not figures.connected:
            self._cycles, self._cycles_moved = figures.cycles, now
        if now - self._cycles_moved > _CYCLES_STILL_SECONDS:
            return "has lost JACK's cycles without being told"
        patience = _SILENT_SECONDS if figures.connected else _CONNECTING_SILENT_SECONDS
        if now - self._seen > patience:
            return f"gave no sign of life for {patience:.0f} s"
        return None
