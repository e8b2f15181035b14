"""One control that may be the one to be learned: what it did so far, and whether that was a hand.

Owned by a :class:`demond.mapping.search.Search`. The rules that tell a hand from noise are here, with their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from demond.mapping.profile import DeviceControl, Key

LEAST_SPAN = 0.1
"""How much of its travel a control must cover; a bad potentiometer trembles by a few of 127 steps."""
LEAST_MOVES = 4
"""Messages of a position; a stray one, or two, is no move."""
LEAST_STEPS = 3
"""Detents of an endless encoder, from end to end."""
DETENTS = 24
"""Detents that count as the whole travel of an endless encoder: one turn of the common ones."""
TREMBLES = 0.6
"""The share of moves that turn back, from which on a control trembles rather than is moved."""
TREMBLE_MOVES = 4
"""Messages from which on that share says something."""
PAUSE_NS = 500_000_000
"""A control that was still for this long, in ns, is moved anew."""
VALUES_LIMIT = 256
"""Values that are kept of a control that no profile describes."""


@dataclass(slots=True)
class Candidate:
    """A control that was heard of since learning began."""

    port: str
    name: str
    """`nk2/fader1`, `osc:/1/fader1`; of a control that no profile describes, what it would be called."""
    control: DeviceControl | None
    """None for an OSC address."""
    key: Key | None = None
    """What it sends, if no profile describes it."""
    count: int = 0
    """Moves and presses."""
    began_ns: int = 0
    """When it was moved after a pause last."""
    last_ns: int = 0
    low: float = 1.0
    high: float = 0.0
    presses: int = 0
    """Whole ones: released again, where the control tells of that."""
    down: bool = False
    held_beside: bool = False
    """It was down while another control of its port was moved, as a touch sensor is."""
    values: list[int] = field(default_factory=list)
    _at: float | None = None
    _way: int = 0
    _turns: int = 0
    _steps: int = 0
    _between: bool = False

    def _now(self, now_ns: int) -> None:
        if not self.count or now_ns - self.last_ns > PAUSE_NS:
            self.began_ns = now_ns
        self.last_ns = now_ns

    def moved(self, travel: float, now_ns: int, value: int | None = None) -> None:
        """It stands at `travel` (0–1); `value` is the data of a control that no profile describes."""
        self._now(now_ns)
        self.count += 1
        self.low, self.high = min(self.low, travel), max(self.high, travel)
        self._between = self._between or 0 < travel < 1
        if self._at is not None and travel != self._at:
            self._turn(1 if travel > self._at else -1)
        self._at = travel
        if value is not None and len(self.values) < VALUES_LIMIT:
            self.values.append(value)

    def turned(self, steps: int, now_ns: int) -> None:
        """An endless control went on by `steps`."""
        self._now(now_ns)
        self.count += 1
        self._turn(1 if steps > 0 else -1)
        self._steps += steps
        place = self._steps / DETENTS
        self.low, self.high = min(self.low, place, 0.0), max(self.high, place)

    def pressed(self, strength: float, now_ns: int) -> None:
        """A button went down with `strength` (0–1), or up (0)."""
        self._now(now_ns)
        if strength > 0:
            self.count += 1
            self.low, self.high = 0.0, max(self.high, strength)
            self.down = True
            if self.control is not None and self.control.pulse:
                self.presses += 1
        elif self.down:
            self.presses, self.down = self.presses + 1, False

    def _turn(self, way: int) -> None:
        if self._way and way != self._way:
            self._turns += 1
        self._way = way

    @property
    def span(self) -> float:
        """How much of its travel it covered (0–1); of an endless encoder in turns, 1 at most."""
        return min(max(self.high - self.low, 0.0), 1.0)

    @property
    def is_pressed(self) -> bool:
        """Whether it is a button, a pad or a touch sensor."""
        return self.control is not None and self.control.kind.pressed

    def why_not(self) -> str:
        """What speaks against it, in words; empty for a hand's work."""
        if self.is_pressed:
            return self._no_press()
        endless = self.control is not None and self.control.encoding != "absolute"
        switched = not endless and not self._between and self.span == 1
        if self.count < (LEAST_STEPS if endless else LEAST_MOVES) and not (switched and self.control is None):
            return "was heard of a few times only"
        if self.span < (LEAST_STEPS / DETENTS if endless else LEAST_SPAN) - 1e-9:
            return "moved too little"
        if not switched and self.count >= TREMBLE_MOVES and self._turns > TREMBLES * (self.count - 1):
            return "trembles"
        return ""

    def _no_press(self) -> str:
        if self.held_beside:
            return "was held while something else was moved, as a touch sensor is"
        pulse = self.control is not None and self.control.pulse
        if self.presses < (2 if pulse else 1):
            return "was pressed once only; press it again" if pulse else "was not released yet"
        return ""
