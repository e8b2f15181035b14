"""One process that the daemon owns: started, listened to, watched, restarted, ended.

The daemon makes one :class:`Child` for the engine, the audio process and the MIDI process, all on its one event loop.
It promises that a child that ends or hangs is replaced (at once the first time, then after a growing pause), that
whatever the old one left to be repaired is repaired before that, and that :meth:`Child.stop` ends it within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from demond.messages import AnyMessage, Channel, ChannelClosedError, Message, Shutdown

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
_WATCH_SECONDS = 0.1
_STOP_SECONDS = 0.6
"""How long a child may take to end by itself before it is killed; demond promises 2 s for everything."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a :class:`Child` needs to know about its process. All callbacks run on the daemon's event loop."""

    name: str
    module: str
    arguments: Sequence[str]
    on_message: Callable[[AnyMessage], None]
    on_start: Callable[[Callable[[Message], bool]], None] = lambda send: None
    """Called with the new process's `send` right after it was started."""
    on_death: Callable[[], None] = lambda: None
    """Called after every end that was not asked for, before the restart."""
    hung: Callable[[], str | None] = lambda: None
    """Asked ten times a second: why the process must be replaced, or None while it is well."""
    environment: Mapping[str, str] | None = None
    inherit: Sequence[int] = ()
    """File descriptors that the process gets under the same numbers."""


class Child:
    """A process and its channel. :meth:`run` is its whole life."""

    def __init__(self, plan: Plan) -> None:
        """Nothing is started yet."""
        self._plan = plan
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._well = False
        self.restarts = 0
        """How often it had to be started again."""

    @property
    def pid(self) -> int | None:
        """The process id while one runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def send(self, message: Message) -> bool:
        """Sends a message if a process runs; False when there is none or it is about to be replaced."""
        if self._channel is None:
            return False
        try:
            self._channel.send(message)
        except ChannelClosedError:
            return False
        return True

    async def run(self) -> None:
        """Starts the process and starts it again whenever it ends, until :meth:`stop`."""
        pause = 0.0
        while not self._stopping:
            self._well = False
            await self._live()
            if self._stopping:
                return
            self._plan.on_death()
            self.restarts += 1
            pause = 0.0 if self._well else min(_LONGEST_PAUSE, pause * 2 or 0.25)
            when = f" in {pause} s" if pause else ""
            log.warning("%s ended (%s); starting it again%s", self._plan.name, self._how(), when)
            await asyncio.sleep(pause)

    def mark_well(self) -> None:
        """The process has shown that it works, so that its end will be no failed start: it is replaced at once."""
        self._well = True

    async def stop(self) -> None:
        """Asks the process to end, and kills it when it does not."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.send(Shutdown())
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            log.warning("%s did not end when asked and was killed", self._plan.name)
            self._kill()
            await process.wait()

    def _how(self) -> str:
        code = self._process.returncode if self._process else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _live(self) -> None:
        """One process from start to end."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._plan.module,
                "--fd",
                str(theirs.fileno()),
                *self._plan.arguments,
                pass_fds=(theirs.fileno(), *self._plan.inherit),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **(self._plan.environment or {})},
            )
        channel = Channel(ours)
        self._channel = channel
        loop = asyncio.get_running_loop()
        loop.add_reader(channel.fileno(), self._read, channel)
        watch = asyncio.create_task(self._watch())
        try:
            self._plan.on_start(self.send)
            await self._process.wait()
            self._read(channel)
        finally:
            watch.cancel()
            loop.remove_reader(channel.fileno())
            self._channel = None
            channel.close()

    def _read(self, channel: Channel) -> None:
        try:
            messages = channel.receive()
        except ChannelClosedError:
            asyncio.get_running_loop().remove_reader(channel.fileno())
            return
        except ValueError as error:
            log.error("%s sent what is no message: %s", self._plan.name, error)
            self._kill()
            return
        for message in messages:
            self._plan.on_message(message)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._channel is not None:
                with contextlib.suppress(ChannelClosedError):  # its end is noticed by wait()
                    self._channel.flush()
            if (why := self._plan.hung()) is not None:
                log.warning("%s %s; replacing it", self._plan.name, why)
                self._kill()
                return
