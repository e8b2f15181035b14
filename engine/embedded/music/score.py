"""From a plan (key, chords, sections, motif) to the notes of a style, on a grid of sixteenths. NumPy only.

One plan can be played in any style, and layer by layer in different ones: that is how two renderings of the same
music are made for training covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.embedded.music.styles import STYLES, Style
from engine.embedded.music.theory import PROGRESSIONS, degree

TRACKS = ("kick", "snare", "hat", "open_hat", "perc", "bass", "chord1", "chord2", "chord3", "chord4", "arp", "lead")
"""Every track plays one event at a time."""

LAYERS = ("drums", "bass", "chord", "melody")
BAR = 16

_DRUMS, _BASS, _CHORD, _ARP, _LEAD = range(5), 5, range(6, 10), 10, 11


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played, whatever the style."""

    seed: int
    bars: int
    root: int
    """Pitch class 0–11."""
    mode: str
    progression: tuple[int, ...]
    """The degree of each bar's chord, repeated."""
    density: int
    """0 sparse, 1 medium, 2 busy."""
    sections: NDArray[np.bool_]
    """[bars, layers]: which layers play in which bar."""
    motif: tuple[tuple[int, int, int, float], ...]
    """Two bars of melody: onset and length in sixteenths, degrees above the chord, velocity."""
    arp_order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Events [tracks, sixteenths]; where `on` is false the other grids mean nothing."""

    on: NDArray[np.bool_]
    velocity: NDArray[np.float32]
    pitch: NDArray[np.float32]
    """MIDI note; for percussion, semitones above its own pitch."""
    length: NDArray[np.float32]
    """Sixteenths."""
    repeats: NDArray[np.float32]
    """How many times an event sounds within its sixteenth."""


def make_plan(rng: np.random.Generator, style: str, bars: int, root: int, mode: str, density: int) -> Plan:
    """A plan of at least one bar with the usual arrangement: layers come and go every four bars."""
    progressions = PROGRESSIONS[mode]
    sections = np.ones((bars, len(LAYERS)), bool)
    if bars > 4:
        for start in range(0, bars, 4):
            playing = rng.random(len(LAYERS)) < (0.9, 0.92, 0.88, 0.7)
            if playing.sum() < 2:
                playing[:2] = True
            sections[start : start + 4] = playing
    motif, at = [], 0
    lengths = ((4, 6, 8, 8), (2, 3, 4, 6), (1, 2, 2, 3))[density]
    while at < 2 * BAR:
        length = int(rng.choice(lengths))
        if rng.random() < 0.75:
            motif.append((at, length, int(rng.integers(-2, 5)), float(rng.uniform(0.6, 1.0))))
        at += length
    return Plan(
        seed=int(rng.integers(2**31)),
        bars=bars,
        root=root,
        mode=mode,
        progression=progressions[int(rng.integers(len(progressions)))],
        density=density,
        sections=sections,
        motif=tuple(motif),
        arp_order=tuple(int(i) for i in rng.permutation([0, 1, 2, 3, 2, 1])),
    )


def play(plan: Plan, style: str, idioms: Mapping[str, str] | None = None) -> Score:
    """The notes of `plan` in `style`; `idioms` names another style for some of the layers.

    A layer is a function of the plan and its style alone, so two scores that share both have the same notes there.
    """
    steps = plan.bars * BAR
    shape = (len(TRACKS), steps)
    score = Score(
        np.zeros(shape, bool),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.ones(shape, np.float32),
        np.ones(shape, np.float32),
    )
    writers = (_drums, _bass, _chords, _melody)
    for number, (layer, writer) in enumerate(zip(LAYERS, writers, strict=True)):
        rng = np.random.default_rng((plan.seed, number))
        writer(plan, STYLES[(idioms or {}).get(layer, style)], score, rng)
        silent = np.repeat(~plan.sections[:, number], BAR)
        tracks = (_DRUMS, [_BASS], _CHORD, [_ARP, _LEAD])[number]
        for track in tracks:
            score.on[track, silent] = False
    return score


def _put(score: Score, track: int, step: int, velocity: float, pitch: float = 0.0, length: float = 1.0) -> None:
    score.on[track, step] = True
    score.velocity[track, step] = velocity
    score.pitch[track, step] = pitch
    score.length[track, step] = length


def _drums(plan: Plan, style: Style, score: Score, rng: np.random.Generator) -> None:
    steps = plan.bars * BAR
    patterns = (style.kick, style.snare, style.hat, style.open_hat)
    velocities, chance = (0.95, 0.8, 0.5, 0.5), rng.random((len(patterns) + 1, steps))
    extra = (0.0, 0.02, 0.06)[plan.density]
    for track, pattern in enumerate(patterns):
        if not pattern.strip("."):
            continue
        for step in range(steps):
            mark = pattern[step % len(pattern)]
            if track == 2:
                mark = _hat(mark, step, plan.density, float(chance[track, step]))
            elif mark == "." and track < 2 and step % 4 and chance[track, step] < extra:
                mark = "o"
            elif mark == "o" and plan.density == 0:
                mark = "."
            if mark == ".":
                continue
            accent = 1.0 if step % 4 == 0 else 0.85
            soft = 0.5 if mark == "o" else 1.0
            _put(score, track, step, velocities[track] * accent * soft * float(rng.uniform(0.9, 1.1)))
            if mark.isdigit():
                score.repeats[track, step] = int(mark)
    fills = plan.density > 0 and style.snare.strip(".") != ""
    for step in range(steps):
        if fills and step // BAR % 4 == 3 and step % BAR > 12 and chance[-1, step] < 0.4:
            _put(score, 1, step, 0.6)
        if step % 2 and rng.random() < style.perc * (0.3, 1.0, 1.8)[plan.density]:
            _put(score, 4, step, float(rng.uniform(0.4, 0.7)), float(rng.integers(0, 8)))


def _hat(mark: str, step: int, density: int, chance: float) -> str:
    """Hats carry the density: thinned to quarters when sparse, filled to sixteenths when busy."""
    if density == 0:
        return mark if step % 4 in (0, 2) and chance < 0.55 else "."
    if density == 2 and mark == ".":
        return "o" if chance < 0.7 else "."
    return mark


def _bass(plan: Plan, style: Style, score: Score, rng: np.random.Generator) -> None:
    steps = [s for s in range(plan.bars * BAR) if style.bass[s % len(style.bass)] != "."]
    if plan.density == 0:
        steps = [s for s in steps if s % 4 == 0 or rng.random() < 0.4] or steps[:1]
    low = -12 if plan.root > 7 else 0
    for step, following in pairwise([*steps, plan.bars * BAR]):
        number = plan.progression[step // BAR % len(plan.progression)]
        pitch = (
            degree(plan.root, plan.mode, number) + low + {"1": 0, "5": 7, "8": 12}[style.bass[step % len(style.bass)]]
        )
        _put(score, _BASS, step, float(rng.uniform(0.8, 1.0)), pitch, (following - step) * style.bass_legato)


def _chords(plan: Plan, style: Style, score: Score, rng: np.random.Generator) -> None:
    steps = [s for s in range(plan.bars * BAR) if style.chord[s % len(style.chord)] == "x"]
    if len(style.chord.replace(".", "")) > 1:
        keep = (0.55, 0.85, 1.0)[plan.density]
        steps = [s for s in steps if rng.random() < keep] or steps[:1]
    for step, following in pairwise([*steps, plan.bars * BAR]):
        velocity = float(rng.uniform(0.75, 1.0))
        for voice, pitch in enumerate(chord_pitches(plan, step // BAR)):
            _put(score, _CHORD[voice], step, velocity, pitch, min(style.chord_length, following - step))


def chord_pitches(plan: Plan, bar: int) -> list[int]:
    """The four notes of the chord of `bar`: triad and seventh, kept under E5."""
    number = plan.progression[bar % len(plan.progression)]
    pitches = sorted(degree(plan.root, plan.mode, number + third) + 24 for third in (0, 2, 4, 6))
    return sorted(p - 12 if p > 76 else p for p in pitches)


def _melody(plan: Plan, style: Style, score: Score, rng: np.random.Generator) -> None:
    bonus = (-0.15, 0.0, 0.25)[plan.density]
    if rng.random() < style.arp + bonus:
        rate = style.arp_rate * (2 if plan.density == 0 else 1)
        for step in range(0, plan.bars * BAR, rate):
            pitches = chord_pitches(plan, step // BAR)
            pitch = pitches[plan.arp_order[step // rate % len(plan.arp_order)]]
            _put(score, _ARP, step, float(rng.uniform(0.7, 0.95)), pitch, rate * 0.9)
    if rng.random() < style.lead + bonus:
        for start in range(0, plan.bars * BAR, 2 * BAR):
            for at, length, above, velocity in plan.motif:
                step = start + at
                if step < plan.bars * BAR:
                    number = plan.progression[step // BAR % len(plan.progression)] + above
                    _put(score, _LEAD, step, velocity, degree(plan.root, plan.mode, number) + 36, length * 0.95)
