"""The MIDI process, as the daemon sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from demond.mapping import MappingSource
from demond.messages import AnyMessage, Message, MidiIn, MidiPorts
from demond.parts import Surroundings
from demond.supervisor import Child, Plan

log = logging.getLogger(__name__)

_SILENT_SECONDS = 8.0
"""It says its ports every two seconds; while libjack hangs in it, it does not."""


class MidiPart:
    """Starts the MIDI process, and hands what controllers send to the mapping."""

    def __init__(self, client: str, backend: str, mapping: MappingSource, around: Surroundings) -> None:
        """`client` is the JACK or ALSA client name; `backend` is `auto`, `alsa` or `jack`."""
        self._mapping = mapping
        self.backend, self.ports = backend, tuple[str, ...]()
        """What it said last: the MIDI system in use, and the inputs that are open."""
        self._seen = time.monotonic()
        self.child = Child(
            Plan(
                "the MIDI process",
                "demond.midi.process",
                ["--client-name", client, "--backend", backend],
                self._hear,
                on_start=self._started,
                hung=self._hung,
                environment=around.environment,
            )
        )

    def status(self) -> dict[str, object]:
        """Its section of the status."""
        return {"backend": self.backend, "ports": list(self.ports), "restarts": self.child.restarts}

    def _started(self, send: Callable[[Message], bool]) -> None:
        self._seen = time.monotonic()

    def _hear(self, message: AnyMessage) -> None:
        self._seen = time.monotonic()
        if isinstance(message, MidiIn):
            self._mapping.midi(message.port, bytes.fromhex(message.data), message.time_ns)
        elif isinstance(message, MidiPorts):
            self.child.mark_well()
            for port in message.ports:
                if port not in self.ports:
                    self._mapping.connected(port)
            if message.ports != self.ports:
                log.info("MIDI inputs (%s): %s", message.backend, ", ".join(message.ports) or "none")
            self.backend, self.ports = message.backend, message.ports

    def _hung(self) -> str | None:
        if time.monotonic() - self._seen > _SILENT_SECONDS:
            return f"gave no sign of life for {_SILENT_SECONDS:.0f} s"
        return None
