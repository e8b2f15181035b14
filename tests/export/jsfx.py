"""REAPER as far as an exported effect needs it: its sliders, and its code, run block by block.

The language is a small one. What the effect uses of it is turned into JavaScript, and anything else is an error
there: a block is `( a; b; )`, a condition `x ? ( ... );`, a loop `while (x) ( ... );`, a number in hex `$xB0`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import quickjs

SLIDER = re.compile(r"slider(\d+):(-?[\d.e+-]+)<(-?[\d.e+-]+),(-?[\d.e+-]+),([\d.e+-]+)(\{[^{}]*\})?>(.+)")
SECTIONS = ("@init", "@slider", "@block", "@sample", "@serialize", "@gfx")


@dataclass
class Slider:
    """One parameter of the effect."""

    number: int
    default: float
    low: float
    high: float
    step: float
    words: tuple[str, ...]
    label: str


class Effect:
    """The effect on a track."""

    def __init__(self, text: str) -> None:
        head, *parts = re.split(r"^(@\w+)\n", text, flags=re.MULTILINE)
        lines = [line for line in head.splitlines() if line and not line.startswith("//")]
        assert lines[0].startswith("desc:")
        assert lines[-2:] == ["in_pin:none", "out_pin:none"]
        self.sliders = [_slider(line) for line in lines[1:-2]]
        assert [slider.number for slider in self.sliders] == list(range(1, len(self.sliders) + 1))
        assert len(self.sliders) <= 64
        code = dict(zip(parts[::2], parts[1::2], strict=True))
        assert list(code) == ["@init", "@block"]
        self.values = {slider.number: slider.default for slider in self.sliders}
        self._js = quickjs.Context()
        self._js.eval(_PRELUDE)
        self._set_sliders()
        self._js.eval(_javascript(code["@init"]))
        self._block = _javascript(code["@block"])

    def block(self, *arriving: str, playing: bool = False) -> list[str]:
        """Runs one block of audio; returns the MIDI messages (hex) that leave with it."""
        self._set_sliders()
        self._js.eval(f"play_state = {int(playing)}; arriving = {json.dumps(arriving)}; leaving = []")
        self._js.eval(self._block)
        return list(json.loads(self._js.eval("JSON.stringify(leaving)")))

    def _set_sliders(self) -> None:
        self._js.eval("".join(f"slider{number} = {value!r};" for number, value in self.values.items()))


_PRELUDE = """
var memory = {}, leaving = [], arriving = [], play_state = 0, was_playing = 0, ext_noinit = 0
var offset, status, first, second
var floor = Math.floor, min = Math.min, max = Math.max
function hex(n) { return n.toString(16).padStart(2, '0') }
function midisend(offset, a, b, c) { leaving.push(hex(a) + hex(b) + hex(c)) }
function midirecv() {
    if (!arriving.length) return 0
    var m = arriving.shift()
    offset = 0, status = parseInt(m.slice(0, 2), 16), first = parseInt(m.slice(2, 4), 16)
    second = parseInt(m.slice(4, 6), 16)
    return status
}
"""


def _javascript(code: str) -> str:
    code = re.sub(r"//.*", "", code).replace("$x", "0x")
    code = code.replace("midirecv(offset, status, first, second)", "midirecv()")
    code = re.sub(r"(\w+)\[(\w+)\]", r"memory[\1 + \2]", code)
    code = re.sub(r"while (\(.*\)) \(\n(.*)\n\);", r"while \1 {\n\2\n}", code)
    found = re.search(r"function (\w+)\((.*)\)\n  local\((\w+)\)\n\(\n(.*)\n\);", code, re.DOTALL)
    if found is not None:
        name, parameters, local, body = found.groups()
        body = re.sub(r"([^?]*) \? \(\n(.*)\n  \);", r"\1 ? (\n\2\n  ) : 0;", body, flags=re.DOTALL)
        body = re.sub(r"(\w+) \? \((.*)\);", r"\1 ? (\2) : 0;", body)
        inner = re.sub(r"(?<=\n)    (.*);", r"    \1,", body)
        inner = re.sub(r",(\s*\) : 0)", r"\1", inner)
        made = f"function {name}({parameters}) {{ var {local};\n{inner}\n}}\n"
        code = code[: found.start()] + made + code[found.end() :]
    return code


def _slider(line: str) -> Slider:
    found = SLIDER.fullmatch(line)
    assert found is not None, line
    number, default, low, high, step, words, label = found.groups()
    slider = Slider(int(number), float(default), float(low), float(high), float(step), _split(words), label)
    assert slider.low <= slider.default <= slider.high
    assert 0 < slider.step <= slider.high - slider.low
    assert not slider.words or len(slider.words) == slider.high - slider.low + 1
    return slider


def _split(words: str | None) -> tuple[str, ...]:
    return tuple(words[1:-1].split(",")) if words else ()
