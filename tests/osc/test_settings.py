"""What a performer sets besides knobs, over OSC: real sockets, a daemon in memory."""

from __future__ import annotations

import json

import pytest

from demond.control import Outcome, RefusedError
from demond.osc.codec import Argument, Message, encode, encode_bundle
from demond.setting import Prompt, SetCurve, SetLora, SetSource
from tests.osc.test_server import Surface, play


async def accepted(client: Surface, address: str, *arguments: Argument) -> None:
    (reply,) = await client.ask(address, *arguments)
    assert reply == Message("/demond/reply", (address, "ok", '{"message": ""}'))


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/demond/prompt/a/text", "slow drums"),
        ("/demond/prompt/negative/text", "vocals"),
        ("/demond/prompt/b/lyrics", "[verse]\nla la"),
        ("/demond/prompt/b/language", "ja"),
        ("/demond/prompt/a/bpm", 92.5),
        ("/demond/prompt/a/key", "f# minor"),
        ("/demond/prompt/a/time_signature", "6/8"),
        ("/demond/source", "loops/one.wav"),
        ("/demond/source/silence", 30.0),
        ("/demond/timbre", "horn.flac"),
        ("/demond/structure", "beat.wav"),
        ("/demond/target", "beat.wav"),
        ("/demond/checkpoint", "ace-step"),
        ("/demond/steps", 12),
        ("/demond/depth", 2),
        ("/demond/context", 20.0),
        ("/demond/lora/tape/strength", 0.5),
        ("/demond/curve/protect", 1.0),
        ("/demond/curve/initial_noise", "off"),
    ],
)
def test_a_setting_is_taken_and_told_on_the_same_address(address: str, sent: Argument) -> None:
    async def scene(client: Surface) -> None:
        await accepted(client, address, sent)
        assert await client.ask(address) == [Message(address, (sent,))]

    play(scene)


@pytest.mark.parametrize(
    ("address", "neutral"),
    [
        ("/demond/source", ""),
        ("/demond/source/silence", 0.0),
        ("/demond/timbre", ""),
        ("/demond/structure", ""),
        ("/demond/checkpoint", ""),
        ("/demond/context", 0.0),
        ("/demond/prompt/a/bpm", 0.0),
        ("/demond/prompt/b/key", ""),
        ("/demond/prompt/negative/text", ""),
        ("/demond/curve/protect", "off"),
        ("/demond/lora/tape/strength", "off"),
    ],
)
def test_what_is_not_set_is_told_as_what_would_unset_it(address: str, neutral: Argument) -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask(address) == [Message(address, (neutral,))]
        await accepted(client, address, neutral)
        assert await client.ask(address) == [Message(address, (neutral,))]

    play(scene)


def test_a_curve_of_4096_numbers_goes_in_and_comes_out_and_is_moved_into_the_knobs_range() -> None:
    async def scene(client: Surface) -> None:
        drawn = tuple(i / 2048 for i in range(4096))
        await accepted(client, "/demond/curve/protect", *drawn)
        (told,) = await client.ask("/demond/curve/protect")
        assert told.arguments == tuple(min(value, 1.0) for value in drawn)
        await accepted(client, "/demond/curve/guidance_scale", 0, 99)
        assert client.control.session.curve("guidance_scale") == (1, 15)
        await accepted(client, "/demond/curve/protect", "off")
        assert client.control.session.curve("protect") is None

    play(scene)


def test_the_fields_of_a_prompt_in_one_bundle_are_set_together_and_leave_the_others() -> None:
    async def scene(client: Surface) -> None:
        await accepted(client, "/demond/prompt/a/language", "de")
        bundle = encode_bundle(
            [
                encode("/demond/prompt/a/text", "techno"),
                encode("/demond/prompt/a/bpm", 130),
                encode("/demond/prompt/a/key", "a minor"),
            ]
        )
        assert len(await client.answers_to(bundle)) == 3
        assert client.control.session.prompt("a") == Prompt(text="techno", language="de", bpm=130, key="a minor")

    play(scene)


def test_in_one_bundle_the_last_of_two_wins_even_if_it_was_there_before() -> None:
    async def scene(client: Surface) -> None:
        first, second = encode("/demond/prompt/a/text", "one"), encode("/demond/prompt/a/text", "two")
        await client.answers_to(encode_bundle([first, second, first]))
        assert client.control.session.prompt("a").text == "one"

    play(scene)


@pytest.mark.parametrize(
    ("address", "arguments", "code", "slug", "words"),
    [
        ("/demond/curve/protekt", (1.0,), 404, "unknown_address", "'/demond/curve/protect'"),
        ("/demond/curve/seed", (1.0,), 404, "unknown_address", "nothing listens"),
        ("/demond/curve/protect", (0.5, float("nan")), 400, "bad_args", "finite"),
        ("/demond/curve/protect", ("loud",), 400, "bad_args", "number"),
        ("/demond/prompt/a/bpm", (900,), 400, "bad_args", "at most 400"),
        ("/demond/prompt/a/bpm", ("fast",), 400, "bad_args", "number"),
        ("/demond/prompt/a/time_signature", ("waltz",), 400, "bad_args", "4/4"),
        ("/demond/prompt/a/language", ("English",), 400, "bad_args", "en or ja"),
        ("/demond/prompt/a/text", (3,), 400, "bad_args", "text"),
        ("/demond/prompt/a/text", ("one", "two"), 400, "bad_args", "one argument"),
        ("/demond/prompt/a/text", ("x" * 5000,), 413, "too_large", "4096"),
        ("/demond/prompt/negative/bpm", (90,), 404, "unknown_address", "nothing listens"),
        ("/demond/depth", (9,), 400, "bad_args", "1 to 8, or auto"),
        ("/demond/steps", (0,), 400, "bad_args", "at least 1"),
        ("/demond/context", (-1,), 400, "bad_args", "at least 0"),
        ("/demond/source", (7,), 400, "bad_args", "path"),
        ("/demond/source/silence", (1000,), 400, "bad_args", "240"),
        ("/demond/lora/tape/strength", (9,), 400, "bad_args", "at most 4"),
        ("/demond/lora/load", (), 400, "bad_args", "path"),
        ("/demond/lora/load", ("a", 1, 2), 400, "bad_args", "2 arguments"),
    ],
)
def test_a_mistake_is_answered_in_words_and_changes_nothing(
    address: str, arguments: tuple[Argument, ...], code: int, slug: str, words: str
) -> None:
    async def scene(client: Surface) -> None:
        before = client.control.session.settings
        error = await client.error(address, *arguments)
        assert error[:2] == (code, slug)
        assert words in str(error[3])
        assert client.control.session.settings == before

    play(scene)


def test_loras_are_loaded_named_by_their_file_and_listed() -> None:
    async def scene(client: Surface) -> None:
        await accepted(client, "/demond/lora/load", "loras/old tape.safetensors")
        await accepted(client, "/demond/lora/load", "vinyl.safetensors", 0.5)
        tape, vinyl = client.control.session.settings[-2:]
        assert tape == SetLora(name="old_tape", path="loras/old tape.safetensors", strength=1)
        assert vinyl == SetLora(name="vinyl", path="vinyl.safetensors", strength=0.5)
        assert await client.ask("/demond/loras") == [
            Message("/demond/lora/old_tape/strength", (1.0,)),
            Message("/demond/lora/vinyl/strength", (0.5,)),
        ]

    play(scene)


def test_the_daemons_refusal_and_the_engines_are_told_apart() -> None:
    async def scene(client: Surface) -> None:
        def denied(setting: object, done: object) -> None:
            raise RefusedError(403, "denied", "/etc is outside of the roots")

        client.control.change = denied  # type: ignore[method-assign]
        assert (await client.error("/demond/source", "/etc/x.wav"))[:3] == (403, "denied", "/demond/source")
        client.control.change = lambda setting, done: done(Outcome(False, "no audio"))  # type: ignore[method-assign]
        (reply,) = await client.ask("/demond/source", "x.wav")
        assert reply.arguments[:2] == ("/demond/source", "error")
        assert json.loads(str(reply.arguments[2])) == {"message": "no audio"}

    play(scene)


@pytest.mark.parametrize(("sent", "value"), [("self", 3.0), ("off", 0.0), ("2", 2.0), (1, 1.0)])
def test_a_choice_is_taken_by_its_name_or_its_number(sent: Argument, value: float) -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/demond/knob/guidance_mode", sent) == []
        assert client.control.values["guidance_mode"] == value
        assert await client.ask("/demond/knob/guidance_mode") == [
            Message("/demond/knob/guidance_mode", (int(value),))
        ]

    play(scene)


def test_a_misspelt_choice_gets_a_suggestion() -> None:
    async def scene(client: Surface) -> None:
        error = await client.error("/demond/knob/guidance_mode", "inizialize")
        assert error[:2] == (400, "bad_args")
        assert "off, full, initialize or self" in str(error[3])
        assert "did you mean 'initialize'?" in str(error[3])

    play(scene)


def test_a_setting_says_what_it_is_about() -> None:
    assert SetCurve(name="protect", values=(1.0,)).key == "curve/protect"
    assert SetSource(silence=3).key == "source"
