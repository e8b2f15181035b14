"""Scenes, LFOs, gestures and the beat over OSC, on the real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from demond.config import Tempo
from demond.osc.codec import Argument, Message, encode, encode_bundle
from demond.scenes.conductor import Conductor
from demond.scenes.scene import Scene, Span
from demond.scenes.store import Store
from tests.osc.surface import Stage, Surface, eventually, stage

INTRO = Scene("intro", {"denoise": 0.4}, program=0)
DROP = Scene("drop", {"denoise": 0.9, "feedback": 0.8, "feedback_depth": 5}, program=1)
SLOW = Scene("slow", {"denoise": 0.0, "feedback": 1.0}, time=Span(0.3))


def perform(scene: Callable[[Stage, Surface], Awaitable[None]], store: Store | None = None) -> None:
    """`scene` with a server whose stage is awake, and one client that gets nothing but answers."""

    async def run() -> None:
        async with stage() as opened:
            opened.control.stage.define([INTRO, DROP, SLOW], [], {})
            conductor = Conductor(opened.control.stage, store, Tempo())
            conductor.start()
            await scene(opened, await opened.quiet())
            await conductor.close()

    asyncio.run(run())


def reply(address: str, message: str = "", status: str = "ok") -> Message:
    return Message("/demond/reply", (address, status, json.dumps({"message": message})))


@pytest.mark.parametrize(
    ("address", "arguments"),
    [
        ("/demond/scene/drop", ()),
        ("/demond/scene/drop", (1,)),
        ("/demond/scene/current", ("drop",)),
        ("/demond/scene/index", (1.0,)),
    ],
)
def test_a_scene_is_recalled_by_address_name_and_program_number(
    address: str, arguments: tuple[Argument, ...]
) -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        assert await client.ask(address, *arguments) == [reply(address)]
        assert opened.control.values["denoise"] == 0.9
        assert await client.ask("/demond/scene/current") == [Message("/demond/scene/current", ("drop",))]
        assert await client.ask("/demond/scene/index") == [Message("/demond/scene/index", (1,))]

    perform(scene)


def test_all_knobs_of_a_scene_are_set_in_one_call() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/scene/drop")
        assert [changes for changes, _ in opened.control.calls] == [dict(DROP.values)]

    perform(scene)


def test_a_button_recalls_when_it_is_pressed_and_not_when_it_is_let_go() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        assert await client.ask("/demond/scene/drop", 0.0) == []
        assert await client.ask("/demond/scene/drop", 1.0) == [reply("/demond/scene/drop")]
        assert await client.ask("/demond/scene/drop", 0.0) == []

    perform(scene)


def test_an_unknown_scene_is_answered_with_the_nearest() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        code, slug, _, words = await client.error("/demond/scene/dorp")
        assert (code, slug) == (404, "unknown_address")
        assert "did you mean 'drop'" in str(words)
        assert "did you mean 'morph'" in str((await client.error("/demond/scene/morhp"))[3])
        assert (await client.error("/demond/scene/index", 9))[0] == 404

    perform(scene)


def test_a_morph_goes_at_a_steady_rate_and_lets_a_touched_knob_go() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/scene/slow")
        await eventually(lambda: opened.control.values["denoise"] < 0.4, "the morph is under way")
        await client.ask("/demond/knob/feedback", 0.25)
        await eventually(lambda: opened.control.values["denoise"] == 0, "the morph has arrived")
        steps = [changes["denoise"] for changes, origin in opened.control.calls if origin.kind == "scene"]
        assert all(after < before for before, after in pairwise(steps))
        assert len(steps) > 10
        assert opened.control.values["feedback"] == 0.25

    perform(scene)


def test_a_morph_is_followed_by_those_who_subscribed() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        shown = await client.subscribe("/demond/scene/*")
        assert shown["/demond/scene/current"] == ("",)
        client.send(encode("/demond/scene/slow"))
        await client.until(lambda message: message == Message("/demond/scene/current", ("slow",)))
        await client.until(lambda message: message == Message("/demond/scene/morph", (1.0,)))

    perform(scene)


def test_the_fader_the_pause_and_keep_are_obeyed() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        assert (await client.error("/demond/scene/morph", 0.5))[0] == 409
        await client.ask("/demond/scene/intro")
        await client.ask("/demond/scene/drop")
        await client.ask("/demond/scene/morph", 0.5)
        await eventually(lambda: opened.control.values["denoise"] == pytest.approx(0.65), "half-way")
        assert await client.ask("/demond/scene/morph") == [Message("/demond/scene/morph", (0.5,))]
        await client.ask("/demond/scene/morph/keep")
        assert (await client.error("/demond/scene/morph", 0.1))[0] == 409

    perform(scene)


def test_a_scene_is_stored_listed_recalled_undone_and_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "scenes.yaml")

    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/knob/denoise", 0.5)
        assert await client.ask("/demond/scene/store", "mine", 7) == [reply("/demond/scene/store", "mine is stored")]
        [listed] = await client.ask("/demond/scene/list")
        rows = {row["name"]: row for row in json.loads(str(listed.arguments[0]))}
        assert rows.keys() == {"intro", "drop", "slow", "mine"}
        assert (rows["mine"]["program"], rows["mine"]["stored"]) == (7, True)
        await client.ask("/demond/scene/drop")
        await client.ask("/demond/scene/mine")
        assert opened.control.values["denoise"] == 0.5
        await client.ask("/demond/scene/undo")
        assert opened.control.values["denoise"] == 0.9
        await eventually(lambda: "mine" in store.load()[0], "the file has it")
        await client.ask("/demond/scene/remove", "mine")
        await eventually(lambda: store.load()[0] == {}, "the file has it no more")
        assert (await client.error("/demond/scene/remove", "drop"))[0] == 409
        assert (await client.error("/demond/scene/store", "morph"))[0] == 400
        assert (await client.error("/demond/scene/store"))[0] == 400

    perform(scene, store)


def test_who_touched_a_knob_last_is_told() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/knob/denoise", 0.5)
        source = "/demond/knob/denoise/source"
        assert await client.ask(source) == [Message(source, (f"osc {client.name}",))]
        await client.ask("/demond/scene/drop")
        assert await client.ask(source) == [Message(source, ("scene drop",))]

    perform(scene)


def test_an_lfo_is_started_told_and_ended() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        lfo = "/demond/lfo/feedback"
        assert await client.ask(lfo) == [Message(lfo, ("off",))]
        assert await client.ask(lfo, "sine", 5.0, "hz", 0.25, 0.5) == []
        assert await client.ask(lfo) == [Message(lfo, ("sine", 5.0, "hz", 0.25, 0.5, 0.0))]
        await eventually(lambda: opened.control.values["feedback"] > 0.3, "it swings")
        await client.ask(lfo, "off")
        still = opened.control.values["feedback"]
        await asyncio.sleep(0.05)
        assert opened.control.values["feedback"] == still
        for wrong in (("sine",), ("sin", 1.0, "hz"), ("sine", 0.0, "hz"), ("sine", 1.0, "khz"), (1.0, 2.0, 3.0)):
            assert (await client.error(lfo, *wrong))[0] == 400

    perform(scene)


def test_a_gesture_is_recorded_and_looped() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        gesture = "/demond/gesture/denoise"
        await client.ask(gesture, "record", "200 ms")
        assert await client.ask(gesture) == [Message(gesture, ("recording",))]
        await client.ask("/demond/knob/denoise", 0.1)
        await eventually(lambda: opened.control.stage.modulators.gesture("denoise") == "looping", "it loops")
        await client.ask(gesture, "off")
        assert await client.ask(gesture) == [Message(gesture, ("off",))]
        assert (await client.error(gesture, "record", "4 beets"))[0] == 400

    perform(scene)


def test_the_tempo_is_set_tapped_and_told() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/transport/bpm", 90)
        assert await client.ask("/demond/transport/bpm") == [Message("/demond/transport/bpm", (90.0,))]
        await client.ask("/demond/transport/meter", 3)
        await client.ask("/demond/transport/stop")
        assert await client.ask("/demond/transport/playing") == [Message("/demond/transport/playing", (0,))]
        [before] = await client.ask("/demond/transport/beat")
        assert await client.ask("/demond/transport/beat") == [before]
        await client.ask("/demond/transport/play")
        assert (await client.error("/demond/transport/sync", "link"))[0] == 400
        await client.ask("/demond/transport/lead", 1)
        assert await client.ask("/demond/transport/lead") == [Message("/demond/transport/lead", (1,))]
        await client.ask("/demond/transport/sync", "jack")
        assert await client.ask("/demond/transport/lead") == [Message("/demond/transport/lead", (0,))]
        assert (await client.error("/demond/transport/lead", 1))[0] == 409
        await client.ask("/demond/transport/start_stop", 0)
        assert await client.ask("/demond/transport/start_stop") == [Message("/demond/transport/start_stop", (0,))]
        await client.ask("/demond/transport/sync", "none")
        assert (await client.error("/demond/transport/tap"))[0] == 409
        assert (await client.error("/demond/transport/meter", 0))[0] == 400

    perform(scene)


def test_beats_are_told_to_those_who_spell_it_out() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/transport/bpm", 400)
        await client.subscribe("/demond/transport/beat")
        beats = [float((await client.next()).arguments[0]) for _ in range(4)]  # type: ignore[arg-type]
        assert all(after - before == pytest.approx(1, abs=0.3) for before, after in pairwise(beats))

    perform(scene)


def test_a_quantized_scene_waits_for_its_beat() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        await client.ask("/demond/transport/bpm", 240)
        await client.ask("/demond/scene/quantize", "beat")
        assert await client.ask("/demond/scene/quantize") == [Message("/demond/scene/quantize", ("beat",))]
        [answer] = await client.ask("/demond/scene/drop")
        assert answer == reply("/demond/scene/drop", "drop comes with the next beat")
        await eventually(lambda: opened.control.values["denoise"] == 0.9, "the beat")
        beat = opened.control.stage.transport.beat_at(opened.control.calls[-1][1].received_ns)
        assert beat == pytest.approx(round(beat), abs=0.1)

    perform(scene)


def test_knobs_and_a_recall_in_one_bundle_are_applied_in_their_order() -> None:
    async def scene(opened: Stage, client: Surface) -> None:
        bundle = encode_bundle([encode("/demond/knob/shift", 2.0), encode("/demond/scene/drop")])
        await client.answers_to(bundle)
        assert (opened.control.values["shift"], opened.control.values["denoise"]) == (2.0, 0.9)

    perform(scene)
