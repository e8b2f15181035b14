from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from demond.control import Outcome
from demond.knobs import CURVES, KNOBS
from demond.mapping import MappingSource
from demond.osc._clients import CLIENT_LIMIT
from demond.osc.codec import IMPULSE, Argument, Message, encode, encode_bundle, parse, time_tag
from demond.osc.namespace import REPLIES, TABLE, TARGETS
from demond.osc.server import SCHEDULE_LIMIT, OscPortError, OscServer
from tests.memory_control import MemoryControl
from tests.osc.killers import KILLERS


class Surface:
    """A client with a real socket, and the server it talks to."""

    def __init__(self, control: MemoryControl, server: OscServer) -> None:
        self.control, self.server = control, server
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", server.port))
        self._sync = 0

    async def answers_to(self, *datagrams: bytes) -> list[Message]:
        """What the server answers to `datagrams`, up to the answer to a sync that is sent after them."""
        self._sync += 1
        for datagram in (*datagrams, encode("/demond/sync", self._sync)):
            self.socket.send(datagram)
        answers = []
        while True:
            message = await self.next()
            if message == Message("/demond/synced", (self._sync,)):
                return answers
            answers.append(message)

    async def next(self, seconds: float = 2) -> Message:
        async with asyncio.timeout(seconds):
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        return parse(data).messages[0]

    async def ask(self, address: str, *arguments: Argument) -> list[Message]:
        return await self.answers_to(encode(address, *arguments))

    async def error(self, address: str, *arguments: Argument) -> tuple[Argument, ...]:
        (answer,) = await self.ask(address, *arguments)
        assert answer.address == "/demond/error"
        return answer.arguments


@contextlib.asynccontextmanager
async def surface() -> AsyncIterator[Surface]:
    control = MemoryControl()
    mapping = MappingSource(None, control)
    assert mapping.load() is None
    server = OscServer(control, mapping, port=0)
    await server.start()
    client = Surface(control, server)
    try:
        yield client
    finally:
        client.socket.close()
        server.close()


def play(scene: Callable[[Surface], object]) -> None:
    async def run() -> None:
        async with surface() as client:
            await scene(client)  # type: ignore[misc]

    asyncio.run(run())


def test_a_knob_is_set_in_its_unit_and_nothing_is_echoed() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/demond/knob/volume_db", -12.0) == []
        assert client.control.values["volume_db"] == -12
        (origin,) = [origin for _, origin in client.control.calls]
        assert (origin.kind, origin.detail) == ("osc", f"127.0.0.1:{client.socket.getsockname()[1]}")
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
        client.control.values["seed"] = 2.0**32 - 1
        assert await client.ask("/demond/knob/seed") == [Message("/demond/knob/seed", (2**32 - 1,))]

    play(scene)


@pytest.mark.parametrize("arguments", [(), (1,), (True,), (IMPULSE,)])
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
        reply = await client.next() if not client.server._bugs else None
        assert reply is not None
        assert reply.arguments[:2] == ("/demond/map/reload", "ok")

    play(scene)


@pytest.mark.parametrize(
    ("address", "arguments", "code", "slug", "words"),
    [
        ("/demond/knob/denoize", (1,), 404, "unknown_address", "did you mean '/demond/knob/denoise'?"),
        ("/elsewhere", (), 404, "unknown_address", "nothing listens on /elsewhere"),
        ("/demond/knob/*", (1,), 400, "bad_args", "spell the address out"),
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
        ("/demond/trace", (0,), 400, "bad_args", "1 to 1000"),
        ("/demond/sync", (), 400, "bad_args", "a whole number"),
    ],
)
def test_each_bad_message_gets_one_error_in_words(
    address: str, arguments: tuple[Argument, ...], code: int, slug: str, words: str
) -> None:
    async def scene(client: Surface) -> None:
        error = await client.error(address, *arguments)
        assert error[:3] == (code, slug, address)
        assert words in str(error[3])
        assert client.control.calls == []

    play(scene)


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


def test_a_bundle_for_later_is_applied_then_and_holds_nothing_up() -> None:
    async def scene(client: Surface) -> None:
        due = time.time() + 0.2
        await client.answers_to(encode_bundle([encode("/demond/knob/denoise", 0.5)], time_tag(due)))
        assert client.control.calls == []
        async with asyncio.timeout(2):
            while not client.control.calls:
                await asyncio.sleep(0.001)
        assert -0.005 < time.time() - due < 0.1

    play(scene)


def test_a_time_that_has_passed_is_now_and_one_too_far_ahead_is_now_with_one_warning() -> None:
    async def scene(client: Surface) -> None:
        past = encode_bundle([encode("/demond/knob/denoise", 0.1)], time_tag(time.time() - 5))
        assert await client.answers_to(past) == []
        far = encode_bundle([encode("/demond/knob/denoise", 0.2)], time_tag(time.time() + 3600))
        (warning,) = await client.answers_to(far, far, far)
        assert warning.arguments[:2] == (400, "bad_time")
        assert [changes["denoise"] for changes, _ in client.control.calls] == pytest.approx([0.1, 0.2, 0.2, 0.2])

    play(scene)


def test_what_waits_for_its_time_is_bounded() -> None:
    async def scene(client: Surface) -> None:
        later = encode_bundle([encode("/demond/knob/denoise", 0.5)] * 600, time_tag(time.time() + 9))
        (error,) = await client.answers_to(later, later)
        assert error.arguments[:2] == (429, "rate_limited")
        assert client.server._waiting <= SCHEDULE_LIMIT

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
    async def scene(client: Surface) -> None:
        for name, datagram in KILLERS.items():
            sender = Surface(client.control, client.server)
            with contextlib.closing(sender.socket):
                answers = await sender.answers_to(datagram)
            addresses = {answer.address for answer in answers}
            expected = {"a double beyond a float": "/demond/knob/denoise"}
            expected["a prompt with everything in it"] = "/demond/reply"
            assert addresses == {expected.get(name, "/demond/error")}, name

    play(scene)


def test_oscsend_still_works_after_all_killers() -> None:
    async def scene(client: Surface) -> None:
        for datagram in KILLERS.values():
            client.socket.send(datagram)
        command = ["oscsend", "127.0.0.1", str(client.server.port), "/demond/knob/denoise", "f", "0.125"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        async with asyncio.timeout(2):
            while client.control.values["denoise"] != 0.125:
                await asyncio.sleep(0.001)

    play(scene)


def test_the_table_of_clients_is_bounded() -> None:
    async def scene(client: Surface) -> None:
        for port in range(2 * CLIENT_LIMIT):
            client.server.datagram_received(b"/x\0\0", ("127.0.0.1", 1 + port))
        assert len(client.server._clients._clients) <= CLIENT_LIMIT
        assert len(await client.ask("/demond/ping")) == 1

    play(scene)


def test_a_mistake_of_ours_is_logged_once_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(client: Surface) -> None:
        client.control.status = lambda: {"a": object()}  # type: ignore[method-assign]
        for _ in range(3):
            assert (await client.error("/demond/status"))[:2] == (500, "internal")

    with caplog.at_level(logging.ERROR):
        play(scene)
    assert len(caplog.records) == 1


def test_a_port_in_use_is_an_error_in_words() -> None:
    async def scene(client: Surface) -> None:
        second = OscServer(client.control, client.server._mapping, port=client.server.port)
        with pytest.raises(OscPortError) as caught:
            await second.start()
        assert caught.value.strerror == "another program uses it"

    play(scene)


def test_beyond_the_loopback_it_listens_only_to_named_networks() -> None:
    async def run() -> None:
        control = MemoryControl()
        mapping = MappingSource(None, control)
        with pytest.raises(OscPortError, match="needs `allow`"):
            await OscServer(control, mapping, bind="0.0.0.0", port=0).start()  # noqa: S104 - that is what is refused
        server = OscServer(control, mapping, bind="0.0.0.0", port=0, allow=["192.168.1.0/24"])  # noqa: S104
        await server.start()
        try:
            for host in ("10.0.0.1", "192.168.2.1", "::ffff:10.0.0.1", "nonsense"):
                server.datagram_received(encode("/demond/knob/denoise", 0.1), (host, 9))
            assert (control.calls, server.denied) == ([], 4)
            for host in ("192.168.1.7", "127.0.0.1", "::ffff:192.168.1.9"):
                server.datagram_received(encode("/demond/knob/denoise", 0.1), (host, 9))
            assert len(control.calls) == 3
        finally:
            server.close()

    asyncio.run(run())


def test_every_address_of_the_table_is_taken_and_described() -> None:
    assert {target.verb for target in TARGETS.values()} == {entry.verb for entry in TABLE}
    plain = sum("{" not in entry.address for entry in TABLE)
    assert len(TARGETS) == 3 * len(KNOBS) + 3 + 2 * 5 + len(CURVES) + plain
    for entry in (*TABLE, *REPLIES):
        assert entry.address
        assert entry.meaning
        assert entry.arguments

    async def scene(client: Surface) -> None:
        for address in TARGETS:
            if address not in ("/demond/sync", "/demond/map/reload", "/demond/lora/load", "/demond/loras"):
                answers = await client.ask(address)
                assert answers, address
                assert all(answer.address != "/demond/error" for answer in answers), address

    play(scene)


def test_a_message_costs_less_than_50_microseconds() -> None:
    async def scene(client: Surface) -> None:
        datagrams = [encode("/demond/knob/denoise", i / 100) for i in range(100)]
        best = math.inf
        for _ in range(5):
            began = time.perf_counter()
            for datagram in datagrams:
                client.server.datagram_received(datagram, ("127.0.0.1", 9))
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
    async def run() -> None:
        control = MemoryControl()
        path = tmp_path / "m.yaml"
        path.write_text("demond: 1\n")
        mapping = MappingSource([path], control)
        assert mapping.load() is None
        server = OscServer(control, mapping, port=0)
        await server.start()
        client = Surface(control, server)
        try:
            path.write_text("demond: 1\nmap: []\n")
            await client.ask("/demond/map/reload")
            address, status, text = (await client.next()).arguments
            assert (address, status) == ("/demond/map/reload", "error")
            assert "2:1: unknown key 'map'; did you mean 'maps'?" in json.loads(str(text))["message"]
        finally:
            client.socket.close()
            server.close()

    asyncio.run(run())
