"""A client with a real socket and the server that it talks to, in one event loop: for tests of the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from demond.config import Osc
from demond.mapping import MappingSource
from demond.osc.codec import Argument, Message, encode, parse
from demond.osc.server import OscServer
from tests.memory_control import MemoryControl

PATIENCE = 5.0
"""Seconds until what should come at once counts as lost."""


class Surface:
    """A client over UDP."""

    def __init__(self, server: OscServer, control: MemoryControl) -> None:
        self.server, self.control = server, control
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.packets: deque[bytes] = deque(maxlen=10_000)
        """The packets that came."""
        self._unread: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting: deque[Message] = deque()
        self._sync = 0
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def _read(self) -> None:
        # A burst of answers would fill the kernel's buffer if one were read a turn.
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.socket.recv(65_536)
                self.packets.append(packet)
                self._unread.put_nowait(packet)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            self.socket.sendto(packet, ("127.0.0.1", self.server.port))

    async def answers_to(self, *packets: bytes) -> list[Message]:
        """What the server answers to `packets`, up to the answer to a sync that is sent after them."""
        self._sync += 1
        self.send(*packets, encode("/demond/sync", self._sync))
        return await self.until(lambda message: message == Message("/demond/synced", (self._sync,)))

    async def until(self, last: Callable[[Message], bool]) -> list[Message]:
        """All messages up to the one for which `last` holds, without that one."""
        found: list[Message] = []
        while not last(message := await self.next()):
            found.append(message)
        return found

    async def next(self, seconds: float = PATIENCE) -> Message:
        if not self._waiting:
            async with asyncio.timeout(seconds):
                packet = await self._unread.get()
            self._waiting.extend(parse(packet).messages)
        return self._waiting.popleft()

    async def ask(self, address: str, *arguments: Argument) -> list[Message]:
        return await self.answers_to(encode(address, *arguments))

    async def error(self, address: str, *arguments: Argument) -> tuple[Argument, ...]:
        (answer,) = await self.ask(address, *arguments)
        assert answer.address == "/demond/error", answer
        return answer.arguments

    async def dump(self) -> dict[str, tuple[Argument, ...]]:
        """The values between the two marks of the next dump."""
        assert await self.next() == Message("/demond/update", (1,))
        values = await self.until(lambda message: message == Message("/demond/update", (0,)))
        return {message.address: message.arguments for message in values}

    async def subscribe(self, *arguments: Argument) -> dict[str, tuple[Argument, ...]]:
        """Subscribes, and returns the dump that comes first."""
        self.send(encode("/demond/subscribe", *arguments))
        return await self.dump()


class Stage:
    """A server, its control, and any number of clients."""

    def __init__(self, settings: Osc, files: list[Path] | None = None) -> None:
        self.control = MemoryControl(held=lambda name: self.mapping.held(name))
        self.mapping = MappingSource(files, self.control)
        assert self.mapping.load() is None
        self.mapping.hear_pickup(lambda name: self.control.feed.tell([f"knob/{name}/pickup"]))
        self.control.on_change = self.mapping.changed
        self.server = OscServer(self.control, self.mapping, settings)
        self._surfaces: list[Surface] = []

    def surface(self) -> Surface:
        """A client of which the server has heard nothing yet."""
        self._surfaces.append(Surface(self.server, self.control))
        return self._surfaces[-1]

    async def quiet(self) -> Surface:
        """A client that gets nothing but answers."""
        client = self.surface()
        assert await client.ask("/demond/unsubscribe") == []
        return client

    def close(self) -> None:
        self.server.close()
        for surface in self._surfaces:
            surface.close()


@contextlib.asynccontextmanager
async def stage(settings: Osc | None = None, files: list[Path] | None = None) -> AsyncIterator[Stage]:
    opened = Stage(settings or Osc(port=0), files)
    await opened.server.start()
    try:
        yield opened
    finally:
        opened.close()


def play(scene: Callable[[Surface], Awaitable[None]], settings: Osc | None = None) -> None:
    """`scene` with one client that gets nothing but answers."""

    async def run() -> None:
        async with stage(settings) as opened:
            await scene(await opened.quiet())

    asyncio.run(run())


def on_stage(
    scene: Callable[[Stage], Awaitable[None]], settings: Osc | None = None, files: list[Path] | None = None
) -> None:
    """`scene` with a server alone."""

    async def run() -> None:
        async with stage(settings, files) as opened:
            await scene(opened)

    asyncio.run(run())


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Waits until `condition` holds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE} s: {what}") from None
