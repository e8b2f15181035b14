"""Presses that wait for their beat. Owned by the strokes, in the daemon's event loop.

What waits begins as much before the beat as it takes to be heard, as scenes do. A line that is pressed again while it
waits comes once. While the beat stands still nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from demond.mapping.binding import Binding
from demond.mapping.situation import Situation
from demond.mapping.stroke import Stroke
from demond.scenes.scene import read_grid, told_grid

LOOK_NS = 5_000_000
"""How often it is looked whether a beat is due, in ns: the tempo may change meanwhile."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A press that waits."""

    stroke: Stroke
    binding: Binding
    strength: float
    beat: float


class Beats:
    """All presses that wait."""

    def __init__(self, situation: Situation) -> None:
        """None does."""
        self._situation = situation
        self._waiting: dict[str, Waiting] = {}
        self.due_ns: int | None = None
        """When :meth:`due` is wanted next; None while nothing waits."""

    def waits(self, stroke: Stroke, binding: Binding, strength: float) -> str:
        """Puts a press off until its beat, and says so in words; nothing if it is to be done at once."""
        grid, stage = read_grid(binding.quantize), self._situation.control.stage
        if grid is None or not stage.transport.playing:
            return ""
        beat = stage.transport.next_on(grid, stage.heard_ns)
        if self._is_due(beat):
            return ""
        self._waiting[binding.id] = Waiting(stroke, binding, strength, beat)
        self.due_ns = self.due_ns or stroke.now_ns + LOOK_NS
        return f"comes with the next {told_grid(grid)}"

    def due(self, now_ns: int) -> Iterator[Waiting]:
        """The presses whose beat has come. Those whose line is gone are forgotten."""
        if self.due_ns is None or now_ns < self.due_ns:
            return
        ids = {binding.id for binding in self._situation.mapping.bindings()}
        for name, one in list(self._waiting.items()):
            if name not in ids:
                del self._waiting[name]
            elif self._is_due(one.beat):
                del self._waiting[name]
                yield one
        self.due_ns = now_ns + LOOK_NS if self._waiting else None

    def _is_due(self, beat: float) -> bool:
        """Whether what is to be heard on `beat` must begin, or has no beat to wait for any more."""
        stage = self._situation.control.stage
        return not stage.transport.playing or stage.transport.time_of(beat) <= stage.heard_ns
