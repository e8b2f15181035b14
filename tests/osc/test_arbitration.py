"""Who has a knob: a hand, a DAW, a scene or an LFO. The last touch wins, and everybody is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from demond.mapping import PortIdentity
from demond.mapping.touch import HOLD_NS
from demond.osc.codec import Message, encode
from tests.osc.surface import Stage, Surface, eventually, on_stage

MINE = """demond: 1
devices:
  box:
    match: {name: "box*"}
    controls:
      motor1: {cc: 0, kind: fader, follows: true, touch: skin1}
      skin1: {note: 104, kind: touch}
maps:
  - {from: box/motor1, to: denoise}
  - {from: "osc:/1/fader1", to: denoise}
"""
DENOISE = "/demond/knob/denoise"


class Hand:
    """A hand on the motor fader."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        stage.mapping.ports([PortIdentity("box:out")])

    def move(self, value: int) -> None:
        self._send(0xB0, 0, value)

    def put(self) -> None:
        """A finger upon its sensor."""
        self._send(0x90, 104, 127)

    def lift(self) -> None:
        self._send(0x80, 104, 0)

    def _send(self, *message: int) -> None:
        self._stage.mapping.midi("box:out", [bytes(message)], time.monotonic_ns())


def play(folder: Path, scene: Callable[[Stage, Surface, Surface], Awaitable[None]]) -> None:
    path = folder / "mine.yaml"
    path.write_text(MINE)

    async def run(stage: Stage) -> None:
        await scene(stage, await stage.quiet(), await stage.quiet())

    on_stage(run, files=[path])


def test_a_hand_takes_a_knob_from_a_daw_that_streams_and_the_daw_is_told(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        hand = Hand(stage)
        for value in (0.1, 0.2, 0.3):
            assert await daw.ask(DENOISE, value) == []
        hand.move(127)
        assert stage.control.values["denoise"] == 1.0
        assert await other.ask(f"{DENOISE}/source") == [Message(f"{DENOISE}/source", ("midi box/motor1",))]
        assert await daw.ask(DENOISE, 0.4) == [Message(DENOISE, (1.0,))]
        assert await daw.ask(f"{DENOISE}/norm", 0.4) == [Message(f"{DENOISE}/norm", (1.0,))]
        assert stage.control.values["denoise"] == 1.0
        last = stage.mapping.last
        assert last is not None
        assert (last.source, last.message) == (daw.name, f"{DENOISE}/norm")
        assert last.outcome == "box/motor1 has denoise: it was touched last and is being moved"

    play(tmp_path, scene)


def test_a_daw_that_goes_on_has_the_knob_again_when_the_hand_has_rested(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        hand = Hand(stage)
        await daw.ask(DENOISE, 0.1)
        hand.move(127)
        moved = time.monotonic_ns()
        while (await daw.ask(DENOISE, 0.2)) != []:
            assert time.monotonic_ns() - moved < 10 * HOLD_NS
        assert time.monotonic_ns() - moved >= HOLD_NS
        assert stage.control.values["denoise"] == stage.control.calls[-1][0]["denoise"]
        assert round(stage.control.values["denoise"], 3) == 0.2

    play(tmp_path, scene)


def test_what_begins_anew_wins_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        hand = Hand(stage)
        hand.move(10)
        hand.move(127)
        assert await other.ask(DENOISE, 0.5) == []
        assert stage.control.values["denoise"] == 0.5
        hand.move(120)
        assert stage.control.values["denoise"] == 0.5
        assert "has denoise" in str(stage.mapping.last)

    play(tmp_path, scene)


def test_a_reset_is_a_touch_at_once_and_a_nudge_is_not(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        hand = Hand(stage)
        await daw.ask(DENOISE, 0.1)
        hand.move(127)
        assert await daw.ask(f"{DENOISE}/delta", -3) == []
        assert stage.control.values["denoise"] == 1.0
        assert await daw.ask(f"{DENOISE}/reset")
        assert stage.control.values["denoise"] == 0.7

    play(tmp_path, scene)


def test_two_clients_that_stream_do_not_fight_message_by_message(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        await daw.ask(DENOISE, 0.1)
        await other.ask(DENOISE, 0.9)
        calls = len(stage.control.calls)
        for i in range(20):
            await daw.ask(DENOISE, 0.1 + i / 1000)
        assert len(stage.control.calls) == calls
        assert round(stage.control.values["denoise"], 3) == 0.9
        daw.send(encode("/demond/subscribe", DENOISE, 0, 30.0, 60, "echo=never"))
        await daw.dump()
        assert await daw.ask(DENOISE, 0.2) == []

    play(tmp_path, scene)


def test_a_line_of_a_surface_counts_as_a_control_of_its_own(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, tablet: Surface) -> None:
        await daw.ask(DENOISE, 0.1)
        await tablet.ask("/1/fader1", 0.8)
        assert round(stage.control.values["denoise"], 3) == 0.8
        [answer] = await daw.ask(DENOISE, 0.2)
        assert round(float(str(answer.arguments[0])), 3) == 0.8

    play(tmp_path, scene)


def test_an_lfo_keeps_off_for_its_hold_time_and_a_scene_takes_the_knob(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        arbiter = stage.control.stage.arbiter
        await daw.ask("/demond/knob/shift", 2.0)
        assert arbiter.source("shift") == f"osc {daw.name}"
        assert arbiter.held_until_ns("shift") > time.monotonic_ns() + 500_000_000
        source = "/demond/knob/shift/source"
        await other.subscribe(source)
        await daw.ask("/demond/scene/store", "here")
        await daw.ask("/demond/knob/shift", 2.5)
        await daw.ask("/demond/scene/here")
        assert await other.next() == Message(source, ("scene here",))

    play(tmp_path, scene)


def test_a_finger_has_a_knob_however_still_it_is_until_it_is_lifted(tmp_path: Path) -> None:
    async def scene(stage: Stage, tablet: Surface, daw: Surface) -> None:
        hand = Hand(stage)
        await tablet.ask(f"{DENOISE}/touch", 1)
        await tablet.ask(DENOISE, 0.5)
        rested = time.monotonic_ns()
        while time.monotonic_ns() - rested < 2 * HOLD_NS:
            assert await daw.ask(DENOISE, 0.1) == [Message(DENOISE, (0.5,))]
            await asyncio.sleep(HOLD_NS / 2e9)
        hand.move(10)
        assert "a finger is on it" in str(stage.mapping.last)
        assert await tablet.ask(DENOISE, 0.6) == []
        assert stage.control.values["denoise"] == pytest.approx(0.6)
        assert await tablet.ask(f"{DENOISE}/touch", 0) == []
        await asyncio.sleep(HOLD_NS / 1e9)
        assert await daw.ask(DENOISE, 0.1) == []
        assert stage.control.values["denoise"] == pytest.approx(0.1)

    play(tmp_path, scene)


def test_of_two_fingers_the_last_has_the_knob_and_a_reset_moves_it_all_the_same(tmp_path: Path) -> None:
    async def scene(stage: Stage, one: Surface, two: Surface) -> None:
        await one.ask(f"{DENOISE}/touch", 1)
        await two.ask(f"{DENOISE}/touch", 1)
        await one.ask(DENOISE, 0.2)
        await two.ask(DENOISE, 0.4)
        assert stage.control.values["denoise"] == pytest.approx(0.4)
        assert await one.ask(f"{DENOISE}/reset")
        assert stage.control.values["denoise"] == pytest.approx(0.7)
        await two.ask(f"{DENOISE}/touch", 0)
        assert await two.ask(f"{DENOISE}/touch") == [Message(f"{DENOISE}/touch", (1,))]
        await one.ask(DENOISE, 0.3)
        assert stage.control.values["denoise"] == pytest.approx(0.3)

    play(tmp_path, scene)


def test_a_finger_on_a_motor_faders_sensor_has_its_knob_until_it_is_lifted_or_unplugged(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        hand = Hand(stage)
        for leave in (hand.lift, lambda: stage.mapping.ports([])):
            hand.put()
            assert await other.ask(f"{DENOISE}/touch") == [Message(f"{DENOISE}/touch", (1,))]
            assert stage.control.held("denoise")
            assert await daw.ask(DENOISE, 0.1) == [Message(DENOISE, (pytest.approx(0.7),))]
            leave()
            assert await other.ask(f"{DENOISE}/touch") == [Message(f"{DENOISE}/touch", (0,))]
            assert not stage.control.held("denoise")

    play(tmp_path, scene)


def test_a_reload_counts_every_touch_sensor_as_left(tmp_path: Path) -> None:
    async def scene(stage: Stage, daw: Surface, other: Surface) -> None:
        Hand(stage).put()
        await daw.ask("/demond/map/reload")
        await eventually(lambda: not stage.mapping.held("denoise"), "the touch sensor may mean another fader now")

    play(tmp_path, scene)
