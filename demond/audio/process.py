"""The audio process: a JACK client whose callback plays the shared loop, and the little that keeps it connected.

The daemon starts it as `python -m demond.audio.process`; nothing else does. The main thread opens the client,
connects its ports, publishes latencies and a heartbeat, and waits for a server that has gone; JACK's real-time thread
runs the callback (C, see `demond/_native.c`). It ends within 200 ms (plus two periods) of a `Shutdown` message, the
end of the channel or SIGTERM, after a fade-out of 50 ms, even when libjack hangs.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence

from demond import shm
from demond._process import be_child
from demond.audio.loop import LoopError, SharedLoop
from demond.messages import (
    AnyMessage,
    Channel,
    ChannelClosedError,
    Fatal,
    FollowTransport,
    JackState,
    LeadTransport,
    Message,
    RollTransport,
    Shutdown,
    TransportLed,
)

try:
    import jack

    from demond.audio.fallback import PythonPlayer
    from demond.audio.player import NativePlayer, Player, playback_latency, silence_libjack, why_not_native
    from demond.audio.transport import POLL_SECONDS, TransportWatch, jacks_usecs
except OSError as _error:  # JACK-Client finds no libjack on this machine
    _no_libjack: OSError | None = _error
else:
    _no_libjack = None

_TICK_SECONDS = 0.05
_RETRY_SECONDS = 0.25
_FIRST_CYCLE_SECONDS = 1.0
_LEAVE_SECONDS = 0.1
"""Twice the fade; two periods come on top."""
_END_SECONDS = 0.17
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


class _AudioProcess:
    """The main thread's state. Nothing here is touched by JACK's threads."""

    def __init__(self, loop: SharedLoop, channel: Channel, options: argparse.Namespace) -> None:
        self._loop, self._channel, self._options = loop, channel, options
        self._why_python = "as asked, the JACK callback runs in Python" if options.python else why_not_native()
        self._leaving = False
        self._said: JackState | None = None
        self._touched = 0
        self._client: jack.Client | None = None
        self._player: Player | None = None
        """While they are active."""
        self._lead: LeadTransport | None = None
        """What is to be said of the beat, while others are to follow it."""
        self._led: TransportLed | None = None
        self._follows_transport = False
        self._watch: TransportWatch | None = None
        self._port_latency = 0
        self._doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        """Makes the main thread look at `_leaving` at once."""
        self._end_read, self._end_write = os.pipe()
        """What arrives here starts the last deadline."""
        os.set_blocking(self._end_write, False)

    def run(self) -> None:
        """Until told to end."""
        signal.set_wakeup_fd(self._end_write)
        signal.signal(signal.SIGTERM, lambda number, frame: self._ring())
        threading.stack_size(256 * 1024)
        threading.Thread(target=self._end_by_force, name="deadline", daemon=True).start()
        self._loop.start_audio(native_callback=self._why_python is None)
        silence_libjack()
        if self._why_python is not None:
            print(f"demond-audio: {self._why_python}", file=sys.stderr)
            gc.collect()
            gc.freeze()
            gc.disable()
        _lock_memory()
        while not self._leaving:
            client = self._open()
            if client is None:
                self._wait(_RETRY_SECONDS)
            else:
                self._serve(client)

    def _open(self) -> jack.Client | None:
        options = self._options
        try:
            return jack.Client(
                options.client_name, use_exact_name=True, no_start_server=True, servername=options.server
            )
        except jack.JackOpenError as error:
            if error.status.server_failed:
                self._say("waiting", "no JACK server runs; the sound starts as soon as one does")
            else:  # JACK2 says no more than "server error" when the name is taken
                name = options.client_name
                self._say("waiting", f"the JACK server does not take us; is another client named {name}?")
            return None

    def _serve(self, client: jack.Client) -> None:
        """From an open client to its end: the server's or ours."""
        try:
            ports = (client.outports.register("out_1"), client.outports.register("out_2"))
            player: Player = (NativePlayer if self._why_python is None else PythonPlayer)(self._loop, client, ports)
            cycles = self._loop.audio().cycles
            self._touch()
            client.activate()
            self._client, self._player = client, player
            self._follow_transport()
            wiring = _Wiring(client, ports, self._options.connect)
            ports_seen = latency_seen = -1
            while not self._leaving and not player.shutdowns:
                if ports_seen != player.port_changes or wiring.incomplete:
                    ports_seen = player.port_changes
                    latency_seen -= wiring.connect()
                if latency_seen != player.latency_changes:
                    latency_seen = player.latency_changes
                    ranges = [playback_latency(port) for port in ports]
                    self._port_latency = max(high for _, high in ranges)
                    self._loop.set_port_latency(min(low for low, _ in ranges), self._port_latency)
                figures = self._loop.audio()
                if figures.cycles != cycles:
                    self._loop.set_connected(True)
                    self._say("connected", self._in_words(figures.rate, figures.period, wiring))
                else:
                    self._say("waiting", "the JACK server is there, but it runs no cycles")
                self._lead_transport()
                self._wait(_TICK_SECONDS)
            if self._leaving and not player.shutdowns:
                player.leave()
                self._fade_out(player)
        except jack.JackError as error:
            self._loop.set_connected(False)  # before it is said: whoever hears it may look at once
            self._say("waiting", f"the JACK server refused us: {error}")
            self._wait(_RETRY_SECONDS)
        finally:
            self._loop.set_connected(False)
            self._client = self._player = self._watch = None
            client.close()
        if not self._leaving:
            self._say("waiting", "the JACK server has gone; the sound returns as soon as it is back")

    def _fade_out(self, player: Player) -> None:
        deadline = time.monotonic() + _LEAVE_SECONDS + 2 * self._period_seconds()
        while not player.silent_cycles and not player.shutdowns and time.monotonic() < deadline:
            time.sleep(0.002)

    def _period_seconds(self) -> float:
        figures = self._loop.audio()
        return figures.period / figures.rate if figures.rate else 0.0

    def _in_words(self, rate: int, period: int, wiring: _Wiring) -> str:
        where = " and ".join(wiring.connected) or "nothing yet"
        missing = f", waiting for {' and '.join(wiring.missing)}" if wiring.missing else ""
        return f"{rate} Hz, {period} frames a period ({1000 * period / rate:.1f} ms), connected to {where}{missing}"

    def _say(self, state: str, detail: str) -> None:
        message = JackState(state="connected" if state == "connected" else "waiting", detail=detail)
        if message != self._said:
            self._said = message
            self._send(message)

    def _send(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except ChannelClosedError:
            self._ring()

    def _wait(self, seconds: float) -> None:
        """One beat: the heart, fresh content, the channel, then sleep for `seconds` or until something happens."""
        self._loop.beat_audio()
        self._touch()
        channel, deadline = self._channel.fileno(), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            nap = min(left, POLL_SECONDS) if self._watch else left
            readable, _, _ = select.select([channel, self._doorbell], [], [], nap)
            if readable:
                if channel in readable:
                    self._hear()
                return
            if self._watch and (place := self._watch.look(self._port_latency)):
                self._send(place)

    def _hear(self) -> None:
        try:
            for message in self._channel.receive():
                self._obey(message)
        except (ChannelClosedError, ValueError):  # the daemon is gone, or is none of ours
            self._obey(Shutdown())

    def _obey(self, message: AnyMessage) -> None:
        if isinstance(message, Shutdown):
            os.write(self._end_write, b"\0")
            self._ring()
        elif isinstance(message, FollowTransport):
            self._follows_transport = message.on
            self._follow_transport()
        elif isinstance(message, LeadTransport):
            self._lead = message if message.on else None
            self._lead_transport()
        elif isinstance(message, RollTransport) and self._client is not None:
            (self._client.transport_start if message.on else self._client.transport_stop)()

    def _lead_transport(self) -> None:
        """Says where the beat is; and, as long as another client leads, asks again."""
        lead, player = self._lead, self._player
        if player is None:
            return
        if lead is None:
            player.release()
            led = TransportLed(leads=False)
        else:
            usecs = jacks_usecs(lead.time_ns, self._port_latency, self._loop.audio().rate)
            why_not = player.lead(lead.beat, usecs, lead.bpm, lead.beats_per_bar, lead.rolls)
            led = TransportLed(leads=not why_not, why_not=why_not)
        if led != self._led:
            self._led = led
            self._send(led)

    def _follow_transport(self) -> None:
        followed = self._client if self._follows_transport else None
        self._watch = TransportWatch(followed) if followed is not None else None

    def _touch(self) -> None:
        if (generation := self._loop.geometry().generation) != self._touched:
            self._loop.touch()
            self._touched = generation

    def _ring(self) -> None:
        self._leaving = True
        os.eventfd_write(self._doorbell, 1)

    def _end_by_force(self) -> None:
        """A thread of its own: libjack can hang in any call while its server is frozen."""
        os.read(self._end_read, 1)
        time.sleep(_END_SECONDS + 2 * self._period_seconds())
        os._exit(0)


class _Wiring:
    """Connects our ports to where they belong, once for each time that such a port appears.

    A connection that somebody takes away by hand stays away.
    """

    def __init__(self, client: jack.Client, ports: tuple[jack.OwnPort, jack.OwnPort], connect: str) -> None:
        self._client, self._ports, self._connect = client, ports, connect
        self._met: dict[tuple[str, str], None] = {}
        self.missing: list[str] = []
        """Named by the user, and not there."""
        self.incomplete = False
        """A client came or went while we looked, and its ports are not what they seemed: look again soon."""

    @property
    def connected(self) -> list[str]:
        return list(dict.fromkeys(target for _, target in self._met))

    def connect(self) -> int:
        """Makes what connections can be made now; returns how many."""
        try:
            there = {port.name for port in self._client.get_ports(is_audio=True, is_input=True)}
            pairs = self._pairs()
        except jack.JackError:  # JACK-Client lists names, then asks for each; one may have gone in between
            self.incomplete = True
            return 0
        self.missing = [target for _, target in pairs if target not in there]
        self._met = {pair: None for pair in self._met if pair[1] in there}
        made = 0
        self.incomplete = False
        for source, target in pairs:
            if target not in there or (source, target) in self._met:
                continue
            try:
                self._client.connect(source, target)
                made += 1
            except jack.JackErrorCode as error:
                if error.code != errno.EEXIST:
                    self.incomplete = True
                    continue
            self._met[source, target] = None
        return made

    def _pairs(self) -> list[tuple[str, str]]:
        names = [port.name for port in self._ports]
        if self._connect == "none":
            return []
        if self._connect != "auto":
            return list(zip(names, self._connect.split(","), strict=False))
        physical = [p.name for p in self._client.get_ports(is_audio=True, is_input=True, is_physical=True)]
        if not physical:
            return []
        return [(names[0], physical[0]), (names[1], physical[min(1, len(physical) - 1)])]


def _lock_memory() -> None:
    """Keeps what the callback touches out of the swap. Pages are locked when they are touched, not all at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        reason = os.strerror(ctypes.get_errno())
        print(
            f"demond-audio: memory is not locked ({reason}), so heavy swapping could be heard; "
            "raise memlock in /etc/security/limits.d, or LimitMEMLOCK= of the service",
            file=sys.stderr,
        )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demond.audio.process", description="Started by the daemon.")
    parser.add_argument("--fd", type=int, required=True, help="the channel to the daemon")
    parser.add_argument("--loop", required=True, help="the shared loop's name")
    parser.add_argument("--client-name", default="demond")
    parser.add_argument("--connect", default="auto", help="auto, none, or two input ports joined by a comma")
    parser.add_argument("--server", help="the JACK server's name")
    parser.add_argument("--python", action="store_true", help="use the Python callback, to compare")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole life of the process; returns its exit status."""
    options = _parse(arguments)
    be_child("demond-audio")
    channel = Channel.from_fd(options.fd)
    try:
        if _no_libjack is not None:
            channel.send(
                Fatal(message=f"{_no_libjack}; install it (Debian and Ubuntu: apt install libjack-jackd2-0)")
            )
            return 1
        try:
            loop = SharedLoop.attach(options.loop)
        except (LoopError, shm.SharedMemoryError) as error:
            channel.send(Fatal(message=str(error)))
            return 1
    except ChannelClosedError:
        return 0
    _AudioProcess(loop, channel, options).run()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # taking the interpreter apart would cost half of the time we have
