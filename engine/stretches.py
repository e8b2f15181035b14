"""Which parts of a loop hold the music of the present settings. Owned by playback."""

from __future__ import annotations


class Stretches:
    """The fresh positions of a loop, as few stretches as possible; the rest is stale."""

    def __init__(self, frames: int) -> None:
        """All of a loop of `frames` is stale."""
        self._frames = frames
        self._stretches: list[tuple[int, int]] = []
        """First and end (not included), in order, none touching another."""

    def clear(self) -> None:
        """All is stale."""
        self._stretches = []

    def add(self, position: int, count: int) -> None:
        """`count` frames from `position` on are fresh, going round at the loop's end."""
        end = position + min(count, self._frames)
        for first, last in ((position, min(end, self._frames)), (0, end - self._frames)):
            if first < last:
                self._join(first, last)

    def way_to_stale(self, position: int, band: tuple[int, int]) -> int | None:
        """Frames that are played from `position`, going round in `band`, before the first stale one; none when all of
        the band is fresh.
        """
        a, b = band
        stale = self._end(position)
        if stale < b:
            return stale - position
        stale = self._end(a)
        return b - position + stale - a if stale < position else None

    def _join(self, first: int, last: int) -> None:
        touching = [(x, y) for x, y in self._stretches if x <= last and y >= first]
        apart = [(x, y) for x, y in self._stretches if x > last or y < first]
        joined = (min(first, *(x for x, _ in touching), first), max(last, *(y for _, y in touching), last))
        self._stretches = sorted([*apart, joined])

    def _end(self, position: int) -> int:
        """Where the stretch around `position` ends; `position` itself when it is stale."""
        return next((y for x, y in self._stretches if x <= position < y), position)
