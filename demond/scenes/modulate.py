"""What moves one knob by itself: an LFO, or a gesture that was recorded. Used by `demond.scenes.stage`.

Both work in the travel of a fader (0–1). Both begin from where the knob stands, and take :data:`FADE_SECONDS` until
they have their full swing, so that beginning them, and going on after a hand, is never a jump.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum

from demond.knobs import Knob
from demond.scenes.scene import Span

FADE_SECONDS = 1.0
SAMPLE_LIMIT = 100_000
"""Moves of one gesture: more than a quarter of an hour at 100 a second."""
_MASK = (1 << 64) - 1


class Shape(StrEnum):
    """The wave of an LFO."""

    SINE = "sine"
    TRIANGLE = "triangle"
    SQUARE = "square"
    SAW = "saw"
    """Rises, and falls back at once."""
    RANDOM = "random"
    """Another value each cycle, held until the next."""


class RateUnit(StrEnum):
    """What the rate of an LFO is counted in."""

    HZ = "hz"
    BEATS = "beats"
    """Beats of one cycle, in step with the beat."""


@dataclass(frozen=True, slots=True)
class Lfo:
    """One LFO."""

    shape: Shape
    rate: float
    """Cycles a second, or beats a cycle."""
    unit: RateUnit = RateUnit.HZ
    depth: float = 0.25
    """How far it swings to either side, as a share (0–1) of the knob's travel."""
    centre: float | None = None
    """What it swings around, in the knob's unit; None is where the knob stands."""
    phase: float = 0.0
    """Cycles (0–1) that it is ahead."""


def wave(shape: Shape, cycles: float) -> float:
    """The wave after so many cycles, -1 to 1. Sine and triangle begin at 0 and rise."""
    whole = math.floor(cycles)
    at = cycles - whole
    match shape:
        case Shape.SINE:
            return math.sin(2 * math.pi * at)
        case Shape.TRIANGLE:
            return 1 - 4 * abs((at + 0.25) % 1.0 - 0.5)
        case Shape.SQUARE:
            return 1.0 if at < 0.5 else -1.0
        case Shape.SAW:
            return 2 * at - 1
    return _noise(whole)


def _noise(number: int) -> float:
    """-1 to 1, the same for the same number (the finaliser of splitmix64, Steele et al. 2014)."""
    z = (number * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) / (_MASK / 2) - 1


@dataclass(frozen=True, slots=True)
class Gesture:
    """What a knob was moved to, again and again."""

    length: float
    """Seconds, or beats."""
    by_beat: bool
    offsets: tuple[float, ...]
    """When, from the beginning, in the unit of `length`; ascending, the first is 0."""
    travels: tuple[float, ...]

    def at(self, position: float) -> float:
        """The travel at `position`, in the unit of `length`, any number of loops on."""
        return self.travels[max(bisect_right(self.offsets, position % self.length) - 1, 0)]


class Recording:
    """A gesture that is being recorded."""

    def __init__(self, knob: Knob, length: Span, began: float, travel: float, beats_per_bar: int) -> None:
        """`began` is the second, or the beat, at which it begins, with the knob at `travel`."""
        self.knob = knob
        self.by_beat = length.unit != "s"
        self.length = length.beats(beats_per_bar) if self.by_beat else length.amount
        self.began = began
        self._offsets, self._travels = [0.0], [travel]

    def put(self, position: float, travel: float) -> None:
        """The knob was moved to `travel` at the second or beat `position`."""
        offset = position - self.began
        if self._offsets[-1] <= offset < self.length and len(self._offsets) < SAMPLE_LIMIT:
            self._offsets.append(offset)
            self._travels.append(travel)

    def done(self, position: float) -> bool:
        """Whether its time is over."""
        return position - self.began >= self.length

    def gesture(self) -> Gesture:
        """What was recorded."""
        return Gesture(self.length, self.by_beat, tuple(self._offsets), tuple(self._travels))


class Modulator:
    """An LFO or a gesture at work on one knob."""

    def __init__(self, knob: Knob, what: Lfo | Gesture, seconds: float, beat: float) -> None:
        """It begins at `seconds` of the clock, which are `beat`."""
        self.knob, self.what = knob, what
        self._began, self._began_beat = seconds, beat
        self._since: float | None = None
        self._base = 0.0

    @property
    def kind(self) -> str:
        """The kind of its origin."""
        return "lfo" if isinstance(self.what, Lfo) else "gesture"

    def rest(self) -> None:
        """Somebody else has the knob; it goes on from where it is left."""
        self._since = None

    def value(self, seconds: float, beat: float, present: float) -> float:
        """What the knob is to have now; `present` is what it has."""
        if self._since is None:
            self._since, self._base = seconds, self.knob.to_norm(present)
        share = min((seconds - self._since) / FADE_SECONDS, 1.0)
        fade = share * share * (3 - 2 * share)
        return self.knob.from_norm(self._base + fade * (self._aim(seconds, beat) - self._base))

    def _aim(self, seconds: float, beat: float) -> float:
        if isinstance(self.what, Gesture):
            position = beat - self._began_beat if self.what.by_beat else seconds - self._began
            return self.what.at(position)
        lfo = self.what
        centre = self._base if lfo.centre is None else self.knob.to_norm(lfo.centre)
        cycles = beat / lfo.rate if lfo.unit is RateUnit.BEATS else (seconds - self._began) * lfo.rate
        return min(max(centre + lfo.depth * wave(lfo.shape, cycles + lfo.phase), 0.0), 1.0)
