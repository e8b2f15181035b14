"""OSCQuery over HTTP and WebSocket, with a real client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from demond.control import Origin
from demond.knobs import KNOBS
from demond.mapping import Mapping
from demond.osc.codec import Message, encode, encode_bundle, parse
from demond.osc.query import CONNECTION_LIMIT, EXTENSIONS, SOCKET_LIMIT, QueryServer
from demond.osc.server import OscPortError
from tests.osc.killers import KILLERS
from tests.osc.surface import PATIENCE, Stage, eventually, stage

DENOISE = "/demond/knob/denoise"


class Browser:
    """A client of OSCQuery."""

    def __init__(self, on: Stage, server: QueryServer, session: ClientSession) -> None:
        self.on, self.server, self.session = on, server, session
        self.url = f"http://127.0.0.1:{server.port}"

    async def status(self, path: str, **headers: str) -> int:
        async with self.session.get(self.url + path, headers=headers) as answer:
            return answer.status

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            assert answer.status == 200, (path, answer.status)
            assert answer.content_type == "application/json"
            return await answer.json()

    @contextlib.asynccontextmanager
    async def socket(self) -> AsyncIterator[ClientWebSocketResponse]:
        async with self.session.ws_connect(self.url) as socket:
            yield socket


async def binary(socket: ClientWebSocketResponse) -> Message:
    data = await asyncio.wait_for(socket.receive_bytes(), PATIENCE)
    (message,) = parse(data).messages
    return message


def browse(scene: Callable[[Browser], Awaitable[None]]) -> None:
    async def run() -> None:
        async with stage() as on, ClientSession() as session:
            server = QueryServer(on.server, 0, "demond")
            await server.start()
            try:
                await scene(Browser(on, server, session))
            finally:
                await server.close()

    asyncio.run(run())


def turn(browser: Browser, **knobs: float) -> None:
    browser.on.control.set_knobs(knobs, Origin("midi", "nk2/fader1", time.monotonic_ns()))


def test_the_host_says_where_osc_is_and_what_it_can_do() -> None:
    async def scene(browser: Browser) -> None:
        info = await browser.get("/?HOST_INFO")
        assert info["NAME"] == "demond"
        assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == (
            "127.0.0.1",
            browser.on.server.port,
            "UDP",
        )
        assert info["EXTENSIONS"] == EXTENSIONS
        assert all(info["EXTENSIONS"].values())

    browse(scene)


def test_a_knob_is_described_with_type_range_unit_and_value() -> None:
    async def scene(browser: Browser) -> None:
        node = await browser.get("/demond/knob/volume_db")
        contents = node.pop("CONTENTS")
        assert node == {
            "FULL_PATH": "/demond/knob/volume_db",
            "ACCESS": 3,
            "TYPE": "f",
            "VALUE": [0.0],
            "RANGE": [{"MIN": -60.0, "MAX": 6.0}],
            "UNIT": ["gain.db"],
            "CLIPMODE": ["both"],
            "DESCRIPTION": "Output level; the lowest value is silence",
            "TAGS": ["output"],
        }
        assert set(contents) == {"norm", "delta", "touch", "reset", "pickup", "text", "source"}
        assert contents["norm"]["RANGE"] == [{"MIN": 0.0, "MAX": 1.0}]
        assert (contents["reset"]["ACCESS"], contents["reset"]["TYPE"]) == (2, "I")
        assert (contents["text"]["ACCESS"], contents["text"]["VALUE"]) == (1, ["0 dB"])
        seed = await browser.get("/demond/knob/seed")
        assert (seed["TYPE"], seed["RANGE"]) == ("h", [{"MIN": 0, "MAX": 2**32 - 1}])
        assert (await browser.get("/demond/knob/mute"))["RANGE"] == [{"VALS": [0, 1]}]
        assert (await browser.get("/demond/knob/guidance_mode"))["RANGE"] == [{"VALS": [0, 1, 2, 3]}]
        assert (await browser.get("/demond/prompt/a/text"))["VALUE"] == ["synthwave"]

    browse(scene)


def test_the_whole_tree_has_every_knob_and_values_that_are_true() -> None:
    async def scene(browser: Browser) -> None:
        turn(browser, denoise=0.25)
        for path in ("/", "/?CONTENTS"):
            tree = await browser.get(path)
            knobs = tree["CONTENTS"]["demond"]["CONTENTS"]["knob"]["CONTENTS"]
            assert set(knobs) == {knob.name for knob in KNOBS}
            assert knobs["denoise"]["VALUE"] == [0.25]
            assert (tree["ACCESS"], tree["CONTENTS"]["demond"]["ACCESS"]) == (0, 0)

    browse(scene)


def test_each_attribute_can_be_asked_for_alone() -> None:
    async def scene(browser: Browser) -> None:
        for name in ("FULL_PATH", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TAGS", "CLIPMODE"):
            assert list(await browser.get(f"{DENOISE}?{name}")) == [name]
        assert await browser.get(f"{DENOISE}?VALUE") == {"VALUE": [0.7]}

    browse(scene)


def test_what_is_not_there_has_the_status_that_the_proposal_says() -> None:
    async def scene(browser: Browser) -> None:
        assert await browser.status("/nowhere") == 404
        assert await browser.status(f"{DENOISE}?UNIT") == 204
        assert await browser.status("/demond?VALUE") == 204
        assert await browser.status(f"{DENOISE}?NONSENSE") == 400
        assert await browser.status(f"{DENOISE}?VALUE&TYPE") == 400
        assert await browser.status("/demond/" + "x/" * 3000) in (400, 404, 414)

    browse(scene)


def test_a_listener_is_sent_changes_until_it_ignores_them() -> None:
    async def scene(browser: Browser) -> None:
        async with browser.socket() as socket:
            await socket.send_json({"COMMAND": "LISTEN", "DATA": DENOISE})
            await socket.send_json({"COMMAND": "LISTEN", "DATA": "/demond/knob/seed"})
            await eventually(lambda: browser.on.server.publisher.count == 1, "it listens")
            await socket.send_bytes(encode("/demond/sync", 1))
            assert await binary(socket) == Message("/demond/synced", (1,))
            turn(browser, denoise=0.5, seed=2**32 - 1, shift=2)
            assert [await binary(socket), await binary(socket)] == [
                Message(DENOISE, (0.5,)),
                Message("/demond/knob/seed", (2**32 - 1,)),
            ]
            await socket.send_json({"COMMAND": "IGNORE", "DATA": DENOISE})
            await socket.send_bytes(encode("/demond/sync", 2))
            assert await binary(socket) == Message("/demond/synced", (2,))
            turn(browser, denoise=0.75, seed=5)
            assert await binary(socket) == Message("/demond/knob/seed", (5,))
        await eventually(lambda: browser.on.server.publisher.count == 0, "it is gone")

    browse(scene)


def test_osc_over_the_socket_is_obeyed_and_not_echoed() -> None:
    async def scene(browser: Browser) -> None:
        async with browser.socket() as socket, browser.socket() as other:
            for one in (socket, other):
                await one.send_json({"COMMAND": "LISTEN", "DATA": DENOISE})
                await one.send_bytes(encode("/demond/sync", 1))
                await binary(one)
            bundle = encode_bundle([encode(DENOISE, 0.25), encode("/nowhere"), encode("/demond/sync", 9)])
            await socket.send_bytes(bundle)
            answers = [await binary(socket), await binary(socket)]
            assert [answer.address for answer in answers] == ["/demond/error", "/demond/synced"]
            assert await binary(other) == Message(DENOISE, (0.25,))
            assert browser.on.control.calls[-1][1].detail.startswith("ws 127.0.0.1:")

    browse(scene)


def test_whatever_comes_over_the_socket_is_answered_and_survived() -> None:
    texts = [
        "",
        "{",
        "[]",
        "[" * 100_000,
        "[" * 200_000,
        '"x"',
        '{"COMMAND": "LISTEN"}',
        '{"COMMAND": "LISTEN", "DATA": 5}',
    ]
    texts += ['{"COMMAND": "LISTEN", "DATA": "/nowhere"}', '{"COMMAND": "NONE", "DATA": "/"}', '{"DATA": {}}']

    async def scene(browser: Browser) -> None:
        for text in texts:
            async with browser.socket() as socket:
                await socket.send_str(text)
                message = await socket.receive(PATIENCE)
                if message.type is WSMsgType.BINARY:
                    assert parse(message.data).messages[0].address == "/demond/error", text
                else:
                    assert len(text) > 2 * 65_507
        for packet in KILLERS.values():
            async with browser.socket() as socket:
                await socket.send_bytes(packet)
                await socket.send_bytes(encode("/demond/sync", 1))
                while (await binary(socket)).address != "/demond/synced":
                    pass
        assert await browser.status("/") == 200

    browse(scene)


def test_a_mapping_reload_and_a_lora_tell_that_paths_changed() -> None:
    async def scene(browser: Browser) -> None:
        async with browser.socket() as socket:
            await socket.send_bytes(encode("/demond/sync", 1))
            await binary(socket)
            browser.server.reloaded()
            assert await socket.receive_json() == {"COMMAND": "PATH_CHANGED", "DATA": "/demond"}
            await socket.send_bytes(encode("/demond/lora/choir/strength", 0.5))
            changed = await socket.receive_json()
            assert changed == {"COMMAND": "PATH_CHANGED", "DATA": "/demond/lora"}
            assert (await browser.get("/demond/lora/choir/strength"))["VALUE"] == [0.5]
            await socket.send_bytes(encode("/demond/lora/choir/strength", "off"))
            while (await socket.receive()).type is WSMsgType.BINARY:
                pass
            assert await browser.status("/demond/lora/choir/strength") == 404

    browse(scene)


def test_the_layers_of_a_mapping_are_in_the_tree_and_go_with_a_reload() -> None:
    async def scene(browser: Browser) -> None:
        layer = "/demond/layer/more"
        assert (await browser.get(layer))["VALUE"] == [0]
        browser.on.mapping.switch_layer("more", True)
        assert (await browser.get(layer))["VALUE"] == [1]
        browser.on.mapping._use(Mapping())
        async with browser.socket() as socket:
            await socket.send_bytes(encode("/demond/sync", 1))
            await binary(socket)
            browser.server.reloaded()
            said = [(await socket.receive_json())["DATA"] for _ in range(2)]
            assert said == ["/demond/layer", "/demond"]
        assert await browser.status(layer) == 404

    browse(scene)


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "evil.example:9601", 403),
        ("Host", "localhost:9601", 200),
        ("Host", "192.168.1.7:9601", 200),
        ("Host", "studio.local.:9601", 200),
        ("Origin", "https://evil.example", 403),
        ("Origin", "http://127.0.0.1:8080", 200),
        ("Origin", "null", 403),
    ],
)
def test_a_web_page_of_elsewhere_is_kept_out(header: str, value: str, status: int) -> None:
    async def scene(browser: Browser) -> None:
        assert await browser.status("/?HOST_INFO", **{header: value}) == status

    browse(scene)


def test_a_host_that_may_not_send_osc_may_not_ask_either() -> None:
    async def scene(browser: Browser) -> None:
        browser.on.server.access.role = lambda host: None  # type: ignore[method-assign, assignment]
        assert await browser.status("/") == 403

    browse(scene)


def test_connections_are_bounded() -> None:
    async def scene(browser: Browser) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", browser.server.port) for _ in range(CONNECTION_LIMIT)]
        reader, writer = await asyncio.open_connection("127.0.0.1", browser.server.port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        for _, one in (*idle, (reader, writer)):
            one.close()
        await eventually(lambda: not browser.server._runner.server.connections, "they are gone")  # type: ignore[union-attr]
        assert await browser.status("/?HOST_INFO") == 200

    browse(scene)


def test_sockets_are_bounded() -> None:
    async def scene(browser: Browser) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(SOCKET_LIMIT):
                await stack.enter_async_context(browser.socket())
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            assert await browser.status("/", **headers) == 503

    browse(scene)


def test_a_listener_that_does_not_read_is_disconnected() -> None:
    async def scene(browser: Browser) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", browser.server.port, limit=1_024)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        dump = encode_bundle([encode("/demond/dump", f"//*{'*' * i}") for i in range(60)])
        # A binary frame with a mask of zeros (RFC 6455, 5.2).
        frame = struct.pack(">BBHI", 0x82, 0x80 | 126, len(dump), 0) + dump
        writer.write(frame * 40)
        await eventually(lambda: browser.server._sockets, "the socket is open")
        await eventually(lambda: not browser.server._sockets, "the socket is gone")
        writer.close()
        assert await browser.status("/") == 200

    browse(scene)


def test_the_whole_tree_does_not_hold_the_event_loop() -> None:
    async def scene(browser: Browser) -> None:
        holds = []
        for _ in range(5):
            longest, before = 0.0, time.thread_time()
            pieces = browser.server._tree.text(browser.server._tree._root)
            task = asyncio.ensure_future(browser.server._text(pieces))
            while not task.done():
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, before = max(longest, now - before), now
            assert json.loads(task.result())
            holds.append(longest)
        print(f"the whole tree: {min(holds) * 1000:.1f} ms at a time")
        assert min(holds) < 0.005

    browse(scene)


def test_a_port_in_use_is_an_error_in_words() -> None:
    async def scene(browser: Browser) -> None:
        with pytest.raises(OscPortError) as caught:
            await QueryServer(browser.on.server, browser.server.port, "x").start()
        assert caught.value.strerror == "another program uses it"

    browse(scene)
