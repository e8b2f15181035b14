"""Who may send, and what."""

from __future__ import annotations

import asyncio

import pytest

from demond.config import Allowed, Osc, OscClient
from demond.mapping import MappingSource
from demond.osc.access import Access, Role
from demond.osc.codec import encode
from demond.osc.server import OscPortError, OscServer
from tests.memory_control import MemoryControl
from tests.osc.surface import Stage, eventually, on_stage


def test_beyond_the_loopback_it_listens_only_to_named_networks() -> None:
    async def run() -> None:
        control = MemoryControl()
        mapping = MappingSource(None, control)
        with pytest.raises(OscPortError, match="needs `allow`"):
            await OscServer(control, mapping, Osc(bind="0.0.0.0", port=0)).start()  # noqa: S104 - it is refused
        server = OscServer(control, mapping, Osc(bind="0.0.0.0", port=0, allow=["192.168.1.0/24"]))  # noqa: S104
        await server.start()
        try:
            for host in ("10.0.0.1", "192.168.2.1", "::ffff:10.0.0.1", "nonsense"):
                server.datagram(encode("/demond/knob/denoise", 0.1), (host, 9))
            assert (control.calls, server.denied) == ([], 4)
            for host in ("192.168.1.7", "127.0.0.1", "::ffff:192.168.1.9"):
                server.datagram(encode("/demond/knob/denoise", 0.1), (host, 9))
            await eventually(lambda: len(control.calls) == 3, "the three are obeyed")
        finally:
            server.close()

    asyncio.run(run())


def test_the_narrowest_network_decides_and_the_loopback_may_do_everything() -> None:
    access = Access({"192.168.1.0/24": Role.READ, "192.168.1.20": Role.SET, "192.168.0.0/16": Role.COMMAND})
    assert access.role("192.168.1.20") is Role.SET
    assert access.role("192.168.1.21") is Role.READ
    assert access.role("192.168.7.1") is Role.COMMAND
    assert access.role("::ffff:192.168.1.20") is Role.SET
    assert access.role("127.0.0.1") is access.role("::1") is Role.COMMAND
    assert access.role("10.0.0.1") is access.role("fe80::1%eth0") is access.role("") is None


@pytest.mark.parametrize(
    ("may", "obeyed", "denied"),
    [
        ("read", ["/demond/knob/denoise", "/demond/status"], ["/demond/knob/shift 2", "/demond/map/reload"]),
        (
            "set",
            ["/demond/knob/shift 2", "/demond/prompt/a/text x"],
            ["/demond/map/reload", "/demond/log/level debug"],
        ),
        ("command", ["/demond/knob/shift 2", "/demond/log/level info"], []),
    ],
)
def test_each_role_may_do_what_its_name_says(may: str, obeyed: list[str], denied: list[str]) -> None:
    async def scene(stage: Stage) -> None:
        client = await stage.quiet()
        (here,) = stage.server.clients
        here.role = Role(may)
        for line in obeyed:
            answers = await client.ask(*_words(line))
            assert all(answer.address != "/demond/error" for answer in answers), line
        stage.control.calls.clear()
        for line in denied:
            error = await client.error(*_words(line))
            assert error[:3] == (403, "denied", _words(line)[0])
            assert f"may {may}, and this takes" in str(error[3])
        assert stage.control.calls == []

    on_stage(scene)


def test_a_reader_is_not_sent_the_log() -> None:
    async def scene(stage: Stage) -> None:
        client = await stage.quiet()
        (here,) = stage.server.clients
        here.role = Role.READ
        assert await client.subscribe("/demond/log/line") == {}
        assert (await client.error("/demond/log/tail"))[0] == 403
        assert (await client.error("/demond/log/line"))[0] == 403

    on_stage(scene)


def test_roles_and_clients_come_from_the_settings() -> None:
    osc = Osc(
        allow=["10.0.0.0/8", Allowed(network="192.168.1.20", may="read")],
        clients=[OscClient(name="tablet", host="192.168.1.30", port=9001, may="set")],
    )
    assert [(each.network, each.may) for each in osc.networks] == [
        ("10.0.0.0/8", "command"),
        ("192.168.1.20/32", "read"),
        ("192.168.1.30/32", "set"),
    ]


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split(" "))
