"""News of what changed, from whoever changed it to whoever shows it.

The daemon owns one :class:`Feed`. What changed is told by its key: `knob/denoise`, or that of a setting, such as
`prompt/a` or `curve/protect`. The values are read by those who show them, when they do: so a change that nobody shows
costs next to nothing, and one that is overtaken by the next is never shown late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

Observer = Callable[[Collection[str]], None]


class Feed:
    """One sender's side and any number of observers, all in the event loop."""

    def __init__(self) -> None:
        """Nobody observes."""
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Calls `observer`, which must not raise, with what changed together; the function returned ends that."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def tell(self, keys: Collection[str]) -> None:
        """What `keys` are about has changed, all of it together."""
        if keys:
            for observer in self._observers:
                observer(keys)
