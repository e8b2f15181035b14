"""The last recall under way, or done: a morph in its time, paused, or by a fader. Used by `demond.scenes.stage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from demond.scenes.morph import Morph, shaped
from demond.scenes.scene import Scene, Span
from demond.setting import Setting

STEP_SECONDS = 0.01
"""Knobs that move by themselves are set this often."""
LATE_STEPS = 2.0
"""A step that comes late covers at most as much as so many; the rest of the way is made later."""
FADER_SECONDS = 0.25
"""The least time for the whole way by fader, so that a fader that stands elsewhere is no jump."""


@dataclass(slots=True)
class Back:
    """What an undo brings back."""

    name: str
    values: dict[str, float]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A scene that waits for its beat on `grid`."""

    scene: Scene
    span: Span
    grid: Span
    beat: float


class Running:
    """From where the knobs stood when a scene was recalled to the scene."""

    def __init__(
        self, scene: Scene, start: Mapping[str, float], before: tuple[Setting, ...], span: Span, beats_per_bar: int
    ) -> None:
        """`start` has a value for every knob that moves; `before` are the settings that the scene changes."""
        self.scene, self.span = scene, span
        self.before = before
        self.morph = Morph(start, {name: scene.values[name] for name in start}, scene.discrete)
        self.paused = False
        self._beats_per_bar = beats_per_bar
        self._share = 0.0
        self.position = 0.0
        """Where on the way it is, 0–1."""
        self._aim: float | None = None
        """Where a fader wants it; None while time moves it."""
        if span.amount == 0:
            self._share = self.position = 1.0

    @property
    def moving(self) -> bool:
        """Whether there is a next step."""
        if self._aim is not None:
            return self.position != self._aim
        return not self.paused and self._share < 1

    @property
    def by_fader(self) -> bool:
        """Whether a fader has taken it out of its time."""
        return self._aim is not None

    @property
    def switched(self) -> bool:
        """Whether what has no way between is as the scene has it."""
        return self.morph.switched(self.position)

    def aim(self, position: float) -> None:
        """A fader wants it at `position`; it goes there within :data:`FADER_SECONDS`, and time no longer moves it."""
        self._aim = min(max(position, 0.0), 1.0)

    def step(self, seconds: float, bpm: float) -> None:
        """So much time has passed since the last step."""
        seconds = min(seconds, LATE_STEPS * STEP_SECONDS)
        if self._aim is not None:
            most = seconds / FADER_SECONDS
            self.position += min(max(self._aim - self.position, -most), most)
        elif self.moving:
            self._share = min(self._share + seconds / self.span.seconds(bpm, self._beats_per_bar), 1.0)
            self.position = shaped(self._share, self.scene.curve)

    def values(self) -> dict[str, float]:
        """What the knobs that are still in it have now."""
        return self.morph.values(self.position)
