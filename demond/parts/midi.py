"""The MIDI process, as the daemon sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from demond.mapping import MappingSource, PortIdentity
from demond.messages import AnyMessage, Message, MidiIn, MidiOut, MidiPort, MidiPorts
from demond.parts import Surroundings
from demond.supervisor import Child, Plan

log = logging.getLogger(__name__)

_SILENT_SECONDS = 8.0
"""It says its ports every two seconds; while libjack hangs in it, it does not."""


class MidiPart:
    """Starts the MIDI process, hands what controllers send to the mapping, and what they are to show to them."""

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
        mapping.show_with(self._show)

    def status(self) -> dict[str, object]:
        """Its section of the status."""
        return {
            "backend": self.backend,
            "ports": list(self.ports),
            "devices": self._devices(),
            "missing": self._mapping.missing,
            "restarts": self.child.restarts,
        }

    def _devices(self) -> list[str]:
        """What is known of the ports, as `nk2 at nanoKONTROL2:out`."""
        return [f"{name} at {port}" for port, names in self._mapping.devices.items() for name in names]

    def _started(self, send: Callable[[Message], bool]) -> None:
        self._seen = time.monotonic()
        # The new process tells its ports anew; until then none is open, and what they showed is forgotten.
        self._take_ports(())

    def _hear(self, message: AnyMessage) -> None:
        self._seen = time.monotonic()
        if isinstance(message, MidiIn):
            self._mapping.midi(message.port, tuple(map(bytes.fromhex, message.data)), message.time_ns)
        elif isinstance(message, MidiPorts):
            self.child.mark_well()
            self.backend = message.backend
            self._take_ports(message.ports)

    def _take_ports(self, ports: tuple[MidiPort, ...]) -> None:
        names = tuple(port.name for port in ports)
        if names != self.ports:
            log.info("MIDI inputs (%s): %s", self.backend, ", ".join(names) or "none")
        self.ports = names
        self._mapping.ports(PortIdentity(port.name, port.usb, port.path, port.answers) for port in ports)

    def _show(self, port: str, messages: list[bytes]) -> None:
        self.child.send(MidiOut(port=port, data=tuple(message.hex() for message in messages)))

    def _hung(self) -> str | None:
        if time.monotonic() - self._seen > _SILENT_SECONDS:
            return f"gave no sign of life for {_SILENT_SECONDS:.0f} s"
        return None
