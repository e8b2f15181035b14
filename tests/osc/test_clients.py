"""Clients come and go: what a new one is told, how long one is waited for, and that none costs the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from demond.config import Osc, OscClient
from demond.control import Origin
from demond.knobs import KNOBS
from demond.osc import publisher
from demond.osc._clients import STRANGER_SECONDS, SUBSCRIBER_LIMIT, Client
from demond.osc.access import Role
from demond.osc.codec import Message, encode, encode_bundle
from demond.osc.publisher import PATTERNS_EACH
from demond.osc.server import GREETINGS_PER_SECOND
from demond.osc.udp import UdpLink
from tests.osc.surface import PATIENCE, Stage, eventually, on_stage, stage

DENOISE, NORM = "/demond/knob/denoise", "/demond/knob/shift/norm"


def turn(stage: Stage, **knobs: float) -> None:
    """Somebody else moves knobs, as MIDI does."""
    stage.control.set_knobs(knobs, Origin("midi", "nk2/fader1", time.monotonic_ns()))


def test_changes_go_to_the_port_that_a_subscription_or_a_ping_names() -> None:
    async def scene(stage: Stage) -> None:
        client, listener = stage.surface(), stage.surface()
        client.send(encode("/demond/subscribe", DENOISE, listener.port))
        assert await listener.dump() == {DENOISE: (pytest.approx(0.7),)}
        client.send(encode("/demond/ping", client.port))
        assert (await client.next()).address == "/demond/pong"
        turn(stage, denoise=0.5)
        assert await client.next() == Message(DENOISE, (0.5,))

    on_stage(scene)


def test_a_ping_a_setting_or_a_touch_of_a_new_client_paints_its_page() -> None:
    async def scene(stage: Stage) -> None:
        for first in (encode("/ping"), encode("/demond/knob/shift", 2), encode("/1/fader1", 0.5)):
            client = stage.surface()
            client.send(first)
            await client.until(lambda message: message.address == "/demond/update")
            values = await client.until(lambda message: message.address == "/demond/update")
            told = {message.address for message in values}
            assert told >= {f"/demond/knob/{knob.name}{face}" for knob in KNOBS for face in ("", "/norm")}
            assert told >= {"/demond/prompt/a/text", "/demond/source", "/demond/curve/protect"}
            turn(stage, seed=len(values) + client.port)
            assert (await client.next()).address.startswith("/demond/knob/seed")

    on_stage(scene)


def test_those_who_only_ask_and_those_who_have_chosen_are_not_painted() -> None:
    async def scene(stage: Stage) -> None:
        asking, chosen = stage.surface(), stage.surface()
        assert len(await asking.ask("/demond/status")) == 1
        assert len(await asking.ask(DENOISE)) == 1
        assert await chosen.ask("/demond/unsubscribe") == []
        assert await chosen.ask(DENOISE, 0.5) == []
        assert len(await chosen.ask("/ping")) == 1
        assert stage.server.publisher.count == 0

    on_stage(scene)


def test_a_port_that_was_silent_for_an_hour_may_be_another_programs() -> None:
    async def scene(stage: Stage) -> None:
        port, kept = await stage.quiet(), stage.surface()
        await kept.subscribe(DENOISE)
        for client in stage.server.clients:
            client.last_seen -= STRANGER_SECONDS + 1
        port.send(encode("/ping"))
        await port.until(lambda message: message == Message("/demond/update", (0,)))
        assert stage.server.publisher.count == 2

    on_stage(scene)


def test_a_subscription_of_ones_own_takes_the_place_of_the_one_a_ping_made() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        client.send(encode("/ping"))
        await client.until(lambda message: message == Message("/demond/update", (0,)))
        await client.subscribe("/demond/knob/shift")
        turn(stage, denoise=0.5, shift=2)
        assert await client.next() == Message("/demond/knob/shift", (2.0,))
        assert await client.ask("/demond/ping") != []

    on_stage(scene)


def test_a_flood_of_new_clients_is_painted_at_a_bounded_rate() -> None:
    async def scene(stage: Stage) -> None:
        clients = [stage.surface() for _ in range(GREETINGS_PER_SECOND + 10)]
        for client in clients:
            await client.ask(DENOISE, 0.5)
        assert stage.server.publisher.count == GREETINGS_PER_SECOND

    on_stage(scene)


def test_a_hand_on_a_control_holds_feedback_back_until_it_lets_go() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), stage.surface()
        await client.subscribe("/demond/knob/{denoise,shift}")
        await other.subscribe("/demond/knob/denoise//*")
        await client.ask("/demond/knob/denoise/touch", 1)
        assert await other.next() == Message("/demond/knob/denoise/touch", (1,))
        turn(stage, denoise=0.25, shift=2)
        assert await client.next() == Message("/demond/knob/shift", (2.0,))
        await client.ask(DENOISE + "/z", 0)
        assert await client.next() == Message(DENOISE, (0.25,))
        assert await other.next() == Message("/demond/knob/denoise/norm", (0.25,))
        assert await other.next() == Message("/demond/knob/denoise/touch", (0,))

    on_stage(scene)


def test_a_held_knob_is_let_go_when_its_client_is_gone() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), await stage.quiet()
        await client.subscribe(DENOISE, 0, 30.0, 1)
        await client.ask("/demond/knob/denoise/touch", 1)
        assert await other.ask("/demond/knob/denoise/touch") == [Message("/demond/knob/denoise/touch", (1,))]
        await eventually(lambda: stage.server.publisher.count == 0, "the silent client is dropped")
        assert await other.ask("/demond/knob/denoise/touch") == [Message("/demond/knob/denoise/touch", (0,))]

    on_stage(scene)


@pytest.mark.parametrize("named", [False, True])
def test_a_finger_whose_release_was_lost_is_lifted_when_its_client_is_silent(
    monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr(publisher, "FINGER_SECONDS", 0.8)

    async def scene(stage: Stage) -> None:
        client = stage.surface()
        if named:  # a client of the settings is never forgotten
            link = UdpLink(stage.server._udp, ("127.0.0.1", client.port))
            permanent = Client("tablet", "127.0.0.1", link, Role.SET, permanent=True, has_chosen=True)
            stage.server.clients.add_permanent(permanent, client.port)
        await client.ask("/demond/knob/denoise/touch", 1)
        await asyncio.sleep(0.4)
        heard = time.monotonic()
        await client.ask("/demond/ping")
        await eventually(lambda: not stage.mapping.held("denoise"), "the finger is taken for lifted")
        assert time.monotonic() - heard >= 0.8, "any message is a sign of life"

    on_stage(scene)


def test_liblo_reads_what_a_subscriber_is_sent() -> None:
    async def scene(stage: Stage) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        printing = await asyncio.create_subprocess_exec("oscdump", "-L", str(port), stdout=asyncio.subprocess.PIPE)
        assert printing.stdout is not None
        client = stage.surface()
        try:
            lines: list[str] = []
            while not any(DENOISE in line for line in lines):
                # It may not listen yet; a client that is not reached is left alone, until it sends again.
                client.send(encode("/demond/subscribe", "/demond/knob/{denoise,seed}", port))
                with contextlib.suppress(TimeoutError):
                    lines.append((await asyncio.wait_for(printing.stdout.readline(), 0.1)).decode())
            turn(stage, denoise=0.5)
            while not lines[-1].rstrip().endswith(f"{DENOISE} f 0.500000"):
                lines.append((await asyncio.wait_for(printing.stdout.readline(), PATIENCE)).decode())
            assert any(line.rstrip().endswith("/demond/knob/seed i 1") for line in lines)
        finally:
            printing.kill()
            await printing.wait()

    on_stage(scene)


def test_a_ping_keeps_a_subscription_alive_beyond_its_ttl() -> None:
    async def scene(stage: Stage) -> None:
        client, silent = stage.surface(), stage.surface()
        await client.subscribe(DENOISE, 0, 30.0, 1)
        await silent.subscribe(DENOISE, 0, 30.0, 1)
        began = time.monotonic()
        while stage.server.publisher.count > 1:
            assert time.monotonic() - began < 5
            assert len(await client.ask("/demond/ping")) == 1
            await asyncio.sleep(0.05)
        assert time.monotonic() - began >= 0.9
        turn(stage, denoise=0.5)
        assert await client.next() == Message(DENOISE, (0.5,))

    on_stage(scene)


def test_a_client_whose_port_is_dead_is_left_alone_for_longer_and_longer_and_costs_others_nothing() -> None:
    async def scene(stage: Stage) -> None:
        dead, alive = stage.surface(), stage.surface()
        await dead.subscribe(DENOISE, 0, 200.0)
        await alive.subscribe(DENOISE, 0, 200.0)
        (gone,) = [client for client in stage.server.clients if client.name == dead.name]
        dead.close()
        stage._surfaces.remove(dead)
        for i in range(50):
            turn(stage, denoise=i / 100)
            assert await alive.next() == Message(DENOISE, (pytest.approx(i / 100),))
        loop = asyncio.get_running_loop()
        assert gone.muted_until > loop.time()
        assert gone.mute_seconds == 1.0
        gone.muted_until = loop.time()
        turn(stage, denoise=1)
        await eventually(lambda: gone.mute_seconds == 2.0, "the second wait is twice as long")
        assert stage.server.unsent == 0

    on_stage(scene)


def test_sixteen_clients_have_their_own_choices_and_a_dead_one_does_not_matter() -> None:
    async def scene(stage: Stage) -> None:
        clients = [stage.surface() for _ in range(16)]
        for i, client in enumerate(clients):
            options = ",".join((("real", "norm")[i % 2], ("bundle", "nobundle")[i // 2 % 2]))
            await client.subscribe("/demond/knob/{shift,denoise}", 0, 10.0 + 10 * i, options)
        clients[3].close()
        stage._surfaces.remove(clients[3])
        began = time.monotonic()
        turn(stage, shift=6, denoise=0.5)
        for i, client in enumerate(clients):
            if i != 3:
                told = {message.address: message.arguments for message in [await client.next(), await client.next()]}
                assert told == {"/demond/knob/shift": ((6.0, 1.0)[i % 2],), DENOISE: (0.5,)}
        assert time.monotonic() - began < 1

    on_stage(scene)


def test_subscribers_are_bounded_and_those_who_asked_for_it_stay() -> None:
    async def scene(stage: Stage) -> None:
        clients = [stage.surface() for _ in range(SUBSCRIBER_LIMIT + 1)]
        for client in clients[:-1]:
            await client.subscribe(DENOISE)
        assert (await clients[-1].error("/demond/subscribe", DENOISE))[:2] == (429, "rate_limited")
        turn(stage, denoise=0.5)
        assert await clients[0].next() == Message(DENOISE, (0.5,))

    on_stage(scene)


def test_the_patterns_of_a_client_are_bounded_and_a_full_house_greets_nobody() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        for i in range(PATTERNS_EACH):
            await client.subscribe("/demond/knob/" + "*" * (i + 1))
        assert (await client.error("/demond/subscribe", DENOISE))[:2] == (429, "rate_limited")
        for _ in range(SUBSCRIBER_LIMIT - 1):
            await stage.surface().subscribe(DENOISE)
        late = stage.surface()
        assert await late.ask(DENOISE, 0.5) == []

    on_stage(scene)


def test_a_client_of_the_settings_is_told_from_the_start_whether_or_not_it_was_heard() -> None:
    shift = "/demond/knob/shift"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as desk:
            desk.bind(("127.0.0.1", 0))
            desk.setblocking(False)
            port = desk.getsockname()[1]
            named = OscClient(name="desk", host="127.0.0.1", port=port, units="norm", subscribe=[shift])
            async with stage(Osc(port=0, clients=[named])) as on:
                dump = [encode("/demond/update", 1), encode(shift, 0.4), encode("/demond/update", 0)]
                assert await loop.sock_recv(desk, 2048) == encode_bundle(dump)
                turn(on, shift=6)
                assert await loop.sock_recv(desk, 2048) == encode(shift, 1.0)
                await loop.sock_sendto(desk, encode(shift, 0.0), ("127.0.0.1", on.server.port))
                await eventually(lambda: on.control.values["shift"] == 1.0, "its units are norm when it sends, too")
                other = await on.quiet()
                assert await other.ask(shift) == [Message(shift, (1.0,))]

    asyncio.run(run())


def test_a_dump_of_two_hundred_parameters_comes_within_50_milliseconds() -> None:
    async def scene(stage: Stage) -> None:
        took = []
        for _ in range(5):
            client = stage.surface()
            began = time.perf_counter()
            values = await client.subscribe("/demond//*")
            took.append(time.perf_counter() - began)
            assert len(values) >= 200
        print(f"a dump of {len(values)} parameters: {min(took) * 1000:.1f} ms")
        assert min(took) < 0.05

    on_stage(scene)


def test_a_change_costs_little_with_sixteen_subscribers_to_everything() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(16):
            await stage.surface().subscribe("/demond//*")
        began = time.thread_time()
        for i in range(1000):
            turn(stage, denoise=i / 1000)
        each = (time.thread_time() - began) / 1000
        print(f"a change with 16 subscribers: {each * 1e6:.0f} us")
        assert each < 200e-6

    on_stage(scene)
