"""The way from one state of knobs to another. Pure: whoever owns a morph says where on the way it is.

Knobs with a scale between go along it in the travel of a fader, so that a knob with an exponential range moves
evenly to the ear. The others change at one point of the way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from demond.knobs import knob
from demond.scenes.scene import Curve, Discrete, is_discrete


def shaped(share: float, curve: Curve) -> float:
    """The position (0–1) after `share` (0–1) of the time. Smooth is 3x² - 2x³, whose steepest rise is 1.5."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share) if curve is Curve.SMOOTH else share


class Morph:
    """From `start` to `end`, both by knob, in their units. Knobs can leave it, and then it says nothing of them."""

    def __init__(self, start: Mapping[str, float], end: Mapping[str, float], discrete: Discrete) -> None:
        """Every knob of `end` must be in `start`."""
        self._ways = {name: (start[name], value) for name, value in end.items()}
        self._travels = {
            name: (knob(name).to_norm(low), knob(name).to_norm(high))
            for name, (low, high) in self._ways.items()
            if not is_discrete(knob(name))
        }
        self._discrete = discrete

    @property
    def knobs(self) -> Collection[str]:
        """The knobs that are still in it."""
        return self._ways.keys()

    def leave(self, name: str) -> None:
        """The knob is no longer in it."""
        self._ways.pop(name, None)
        self._travels.pop(name, None)

    def switched(self, position: float) -> bool:
        """Whether what has no way between is as at the end."""
        match self._discrete:
            case Discrete.AT_START:
                return position > 0
            case Discrete.HALF:
                return position >= 0.5
        return position >= 1

    def values(self, position: float) -> dict[str, float]:
        """What the knobs have at `position`: exactly `start` at 0 and `end` at 1."""
        switched = self.switched(position)
        return {name: self._value(name, way, position, switched) for name, way in self._ways.items()}

    def _value(self, name: str, way: tuple[float, float], position: float, switched: bool) -> float:
        travel = self._travels.get(name)
        if travel is None:
            return way[switched]
        if position <= 0 or position >= 1 or way[0] == way[1]:
            return way[position >= 1]
        return knob(name).from_norm(travel[0] + position * (travel[1] - travel[0]))
