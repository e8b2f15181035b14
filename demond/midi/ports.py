"""MIDI input ports through rtmidi, and the notices of a JACK server. Runs in the MIDI process alone.

rtmidi without a callback only puts messages into a queue from its own (for JACK, real-time) thread; they are fetched
by polling. With a callback, that thread would wait for Python's interpreter lock and cost the graph xruns.

Calls into libjack can block for ever when the server freezes, with the interpreter lock held. That is why all this
lives in a process that can be killed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import rtmidi

from demond.midi.naming import usb_place

OWN_PORT = "midi_in"
"""The port that other programs can be connected to by hand."""
QUEUE_SIZE = 4_096
"""Messages that rtmidi keeps between two polls: more than a second of a flood from eight faders."""
CONNECT_SECONDS = 0.25
"""A new connection shows after the server's next cycle, at most 0.19 s later (8,192 frames at 44.1 kHz)."""
_SKIPPED = ("midi through",)
"""Names (in small letters) that are not opened: ALSA's loop-back, which would repeat what other programs send."""


class PortsError(Exception):
    """The MIDI system has gone away or is not there; worth another try later."""


class MidiInputs:
    """All open inputs of one MIDI system: our own virtual port, and one for every sender there is."""

    def __init__(self, api: int, client: str, label: Callable[[str], str] = str) -> None:
        """Opens our own port under the client name `client`. Raises :class:`PortsError`.

        `label` gives the name that a person knows a sender by; messages and :attr:`names` bear it.
        """
        self._api, self._client, self._label = api, client, label
        self._inputs: dict[str, Any] = {}
        self._labels = {OWN_PORT: OWN_PORT}
        self._usb: dict[str, tuple[str, str]] = {}
        self._opened: dict[str, float] = {}
        try:
            self._own = self._new()
            self._inputs[OWN_PORT] = self._own
            self._own.open_virtual_port(OWN_PORT)
        except rtmidi.RtMidiError as error:
            self.close()
            raise PortsError(str(error)) from None

    @property
    def names(self) -> tuple[str, ...]:
        """The ports that messages may come from, our own first."""
        return tuple(self._labels[name] for name in self._inputs)

    @property
    def senders(self) -> dict[str, str]:
        """The senders that are open: the name that a person knows each by, and the system's."""
        return {self._labels[name]: name for name in self._inputs if name != OWN_PORT}

    def usb(self, label: str) -> tuple[str, str]:
        """USB id and socket of the sender that bears `label`; empty where the system does not tell."""
        return self._usb.get(label, ("", ""))

    def scan(self) -> bool:
        """Opens senders that are new and closes those that are gone; True if any was. Raises :class:`PortsError`."""
        try:
            found = [name for name in self._own.get_ports() if self._wanted(name)]
            gone = [name for name in self._inputs if name != OWN_PORT and name not in found]
            new = [name for name in found if name not in self._inputs]
            for name in gone:
                self.drop(name)
            opened = [name for name in new if self._open(name)]
        except rtmidi.RtMidiError as error:
            raise PortsError(str(error)) from None
        return bool(gone or opened)

    def drop_unless(self, connected: Callable[[str], bool]) -> bool:
        """Closes the inputs whose sender is not `connected` any more; True if there was one."""
        now = time.monotonic()
        old = [name for name, opened in self._opened.items() if now - opened > CONNECT_SECONDS]
        gone = [name for name in old if not connected(name)]
        for name in gone:
            self.drop(name)
        return bool(gone)

    def drop(self, name: str) -> bool:
        """Closes the input for the sender `name`; True if there was one."""
        if name == OWN_PORT or name not in self._inputs:
            return False
        _close(self._inputs.pop(name))
        self._usb.pop(self._labels.pop(name), None)
        del self._opened[name]
        return True

    def poll(self) -> dict[str, list[bytes]]:
        """The messages that have arrived since the last call, in their order, by port."""
        found: dict[str, list[bytes]] = {}
        for name, port in self._inputs.items():
            # A bound, so that a flood on one port cannot keep the others waiting.
            for _ in range(QUEUE_SIZE):
                message = port.get_message()
                if message is None:
                    break
                found.setdefault(self._labels[name], []).append(bytes(message[0]))
        return found

    def close(self) -> None:
        """Closes everything. May be called twice."""
        while self._inputs:
            _close(self._inputs.popitem()[1])

    def _new(self) -> Any:
        port = rtmidi.MidiIn(self._api, name=self._client, queue_size_limit=QUEUE_SIZE)
        port.ignore_types(sysex=False, timing=False, active_sense=True)
        return port

    def _open(self, name: str) -> bool:
        port = self._new()
        names = port.get_ports()
        if name not in names:
            _close(port)  # gone again; the next scan knows
            return False
        port.open_port(names.index(name), name="in")
        self._inputs[name] = port
        self._labels[name] = self._label(name)
        self._usb[self._labels[name]] = usb_place(name)
        self._opened[name] = time.monotonic()
        return True

    def _wanted(self, name: str) -> bool:
        small = name.lower()
        return not small.startswith(self._client.lower()) and not any(word in small for word in _SKIPPED)


def _close(port: Any) -> None:
    with contextlib.suppress(rtmidi.RtMidiError):  # it is to be gone, and it is
        port.close_port()
    port.delete()


class JackNotices:
    """What the JACK server tells: that it ends, and which MIDI senders come and go.

    rtmidi has no such notices. Without them, a sender that is back within one scan would stay unconnected, and after
    a restart of the server our ports would look open and be dead.
    """

    def __init__(self, client: str) -> None:
        """Connects to the server. Raises :class:`PortsError` if there is none, or no libjack."""
        try:
            import jack
        except OSError as error:
            raise PortsError(f"libjack cannot be loaded: {error}") from None
        jack.set_error_function(lambda _: None)  # the absence of a server is normal here, and said by us
        jack.set_info_function(lambda _: None)
        self.dead = False
        """The server has ended; nothing but :meth:`close` makes sense now."""
        self._own_prefix = client
        self.changed = False
        """Some port has come or gone; set back by whoever looks."""
        try:
            self._client = jack.Client(f"{client}-watch", no_start_server=True)
            self._client.set_shutdown_callback(self._shut_down)
            self._client.set_port_registration_callback(self._port, only_available=False)
            self._client.activate()
        except jack.JackError as error:
            raise PortsError(str(error)) from None

    def is_connected(self, name: str) -> bool:
        """Whether the sender `name` is there and connected to one of our inputs.

        One that was registered anew has lost its connection, though it may have the same name and look the same.
        """
        import jack

        try:
            there = self._client.get_all_connections(self._client.get_port_by_name(name))
        except jack.JackError:
            return False
        return any(port.name.startswith(self._own_prefix) for port in there)

    def label(self, name: str) -> str:
        """The name of a sender with its alias, where it has one.

        A port of the server's own MIDI driver is called `system:midi_capture_1`; only its alias names the device.
        """
        import jack

        try:
            aliases = self._client.get_port_by_name(name).aliases
        except jack.JackError:
            return name  # it has gone again
        return f"{name} ({aliases[0]})" if aliases else name

    def close(self) -> None:
        """Leaves the server."""
        import jack

        with contextlib.suppress(jack.JackError):  # it may be dead already
            self._client.deactivate()
        with contextlib.suppress(jack.JackError):
            self._client.close()

    def _shut_down(self, status: object, reason: str) -> None:
        # In a thread of libjack's: closing the client here would lock up.
        self.dead = True

    def _port(self, port: object, registered: bool) -> None:
        # The port may have gone again by now, so nothing is asked of it here.
        self.changed = True
