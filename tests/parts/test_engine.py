"""The daemon's side of the engine, over a real channel to a real process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from demond.audio.loop import SharedLoop
from demond.config import Engine
from demond.control import Outcome
from demond.parts import SharedNames, Surroundings
from demond.parts.engine import EnginePart, Reports
from demond.session import Session
from demond.setting import Prompt, SetCurve, SetDepth, SetPrompt, SetStructure, SetTimbre, Setting
from demond.shm import unique_name

ENGINE = Engine(prompt_a=Prompt(text="configured"), timbre=Path("/configured"))


class Desk:
    """An engine part with its process, and what it reported."""

    def __init__(self, part: EnginePart, notes: list[str], failures: list[str], changed: asyncio.Event) -> None:
        self.part, self.notes, self.failures, self._changed = part, notes, failures, changed

    async def ask(self, setting: Setting) -> Outcome:
        """How a request ended."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.part.change(setting, answer.set_result)
        return await answer

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)

    @property
    def timbre(self) -> str:
        """What the engine says that it plays."""
        assert self.part.ready is not None
        return self.part.ready.model

    async def kill(self) -> None:
        pid, restarts = self.part.child.pid, self.part.child.restarts
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: self.part.child.restarts > restarts and self.part.state == "ready")


@contextlib.asynccontextmanager
async def desk(engine: Engine = ENGINE, session: Session | None = None) -> AsyncIterator[Desk]:
    name = unique_name("test")
    loop = SharedLoop.create(name, 48_000)
    doorbell = os.eventfd(0)
    notes: list[str] = []
    failures: list[str] = []
    changed = asyncio.Event()
    reports = Reports(
        progress=lambda stage, share: None,
        ready=changed.set,
        playing=changed.set,
        changed=changed.set,
        note=notes.append,
        fail=failures.append,
    )
    around = Surroundings(SharedNames(name, "none", "none"), {})
    part = EnginePart(engine, session or engine.session(), loop, doorbell, around, reports)
    part.child._plan = dataclasses.replace(part.child._plan, module="tests.parts.engine_child")
    life = asyncio.create_task(part.child.run())
    try:
        yield Desk(part, notes, failures, changed)
    finally:
        await part.child.stop()
        await life
        loop.close()
        loop.unlink()
        os.close(doorbell)


def play(scene: Callable[[Desk], Coroutine[None, None, None]], session: Session | None = None) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), desk(session=session) as at:
            await scene(at)

    asyncio.run(run())


def test_a_request_is_answered_and_the_next_engine_starts_with_it() -> None:
    async def scene(at: Desk) -> None:
        assert await at.ask(SetTimbre(path="/horn")) == Outcome(True, "taken")
        assert await at.ask(SetDepth(count=2)) == Outcome(True, "taken")
        assert await at.ask(SetCurve(name="protect", values=(0.0, 1.0))) == Outcome(True, "taken")
        prompt = SetPrompt(slot="b", prompt=Prompt(text="slow", bpm=70, key="a minor", lyrics="la"))
        assert (await at.ask(prompt)).ok
        before = at.part.session.settings
        await at.kill()
        assert at.part.session.settings == before
        assert (at.timbre, at.part.ready and at.part.ready.depth) == ("/horn", 2)

    play(scene)


def test_what_is_asked_for_while_the_engine_loads_waits_for_it() -> None:
    async def scene(at: Desk) -> None:
        assert at.part.state == "starting"
        assert (await at.ask(SetTimbre(path="/horn"))).ok
        assert at.timbre == "/horn"

    play(scene)


def test_a_depth_that_was_chosen_is_noted_once_with_its_reason_and_chosen_again_by_the_next_engine() -> None:
    async def scene(at: Desk) -> None:
        await at.ask(SetDepth(count="auto"))
        assert at.notes == ["depth 3 was chosen"]
        status = at.part.status(0)
        assert (status["depth"], status["advice"]) == (3, "depth 3 was chosen")
        await at.kill()
        assert at.part.session.depth == "auto"
        assert at.part.status(0)["depth"] == 3
        await at.ask(SetDepth(count=2))
        assert at.part.status(0)["advice"] == ""
        assert at.notes == ["depth 3 was chosen"]

    play(scene)


def test_the_present_figures_of_the_engine_are_told_after_a_change() -> None:
    async def scene(at: Desk) -> None:
        await at.ask(SetDepth(count=7))
        assert at.part.status(0)["depth"] == 7

    play(scene)


def test_a_refused_request_leaves_everything_as_it_was() -> None:
    async def scene(at: Desk) -> None:
        before = at.part.session.settings
        assert await at.ask(SetTimbre(path="/bad")) == Outcome(False, "/bad is bad")
        assert at.part.session.settings == before
        await at.kill()
        assert at.timbre == "/configured"

    play(scene)


def test_a_request_that_kills_the_engine_is_refused_and_the_instrument_comes_back() -> None:
    async def scene(at: Desk) -> None:
        outcome = await at.ask(SetTimbre(path="/deadly"))
        assert not outcome.ok
        assert "ended 2 times" in outcome.message
        await at.until(lambda: at.part.state == "ready")
        assert at.part.child.restarts == 2
        assert at.timbre == "/configured"
        assert (await at.ask(SetTimbre(path="/horn"))).ok

    play(scene)


def test_a_file_that_is_gone_costs_the_setting_and_not_the_instrument() -> None:
    begun = Session([*ENGINE.session().settings, SetStructure(path="/gone"), SetTimbre(path=__file__)])

    async def scene(at: Desk) -> None:
        await at.until(lambda: at.part.state == "ready")
        assert at.part.session.path("structure") is None
        assert at.timbre == __file__
        (note,) = at.notes
        assert note == "structure is as configured again, since the engine said: /gone is gone"
        assert at.failures == []

    play(scene, begun)


def test_what_the_settings_file_itself_says_wrong_ends_the_daemon() -> None:
    engine = Engine(timbre=Path("/gone"))

    async def scene() -> None:
        async with asyncio.timeout(30), desk(engine) as at:
            await at.until(lambda: at.failures)
            assert at.failures[0] == "/gone is gone"

    asyncio.run(scene())
