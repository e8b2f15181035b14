"""The real MIDI process on real JACK servers, with senders in processes of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from demond.messages import Channel, ChannelClosedError, Message, MidiIn, MidiOut, MidiPorts, Shutdown
from demond.midi.process import OUTBOX_LIMIT, Outbox
from tests.jack import running_jackd, wait_for
from tests.midi.device import Device

SENDER = """
import sys, time, rtmidi
out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name=sys.argv[1])
out.open_virtual_port("out")
value = 0
message = list(bytes.fromhex(sys.argv[3])) if len(sys.argv) > 3 else None
while True:
    out.send_message(message or [0xB0, 7, value])
    value = (value + 1) % 128
    time.sleep(float(sys.argv[2]))
"""


def environment(server: str) -> dict[str, str]:
    return {**os.environ, "JACK_DEFAULT_SERVER": server, "JACK_NO_START_SERVER": "1"}


@contextlib.contextmanager
def sender(
    server: str, name: str = "nanoKONTROL2", pause: float = 0.005, message: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A device that turns controller 7 all the time, or repeats `message` (hex)."""
    arguments = [name, str(pause), *([message] if message else [])]
    process = subprocess.Popen([sys.executable, "-c", SENDER, *arguments], env=environment(server))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


REPLUGGER = """
import sys, jack
client = jack.Client("pad", no_start_server=True)
port = client.midi_outports.register("out")
client.activate()
for _ in sys.stdin:
    port.unregister()
    port = client.midi_outports.register("out")
client.deactivate()
client.close()
"""


@contextlib.contextmanager
def jack_sender(server: str) -> Iterator[Callable[[], None]]:
    """A device `pad:out`; what is yielded unplugs it and plugs it in again within a millisecond or so."""
    command = [sys.executable, "-u", "-c", REPLUGGER]
    process = subprocess.Popen(command, env=environment(server), stdin=subprocess.PIPE)
    assert process.stdin is not None

    def replug() -> None:
        process.stdin.write(b"\n")
        process.stdin.flush()

    try:
        yield replug
    finally:
        process.stdin.close()
        process.wait(5)


def listed_ports(server: str) -> str:
    command = ["jack_lsp"]
    return subprocess.run(command, env=environment(server), capture_output=True, text=True, check=False).stdout


class Heard(NamedTuple):
    """One MIDI message, as it reached the daemon."""

    port: str
    data: str
    time_ns: int


class Running:
    """The MIDI process, as the daemon sees it."""

    def __init__(self, server: str, *arguments: str) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        command = [sys.executable, "-m", "demond.midi.process", "--fd", str(theirs.fileno()), *arguments]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment(server))
        theirs.close()
        self.messages: list[Message] = []

    def read(self) -> None:
        select.select([self.channel], [], [], 0.01)
        with contextlib.suppress(ChannelClosedError):
            self.channel.flush()
            self.messages += self.channel.receive()

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        def check() -> object:
            self.read()
            return condition()

        wait_for(check, seconds, what)

    def port_lists(self) -> list[tuple[str, ...]]:
        lists = (message.ports for message in self.messages if isinstance(message, MidiPorts))
        return [tuple(port.name for port in ports) for ports in lists]

    def answered(self) -> set[str]:
        lists = [message.ports for message in self.messages if isinstance(message, MidiPorts)]
        return {port.name for port in lists[-1] if port.answers} if lists else set()

    def show(self, port: str, *messages: bytes) -> None:
        self.channel.send(MidiOut(port=port, data=tuple(message.hex() for message in messages)))

    def ports(self) -> tuple[str, ...]:
        lists = self.port_lists()
        return lists[-1] if lists else ()

    def received(self, port: str = "") -> list[Heard]:
        batches = (message for message in self.messages if isinstance(message, MidiIn) and port in message.port)
        return [Heard(batch.port, data, batch.time_ns) for batch in batches for data in batch.data]

    def end(self) -> None:
        """As the daemon ends it; a client that is killed can keep jackd from ending in order."""
        with contextlib.suppress(ChannelClosedError, OSError):
            self.channel.send(Shutdown())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def test_a_controller_is_taken_in_and_its_messages_arrive_in_order() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi, sender(server.name):
        midi.until(lambda: len(midi.received("nanoKONTROL2")) >= 50, 8, "50 messages from the controller")
        assert midi.ports()[0] == "midi_in"
    messages = midi.received("nanoKONTROL2")
    values = [bytes.fromhex(message.data)[2] for message in messages]
    assert all(message.data.startswith("b007") for message in messages)
    assert all(after == (before + 1) % 128 for before, after in itertools.pairwise(values))
    times = [message.time_ns for message in messages]
    assert times == sorted(times)
    assert abs(time.monotonic_ns() - times[-1]) < 5e9


def test_a_replugged_controller_plays_again_within_a_second_and_its_leaving_is_told() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        with sender(server.name):
            midi.until(lambda: midi.received("nanoKONTROL2"), 8, "the controller is heard")
        midi.until(lambda: midi.ports() == ("midi_in",), 1, "its leaving is told")
        midi.messages.clear()
        with sender(server.name):
            midi.until(lambda: midi.received("nanoKONTROL2"), 8, "the controller is heard again")
            first = midi.received("nanoKONTROL2")[0]
        # It counts from 0, every 5 ms, from the moment that it is plugged in.
        assert bytes.fromhex(first.data)[2] * 0.005 < 1.0


def test_a_controller_that_is_back_at_once_is_seen_to_leave_and_come() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        with jack_sender(server.name) as replug:
            midi.until(lambda: any("pad" in port for port in midi.ports()), 8, "the device is taken in")
            midi.messages.clear()
            replug()
            midi.until(lambda: len(midi.port_lists()) >= 2, 2, "its leaving and coming are told")
        first, second = midi.port_lists()[:2]
    assert not any("pad" in port for port in first)
    assert any("pad" in port for port in second)


def test_a_port_of_the_servers_driver_is_known_by_its_alias() -> None:
    with running_jackd(sync=False) as server, jack_sender(server.name) as _:
        wait_for(lambda: "pad:out" in listed_ports(server.name), 8, "the port is there")
        alias = ["jack_alias", "pad:out", "nanoKONTROL2:midi/capture_1"]
        subprocess.run(alias, env=environment(server.name), check=True)
        with Running(server.name) as midi:
            midi.until(lambda: len(midi.ports()) == 2, 8, "the port is open")
            assert midi.ports()[1] == "pad:out (nanoKONTROL2:midi/capture_1)"


def test_a_killed_and_restarted_jack_server_is_found_again() -> None:
    name = f"demond-test-midi-{os.getpid()}"
    with Running(name) as midi:
        with running_jackd(name=name, sync=False) as server:
            midi.until(lambda: "midi_in" in midi.ports(), 8, "our own port is open")
            server.kill()
            midi.until(lambda: midi.ports() == (), 2, "no port without a server")
        with running_jackd(name=name, sync=False), sender(name):
            midi.until(lambda: any("nanoKONTROL2" in port for port in midi.ports()), 10, "all ports are open again")
            midi.messages.clear()
            midi.until(lambda: len(midi.received("nanoKONTROL2")) > 10, 5, "messages after the restart")
            assert midi.process.poll() is None
            midi.end()


def test_notes_of_a_foreign_program_connected_by_hand_arrive_on_our_own_port() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        midi.until(lambda: "midi_in" in midi.ports(), 8, "our own port is open")
        sequence = subprocess.Popen(
            ["jack_midiseq", "sequence", "12000", "0", "60", "6000"],
            env=environment(server.name),
            stdout=subprocess.DEVNULL,
        )
        try:
            midi.until(lambda: midi.received("sequence"), 5, "a note through a port of its own")
            connect = ["jack_connect", "sequence:out", "demond-midi:midi_in"]
            subprocess.run(connect, env=environment(server.name), check=True)
            midi.until(lambda: midi.received("midi_in"), 5, "a note through midi_in")
        finally:
            sequence.terminate()
            sequence.wait()
    assert {message.data[:4] for message in midi.received("midi_in")} <= {"903c", "803c"}


def test_without_a_server_it_gives_signs_of_life_and_takes_the_server_that_comes() -> None:
    name = f"demond-test-late-{os.getpid()}"
    with Running(name) as midi:
        midi.until(lambda: len(midi.port_lists()) >= 2, 6, "a second sign of life")
        with running_jackd(name=name, sync=False):
            midi.until(lambda: "midi_in" in midi.ports(), 3, "our own port is open")
            midi.end()


@pytest.mark.parametrize("how", ["shutdown", "hang up", "SIGTERM"])
def test_it_ends_within_200_ms_when_told(how: str) -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi, sender(server.name):
        midi.until(lambda: midi.received("nanoKONTROL2"), 8, "it runs")
        midi.process.send_signal(signal.SIGINT)  # Ctrl-C reaches the whole group; the daemon decides
        midi.until(lambda: len(midi.received()) > 20, 5, "it runs on after SIGINT")
        began = time.monotonic()
        if how == "shutdown":
            midi.channel.send(Shutdown())
        elif how == "hang up":
            midi.channel.close()
        else:
            midi.process.terminate()
        status = midi.process.wait(timeout=2)
        assert time.monotonic() - began < 0.25
        assert status in (0, -signal.SIGALRM)


def test_a_frozen_jack_server_does_not_keep_it_from_being_killed() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi, sender(server.name):
        midi.until(lambda: midi.received("nanoKONTROL2"), 8, "it runs")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            midi.channel.send(Shutdown())
            assert midi.process.wait(timeout=1) in (0, -signal.SIGALRM)
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_a_daemon_that_does_not_read_gets_the_newest_messages_when_it_reads_again() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        with sender(server.name, pause=0.0002):
            midi.until(lambda: midi.received("nanoKONTROL2"), 8, "the flood arrives")
            midi.messages.clear()
            time.sleep(1.5)  # the daemon is busy: this is the condition itself, not a wait for one
            assert midi.process.poll() is None
            resumed = time.monotonic_ns()
            midi.until(lambda: midi.received() and midi.received()[-1].time_ns > resumed, 5, "messages of now")
        assert midi.process.poll() is None


def test_the_outbox_loses_the_oldest_and_counts_them() -> None:
    ours, theirs = socket.socketpair()
    reader, outbox = Channel(ours), Outbox(Channel(theirs))
    sent = OUTBOX_LIMIT + 2_000
    for i in range(sent):
        outbox.put(MidiIn(port="p" * 200, data=("b00700",), time_ns=i))
    assert outbox.dropped == 2_000
    received: list[int] = []
    while len(received) < OUTBOX_LIMIT:
        outbox.send()
        received += [message.time_ns for message in reader.receive() if isinstance(message, MidiIn)]
    assert received == list(range(2_000, sent))


def test_a_device_is_shown_what_the_daemon_says_and_again_after_it_was_replugged() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        for _ in range(2):
            with Device(server.name) as device:
                midi.until(lambda: "box:out" in midi.answered(), 8, "the device has an output")
                midi.show("box:out", b"\xb0\x07\x01", b"\x90\x05\x7f", b"\xf0\x00\x01\xf7")
                midi.until(lambda: len(device.heard()) >= 3, 2, "the device is shown it")
                assert device.heard() == ["b00701", "90057f", "f00001f7"]
            midi.until(lambda: "box:out" not in midi.ports(), 2, "its leaving is told")


def test_a_flood_to_a_device_ends_with_what_is_true() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi, Device(server.name) as device:
        midi.until(lambda: "box:out" in midi.answered(), 8, "the device has an output")
        for value in range(2_000):
            midi.show("box:out", bytes((0xB0, 7, value % 100)))
        midi.show("box:out", b"\xb0\x07\x7f")
        midi.until(lambda: device.heard()[-1:] == ["b0077f"], 3, "the last value")
        assert len(device.heard()) < 1_000


def test_what_is_shown_to_a_port_without_output_is_dropped() -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi, sender(server.name):
        midi.until(lambda: midi.received("nanoKONTROL2"), 8, "it runs")
        midi.show("nanoKONTROL2:out", b"\xb0\x07\x01")
        midi.show("nobody", b"\xb0\x07\x01")
        midi.messages.clear()
        midi.until(lambda: len(midi.received()) > 20, 5, "it runs on")


@pytest.mark.parametrize("message", ["f8", "f07f7f0602f7"])
def test_a_sequencers_clock_and_system_exclusive_messages_arrive_whole(message: str) -> None:
    with running_jackd(sync=False) as server, Running(server.name) as midi:
        with sender(server.name, name="sequencer", message=message):
            midi.until(lambda: len(midi.received("sequencer")) >= 24, 8, "messages of the sequencer")
        assert {heard.data for heard in midi.received("sequencer")} == {message}


def test_the_process_has_its_name() -> None:
    with Running("no-such-server", "--backend", "none") as midi:
        midi.until(lambda: midi.messages, 5, "the first sign of life")
        with open(f"/proc/{midi.process.pid}/comm") as comm:
            assert comm.read().strip() == "demond-midi"
        assert isinstance(midi.messages[0], MidiPorts)
        assert midi.messages[0].backend == "none"
