"""A stage with a clock that stands still until it is told to go on."""

from __future__ import annotations

from collections.abc import Iterable

from demond.control import Origin
from demond.scenes.running import STEP_SECONDS
from demond.scenes.scene import Scene
from demond.scenes.stage import Stage
from tests.memory_control import MemoryControl

HAND = Origin("midi", "nk2/fader1", 0)


class Stand:
    """A stage, the knobs that it moves, and its time."""

    def __init__(self, *scenes: Scene, safe: Iterable[str] = ()) -> None:
        self.now_ns = 1_000_000_000
        self.held: set[str] = set()
        self.control = MemoryControl(clock=lambda: self.now_ns, held=self.held.__contains__)
        self.stage: Stage = self.control.stage
        self.stage.define(scenes, safe, {})
        self.told: list[str] = []
        self.control.feed.observe(self.told.extend)

    def value(self, name: str) -> float:
        return self.control.value(name)

    def hand(self, **changes: float) -> None:
        self.control.set_knobs(changes, HAND)

    def pass_time(self, seconds: float, late: Iterable[float] = ()) -> list[dict[str, float]]:
        """Lets time pass, waking the stage when it wants to be, or each time so much `late`; the knobs after each."""
        end = self.now_ns + round(seconds * 1e9)
        found = []
        delays = iter(late)
        while (due := self.stage.due_ns) is not None and due <= end:
            self.now_ns = max(self.now_ns, due) + round(next(delays, 0.0) * 1e9)
            self.stage.advance()
            found.append(dict(self.control.values))
        self.now_ns = max(self.now_ns, end)
        return found


def steps_of(seconds: float) -> float:
    """The steps of a morph of this length."""
    return seconds / STEP_SECONDS
