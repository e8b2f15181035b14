"""Mapping files and device profiles, from noise to nearly right, into the real loader; what loads is played on."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from demond.mapping import SHIPPED, Mapper, PortIdentity, check_file
from demond.mapping.assembly import Assembler, Position, layout
from demond.mapping.loader import load_mapping
from demond.mapping.search import Search
from demond.midi.decode import decode
from demond.strict_yaml import YamlError
from tests.fuzz import Tally
from tests.mapping.stage import profile_of
from tests.memory_control import MemoryControl

KEYS = [
    "include",
    "devices",
    "maps",
    "from",
    "to",
    "range",
    "curve",
    "takeover",
    "mode",
    "value",
    "step",
    "id",
    "also",
    "profile",
    "match",
    "name",
    "controls",
    "cc",
    "note",
    "bend",
    "channel",
    "kind",
    "encoding",
    "bits",
    "lsb",
    "layers",
    "when",
    "layer",
    "knob",
    "above",
    "at",
    "tolerance",
    "smooth",
    "after",
    "wrap",
    "tags",
    "enabled",
    "scenes",
    "set",
    "morph",
    "time",
    "quantize",
    "lfos",
    "every",
    "match",
    "usb",
    "path",
    "order",
    "nrpn",
    "rpn",
    "program",
    "bank",
    "pressure",
    "sysex",
    "mmc",
    "touch",
    "follows",
    "led",
    "ring",
    "arrows",
    "on_connect",
    "travel",
    "out_of_range",
    "missing",
]
VALUES = [
    "nk2/fader1",
    "nk2/solo1",
    "osc:/1/fader1",
    "osc:/demond/x",
    "denoise",
    "/demond/knob/seed",
    "mute",
    "denoise/reset",
    "korg/nanokontrol2",
    "default.yaml",
    "x.yaml",
    "../../etc/passwd",
    "0..7",
    "7..0",
    "1",
    "-1",
    "0.5",
    ".nan",
    "1e999",
    "true",
    "on",
    "off",
    "null",
    "~",
    "pickup",
    "toggle",
    "momentary",
    "exp",
    "20ms",
    "3/128",
    "layer/shift",
    "{layer: shift}",
    "{shift: {}}",
    "velocity",
    "parallel",
    "scale",
    "radio",
    "increment",
    "[0.25, 0.75]",
    "ignore",
    "keep",
    "bar",
    "hold_long",
    "double",
    "F0 7F ?? 06 * F7",
    "stop",
    "0944:0117",
    "1-1.2",
    "data_step",
    "{}",
]
MARKS = (
    "demond: 1", "[", "]", "{", "}", ",", ":", "- ", "\n", "  ", "\t", "#", "&a", "*a", "!!int", "|", ">", "'", '"',
    "%YAML 1.1", "---", "...", "? ", "é", "\ufeff", "\u2028", "\x00",
)  # fmt: skip
PORTS = ("midi_in", "nanoKONTROL2:out", "X-TOUCH MINI 1", "X-Touch MIDI 1", "Midi Fighter Twister", "BCR2000")
WORDS = (*KEYS, *VALUES, *MARKS)


def text(dice: random.Random, originals: list[bytes]) -> bytes:
    """One input."""
    kind = dice.random()
    if kind < 0.15:
        return dice.randbytes(dice.randrange(200))
    if kind < 0.4:
        return " ".join(dice.choice(WORDS) for _ in range(dice.randrange(60))).encode()
    if kind < 0.6:
        return _structured(dice)
    return _mutated(dice, dice.choice(originals))


def _structured(dice: random.Random) -> bytes:
    lines = ["demond: 1", "devices:", "  nk2: {profile: korg/nanokontrol2, match: {name: '*'}}"]
    lines += ["layers: {shift: {}}", "maps:"]
    for _ in range(dice.randrange(8)):
        keys = {key: _value(dice, 0) for key in dice.choices(KEYS, k=dice.randrange(3))}
        keys["from"] = dice.choice(("nk2/fader1", "nk2/fader2", "nk2/solo1", '"osc:/1/f"', _value(dice, 0)))
        keys["to"] = dice.choice(("denoise", "mute", "denoise/reset", "[denoise, shift]", _value(dice, 0)))
        lines.append("  - {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}")
    return "\n".join(lines).encode()


def _value(dice: random.Random, depth: int) -> str:
    match dice.randrange(6 if depth < 30 else 4):
        case 4:
            return "[" + ", ".join(_value(dice, depth + 1) for _ in range(dice.randrange(3))) + "]"
        case 5:
            return "{" + ", ".join(f"k{i}: {_value(dice, depth + 1)}" for i in range(dice.randrange(3))) + "}"
    return dice.choice(VALUES)


def _mutated(dice: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    # Most of a file is the same kind of line over and over: a part of it is as good as all, and quicker.
    first = dice.randrange(max(1, len(lines) - 8))
    lines = lines[: dice.randrange(2, 6)] + lines[first : first + dice.randrange(1, 12)]
    changed = bytearray(b"".join(lines))
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(4):
            case 0 if at < len(changed):
                changed[at] = dice.randrange(256)
            case 1:
                changed[at:at] = dice.choice(WORDS).encode()
            case 2:
                del changed[at : at + dice.randrange(1, 12)]
            case 3:
                changed[at:at] = changed[at : at + dice.randrange(80)]
    return bytes(changed)


def run(count: int, seed: int) -> Tally:
    """`count` files, checked as a user would check them; MIDI noise is played on each mapping that is right."""
    dice, tally = random.Random(seed), Tally("files")  # noqa: S311 - it must be repeatable
    originals = [path.read_bytes() for path in sorted(SHIPPED.rglob("*.yaml"))]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "fuzz.yaml"
        began = time.perf_counter()
        for _ in range(count):
            path.write_bytes(text(dice, originals))
            with tally.input():
                tally.outcomes[_judge(path, dice)] += 1
        tally.seconds = time.perf_counter() - began
    return tally


def _judge(path: Path, dice: random.Random) -> str:
    try:
        kind, _ = check_file(path)
    except YamlError as error:
        if not all(problem.message and problem.line >= 1 for problem in error.problems):
            raise ValueError(f"a problem without words or place: {error}") from error
        return "refused"
    if kind.startswith("mapping"):
        control = MemoryControl()
        mapper = Mapper(load_mapping([path]), control)
        control.on_change = mapper.changed
        mapper.ports([PortIdentity("midi_in")])
        for i in range(20):
            mapper.midi("midi_in", dice.randbytes(dice.randrange(5)), i * 50_000_000)
            mapper.midi("midi_in", bytes((0xB0, dice.randrange(72), dice.choice((0, 127)))), i * 50_000_000)
            mapper.advance(i * 50_000_000)
    return "loaded"


EVERYTHING = """profile: every/kind
source: this
setup: none
controls:
  fader1: {cc: 7, bits: 14, lsb: 39}
  fader2: {cc: 8, bits: 14, lsb: 40, order: lsb_first}
  knob1: {nrpn: 300, bits: 14}
  knob2: {nrpn: 1}
  knob3: {rpn: 0}
  encoder1: {nrpn: 2, encoding: data_step}
  encoder2: {cc: 10, encoding: offset_binary}
  encoder3: {cc: 11, encoding: signed_bit}
  bend: {bend: true, kind: fader}
  pressure: {pressure: channel, kind: knob}
  button1: {program: 3, bank: 129}
  button2: {mmc: play}
  button3: {sysex: F0 7D * F7}
"""
"""A device that sends values in every way there is."""


def run_assembly(count: int, seed: int) -> Tally:
    """`count` MIDI messages, noise and parts of longer values, to a device that sends in every way there is."""
    dice, tally = random.Random(seed), Tally("values")  # noqa: S311 - it must be repeatable
    assembler = Assembler(layout(profile_of(EVERYTHING).controls.values()))
    began = time.perf_counter()
    for _ in range(count):
        number = dice.choice((0, 6, 7, 8, 10, 11, 32, 38, 39, 40, 96, 97, 98, 99, 100, 101))
        data = dice.choice(
            (bytes((0xB0, number, dice.choice((0, 1, 2, 44, 127)))), dice.randbytes(dice.randrange(5)))
        )
        if dice.random() < 0.1:
            noise = b"\xf0" + dice.randbytes(dice.randrange(6)) + b"\xf7"
            data = dice.choice((noise, b"\xf0\x7d\x01\xf7", b"\xf0\x7f\x7f\x06\x02\xf7", b"\xc0\x03"))
        with tally.input():
            gesture = assembler.feed(decode(data))
            if isinstance(gesture, Position) and not 0 <= gesture.value < 1 << gesture.control.bits:
                raise ValueError(f"{gesture.value} is no position of {gesture.control.bits} bits")
        tally.outcomes["nothing to do" if gesture is None else type(gesture).__name__.lower()] += 1
    tally.seconds = time.perf_counter() - began
    return tally


def run_midi(count: int, seed: int) -> Tally:
    """`count` MIDI messages, noise and real ones, through the ready mapping."""
    dice, tally, control = random.Random(seed), Tally("midi"), MemoryControl()  # noqa: S311 - it must be repeatable
    mapper = Mapper(load_mapping([SHIPPED / "default.yaml"]), control)
    control.on_change = mapper.changed
    mapper.ports([PortIdentity(port) for port in PORTS])
    began = time.perf_counter()
    for i in range(count):
        status = dice.choice((0xB0, 0xB0, 0xBA, 0x90, 0x9A, 0x80, 0xE0, dice.randrange(256)))
        data = bytes((status, dice.randrange(dice.choice((10, 128))), dice.randrange(128)))
        if dice.random() < 0.2:
            data = dice.randbytes(dice.randrange(6))
        before = len(control.calls)
        if i % 200 == 0:
            # While a control is searched for, what may be it does not act; a half of the time nothing is.
            guessing = dice.random() < 0.5
            mapper.search = Search(lambda name, control: dice.random() < 0.2, {}, guessing) if i % 400 else None
        with tally.input():
            if mapper.search is not None and i % 50 == 0:
                mapper.search.heard()
            mapper.midi(dice.choice((*PORTS, f"{i % 999}")), data, i * 1_000_000)
            mapper.advance(i * 1_000_000)
        tally.outcomes["obeyed" if len(control.calls) > before else "nothing to do"] += 1
        control.calls.clear()
    tally.seconds = time.perf_counter() - began
    return tally
