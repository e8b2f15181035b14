"""Smoothing: knobs on their way to where a control has put them. Used by the mapper, in the daemon's event loop.

A glide is a straight line in travel, so that it sounds as even as the control's own curve. A new target starts a new
line from where the knob is by then; steps of an encoder add to the target, not to the knob, so none of them is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

STEP_NS = 5_000_000
"""A gliding knob is moved this often: twice within the fastest tick."""


@dataclass(frozen=True, slots=True)
class Glide:
    """One knob's way. Travels are those of the line (range and curve) that started it."""

    start: float
    target: float
    began_ns: int
    lasts_ns: int

    def at(self, now_ns: int) -> float:
        """The travel at `now_ns`; the target from the end on."""
        done = (now_ns - self.began_ns) / self.lasts_ns
        return self.target if done >= 1 else self.start + (self.target - self.start) * max(done, 0.0)

    def ends(self, now_ns: int) -> bool:
        """Whether the target is reached."""
        return now_ns - self.began_ns >= self.lasts_ns


class Glides:
    """All knobs that are on their way, each with something of the owner's to go with it."""

    def __init__(self) -> None:
        """None is."""
        self._under_way: dict[str, tuple[Glide, object]] = {}
        self.due_ns: int | None = None
        """When :meth:`step` is wanted next; None while nothing glides."""

    def start(self, knob: str, glide: Glide, owner: object) -> None:
        """`knob` is on its way from now on, whatever it did before."""
        self._under_way[knob] = (glide, owner)
        if self.due_ns is None:
            self.due_ns = glide.began_ns + STEP_NS

    def aim(self, knob: str) -> tuple[float, object] | None:
        """The travel that `knob` is on its way to, and the owner; None if it stands still."""
        found = self._under_way.get(knob)
        return None if found is None else (found[0].target, found[1])

    def stop(self, knob: str) -> None:
        """`knob` stays where it is."""
        self._under_way.pop(knob, None)

    def step(self, now_ns: int) -> Iterator[tuple[str, float, object]]:
        """Each gliding knob with its travel by now and its owner; those that have arrived are let go of."""
        for knob, (glide, owner) in list(self._under_way.items()):
            if glide.ends(now_ns):
                del self._under_way[knob]
            yield knob, glide.at(now_ns), owner
        self.due_ns = now_ns + STEP_NS if self._under_way else None
