"""The MIDI process: it holds the MIDI ports, and carries messages both ways.

What controllers send goes to the daemon with the time of its arrival; what they are to show comes from there.

Started by the daemon as `python -m demond.midi.process --fd N --client-name demond`. It polls every millisecond
or more often, takes in senders that are plugged in, lets go of those that leave, and rebuilds everything after a
restart of the JACK server. It says which ports are open whenever that changes, and every two seconds as a sign of
life. It never waits for the daemon: when that stops reading, the oldest messages are dropped and counted. It ends
within 200 ms when it is told to, when the line to the daemon ends, or by SIGTERM; and by itself when libjack has not
answered for ten seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator

import rtmidi

from demond._process import be_child, be_prompt
from demond.jack_server import jackd_listens
from demond.messages import Channel, ChannelClosedError, Message, MidiIn, MidiOut, MidiPort, MidiPorts, Shutdown
from demond.midi.outputs import MidiOutputs
from demond.midi.ports import JackNotices, MidiInputs, PortsError

log = logging.getLogger("demond.midi")

POLL_SECONDS = 0.001
BUSY_POLL_SECONDS = 0.0003
BUSY_SECONDS = 0.1
"""While messages come, and for this long after, it polls more often: a moving hand feels it, an idle machine not."""
SCAN_SECONDS = 0.25
SETTLE_SECONDS = 0.5
"""After a change of ports, connections are looked at for this long: the server applies a change with its next cycle,
so that a port which was taken out and put back at once still looks connected for a moment."""
SIGN_OF_LIFE_SECONDS = 2.0
CLOSE_SECONDS = 0.15
HANG_SECONDS = 10
OUTBOX_LIMIT = 4_096
"""Messages that wait for the daemon: more than a second of a flood from eight faders."""
ALSA_SEQUENCER = "/dev/snd/seq"


class Outbox:
    """Messages on their way to the daemon. When it does not read, the oldest ones are lost, not our time."""

    def __init__(self, channel: Channel) -> None:
        """Empty."""
        self._channel = channel
        self._waiting: deque[Message] = deque()
        self.dropped = 0
        """Messages lost so far."""

    def put(self, message: Message) -> None:
        """Queues `message`, at the cost of the oldest one if the queue is full."""
        if len(self._waiting) >= OUTBOX_LIMIT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)

    def send(self) -> None:
        """Sends as much as the daemon takes. Raises :class:`ChannelClosedError`."""
        while self._channel.flush() and self._waiting:
            self._channel.send(self._waiting.popleft())


class MidiProcess:
    """Ports, messages and the line to the daemon."""

    def __init__(self, channel: Channel, client: str, backend: str) -> None:
        """`client` is the name that other programs see; `backend` is `alsa`, `jack` or `none`."""
        self._channel, self._client, self._backend = channel, client, backend
        self._outbox = Outbox(channel)
        self._inputs: MidiInputs | None = None
        self._outputs: MidiOutputs | None = None
        self._notices: JackNotices | None = None
        self._said: tuple[MidiPort, ...] | None = None
        self._next_scan = self._next_sign = self._unsettled_until = self._last_message = 0.0
        self._reported_drops = 0
        self._excuse = ""
        self.ending = False
        """Set by SIGTERM."""

    def run(self) -> None:
        """Until the daemon says so or is gone, or until :attr:`ending`."""
        try:
            while not self.ending:
                now = time.monotonic()
                self._say_ports(now)
                self._keep_ports(now)
                self._forward()
                self._outbox.send()
                if self._outputs is not None:
                    self._outputs.flush(now)
                if select.select([self._channel], [], [], self._pause(now))[0] and self._obey():
                    return
        except ChannelClosedError:
            return

    def close(self) -> None:
        """Leaves the MIDI system."""
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _pause(self, now: float) -> float:
        """How long to wait for the daemon's word, which wakes us at once, before the ports are polled again."""
        if self._inputs is None:
            return SCAN_SECONDS / 5
        return BUSY_POLL_SECONDS if now - self._last_message < BUSY_SECONDS else POLL_SECONDS

    def _obey(self) -> bool:
        """Does what the daemon says; True if that is to end."""
        for message in self._channel.receive():
            if isinstance(message, Shutdown):
                return True
            if isinstance(message, MidiOut) and self._outputs is not None:
                self._outputs.put(message.port, map(bytes.fromhex, message.data))
        return False

    def _forward(self) -> None:
        if self._inputs is None:
            return
        messages = self._inputs.poll()
        if not messages:
            return
        now_ns = time.monotonic_ns()
        self._last_message = now_ns / 1e9
        for port, data in messages.items():
            self._outbox.put(MidiIn(port=port, data=tuple(message.hex() for message in data), time_ns=now_ns))

    def _say_ports(self, now: float) -> None:
        ports = self._ports()
        if ports == self._said and now < self._next_sign:
            return
        self._said, self._next_sign = ports, now + SIGN_OF_LIFE_SECONDS
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        self._outbox.put(MidiPorts(backend=self._backend, ports=ports))
        if self._outbox.dropped > self._reported_drops:
            log.warning("%d MIDI messages were lost while the daemon did not read", self._outbox.dropped)
            self._reported_drops = self._outbox.dropped

    def _ports(self) -> tuple[MidiPort, ...]:
        """The open inputs, with what is known of each."""
        if self._inputs is None or self._outputs is None:
            return ()
        answered = self._outputs.answered
        found = []
        for name in self._inputs.names:
            usb, path = self._inputs.usb(name)
            found.append(MidiPort(name=name, usb=usb, path=path, answers=name in answered))
        return tuple(found)

    # -- ports --------------------------------------------------------------------------------------------------

    def _keep_ports(self, now: float) -> None:
        """Opens what is there, closes what is gone, and starts anew with a new server."""
        if self._notices is not None and self._notices.dead:
            log.info("the JACK server has ended; waiting for the next one")
            self.close()
            self._next_scan = now + SCAN_SECONDS
        if self._notices is not None and self._notices.changed:
            self._notices.changed = False
            self._next_scan, self._unsettled_until = now, now + SETTLE_SECONDS
        if self._backend == "none" or now < self._next_scan:
            return
        settled = now >= self._unsettled_until
        self._next_scan = now + (SCAN_SECONDS if settled else SCAN_SECONDS / 10)
        try:
            if self._inputs is None:
                self._open()
            elif self._notices is not None and not settled:
                self._drop_lost(self._notices, now)
            if self._inputs is not None and self._outputs is not None:
                self._inputs.scan()
                self._outputs.scan(self._inputs.senders)
        except PortsError as error:
            if str(error) != self._excuse:
                log.info("no MIDI yet: %s", error)
            self._excuse = str(error)
            self.close()
        else:
            self._excuse = ""

    def _drop_lost(self, notices: JackNotices, now: float) -> None:
        """Lets go of devices that were unplugged and plugged in again between two looks."""
        lost_input = self._inputs is not None and self._inputs.drop_unless(notices.is_connected)
        lost_output = self._outputs is not None and self._outputs.drop_unless(notices.is_connected)
        if lost_input or lost_output:
            if self._inputs is not None and self._outputs is not None:
                self._outputs.scan(self._inputs.senders)
            # A sender that is back at once must be seen to have left: the daemon arms its takeover and paints anew.
            self._say_ports(now)

    def _open(self) -> None:
        if self._backend == "jack":
            # rtmidi brings its own libjack, which knows jackd alone and prints to our stderr when there is none.
            if not jackd_listens(None):
                raise PortsError("no jackd runs; PipeWire's JACK cannot carry MIDI to rtmidi, ALSA's sequencer can")
            self._notices = JackNotices(self._client)
            self._inputs = MidiInputs(rtmidi.API_UNIX_JACK, self._client, self._notices.label)
            self._outputs = MidiOutputs(rtmidi.API_UNIX_JACK, self._client)
        elif os.path.exists(ALSA_SEQUENCER):
            self._inputs = MidiInputs(rtmidi.API_LINUX_ALSA, self._client)
            self._outputs = MidiOutputs(rtmidi.API_LINUX_ALSA, self._client)


def choose_backend(wish: str) -> str:
    """`alsa` where the kernel has its sequencer, else `jack`, unless `wish` names one."""
    if wish != "auto":
        return wish
    return "alsa" if os.path.exists(ALSA_SEQUENCER) else "jack"


@contextlib.contextmanager
def _closing(process: MidiProcess) -> Iterator[None]:
    """Leaves in order if libjack lets us, and by SIGALRM's default action if it does not."""
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, CLOSE_SECONDS)
        process.close()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="demond-midi", description="Holds the MIDI ports for the demond daemon.")
    parser.add_argument("--fd", type=int, required=True, help="the line to the daemon")
    parser.add_argument("--client-name", default="demond")
    parser.add_argument("--backend", choices=["auto", "alsa", "jack", "none"], default="auto")
    arguments = parser.parse_args()
    os.environ["JACK_NO_START_SERVER"] = "1"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    process = MidiProcess(
        Channel.from_fd(arguments.fd), f"{arguments.client_name}-midi", choose_backend(arguments.backend)
    )

    def end(*_: object) -> None:
        process.ending = True

    signal.signal(signal.SIGTERM, end)
    be_child("demond-midi")
    log.debug("scheduled %s", be_prompt())
    gc.freeze()  # what was imported stays; looking through it again and again would cost milliseconds each time
    with _closing(process):
        process.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
