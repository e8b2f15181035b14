"""What decides which lines count just now: layers, switched lines and the knobs that conditions ask for.

Owned by the mapper in the daemon's event loop; the painter reads it, so that lamps show what a press would do.
"""

from __future__ import annotations

from collections.abc import Iterable

from demond.control import Control
from demond.mapping.binding import Binding, Condition
from demond.mapping.mapping import Mapping


class Situation:
    """The mapping, and what of it is in force."""

    def __init__(self, mapping: Mapping, control: Control) -> None:
        """No layer is on, and every line as the files say."""
        self.mapping, self.control = mapping, control
        self.layers: set[str] = set()
        """The layers that are on."""
        self._switched: dict[str, bool] = {}
        """Lines that were switched on or off, by id."""

    def replace(self, mapping: Mapping) -> None:
        """Goes by `mapping` from now on. What was switched stays so, where its line still exists."""
        self.mapping = mapping
        self.layers &= set(mapping.layers)
        ids = {binding.id for binding in mapping.bindings()}
        self._switched = {one: on for one, on in self._switched.items() if one in ids}

    def switch(self, name: str, on: bool) -> int:
        """Switches the line with the id `name`, or all lines with that tag, on or off; returns how many there are."""
        found = [b.id for b in self.mapping.bindings() if name == b.id or name in b.tags]
        self._switched |= dict.fromkeys(found, on)
        return len(found)

    def enabled(self, binding: Binding) -> bool:
        """Whether the line is switched on."""
        return self._switched.get(binding.id, binding.enabled)

    def active(self, bindings: Iterable[Binding]) -> tuple[Binding, ...]:
        """Those of a control's lines that count now: the ones whose condition holds, else the ones without any."""
        on = [binding for binding in bindings if self.enabled(binding)]
        conditional = tuple(b for b in on if b.when is not None and self.holds(b.when))
        return conditional or tuple(b for b in on if b.when is None)

    def holds(self, condition: Condition) -> bool:
        """Whether `condition` holds."""
        if condition.layers and not self.layers.intersection(condition.layers):
            return False
        if not condition.knob:
            return True
        value = self.control.value(condition.knob)
        return (
            (condition.above is None or value > condition.above)
            and (condition.below is None or value < condition.below)
            and (condition.at is None or value == condition.at)
        )

    def why_not(self, bindings: Iterable[Binding]) -> str:
        """Why none of a control's lines counts."""
        every = tuple(bindings)
        if not every:
            return "this control is not mapped"
        if not any(self.enabled(binding) for binding in every):
            return "its line is switched off"
        wanted = sorted({layer for b in every if b.when is not None for layer in b.when.layers})
        if wanted and not self.layers.intersection(wanted):
            return f"its lines want the layer {' or '.join(wanted)}, which is off"
        return "the condition of its line does not hold"
