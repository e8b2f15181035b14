"""Whatever is refused is answered once, in words, and nothing stops the server."""

from __future__ import annotations

import asyncio
import logging
import math
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.osc._clients import ERRORS_PER_SECOND
from demond.osc.codec import IMPULSE, Argument, encode, encode_bundle
from demond.osc.framing import Framing
from tests.osc.killers import KILLERS
from tests.osc.surface import Stage, Surface, eventually, on_stage, play
from tests.osc.test_tcp import connection


@pytest.mark.parametrize(
    ("address", "arguments", "code", "slug", "words"),
    [
        ("/demond/knob/denoize", (1,), 404, "unknown_address", "did you mean '/demond/knob/denoise'?"),
        ("/elsewhere", (), 404, "unknown_address", "nothing listens on /elsewhere"),
        ("/demond/knob/[a", (1,), 400, "bad_args", "a [ is closed by a ]"),
        ("/demond/knob/x*", (1,), 404, "unknown_address", "nothing listens on /demond/knob/x*"),
        ("/demond/knob/denoise/delta", (), 400, "bad_args", "the number of steps"),
        ("/demond/knob/denoise/text", ("x",), 403, "read_only", "only shown"),
        ("/demond/knob/denoise/touch", (1, 1), 400, "bad_args", "one number is wanted"),
        ("/demond/subscribe", (), 400, "bad_args", "a pattern (s) comes first"),
        ("/demond/subscribe", ("/demond/knob/*", 80), 400, "bad_args", "a port is 1024 to 65535"),
        ("/demond/subscribe", ("/demond/knob/*", 0, 0.5), 400, "bad_args", "the rate is 1 to 200 Hz"),
        ("/demond/subscribe", ("/demond/knob/*", 0, 30, 0), 400, "bad_args", "the ttl is 1 to 86400 s"),
        ("/demond/subscribe", ("/demond/knob/*", 0, 30, 9, 9), 400, "bad_args", "three numbers at most"),
        ("/demond/subscribe", ("/demond/knob/*", "nrom"), 400, "bad_args", "did you mean 'norm'?"),
        (
            "/demond/subscribe",
            ("/demond/knob/denoise/delta",),
            400,
            "bad_args",
            "has a value",
        ),
        ("/demond/unsubscribe", ("/demond/knob/*",), 404, "unknown_address", "nothing is subscribed to as"),
        ("/demond/dump", (5,), 400, "bad_args", "one pattern (s)"),
        ("/demond/log/level", ("loud",), 400, "bad_args", "one of debug, info, warning, error"),
        ("/demond/log/tail", (0,), 400, "bad_args", "1 to 200"),
        ("/demond/knob/denoise", (math.nan,), 400, "bad_args", "a finite number"),
        ("/demond/knob/denoise", (math.inf,), 400, "bad_args", "a finite number"),
        ("/demond/knob/denoise", ("much",), 400, "bad_args", "not the text 'much'"),
        ("/demond/knob/denoise", ("nan",), 400, "bad_args", "not the text 'nan'"),
        ("/demond/knob/denoise", ("1_000",), 400, "bad_args", "not the text"),
        ("/demond/knob/denoise", (IMPULSE,), 400, "bad_args", "a number is wanted"),
        ("/demond/knob/denoise", (1, 2), 400, "bad_args", "one number is wanted, not 2"),
        ("/demond/knob/denoise/norm", (math.nan,), 400, "bad_args", "a finite number"),
        ("/demond/prompt/a/text", (5,), 400, "bad_args", "a text (s) is wanted"),
        ("/demond/prompt/a/text", ("x" * 5000,), 413, "too_large", "4096 characters"),
        ("/demond/trace", (0,), 400, "bad_args", "1 to 200"),
        ("/demond/sync", (), 400, "bad_args", "a whole number"),
    ],
)
def test_each_bad_message_gets_one_error_in_words(
    address: str, arguments: tuple[Argument, ...], code: int, slug: str, words: str
) -> None:
    async def scene(client: Surface) -> None:
        error = await client.error(address, *arguments)
        assert error[:2] == (code, slug)
        # An error about a pattern that a message carries names the pattern.
        assert error[2] == address or error[2] in arguments
        assert words in str(error[3])
        assert client.control.calls == []

    play(scene)


def test_a_client_gets_ten_errors_a_second_and_then_one_that_counts_the_rest() -> None:
    async def scene(client: Surface) -> None:
        answers = await client.answers_to(*[encode("/nowhere")] * 60)
        assert [answer.arguments[0] for answer in answers] == [404] * 10
        summary = await client.next()
        assert summary.arguments[:2] == (429, "rate_limited")
        assert "50 more messages" in str(summary.arguments[3])
        assert (await client.error("/nowhere"))[0] == 404

    play(scene)


def test_each_known_killer_is_survived_and_answered() -> None:
    async def scene(stage: Stage) -> None:
        for name, datagram in KILLERS.items():
            sender = await stage.quiet()
            answers = await sender.answers_to(datagram)
            addresses = {answer.address for answer in answers}
            expected = {"a double beyond a float": "/demond/knob/denoise"}
            expected["a prompt with everything in it"] = "/demond/reply"
            assert addresses == {expected.get(name, "/demond/error")}, name

    on_stage(scene)


def test_oscsend_still_works_after_all_killers() -> None:
    async def scene(client: Surface) -> None:
        for datagram in KILLERS.values():
            client.send(datagram)
        command = ["oscsend", "127.0.0.1", str(client.server.port), "/demond/knob/denoise", "f", "0.125"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        await eventually(lambda: client.control.values["denoise"] == 0.125, "oscsend sets the knob")

    play(scene)


def test_a_mistake_of_ours_is_logged_once_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(client: Surface) -> None:
        client.control.status = lambda: {"a": object()}  # type: ignore[method-assign]
        for _ in range(3):
            assert (await client.error("/demond/status"))[:2] == (500, "internal")

    with caplog.at_level(logging.ERROR):
        play(scene)
    assert len(caplog.records) == 1


GOOD = [encode("/demond/knob/denoise", 0.5), encode("/demond/knob/{shift,feedback}", 1), encode("/1/fader1", 0.5)]
BAD = [
    encode("/nowhere", 1),
    encode("/demond/knob/q*", 1),
    encode("/demond/knob/*", "much"),
    encode("/demond/knob/*/reset"),
    encode("/demond/knob/[", 1),
    encode("/demond/knob/denoise", math.nan),
    encode("/demond/prompt/a/text", "refuse me"),
    encode("/1/fader1", "up"),
    b"/blob\0\0\0,b\0\0\0\0\0\0",
]


@pytest.mark.parametrize("framing", [None, *Framing])
@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=12, unique=True))
def test_every_bad_message_of_a_bundle_is_answered_exactly_once(
    framing: Framing | None, messages: list[bytes]
) -> None:
    bad = sum(message in BAD for message in messages)
    errors = min(bad, ERRORS_PER_SECOND)

    async def scene(stage: Stage) -> None:
        if framing is None:
            client = await stage.quiet()
            answers = await client.answers_to(encode_bundle(messages))
        else:
            async with connection(stage, framing) as stream:
                answers = await stream.ask(encode_bundle(messages))
        assert [answer.address for answer in answers] == ["/demond/error"] * errors

    on_stage(scene)
