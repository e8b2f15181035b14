"""Byte streams in both TCP framings, and OSCQuery requests, from noise to nearly right, into the real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time

from demond.config import Osc
from demond.mapping import MappingSource
from demond.osc.codec import parse
from demond.osc.framing import Framing, Unframer
from demond.osc.namespace import TARGETS
from demond.osc.query import QueryServer
from demond.osc.query_tree import ATTRIBUTES
from demond.osc.server import OscServer
from demond.osc.tcp import TcpConnection
from tests.fuzz import Tally
from tests.fuzz.datagrams import bugs, datagram, pattern
from tests.memory_control import MemoryControl


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__(extra={"socket": self, "peername": ("127.0.0.1", 9)})
        self.written = bytearray()
        self.closed = False

    def setsockopt(self, *_: object) -> None:
        """As a socket's."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keeps `data`."""
        self.written += data

    def get_write_buffer_size(self) -> int:
        """All is gone at once."""
        return 0

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """More comes all the same."""

    def resume_reading(self) -> None:
        """It does."""

    def close(self) -> None:
        """Closes."""
        self.closed = True

    abort = close


def _server() -> OscServer:
    control = MemoryControl()
    mapping = MappingSource(None, control)
    mapping.load()
    return OscServer(control, mapping, Osc(port=0))


def _stream(dice: random.Random) -> bytes:
    framing = dice.choice([*Framing])
    stream = bytearray(b"".join(framing.wrap(datagram(dice)) for _ in range(dice.randrange(1, 5))))
    for _ in range(dice.choice((0, 0, 1, 3))):
        at = dice.randrange(len(stream) + 1)
        if dice.random() < 0.5:
            stream[at:at] = dice.choice((b"\xc0", b"\xdb", b"\xdb\xdc", b"\0\0\0\4", dice.randbytes(8)))
        else:
            del stream[at : at + dice.randrange(1, 9)]
    return bytes(stream)


async def run(count: int, seed: int) -> Tally:
    """`count` connections, each with a stream in pieces."""
    dice, tally, server = random.Random(seed), Tally("tcp"), _server()  # noqa: S311 - it must be repeatable
    await server.start()
    began = time.perf_counter()
    for _ in range(count):
        stream, pipe, connection = _stream(dice), Pipe(), TcpConnection(server)
        with tally.input():
            connection.connection_made(pipe)
            while stream and not pipe.closed:
                size = dice.choice((1, 4, 100, len(stream)))
                connection.data_received(stream[:size])
                stream = stream[size:]
            while not server.turns.idle:
                await asyncio.sleep(0)
            connection.connection_lost(None)
        answers = Unframer()
        answers.feed(bytes(pipe.written))
        found = []
        while (packet := answers.next()) is not None:
            found += [message.address for message in parse(packet).messages]
        refused = "/demond/error" in found
        tally.outcomes["ended" if pipe.closed else "refused" if refused else "answered" if found else "silent"] += 1
    tally.seconds = time.perf_counter() - began
    tally.exceptions += bugs(server)
    server.close()
    return tally


def _request(dice: random.Random) -> bytes:
    path = dice.choice((*TARGETS, "/", "/demond", pattern(dice), dice.randbytes(dice.randrange(40)).hex()))
    query = dice.choice(("", "?", "?HOST_INFO", f"?{dice.choice(ATTRIBUTES)}", "?&&=", f"?{pattern(dice)}"))
    request = bytearray(f"GET {path}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    for _ in range(dice.choice((0, 0, 1, 4))):
        request[dice.randrange(len(request) - 4)] = dice.randrange(256)
    return bytes(request)


async def run_query(count: int, seed: int) -> Tally:
    """`count` OSCQuery requests and commands: each tenth over HTTP, the others as if from a WebSocket."""
    dice, tally, server = random.Random(seed), Tally("query"), _server()  # noqa: S311 - it must be repeatable
    await server.start()
    query = QueryServer(server, 0, "fuzz")
    await query.start()
    client = server.welcome(TcpConnection(server), "ws fuzz", "127.0.0.1", server.access.role("127.0.0.1"))  # type: ignore[arg-type]
    began = time.perf_counter()
    for i in range(count):
        if i % 10 == 0:
            request = _request(dice)
            with tally.input():
                tally.outcomes[await _status(query.port, request)] += 1
            continue
        command = dice.choice(("LISTEN", "IGNORE", "PATH_CHANGED", "", 5, None))
        text = json.dumps(
            {"COMMAND": command, "DATA": dice.choice((*TARGETS, pattern(dice), "/\ud800", None, 5, {}))}
        )
        if dice.random() < 0.2:
            text = text[: dice.randrange(len(text))]
        errors = client.errors + client.unsent
        with tally.input():
            query._command(client, text)
        tally.outcomes["refused" if client.errors + client.unsent != errors else "obeyed"] += 1
    tally.seconds = time.perf_counter() - began
    tally.exceptions += bugs(server)
    await query.close()
    server.close()
    return tally


async def _status(port: int, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    line = b""
    # A request that lost the end of its head has no answer; the server waits for the rest.
    with contextlib.suppress(ConnectionError, TimeoutError):
        line = (await asyncio.wait_for(reader.read(1_000), 0.2)).split(b"\r\n")[0]
    writer.close()
    code = line.split(b" ")[1].decode() if line.startswith(b"HTTP/1.1 ") else "none"
    if code.startswith("5"):
        raise ValueError(f"{line!r} to {request!r}")
    return f"status {code}"
