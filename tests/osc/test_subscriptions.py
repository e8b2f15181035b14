"""Subscriptions: each client is told what it wants, as often and in the form that it wants."""

from __future__ import annotations

import asyncio
import logging
import struct
import time

import pytest

from demond.control import Origin
from demond.knobs import KNOBS
from demond.mapping import PortIdentity
from demond.osc.codec import Message, encode, encode_bundle
from demond.osc.namespace import TARGETS
from demond.osc.publisher import BUNDLE_LIMIT, packets
from tests.osc.surface import Stage, on_stage

DENOISE, NORM = "/demond/knob/denoise", "/demond/knob/shift/norm"


def turn(stage: Stage, **knobs: float) -> None:
    """Somebody else moves knobs, as MIDI does."""
    stage.control.set_knobs(knobs, Origin("midi", "nk2/fader1", time.monotonic_ns()))


def test_a_subscriber_is_told_the_values_and_then_every_change_whoever_made_it() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), await stage.quiet()
        values = await client.subscribe("/demond/knob/{denoise,shift}")
        assert values == {DENOISE: (pytest.approx(0.7),), "/demond/knob/shift": (3.0,)}
        turn(stage, denoise=0.25, feedback=0.5)
        assert await client.next() == Message(DENOISE, (0.25,))
        await other.ask("/demond/knob/shift", 2)
        assert await client.next() == Message("/demond/knob/shift", (2.0,))
        assert await other.ask("/demond/ping") != []

    on_stage(scene)


def test_the_latest_value_wins_and_the_rate_is_kept() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        await client.subscribe(DENOISE, 0, 20.0)
        came: list[tuple[float, float]] = []
        began = time.monotonic()
        for i in range(400):
            turn(stage, denoise=i / 400)
            await asyncio.sleep(0.001)
            while not client._unread.empty():
                (value,) = (await client.next()).arguments
                assert isinstance(value, float)
                came.append((time.monotonic(), value))
        seconds = time.monotonic() - began
        assert 0.6 * 20 * seconds <= len(came) <= 20 * seconds + 2
        turn(stage, denoise=0.125)
        assert (await client.until(lambda message: message.arguments == (0.125,))) is not None

    on_stage(scene)


def test_nothing_goes_back_to_who_set_it_but_a_corrected_value() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), stage.surface()
        await client.subscribe("/demond/knob/denoise")
        await other.subscribe("/demond/knob/denoise")
        assert await client.ask(DENOISE, 0.5) == []
        assert await other.next() == Message(DENOISE, (0.5,))
        assert await client.ask(DENOISE, 5) == [Message(DENOISE, (1.0,))]
        assert await other.next() == Message(DENOISE, (1.0,))
        await other.ask(DENOISE, 0.25)
        assert await client.next() == Message(DENOISE, (0.25,))

    on_stage(scene)


def test_what_is_still_to_be_sent_is_not_sent_to_who_has_set_it_since() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        await client.subscribe("/demond/knob/{denoise,shift}", 0, 2.0)
        turn(stage, shift=1)
        assert await client.next() == Message("/demond/knob/shift", (1.0,))
        turn(stage, denoise=0.1, shift=2)
        await client.ask(DENOISE, 0.5)
        assert await client.next() == Message("/demond/knob/shift", (2.0,))
        assert await client.ask("/demond/knob/shift") == [Message("/demond/knob/shift", (2.0,))]

    on_stage(scene)


def test_a_client_is_told_the_other_faces_of_what_it_set() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        await client.subscribe("/demond/knob/shift", "text")
        await client.subscribe(NORM)
        client.send(encode(NORM, 0.5))
        told = {(await client.next()).address for _ in range(2)}
        assert told == {"/demond/knob/shift", "/demond/knob/shift/text"}

    on_stage(scene)


@pytest.mark.parametrize(
    ("echo", "fitting", "too_much"), [("always", [0.5], [1.0]), ("corrected", [], [1.0]), ("never", [], [])]
)
def test_each_echo_policy(echo: str, fitting: list[float], too_much: list[float]) -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        await client.subscribe(DENOISE, f"echo={echo}")
        assert [message.arguments for message in await client.ask(DENOISE, 0.5)] == [(v,) for v in fitting]
        assert [message.arguments for message in await client.ask(DENOISE, 5)] == [(v,) for v in too_much]

    on_stage(scene)


def test_norm_makes_the_plain_address_a_travel_both_ways_for_that_client_alone() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), stage.surface()
        assert await client.subscribe("/demond/knob/shift", "norm") == {"/demond/knob/shift": (pytest.approx(0.4),)}
        await other.subscribe("/demond/knob/shift")
        await client.ask("/demond/knob/shift", 0.5)
        assert stage.control.values["shift"] == 3.5
        assert await other.next() == Message("/demond/knob/shift", (3.5,))
        await other.ask("/demond/knob/shift", 6)
        assert await client.next() == Message("/demond/knob/shift", (1.0,))
        assert await client.ask("/demond/knob/shift") == [Message("/demond/knob/shift", (1.0,))]

    on_stage(scene)


def test_texts_are_sent_to_those_who_ask_for_them() -> None:
    async def scene(stage: Stage) -> None:
        plain, texts, spelled = stage.surface(), stage.surface(), stage.surface()
        assert not any(address.endswith("/text") for address in await plain.subscribe("/demond/knob/*"))
        values = await texts.subscribe("/demond/knob/volume_db", "text")
        assert values == {"/demond/knob/volume_db": (0.0,), "/demond/knob/volume_db/text": ("0 dB",)}
        assert len(await spelled.subscribe("/demond/knob/*/text")) == len(KNOBS)
        turn(stage, volume_db=-12)
        assert await spelled.next() == Message("/demond/knob/volume_db/text", ("-12 dB",))

    on_stage(scene)


def test_many_values_travel_in_bundles_that_fit_a_frame_or_each_alone() -> None:
    async def scene(stage: Stage) -> None:
        bundled, alone = stage.surface(), stage.surface()
        values = await bundled.subscribe("/demond//*")
        assert len(values) > 200
        assert all(packet.startswith(b"#bundle") for packet in bundled.packets)
        assert max(map(len, bundled.packets)) <= BUNDLE_LIMIT
        assert await alone.subscribe("/demond//*", "nobundle") == values
        assert not any(packet.startswith(b"#bundle") for packet in alone.packets)
        assert len(alone.packets) == len(values) + 2

    on_stage(scene)


def test_a_message_that_is_alone_or_long_travels_without_a_bundle() -> None:
    short, long = b"/abc\0\0\0\0,\0\0\0", b"/" + b"x" * 2_000 + b"\0\0\0,\0\0\0"
    assert list(packets([short], True)) == [short]
    assert list(packets([short, long, short, short], True)) == [short, long, encode_bundle([short, short])]
    assert list(packets([], True)) == []


def test_64_bit_numbers_are_sent_to_those_who_can_read_them() -> None:
    async def scene(stage: Stage) -> None:
        narrow, wide = stage.surface(), stage.surface()
        turn(stage, seed=2**32 - 1)
        assert await narrow.subscribe("/demond/knob/seed") == {"/demond/knob/seed": ("4294967295",)}
        assert await wide.subscribe("/demond/knob/seed", "wide") == {"/demond/knob/seed": (2**32 - 1,)}
        await wide.subscribe("/demond/knob/denoise")
        turn(stage, denoise=0.1)
        assert await wide.next() == Message(DENOISE, (0.1,))
        assert wide.packets[-1] == b"/demond/knob/denoise\0\0\0\0,d\0\0" + struct.pack(">d", 0.1)

    on_stage(scene)


def test_unsubscribing_ends_one_or_all() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        await client.subscribe("/demond/knob/d*")
        await client.subscribe("/demond/knob/{denoise,shift}")
        assert await client.ask("/demond/unsubscribe", "/demond/knob/d*") == []
        turn(stage, denoise=0.5, dcw_low=0.1)
        assert await client.next() == Message(DENOISE, (0.5,))
        assert await client.ask("/demond/unsubscribe") == []
        turn(stage, denoise=0.6)
        assert stage.server.publisher.count == 0
        assert await client.ask("/demond/ping") != []

    on_stage(scene)


def test_a_dump_is_bracketed_and_changes_no_subscription() -> None:
    async def scene(stage: Stage) -> None:
        client = await stage.quiet()
        client.send(encode("/demond/dump", "/demond/knob/{shift,seed}*"))
        assert await client.dump() == {"/demond/knob/shift": (3.0,), "/demond/knob/seed": (1,)}
        client.send(encode("/demond/dump"))
        everything = await client.dump()
        with_values = {t.address for t in TARGETS.values() if t.has_value and not t.entry.on_request}
        assert set(everything) == with_values | {f"/demond/layer/{name}" for name in stage.mapping.layers}
        assert stage.server.publisher.count == 0

    on_stage(scene)


def test_a_lora_that_is_loaded_later_is_told_to_those_whose_pattern_it_fits() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), await stage.quiet()
        await client.subscribe("/demond//*")
        other.send(encode("/demond/lora/choir/strength", 0.5))
        assert await client.next() == Message("/demond/lora/choir/strength", (0.5,))
        assert (await other.ask("/demond/lora/*/strength"))[-1].arguments == (0.5,)

    on_stage(scene)


def test_the_log_goes_to_those_who_spell_it_out_line_by_line() -> None:
    async def scene(stage: Stage) -> None:
        client, other = stage.surface(), await stage.quiet()
        await client.subscribe("/demond/log/line")
        for i in range(3):
            logging.getLogger("demond.anything").warning("line %d", i)
        for i in range(3):
            assert await client.next() == Message("/demond/log/line", (f"WARNING line {i}",))
        tail = await other.ask("/demond/log/tail", 2)
        assert [message.arguments for message in tail] == [("WARNING line 1",), ("WARNING line 2",)]

    on_stage(scene)


def test_the_log_level_can_be_changed_while_demond_runs() -> None:
    async def scene(stage: Stage) -> None:
        client = await stage.quiet()
        logger = logging.getLogger("demond")
        before = logger.level
        try:
            assert await client.ask("/demond/log/level", "error") == []
            assert await client.ask("/demond/log/level") == [Message("/demond/log/level", ("error",))]
            assert not logger.isEnabledFor(logging.WARNING)
        finally:
            logger.setLevel(before)

    on_stage(scene)


def test_which_way_to_turn_to_pick_a_knob_up_is_told() -> None:
    async def scene(stage: Stage) -> None:
        client = stage.surface()
        assert await client.subscribe("/demond/knob/denoise/pickup") == {"/demond/knob/denoise/pickup": (0,)}
        stage.mapping.ports([PortIdentity("nanoKONTROL2")])
        stage.mapping.midi("nanoKONTROL2", [bytes((0xB0, 0, 10))], 1)
        assert await client.next() == Message("/demond/knob/denoise/pickup", (1,))
        for value in (80, 120, 90):
            stage.mapping.midi("nanoKONTROL2", [bytes((0xB0, 0, value))], 10**9)
        assert (await client.next()).arguments == (0,)

    on_stage(scene)
