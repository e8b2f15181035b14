"""Bundles: all of one or nothing of it in one tick, at their time, and a slice of the event loop at a time."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from demond.knobs import KNOBS
from demond.osc.codec import Message, encode, encode_bundle, time_tag
from demond.osc.namespace import TARGETS
from demond.osc.schedule import MESSAGE_LIMIT
from demond.osc.turns import SLICE_SECONDS, WAITING_LIMIT
from tests.osc.surface import PATIENCE, Stage, Surface, eventually, on_stage, play


def test_a_bundle_sets_all_its_knobs_in_one_call_and_answers_after_it() -> None:
    async def scene(client: Surface) -> None:
        bundle = encode_bundle(
            [
                encode("/demond/knob/denoise"),
                encode("/demond/knob/denoise", 0.5),
                encode("/1/fader2", 0.25),
                encode("/demond/knob/shift/norm", 1),
                encode("/demond/knob/feedback/reset"),
            ]
        )
        answers = await client.answers_to(bundle)
        assert [changes for changes, _ in client.control.calls] == [
            {"denoise": 0.5, "prompt_blend": 0.25, "shift": 6.0, "feedback": 0.0}
        ]
        assert answers[0] == Message("/demond/knob/denoise", (0.5,))

    play(scene)


def test_a_bundle_that_asks_a_thousand_times_gets_one_answer() -> None:
    async def scene(client: Surface) -> None:
        assert len(await client.answers_to(encode_bundle([encode("/demond/status")] * 1000))) == 1
        assert len(await client.answers_to(encode_bundle([encode("/demond/knobs")] * 1000))) == len(KNOBS)

    play(scene)


def test_a_bad_message_in_a_bundle_is_answered_and_the_rest_is_done() -> None:
    async def scene(client: Surface) -> None:
        blob = b"/demond/knob/denoise\0\0\0\0,b\0\0\0\0\0\0"
        messages = [encode("/demond/knob/denoise", 0.5), encode("/nowhere"), blob, encode("/demond/knob/shift", 2)]
        answers = await client.answers_to(encode_bundle(messages))
        assert sorted(answer.arguments[0] for answer in answers) == [400, 404]
        assert [changes for changes, _ in client.control.calls] == [{"denoise": 0.5, "shift": 2.0}]

    play(scene)


@pytest.mark.parametrize("name", ["a fader's", 17, -(2**40)])
def test_errors_and_replies_end_with_the_id_of_their_message(name: str | int) -> None:
    async def scene(client: Surface) -> None:
        bundle = [
            encode("/nowhere", 1),
            encode("/demond/id", name),
            encode("/nowhere", 1),
            encode("/demond/knob/denoise", math.nan),
            encode("/demond/prompt/a/text", "refuse me"),
            encode("/demond/prompt/a/text", "house"),
            encode("/demond/scene/undo"),
            encode("/demond/log/level", "loud"),
            encode("/demond/knob/denoise"),
            encode("/demond/id"),
            encode("/demond/log/level", "loud"),
        ]
        answers = await client.answers_to(encode_bundle(bundle))
        found = [(answer.address, len(answer.arguments), answer.arguments[-1]) for answer in answers]
        error, reply = "/demond/error", "/demond/reply"
        assert [(where, last if count == (5 if where == error else 4) else None) for where, count, last in found] == [
            (error, None),
            *[(error, name)] * 3,
            (reply, name),
            *[(error, name)] * 2,
            ("/demond/knob/denoise", None),
            (error, None),
        ]

    play(scene)


def test_an_id_is_that_of_its_bundle_alone_and_a_bad_one_is_refused() -> None:
    async def scene(client: Surface) -> None:
        await client.answers_to(encode_bundle([encode("/demond/id", 1)]), encode("/demond/id", 2))
        assert len(await client.error("/nowhere")) == 4
        assert (await client.error("/demond/id", "x" * 65))[:2] == (400, "bad_args")
        assert (await client.error("/demond/id", math.inf))[:2] == (400, "bad_args")

    play(scene)


def test_a_bundle_for_later_is_applied_then_and_holds_nothing_up() -> None:
    async def scene(client: Surface) -> None:
        due = time.time() + 0.2
        await client.answers_to(encode_bundle([encode("/demond/knob/denoise", 0.5)], time_tag(due)))
        assert client.control.calls == []
        await eventually(lambda: client.control.calls, "the bundle is applied")
        assert -0.005 < time.time() - due < 0.1

    play(scene)


def test_a_time_tag_that_is_too_old_or_too_far_ahead_means_now_and_is_warned_of_once() -> None:
    async def scene(client: Surface) -> None:
        late = encode_bundle([encode("/demond/knob/denoise", 0.1)], time_tag(time.time() - 0.5))
        assert await client.answers_to(late) == []
        past = encode_bundle([encode("/demond/knob/denoise", 0.1)], time_tag(time.time() - 5))
        (warning,) = await client.answers_to(past, past)
        assert warning.arguments[:2] == (400, "bad_time")
        assert "5 s ago" in str(warning.arguments[3])
        far = encode_bundle([encode("/demond/knob/denoise", 0.2)], time_tag(time.time() + 3600))
        (warning,) = await client.answers_to(far, far, far)
        assert warning.arguments[:2] == (400, "bad_time")
        assert [changes["denoise"] for changes, _ in client.control.calls] == pytest.approx([0.1] * 3 + [0.2] * 3)

    play(scene)


def test_what_waits_for_its_time_is_bounded() -> None:
    async def scene(client: Surface) -> None:
        later = encode_bundle([encode("/demond/knob/denoise", 0.5)] * 600, time_tag(time.time() + 9))
        (error,) = await client.answers_to(later, later)
        assert error.arguments[:2] == (429, "rate_limited")
        assert client.server.status()["scheduled"] <= MESSAGE_LIMIT

    play(scene)


async def longest_hold(client: Surface, packet: bytes) -> float:
    """The longest time in seconds for which the event loop served nobody else until `packet` was answered.

    It is the processor's time, which other programs on the machine do not lengthen.
    """
    deadline = time.monotonic() + PATIENCE
    client.packets.clear()
    client.send(packet, encode("/demond/sync", 1))
    longest, before = 0.0, time.thread_time()
    while not (client.packets and client.packets[-1].startswith(b"/demond/synced")):
        assert time.monotonic() < deadline, "the sync is not answered"
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return longest


HOSTILE = {
    "a thousand different questions": [
        encode(address) for address in [*TARGETS][:1024] if TARGETS[address].has_value
    ],
    "a thousand traces": [encode("/demond/trace", 1 + i % 200) for i in range(1024)],
    "a thousand patterns": [encode(f"//*{'*a' * (i % 100)}{'?' * (i // 100)}", 1) for i in range(400)],
    "a thousand alternatives": [encode("/demond/knob/" + "{,a,b,c}" * 20 + str(i), 1) for i in range(300)],
    "a thousand typos": [encode(f"/demond/knob/denoize{i}", 1) for i in range(1024)],
    "a thousand dumps": [encode("/demond/dump", f"//*{'*' * (i % 64)}") for i in range(64)],
    "everything at once": [encode("/demond//*", i) for i in range(200)],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_bundle_holds_the_event_loop(what: str) -> None:
    async def scene(client: Surface) -> None:
        bundle = encode_bundle(HOSTILE[what])
        holds = [await longest_hold(client, bundle) for _ in range(3)]
        print(f"{what}: {min(holds) * 1000:.1f} ms")
        assert min(holds) < 0.005

    play(scene)


def test_while_one_client_asks_a_thousand_things_another_is_served() -> None:
    async def scene(stage: Stage) -> None:
        greedy, other = await stage.quiet(), await stage.quiet()
        questions = [encode("/demond/dump", f"//*{'*' * (i % 64)}") for i in range(256)]
        greedy.send(encode_bundle(questions))
        while (await greedy.next()).address != "/demond/update":
            pass
        began = time.perf_counter()
        assert len(await other.ask("/demond/ping")) == 1
        assert time.perf_counter() - began < 0.05
        assert await greedy.until(lambda message: message == Message("/demond/update", (0,)))

    on_stage(scene)


def test_the_packets_of_one_client_are_done_in_their_order() -> None:
    async def scene(client: Surface) -> None:
        slow = encode_bundle([encode("/demond/dump", f"/demond/knob/{'*' * i}") for i in range(1, 40)])
        answers = await client.answers_to(slow, encode("/demond/ping"), encode("/demond/knob/denoise"))
        assert [answer.address for answer in answers[-2:]] == ["/demond/pong", "/demond/knob/denoise"]

    play(scene)


def test_a_client_whose_packets_pile_up_is_told_so() -> None:
    async def scene(client: Surface) -> None:
        slow = encode_bundle([encode("/demond/dump", f"//*{'*' * i}") for i in range(60)])
        client.send(slow, *[encode("/demond/ping")] * (WAITING_LIMIT + 5))
        answers = await client.until(lambda message: message.address == "/demond/pong")
        errors = [answer.arguments for answer in answers if answer.address == "/demond/error"]
        assert {error[:2] for error in errors} == {(429, "rate_limited")}
        assert "too many packets wait" in str(errors[0][3])

    play(scene)


def test_a_client_that_is_gone_before_its_turn_costs_nobody_theirs(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        turns, done = stage.server.turns, []
        turns.add("gone", iter(lambda: time.sleep(2 * SLICE_SECONDS), 0))
        turns.forget("gone")
        await asyncio.sleep(0)  # the turn that it was promised
        turns.add("there", (done.append(step) for step in range(3)))
        await eventually(lambda: done == [0, 1, 2], "another has its turn")

    on_stage(scene)
    assert caplog.records == []
