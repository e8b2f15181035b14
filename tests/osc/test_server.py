from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demond.config import Osc
from demond.control import Outcome
from demond.knobs import CURVES, KNOBS
from demond.osc._clients import CLIENT_LIMIT
from demond.osc.codec import IMPULSE, Argument, Message, encode
from demond.osc.entry import Verb
from demond.osc.namespace import TARGETS
from demond.osc.server import OscPortError, OscServer
from demond.osc.table import REPLIES, TABLE
from tests.osc.surface import Stage, Surface, on_stage, play


def test_a_knob_is_set_in_its_unit_and_nothing_is_echoed() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/demond/knob/volume_db", -12.0) == []
        assert client.control.values["volume_db"] == -12
        (origin,) = [origin for _, origin in client.control.calls]
        assert (origin.kind, origin.detail) == ("osc", f"127.0.0.1:{client.port}")
        assert abs(time.monotonic_ns() - origin.received_ns) < 1e9

    play(scene)


@pytest.mark.parametrize(
    ("address", "sent", "answer", "stored"),
    [
        ("/demond/knob/denoise", 3.0, 1.0, 1.0),
        ("/demond/knob/feedback_depth", 3.4, 3, 3.0),
        ("/demond/knob/feedback_depth", 3.0, None, 3.0),
        ("/demond/knob/denoise", "0.25", None, 0.25),
        ("/demond/knob/mute", True, None, 1.0),
        ("/demond/knob/mute", 0.9, 1, 1.0),
        ("/demond/knob/seed", 2**32 - 1, None, 2.0**32 - 1),
        ("/demond/knob/shift/norm", 0.5, None, 3.5),
        ("/demond/knob/shift/norm", 7, 1.0, 6.0),
        ("/demond/knob/feedback_depth/norm", 0.5, None, 5.0),
        ("/demond/prompt/blend", 2.0, 1.0, 1.0),
    ],
)
def test_a_value_that_had_to_be_changed_is_echoed_and_no_other(
    address: str, sent: Argument, answer: Argument, stored: float
) -> None:
    async def scene(client: Surface) -> None:
        answers = await client.ask(address, sent)
        assert answers == ([] if answer is None else [Message(address, (answer,))])
        (changes,) = [changes for changes, _ in client.control.calls]
        assert list(changes.values()) == [pytest.approx(stored)]

    play(scene)


def test_without_an_argument_an_address_answers_with_its_value() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/demond/knob/denoise") == [Message("/demond/knob/denoise", (pytest.approx(0.7),))]
        assert await client.ask("/demond/knob/seed") == [Message("/demond/knob/seed", (1,))]
        norm = "/demond/knob/shift/norm"
        assert await client.ask(norm) == [Message(norm, (pytest.approx(0.4),))]
        assert await client.ask("/demond/prompt/a/text") == [Message("/demond/prompt/a/text", ("synthwave",))]
        assert await client.ask("/demond/prompt/blend") == [Message("/demond/prompt/blend", (0.0,))]

    play(scene)


def test_a_whole_number_beyond_32_bits_is_sent_as_a_text_which_is_taken_back() -> None:
    async def scene(client: Surface) -> None:
        await client.ask("/demond/knob/seed", 2**32 - 1)
        assert await client.ask("/demond/knob/seed") == [Message("/demond/knob/seed", ("4294967295",))]
        await client.ask("/demond/knob/seed", "4294967294")
        assert client.control.values["seed"] == 2**32 - 2

    play(scene)


@pytest.mark.parametrize("arguments", [(), (1,), (True,), (IMPULSE,), (0.5,), ("1",)])
def test_a_reset_fires_and_answers_with_the_default(arguments: tuple[Argument, ...]) -> None:
    async def scene(client: Surface) -> None:
        client.control.values["denoise"] = 0.1
        answer = await client.ask("/demond/knob/denoise/reset", *arguments)
        assert answer == [Message("/demond/knob/denoise", (pytest.approx(0.7),))]
        assert await client.ask("/demond/knob/denoise/reset", 0) == []

    play(scene)


def test_a_prompt_is_set_and_answered_when_it_plays() -> None:
    async def scene(client: Surface) -> None:
        pending: list[Callable[[Outcome], None]] = []
        client.control.change = lambda setting, done: pending.append(done)  # type: ignore[method-assign]
        assert await client.ask("/demond/prompt/a/text", "slow drums") == []
        pending[0](Outcome(True, ""))
        reply = await client.next()
        assert reply == Message("/demond/reply", ("/demond/prompt/a/text", "ok", '{"message": ""}'))

    play(scene)


def test_what_the_daemon_refuses_is_answered_with_its_code() -> None:
    async def scene(client: Surface) -> None:
        error = await client.error("/demond/prompt/a/text", "refuse me")
        assert error == (503, "engine_not_ready", "/demond/prompt/a/text", "the engine is still loading")

    play(scene)


def test_lists_status_trace_and_ping() -> None:
    async def scene(client: Surface) -> None:
        knobs = await client.ask("/demond/knobs")
        assert [message.address for message in knobs] == [f"/demond/knob/{knob.name}" for knob in KNOBS]
        (status,) = await client.ask("/demond/status")
        assert status.address == "/demond/status.reply"
        assert json.loads(str(status.arguments[0]))["state"] == "playing"
        await client.answers_to(*[encode("/demond/knob/denoise", i / 10) for i in range(5)])
        (trace,) = await client.ask("/demond/trace", 2)
        assert [c["knobs"]["denoise"] for c in json.loads(str(trace.arguments[0]))] == pytest.approx([0.3, 0.4])
        for ping in ("/demond/ping", "/ping"):
            (pong,) = await client.ask(ping, 1)
            assert pong.address == "/demond/pong"
            version, uptime, clients = pong.arguments
            assert isinstance(version, str)
            assert isinstance(uptime, float)
            assert clients == 1

    play(scene)


def test_a_mapped_address_of_a_surface_works_and_the_mapping_reloads_on_request() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/1/fader1", 0.25) == []
        assert client.control.values["denoise"] == 0.25
        assert client.control.calls[-1][1].kind == "osc"
        assert await client.ask("/1/fader1/z", 1.0) == []
        assert (await client.error("/1/fader1", "up"))[:3] == (400, "bad_args", "/1/fader1")
        await client.ask("/demond/map/reload")
        reply = await client.next()
        assert reply.arguments[:2] == ("/demond/map/reload", "ok")

    play(scene)


def test_the_table_of_clients_is_bounded() -> None:
    async def scene(client: Surface) -> None:
        for port in range(2 * CLIENT_LIMIT):
            client.server.datagram(b"/x\0\0", ("127.0.0.9", 1 + port))
        client.server.datagram(encode("/demond/unsubscribe"), ("127.0.0.1", client.port))
        assert len(tuple(client.server.clients)) <= CLIENT_LIMIT
        assert len(await client.ask("/demond/ping")) == 1

    play(scene)


def test_a_port_in_use_is_an_error_in_words() -> None:
    async def scene(client: Surface) -> None:
        second = OscServer(client.control, client.server.mapping, Osc(port=client.server.port))
        with pytest.raises(OscPortError) as caught:
            await second.start()
        assert caught.value.strerror == "another program uses it"

    play(scene)


def test_every_address_of_the_table_is_taken_and_described() -> None:
    assert {target.verb for target in TARGETS.values()} == {entry.verb for entry in TABLE} == set(Verb)
    for entry in (*TABLE, *REPLIES):
        assert entry.address
        assert entry.meaning
        assert entry.arguments
    plain = sum("{" not in entry.address for entry in TABLE)
    rows_of_knobs = sum("{knob}" in entry.address for entry in TABLE)
    assert len(TARGETS) == rows_of_knobs * len(KNOBS) + 3 + 2 * (5 + 1) + len(CURVES) + plain

    async def scene(client: Surface) -> None:
        for target in TARGETS.values():
            if target.has_value:
                assert [answer.address for answer in await client.ask(target.address)] == [target.address]

    play(scene)


def test_a_message_costs_less_than_50_microseconds() -> None:
    async def scene(client: Surface) -> None:
        datagrams = [encode("/demond/knob/denoise", i / 100) for i in range(100)]
        best = math.inf
        for _ in range(5):
            began = time.perf_counter()
            for datagram in datagrams:
                client.server.datagram(datagram, ("127.0.0.1", 9))
            best = min(best, (time.perf_counter() - began) / len(datagrams))
        assert best < 50e-6

    play(scene)


def test_an_i_argument_is_a_number_whatever_its_width() -> None:
    wide = b"/demond/knob/seed\0\0\0,h\0\0" + struct.pack(">q", 3_000_000_000)

    async def scene(client: Surface) -> None:
        await client.answers_to(wide)
        assert client.control.values["seed"] == 3_000_000_000

    play(scene)


def test_a_broken_mapping_answers_a_reload_with_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("demond: 1\n")

    async def scene(stage: Stage) -> None:
        client = await stage.quiet()
        path.write_text("demond: 1\nmap: []\n")
        client.send(encode("/demond/map/reload"))
        address, status, text = (await client.next()).arguments
        assert (address, status) == ("/demond/map/reload", "error")
        assert "2:1: unknown key 'map'; did you mean 'maps'?" in json.loads(str(text))["message"]

    on_stage(scene, files=[path])
