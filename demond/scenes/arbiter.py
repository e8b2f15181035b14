"""Who moves a knob: the last who touched it, and for a while nobody else by itself.

The rule: the last touch wins. A hand, an OSC client or a scene takes a knob from whatever moved it before. What moves
knobs by itself (LFOs, gestures) keeps off a knob for :data:`HOLD_SECONDS` after the last such touch, and then goes on
from where the knob was left. A finger that lies on a control is such a touch until it is lifted.
"""

from __future__ import annotations

from demond.control import Origin

HOLD_SECONDS = 1.0
OWN = frozenset({"scene", "lfo", "gesture"})
"""The kinds of origin that are no hand and no client."""
BY_ITSELF = frozenset({"lfo", "gesture"})
"""The kinds that wait while a knob is held."""


class Arbiter:
    """The last touch of each knob."""

    def __init__(self) -> None:
        """Nobody has touched anything."""
        self._sources: dict[str, str] = {}
        self._touched_ns: dict[str, int] = {}

    def touch(self, name: str, origin: Origin, now_ns: int) -> bool:
        """Somebody has set the knob; True if it was somebody else before."""
        if origin.kind not in BY_ITSELF:
            self._touched_ns[name] = now_ns
        source = " ".join((origin.kind, origin.detail)) if origin.detail else origin.kind
        if self._sources.get(name) == source:
            return False
        self._sources[name] = source
        return True

    def rest(self, name: str, now_ns: int) -> None:
        """Whoever had the knob lets go of it only now."""
        self._touched_ns[name] = now_ns

    def source(self, name: str) -> str:
        """Who set the knob last: `midi nk2/fader1`, `osc 127.0.0.1:53211`, `scene drop`; empty for nobody yet."""
        return self._sources.get(name, "")

    def held_until_ns(self, name: str) -> int:
        """Until when what moves knobs by itself keeps off this one; a time that is past means that it need not."""
        touched = self._touched_ns.get(name)
        return 0 if touched is None else touched + round(HOLD_SECONDS * 1e9)

    @property
    def sources(self) -> dict[str, str]:
        """The last touch of every knob that was touched."""
        return dict(self._sources)
