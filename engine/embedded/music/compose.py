"""Pieces of music from a request and a seed: what is asked for is kept, what is not is drawn.

Called by the training programs, by the gate and by the maker of the built-in clips, also in worker processes. The
same request and seed give the same piece on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from engine.embedded.music.score import BAR, Score, make_plan, play
from engine.embedded.music.sound import Sound, varied
from engine.embedded.music.styles import STYLES

BRIGHTNESS = ("dark", "neutral tone", "bright")
DENSITY = ("sparse", "medium density", "busy")
ENERGY = ("calm", "steady", "driving")
SPACE = ("dry", "room", "spacious")
"""The words of the descriptors, in the order of their numbers 0–2."""

_SPREAD = 0.16
"""Octaves (one deviation) by which the numbers of a sound vary between two pieces of one style."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a piece is to be; none means any."""

    style: str | None = None
    bpm: float | None = None
    root: int | None = None
    mode: str | None = None
    brightness: int | None = None
    density: int | None = None
    energy: int | None = None
    space: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A composed piece, ready to be rendered."""

    style: str
    bpm: float
    root: int
    mode: str
    brightness: int
    density: int
    energy: int
    space: int
    swing: float
    loops: bool
    """Whether it closes at the end of the length it was composed for."""
    score: Score
    sound: Sound
    seed: int


def loop_tempo(bpm: float, seconds: float) -> float | None:
    """The tempo next to `bpm` with whole bars in `seconds`, or whole beats; none when both are over 7 % off."""
    for beats in (4, 1):
        unit = 60 * beats / seconds
        near = max(1, round(bpm / unit)) * unit
        if abs(near / bpm - 1) < 0.07:
            return near
    return None


def compose(request: Request, seed: int, seconds: float) -> Piece:
    """A piece of `seconds`. It loops when its tempo, asked for or drawn, holds whole beats in that time."""
    return compose_pair(request, seed, seconds)[0]


def compose_pair(request: Request, seed: int, seconds: float) -> tuple[Piece, Piece]:
    """A piece and its cover: the same plan and tempo in another style (in one of ten, the same) and sound."""
    rng = np.random.default_rng((seed, 1))
    names = tuple(STYLES)
    style = request.style or names[int(rng.integers(len(names)))]
    low, high = STYLES[style].bpm
    bpm = float(rng.uniform(low * 0.96, high * 1.04)) if rng.random() < 0.75 else float(rng.uniform(62, 178))
    if rng.random() < 0.5:
        bpm = loop_tempo(bpm, seconds) or bpm
    bpm = request.bpm or bpm
    beats = bpm * seconds / 60
    bars = math.ceil(beats / 4 - 1e-6)
    mode = request.mode or str(
        rng.choice(STYLES[style].modes if rng.random() < 0.8 else ("minor", "major", "dorian"))
    )
    root = int(rng.integers(12)) if request.root is None else request.root
    density = int(rng.integers(3)) if request.density is None else request.density
    plan = make_plan(rng, style, bars, root, mode, density)
    other = names[int(rng.integers(len(names)))] if rng.random() < 0.9 else style
    idioms = {layer: style for layer in ("drums", "bass", "chord", "melody") if rng.random() < 0.5}
    if rng.random() < 0.5:
        idioms["drums"] = style  # the rhythm of a cover is the source's more often than not

    def piece(style: str, score: Score, asked: Request, seed: int) -> Piece:
        steps = min(bars * BAR, math.ceil(beats * 4 - 1e-6))
        drawn = [int(rng.integers(3)) if n is None else n for n in (asked.brightness, asked.energy, asked.space)]
        swing = float(rng.uniform(*STYLES[style].swing))
        return Piece(
            style, bpm, root, mode, drawn[0], density, drawn[1], drawn[2], swing, abs(beats - round(beats)) < 1e-6,
            _cut(score, steps), _shaped(style, rng, *drawn), seed,
        )  # fmt: skip

    first = piece(style, play(plan, style), request, seed)
    second = piece(other, play(plan, other, idioms), Request(), seed + 1)
    return first, replace(second, swing=first.swing)


def _cut(score: Score, steps: int) -> Score:
    return Score(
        score.on[:, :steps],
        score.velocity[:, :steps],
        score.pitch[:, :steps],
        score.length[:, :steps],
        score.repeats[:, :steps],
    )


def _shaped(style: str, rng: np.random.Generator, brightness: int, energy: int, space: int) -> Sound:
    """A variation of the style's sound, with what the descriptors ask for."""
    sound = varied(STYLES[style].sound, rng, _SPREAD)
    gain = (0.45, 1.0, 1.35)[energy]
    kit = replace(
        sound.kit,
        kick=sound.kit.kick * gain,
        snare=sound.kit.snare * gain,
        hat=sound.kit.hat * gain * (0.6, 1.0, 1.5)[brightness],
        open_hat=sound.kit.open_hat * gain * (0.6, 1.0, 1.5)[brightness],
        perc=sound.kit.perc * gain,
    )
    voices = [
        replace(
            voice,
            bright=min(voice.bright * (0.6, 1.0, 1.3)[brightness], 0.88),
            sweep=voice.sweep * (0.6, 1.0, 1.2)[brightness],
            attack=voice.attack * (1.8, 1.0, 0.8)[energy],
            drive=voice.drive * (0.5, 1.0, 1.4)[energy],
        )
        for voice in (sound.bass, sound.chord, sound.arp, sound.lead)
    ]
    room = replace(
        sound.room,
        tilt=sound.room.tilt + (-1.8, 0.0, 1.2)[brightness],
        reverb=sound.room.reverb * (0.15, 1.0, 1.8)[space] + (0.0, 0.0, 0.3)[space],
        reverb_time=sound.room.reverb_time * (0.5, 1.0, 1.6)[space],
        echo=sound.room.echo * (0.3, 1.0, 1.8)[space],
        duck=min(sound.room.duck * (0.5, 1.0, 1.15)[energy], 0.9),
        drive=sound.room.drive * (0.7, 1.0, 1.4)[energy],
    )
    return Sound(voices[0], voices[1], voices[2], voices[3], kit, room)
