"""OSC datagrams, from noise to nearly right, into the real server."""

from __future__ import annotations

import asyncio
import random
import struct
import tempfile
import time
from pathlib import Path

from demond.config import Osc
from demond.mapping import MappingSource
from demond.osc.codec import IMPULSE, Argument, encode, encode_bundle, parse, time_tag
from demond.osc.namespace import TARGETS
from demond.osc.server import OscServer
from tests.fuzz import Tally
from tests.memory_control import MemoryControl
from tests.osc.killers import KILLERS

SURFACES = ["/1/fader1", "/1/fader1/z", "/2/push9", "/2/push13"]
NAMED = ["/demond/layer/more", "/demond/layer/x", "/demond/map/nk2/fader1/denoise/enable", "/demond/map/x/enable"]
ADDRESSES = [*TARGETS, *SURFACES, *NAMED, "/demond/knob/denoize", "/nowhere", "/demond/*", "/demond/lora/x/strength"]
WILD = (*"*?/[]{}!-,a", "**", "//", "{a,b}", "{,}", "[a-z]", "[!a]", "[-", "knob")
TAGS = "ifdhTFNIsScbrmt[]q"


def datagram(dice: random.Random) -> bytes:
    """One input: noise, a killer, a valid packet, or one of these with some bytes changed."""
    kind = dice.random()
    if kind < 0.1:
        return dice.randbytes(dice.choice((0, 1, 4, 8, 16, 20, 64, dice.randrange(300))))
    if kind < 0.2:
        return _mutated(dice, dice.choice(list(KILLERS.values()))[:4096])
    if kind < 0.5:
        return _message(dice)
    if kind < 0.6:
        return _raw_message(dice)
    if kind < 0.75:
        return _bundle(dice, 1)
    return _mutated(dice, _bundle(dice, 1) if dice.random() < 0.4 else _message(dice))


def _argument(dice: random.Random) -> Argument:
    if dice.random() < 0.5:
        return dice.choice((dice.random(), dice.randrange(10), dice.random() < 0.5))
    return dice.choice(
        (
            dice.random(),
            dice.uniform(-1e38, 1e38),
            float("nan"),
            float("inf"),
            dice.randrange(-(2**31), 2**31),
            dice.randrange(-(2**63), 2**63),
            dice.random() < 0.5,
            None,
            IMPULSE,
            dice.choice((pattern(dice), "norm,text", "echo=never", "nobundle,wide", "warning")),
            dice.choice(("denoise", "scene/x", "layer/more", "guess", "osc:/1/fader1", "nk2/fader1")),
            dice.choice(("0.5", "nan", "-1e400", "1_0", "", "é" * dice.randrange(40), "{}%s\n\x1b", "9" * 400)),
        )
    )


def pattern(dice: random.Random) -> str:
    """An address pattern, or nearly one."""
    parts = list(dice.choice(ADDRESSES))
    for _ in range(dice.randrange(1, 6)):
        parts[dice.randrange(len(parts))] = dice.choice(WILD)
    return ("/" + "".join(parts).lstrip("/")) * dice.choice((1, 1, 1, dice.randrange(1, 6)))


def _message(dice: random.Random) -> bytes:
    count = dice.choice((0, 1, 1, 1, 1, 2, dice.randrange(20)))
    address = pattern(dice) if dice.random() < 0.2 else dice.choice(ADDRESSES)
    return encode(address, *(_argument(dice) for _ in range(count)))


def _raw_message(dice: random.Random) -> bytes:
    tags = "," + "".join(dice.choice(TAGS) for _ in range(dice.randrange(8)))
    head = encode(dice.choice(ADDRESSES))[:-4] + tags.encode() + b"\0" * (4 - len(tags) % 4)
    return head + dice.randbytes(4 * dice.randrange(12))


def _bundle(dice: random.Random, depth: int) -> bytes:
    count = dice.randrange(5)
    elements = [
        _bundle(dice, depth + 1) if depth < 6 and dice.random() < 0.2 else _message(dice) for _ in range(count)
    ]
    now = time.time()
    tag = dice.choice((0, 1, 1, 1, time_tag(now - 5), time_tag(now + 0.01), time_tag(now + 3600), 2**64 - 1))
    return encode_bundle(elements, tag)


def _mutated(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0 if at < len(changed):
                changed[at] = dice.randrange(256)
            case 1:
                changed[at:at] = dice.randbytes(dice.choice((1, 4, 8)))
            case 2:
                del changed[at : at + dice.choice((1, 4, 8))]
            case 3:
                at &= ~3
                changed[at : at + 4] = struct.pack(">i", dice.choice((-4, -1, 0, 1, 4, 2**31 - 1, -(2**31))))
            case 4:
                changed += changed[at & ~3 :]
    return bytes(changed[:65_507])


async def run(count: int, seed: int) -> Tally:
    """`count` datagrams, each judged by what the server sent and changed."""
    dice, tally, control = random.Random(seed), Tally("osc"), MemoryControl()  # noqa: S311 - it must be repeatable
    folder = tempfile.TemporaryDirectory(dir="/dev/shm")
    mapping = MappingSource(None, control, learned=Path(folder.name) / "learned.yaml")
    mapping.load()
    server = OscServer(control, mapping, Osc(port=0))
    await server.start()
    sent: list[bytes] = []
    server._udp.send = lambda data, address: sent.append(data)  # type: ignore[method-assign]
    began = time.perf_counter()
    for i in range(count):
        data = datagram(dice)
        sent.clear()
        control.calls.clear()
        if dice.random() < 0.2:
            mapping.midi(
                "nanoKONTROL2", [bytes((0xB0, dice.randrange(72), dice.randrange(128)))], time.monotonic_ns()
            )
            control.calls.clear()
        waiting = server.status()["scheduled"]
        with tally.input():
            server.datagram(data, ("127.0.0.1", 1024 + i % 60_000))
            while not server.turns.idle:
                await asyncio.sleep(0)
        answers = [message.address for packet in sent for message in parse(packet).messages]
        if "/demond/error" in answers:
            tally.outcomes["refused"] += 1
        elif answers:
            tally.outcomes["answered"] += 1
        elif control.calls or server.status()["scheduled"] != waiting:
            tally.outcomes["obeyed"] += 1
        else:
            tally.outcomes["nothing to do"] += 1
        if i % 100 == 0:
            await asyncio.sleep(0)  # what was scheduled gets its turn
    tally.seconds = time.perf_counter() - began
    await asyncio.sleep(0.1)
    await mapping.lessons.close()
    tally.exceptions += bugs(server)
    server.close()
    folder.cleanup()
    return tally


def bugs(server: OscServer) -> list[str]:
    """What the server caught of its own mistakes."""
    return [f"{name} in {file}:{line}" for name, file, line in server._bugs]
