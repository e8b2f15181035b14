"""Zeroconf on the loopback, with a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from demond.config import Osc
from demond.osc.announce import OSC, OSC_QUERY, Announcer
from demond.osc.codec import encode
from tests.osc.surface import Stage, eventually, on_stage

ASK_MS = 10_000


@contextlib.asynccontextmanager
async def announced(announcer: Announcer) -> AsyncIterator[Announcer]:
    task = asyncio.create_task(announcer.run())
    try:
        yield announcer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_osc_and_oscquery_are_announced_under_one_name_and_taken_back() -> None:
    async def run() -> None:
        there = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            async with announced(Announcer("demond-test", "127.0.0.1", 9600, 9601)):
                for kind, port in ((OSC, 9600), (OSC_QUERY, 9601)):
                    info = AsyncServiceInfo(kind, f"demond-test.{kind}")
                    assert await info.async_request(there.zeroconf, ASK_MS), kind
                    assert (info.port, info.parsed_addresses()) == (port, ["127.0.0.1"])
            info = AsyncServiceInfo(OSC, f"demond-test.{OSC}")
            there.zeroconf.cache.async_expire(float("inf"))
            assert not await info.async_request(there.zeroconf, 500)
        finally:
            await there.async_close()

    asyncio.run(run())


def test_a_second_demond_of_the_same_name_takes_another_for_both_services() -> None:
    async def run() -> None:
        there = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            async with announced(Announcer("demond-twin", "127.0.0.1", 9600, 9601)):
                info = AsyncServiceInfo(OSC_QUERY, f"demond-twin.{OSC_QUERY}")
                assert await info.async_request(there.zeroconf, ASK_MS)
                info = AsyncServiceInfo(OSC, f"demond-twin.{OSC}")
                assert await info.async_request(there.zeroconf, ASK_MS)
                async with announced(Announcer("demond-twin", "127.0.0.1", 9700, 9701)) as second:
                    for kind, port in ((OSC, 9700), (OSC_QUERY, 9701)):
                        info = AsyncServiceInfo(kind, f"demond-twin (2).{kind}")
                        assert await info.async_request(there.zeroconf, ASK_MS), kind
                        assert info.port == port
                    assert second.name == "demond-twin (2)"
        finally:
            await there.async_close()

    asyncio.run(run())


def test_the_port_that_a_tablet_announces_is_heard_if_it_is_the_only_one_there() -> None:
    async def run() -> None:
        tablet = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            async with announced(Announcer("demond-ears", "127.0.0.1", 9600, 9601)) as announcer:

                def service(name: str, port: int) -> AsyncServiceInfo:
                    addresses = [socket.inet_aton("127.0.0.1")]
                    return AsyncServiceInfo(
                        OSC, f"{name}.{OSC}", port=port, addresses=addresses, server=f"{name}.local."
                    )

                await (await tablet.async_register_service(service("tablet", 9001)))
                await eventually(lambda: announcer.port_of("127.0.0.1") == 9001, "the tablet is heard")
                await (await tablet.async_register_service(service("phone", 9002)))
                await eventually(lambda: announcer.port_of("127.0.0.1") is None, "one of two cannot be chosen")
                await (await tablet.async_unregister_service(service("tablet", 9001)))
                await eventually(lambda: announcer.port_of("127.0.0.1") == 9002, "the tablet is gone")
        finally:
            await tablet.async_unregister_all_services()
            await tablet.async_close()

    asyncio.run(run())


def test_a_tablet_is_answered_where_it_announces_that_it_listens() -> None:
    async def scene(stage: Stage) -> None:
        sent: list[tuple[object, ...]] = []
        stage.server._udp.send = lambda data, address: sent.append(address)  # type: ignore[method-assign]
        stage.server.announced_port = {"192.168.1.7": 9001}.get
        stage.server.datagram(encode("/ping"), ("192.168.1.7", 63763))
        stage.server.datagram(encode("/ping"), ("192.168.1.8", 63763))
        stage.server.datagram(encode("/ping", 9003), ("192.168.1.7", 63764))
        await eventually(lambda: stage.server.turns.idle, "all is answered")
        assert set(sent) == {("192.168.1.7", 9001), ("192.168.1.8", 63763), ("192.168.1.7", 9003)}

    on_stage(scene, Osc(port=0, allow=["192.168.1.0/24"]))
