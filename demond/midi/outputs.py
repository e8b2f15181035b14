"""MIDI outputs through rtmidi: what devices are shown. Runs in the MIDI process alone.

Each input that has an output to the same device is answered through that. Messages wait in a queue for each port, in
which a newer message takes the place of an older one about the same lamp, so that a flood of changes ends with what
is true; and leave at no more than :data:`RATE`, which every device takes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import rtmidi

from demond.midi.naming import match_output
from demond.midi.ports import CONNECT_SECONDS, OWN_PORT, PortsError

OWN_OUTPUT = "midi_out"
"""The port that other programs can be connected to by hand; it answers for what is connected to our input."""
RATE = 1_000.0
"""Messages a second to one port: what a MIDI cable carries (31,250 baud, three bytes a message)."""
BURST = 32.0
"""Messages that may leave at once after a pause."""
QUEUE_LIMIT = 4_096
"""Messages that wait for one port; a device has far fewer lamps."""


class Queue:
    """Messages for one port. Times are seconds on the monotonic clock."""

    def __init__(self) -> None:
        """Empty, and allowed a full burst."""
        self._waiting: dict[object, bytes] = {}
        self._allowed, self._since, self._count = BURST, 0.0, 0

    def put(self, message: bytes) -> None:
        """Queues `message`, in place of an older one about the same thing."""
        self._count += 1
        key = _about(message) or self._count
        if key in self._waiting or len(self._waiting) < QUEUE_LIMIT:
            self._waiting[key] = message

    def take(self, now: float) -> list[bytes]:
        """What may leave at `now`."""
        self._allowed = min(self._allowed + (now - self._since) * RATE, BURST)
        self._since = now
        count = min(int(self._allowed), len(self._waiting))
        self._allowed -= count
        return [self._waiting.pop(key) for key in list(self._waiting)[:count]]


def _about(message: bytes) -> bytes | None:
    """What a message sets: its kind and number. None for system exclusive, of which every one counts."""
    if not message or message[0] >= 0xF0:
        return None
    return message[:1] if message[0] & 0xF0 in (0xC0, 0xD0, 0xE0) else message[:2]


@dataclass(slots=True)
class _Output:
    """An open output."""

    sink: str
    """The system's name of what it leads to; empty for our own."""
    port: Any
    queue: Queue = field(default_factory=Queue)
    opened: float = field(default_factory=time.monotonic)


class MidiOutputs:
    """The outputs of one MIDI system, by the name of the input that they answer."""

    def __init__(self, api: int, client: str) -> None:
        """Opens our own output under the client name `client`. Raises :class:`PortsError`."""
        self._api, self._client = api, client
        self._opened: dict[str, _Output] = {}
        try:
            self._own = self._new()
            self._opened[OWN_PORT] = _Output("", self._own)
            self._own.open_virtual_port(OWN_OUTPUT)
        except rtmidi.RtMidiError as error:
            self.close()
            raise PortsError(str(error)) from None

    @property
    def answered(self) -> frozenset[str]:
        """The inputs whose device can be shown something."""
        return frozenset(self._opened)

    def scan(self, inputs: dict[str, str]) -> bool:
        """Opens the outputs of `inputs` (their names for people and for the system) and closes those of others.

        True if any was opened or closed. Raises :class:`PortsError`.
        """
        try:
            sinks = [name for name in self._own.get_ports() if self._wanted(name)]
            changed = False
            for label in [label for label in self._opened if label != OWN_PORT]:
                if label not in inputs or self._opened[label].sink not in sinks:
                    changed |= self.drop(label)
            for label, source in inputs.items():
                if label not in self._opened and (sink := match_output(source, inputs.values(), sinks)):
                    changed |= self._open(label, sink)
        except rtmidi.RtMidiError as error:
            raise PortsError(str(error)) from None
        return changed

    def drop_unless(self, connected: Callable[[str], bool]) -> bool:
        """Closes the outputs whose device is not `connected` any more; True if there was one."""
        now = time.monotonic()
        old = [(label, one) for label, one in self._opened.items() if now - one.opened > CONNECT_SECONDS]
        gone = [label for label, one in old if label != OWN_PORT and not connected(one.sink)]
        for label in gone:
            self.drop(label)
        return bool(gone)

    def drop(self, label: str) -> bool:
        """Closes the output that answers the input `label`; True if there was one."""
        found = self._opened.pop(label, None)
        if found is not None:
            _close(found.port)
        return found is not None

    def put(self, label: str, messages: Iterable[bytes]) -> None:
        """Queues messages for the device at the input `label`; they are lost if it has left, or has no output."""
        output = self._opened.get(label)
        if output is not None:
            for message in messages:
                output.queue.put(message)

    def flush(self, now: float) -> None:
        """Sends what may leave by now."""
        for output in self._opened.values():
            # What leaves before the connection is made would be lost.
            if now - output.opened > CONNECT_SECONDS:
                for message in output.queue.take(now):
                    output.port.send_message(message)

    def close(self) -> None:
        """Closes everything. May be called twice."""
        while self._opened:
            _close(self._opened.popitem()[1].port)

    def _new(self) -> Any:
        return rtmidi.MidiOut(self._api, name=self._client)

    def _open(self, label: str, sink: str) -> bool:
        port = self._new()
        names = port.get_ports()
        if sink not in names:
            _close(port)  # gone again; the next scan knows
            return False
        port.open_port(names.index(sink), name="out")
        self._opened[label] = _Output(sink, port)
        return True

    def _wanted(self, name: str) -> bool:
        return not name.lower().startswith(self._client.lower())


def _close(port: Any) -> None:
    with contextlib.suppress(rtmidi.RtMidiError):  # it is to be gone, and it is
        port.close_port()
    port.delete()
