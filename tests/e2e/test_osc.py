"""OSC and OSCQuery of a real daemon: what a surface sees from the moment that it appears."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from demond.jack_server import DummyServer
from demond.knobs import KNOBS
from demond.osc.codec import Argument, Message, encode, parse
from tests.e2e.instrument import Instrument

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Tablet:
    """A surface: one UDP socket that sends and listens."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(10)
        self._unread: list[Message] = []

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, address: str, *arguments: Argument) -> None:
        self._socket.send(encode(address, *arguments))

    def next(self) -> Message:
        while not self._unread:
            self._unread = list(parse(self._socket.recv(65_536)).messages)
        return self._unread.pop(0)

    def until(self, address: str, *arguments: Argument) -> list[Message]:
        found: list[Message] = []
        while (message := self.next()) != Message(address, arguments):
            found.append(message)
        return found


@contextmanager
def playing(jackd: DummyServer, folder: Path, *options: str) -> Iterator[Instrument]:
    settings = folder / "demond.yaml"
    settings.write_text("osc: {query: {port: 0}}\nmidi: {backend: none}\nstate: forget\n")
    with Instrument(jackd.name, folder / "log", "--config", str(settings), *options) as instrument:
        instrument.until_playing()
        yield instrument


def test_a_page_is_right_within_a_second_of_its_first_ping_and_stays_right(
    jackd: DummyServer, tmp_path: Path
) -> None:
    with playing(jackd, tmp_path) as instrument:
        instrument.client.ask("/demond/knob/denoise", 0.25)
        tablet = Tablet(instrument.port)
        began = time.monotonic()
        tablet.send("/ping")
        tablet.until("/demond/update", 1)
        page = {message.address: message.arguments for message in tablet.until("/demond/update", 0)}
        assert time.monotonic() - began < 1
        assert page["/demond/knob/denoise"] == (0.25,)
        assert {f"/demond/knob/{knob.name}/norm" for knob in KNOBS} <= page.keys()
        assert page["/demond/steps"] == (8,)

        instrument.client.ask("/demond/knob/denoise", 0.75)
        assert {tablet.next(), tablet.next()} == {
            Message("/demond/knob/denoise", (0.75,)),
            Message("/demond/knob/denoise/norm", (0.75,)),
        }
        instrument.client.change(("/demond/prompt/a/text", ["slow drums"]))
        told = tablet.until("/demond/prompt/a/text", "slow drums")
        assert all(message.address.startswith("/demond/prompt/a/") for message in told)

        tablet.send("/demond/subscribe", "/demond/knob/shift", 0, 100.0, "norm,text")
        assert tablet.until("/demond/update", 1) is not None
        tablet.until("/demond/update", 0)
        instrument.client.ask("/demond/knob/shift", 6)
        assert {tablet.next(), tablet.next()} == {
            Message("/demond/knob/shift", (1.0,)),
            Message("/demond/knob/shift/text", ("6",)),
        }
        assert instrument.status()["osc"]["subscribers"] == 1


def test_oscquery_is_found_describes_the_knobs_and_streams_them(jackd: DummyServer, tmp_path: Path) -> None:
    async def browse(instrument: Instrument, name: str) -> None:
        there = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            ports = {}
            for kind in ("_oscjson._tcp.local.", "_osc._udp.local."):
                info = AsyncServiceInfo(kind, f"{name}.{kind}")
                assert await info.async_request(there.zeroconf, 20_000), kind
                ports[kind] = info.port
        finally:
            await there.async_close()
        assert ports["_osc._udp.local."] == instrument.port
        url = f"http://127.0.0.1:{ports['_oscjson._tcp.local.']}"
        async with ClientSession() as session:
            async with session.get(f"{url}/?HOST_INFO") as answer:
                assert (await answer.json())["OSC_PORT"] == instrument.port
            async with session.get(f"{url}/demond/knob/volume_db") as answer:
                assert (await answer.json())["RANGE"] == [{"MIN": -60.0, "MAX": 6.0}]
            async with session.ws_connect(url) as listener:
                await listener.send_json({"COMMAND": "LISTEN", "DATA": "/demond/knob/denoise"})
                await listener.send_bytes(encode("/demond/sync", 1))
                assert parse(await listener.receive_bytes()).messages == (Message("/demond/synced", (1,)),)
                instrument.client.ask("/demond/knob/denoise", 0.125)
                told = parse(await asyncio.wait_for(listener.receive_bytes(), 10)).messages
                assert told == (Message("/demond/knob/denoise", (0.125,)),)
                instrument.client.ask("/demond/map/reload")
                changed = await asyncio.wait_for(listener.receive_json(), 10)
                assert changed == {"COMMAND": "PATH_CHANGED", "DATA": "/demond"}

    with playing(jackd, tmp_path) as instrument:
        asyncio.run(browse(instrument, instrument.name))
    assert "Traceback" not in instrument.log
