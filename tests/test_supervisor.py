"""A supervised process: started, heard, replaced when it ends or hangs, ended when asked. Real processes."""

import asyncio
import os
import signal
import time

from demond.messages import Done, Progress, Request
from demond.setting import Prompt, SetPrompt
from demond.supervisor import Child, Plan


def prompt(number: int, text: str) -> Request:
    return Request(id=number, setting=SetPrompt(slot="a", prompt=Prompt(text=text)))


class Watched:
    """A child with everything it said, and conditions to wait for."""

    def __init__(self, behaviour: str, **plan) -> None:
        self.messages = []
        self.changed = asyncio.Event()
        self.deaths = 0
        self.child = Child(
            Plan("the child", "tests.child_process", [behaviour], self._hear, on_death=self._died, **plan)
        )

    def _hear(self, message) -> None:
        self.messages.append(message)
        self.changed.set()

    def _died(self) -> None:
        self.deaths += 1
        self.changed.set()

    @property
    def starts(self) -> int:
        return sum(isinstance(message, Progress) for message in self.messages)

    async def until(self, condition) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def test_messages_go_both_ways_and_a_stop_is_clean() -> None:
    async def scenario() -> None:
        watched = Watched("echo", on_start=lambda send: send(prompt(1, "first")))
        life = asyncio.create_task(watched.child.run())
        await watched.until(lambda: Done(id=1, message="first") in watched.messages)
        assert watched.child.send(prompt(2, "second"))
        await watched.until(lambda: Done(id=2, message="second") in watched.messages)
        await watched.child.stop()
        await life
        assert watched.child.pid is None
        assert (watched.deaths, watched.child.restarts) == (0, 0)
        assert not watched.child.send(prompt(3, "too late"))

    asyncio.run(scenario())


def test_a_killed_process_is_replaced_at_once_and_told_everything_anew() -> None:
    async def scenario() -> None:
        watched = Watched("echo", on_start=lambda send: send(prompt(1, "state")))
        life = asyncio.create_task(watched.child.run())
        for restart in range(1, 4):
            await watched.until(lambda n=restart: watched.messages.count(Done(id=1, message="state")) == n)
            watched.child.mark_well()
            first = watched.child.pid
            started = time.monotonic()
            os.kill(first, signal.SIGKILL)
            await watched.until(lambda n=restart: watched.starts == n + 1)
            assert time.monotonic() - started < 3
            assert watched.child.pid != first
            assert watched.child.restarts == watched.deaths == restart
        await watched.child.stop()
        await life

    asyncio.run(scenario())


def test_a_process_that_never_works_is_tried_ever_more_slowly() -> None:
    async def scenario() -> None:
        watched = Watched("crash")
        life = asyncio.create_task(watched.child.run())
        times = []
        for start in range(1, 4):
            await watched.until(lambda n=start: watched.starts == n)
            times.append(time.monotonic())
        assert times[2] - times[1] > times[1] - times[0] > 0.25
        life.cancel()
        await watched.child.stop()

    asyncio.run(scenario())


def test_a_process_that_hangs_is_replaced() -> None:
    async def scenario() -> None:
        hung = []
        watched = Watched("deaf", hung=lambda: hung.pop() if hung else None)
        life = asyncio.create_task(watched.child.run())
        await watched.until(lambda: watched.starts == 1)
        watched.child.mark_well()
        hung.append("stands still")
        await watched.until(lambda: watched.starts == 2)
        assert watched.deaths == 1
        started = time.monotonic()
        await watched.child.stop()
        await life
        assert time.monotonic() - started < 2

    asyncio.run(scenario())


def test_a_process_that_talks_nonsense_is_replaced() -> None:
    async def scenario() -> None:
        watched = Watched("babble")
        life = asyncio.create_task(watched.child.run())
        await watched.until(lambda: watched.deaths == 1)
        life.cancel()
        await watched.child.stop()

    asyncio.run(scenario())
