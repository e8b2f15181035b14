"""OSC over TCP: both framings, in pieces of any size, and connections that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import subprocess
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.tcp_client import SimpleTCPClient

from demond.config import Osc
from demond.control import Origin
from demond.osc.codec import SIZE_LIMIT, Message, OscError, encode, encode_bundle, parse
from demond.osc.framing import Framing, LostTrackError, Unframer
from demond.osc.tcp import CONNECTION_LIMIT
from tests.osc.killers import KILLERS
from tests.osc.surface import PATIENCE, Stage, eventually, on_stage

DENOISE = "/demond/knob/denoise"
framings = pytest.mark.parametrize("framing", list(Framing))


class Connection:
    """A client over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing) -> None:
        self.reader, self.writer, self.framing = reader, writer, framing
        self._unframer = Unframer()
        self._sync = 0

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(self.framing.wrap(packet) for packet in packets))

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            while (packet := self._unframer.next()) is None:
                data = await self.reader.read(65_536)
                if not data:
                    raise ConnectionResetError
                self._unframer.feed(data)
        assert self._unframer.framing is self.framing
        (message,) = parse(packet).messages
        return message

    async def ask(self, *packets: bytes) -> list[Message]:
        self._sync += 1
        self.send(*packets, encode("/demond/sync", self._sync))
        answers: list[Message] = []
        while (message := await self.next()) != Message("/demond/synced", (self._sync,)):
            answers.append(message)
        return answers

    async def ended(self) -> bool:
        """Whether the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass
            return True


@contextlib.asynccontextmanager
async def connection(stage: Stage, framing: Framing = Framing.SIZE) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.server.port)
    one = Connection(reader, writer, framing)
    one.send(encode("/demond/unsubscribe"))
    try:
        yield one
    finally:
        writer.close()


@framings
def test_a_message_is_obeyed_and_answered_in_the_framing_in_which_it_came(framing: Framing) -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage, framing) as client:
            assert await client.ask(encode(DENOISE, 0.25), encode(DENOISE)) == [Message(DENOISE, (0.25,))]
            origin = stage.control.calls[-1][1]
            assert origin.detail.startswith("tcp 127.0.0.1:")
            (error,) = await client.ask(encode("/nowhere"))
            assert error.arguments[0] == 404

    on_stage(scene)


@framings
def test_packets_may_come_in_pieces_of_any_size_and_many_at_once(framing: Framing) -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage, framing) as client:
            data = b"".join(framing.wrap(encode("/demond/sync", i)) for i in range(0xC0, 0xE0))
            for byte in data:
                client.writer.write(bytes((byte,)))
                await client.writer.drain()
            client.writer.write(data * 100)
            for i in [*range(0xC0, 0xE0)] * 101:
                assert await client.next() == Message("/demond/synced", (i,))

    on_stage(scene)


@framings
def test_each_known_killer_is_survived_over_tcp(framing: Framing) -> None:
    async def scene(stage: Stage) -> None:
        for name, packet in KILLERS.items():
            async with connection(stage, framing) as client:
                if framing is Framing.SIZE and (not packet or len(packet) % 4):
                    client.send(packet)
                    assert (await client.next()).address == "/demond/error", name
                    assert await client.ended()
                else:
                    answers = await client.ask(packet)
                    assert len(answers) <= 2, name

    on_stage(scene)


@pytest.mark.parametrize("size", [-1, 0, 3, SIZE_LIMIT + 1, 2**31 - 1])
def test_a_size_that_no_packet_has_is_answered_and_ends_the_connection(size: int) -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage) as client:
            client.writer.write(struct.pack(">i", size))
            error = await client.next()
            assert error.arguments[0] in (400, 413)
            assert await client.ended()

    on_stage(scene)


def test_a_slip_packet_that_does_not_end_is_refused_once_and_the_next_one_is_read() -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage, Framing.SLIP) as client:
            client.writer.write(b"\xc0" + b"x" * (3 * SIZE_LIMIT))
            assert (await client.next()).arguments[0] == 413
            client.writer.write(b"x" * 100 + b"\xc0")
            assert await client.ask(encode(DENOISE)) == [Message(DENOISE, (pytest.approx(0.7),))]
            client.writer.write(b"\xc0/bad\xdbescape\xc0")
            (error,) = await client.ask()
            assert "0xDB is followed by" in str(error.arguments[3])

    on_stage(scene)


def test_a_subscriber_over_tcp_is_told_changes_and_forgotten_when_it_leaves() -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage, Framing.SLIP) as client:
            client.send(encode("/demond/subscribe", DENOISE, "nobundle"))
            assert [(await client.next()).address for _ in range(3)][1] == DENOISE
            await client.ask(encode("/demond/knob/shift/touch", 1))
            stage.control.set_knobs({"denoise": 0.5}, Origin("midi", "x", 0))
            assert await client.next() == Message(DENOISE, (0.5,))
            assert stage.mapping.held("shift")
        await eventually(lambda: stage.server.publisher.count == 0, "the connection is gone")
        assert not stage.mapping.held("shift")

    on_stage(scene)


def test_a_client_that_does_not_read_is_disconnected_and_the_others_are_served() -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage) as deaf, connection(stage) as other:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await other.ask()
            dump = encode_bundle([encode("/demond/dump", f"//*{'*' * i}") for i in range(60)])
            deaf.send(*[dump] * 20)
            began = time.monotonic()
            while stage.server.status()["connections"] == 2:
                assert time.monotonic() - began < 30
                assert len(await other.ask(encode("/demond/ping"))) == 1
            assert stage.server.status()["connections"] == 1

    on_stage(scene)


def test_what_a_client_sends_faster_than_it_is_dealt_with_waits_in_the_network() -> None:
    async def scene(stage: Stage) -> None:
        async with connection(stage) as client:
            slow = encode_bundle([encode(f"/demond/knob/{'{,a,b}' * 30}{i}", 1) for i in range(200)])
            client.send(*[slow] * 100)
            (server_side,) = stage.server._connections.values()
            most = 0
            for _ in range(200):
                await asyncio.sleep(0)
                most = max(most, len(server_side._unframer))
            assert 0 < most < 1 << 20
            client.writer.transport.abort()

    on_stage(scene)


def test_connections_are_bounded_and_there_is_room_again_when_one_leaves() -> None:
    async def scene(stage: Stage) -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connection(stage)) for _ in range(CONNECTION_LIMIT)]
            for client in clients:
                await client.ask()
            async with connection(stage) as late:
                assert await late.ended()
            clients[0].writer.close()
            await eventually(lambda: stage.server.status()["connections"] == CONNECTION_LIMIT - 1, "one has left")
            async with connection(stage) as next_one:
                assert len(await next_one.ask(encode("/demond/ping"))) == 1

    on_stage(scene)


def test_a_host_that_is_not_allowed_is_not_let_in() -> None:
    async def scene(stage: Stage) -> None:
        stage.server.access.role = lambda host: None  # type: ignore[method-assign, assignment]
        async with connection(stage) as client:
            assert await client.ended()
        assert stage.server.denied == 1

    on_stage(scene, Osc(port=0))


def test_python_osc_and_oscsend_speak_to_it() -> None:
    async def scene(stage: Stage) -> None:
        port = stage.server.port
        for mode, value in (("1.0", 0.25), ("1.1", 0.5)):
            client = await asyncio.to_thread(SimpleTCPClient, "127.0.0.1", port, mode=mode)
            with client:
                client.send_message(DENOISE, value)
                await eventually(lambda v=value: stage.control.values["denoise"] == v, f"python-osc, {mode}")  # type: ignore[misc]
        command = ["oscsend", f"osc.tcp://127.0.0.1:{port}", DENOISE, "f", "0.125"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        await eventually(lambda: stage.control.values["denoise"] == 0.125, "oscsend sets the knob")

    on_stage(scene)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.lists(st.integers(1, 40), max_size=30))
def test_what_is_wrapped_in_slip_is_unwrapped_whatever_the_cuts(given: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(Framing.SLIP.wrap(packet) for packet in given)
    unframer, found = Unframer(), []
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        unframer.feed(piece)
        while (packet := unframer.next()) is not None:
            found.append(packet)
    assert found == given


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_unframed_or_refused(pieces: list[bytes]) -> None:
    unframer = Unframer()
    for piece in pieces:
        unframer.feed(piece)
        try:
            while unframer.next() is not None:
                pass
        except LostTrackError:
            return
        except OscError as error:
            assert error.code == 400  # noqa: PT017 - either outcome is right, this one has a code
