"""Work on the event loop that takes its turns, so that no sender holds the loop up.

Used by `demond.osc.server`. Whatever a packet causes is an iterator of short steps. It begins at once and goes on for
as long as a slice lasts; what is left waits for the next turn of the loop, where every owner of unfinished work gets
a slice in turn. The work of one owner is done in the order in which it came.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator

SLICE_SECONDS = 0.001
"""A slice ends with the first step that ends after it. The loop then serves whatever else is ready."""
WAITING_LIMIT = 64
"""Pieces of work of one owner that may wait."""

Work = Iterator[object]


class Turns:
    """Unfinished work, by owner."""

    def __init__(self) -> None:
        """Nothing to do."""
        self._waiting: OrderedDict[Hashable, deque[Work]] = OrderedDict()
        self._next: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._waiting

    def add(self, owner: Hashable, work: Work) -> bool:
        """Does `work` after all that `owner` has given before; False, and nothing is done, if too much waits."""
        waiting = self._waiting.get(owner)
        if waiting is None:
            if _slice(work, time.perf_counter() + SLICE_SECONDS):
                return True
            self._waiting[owner] = deque([work])
            self._go_on()
        elif len(waiting) < WAITING_LIMIT:
            waiting.append(work)
        else:
            return False
        return True

    def forget(self, owner: Hashable) -> None:
        """Drops what `owner` has left to do."""
        self._waiting.pop(owner, None)

    def clear(self) -> None:
        """Drops everything."""
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _go_on(self) -> None:
        if self._next is None and self._waiting:
            self._next = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._next = None
        if not self._waiting:  # whoever waited is gone
            return
        owner, works = next(iter(self._waiting.items()))
        self._waiting.move_to_end(owner)
        deadline = time.perf_counter() + SLICE_SECONDS
        while works and _slice(works[0], deadline):
            works.popleft()
            if time.perf_counter() >= deadline:
                break
        if not works and self._waiting.get(owner) is works:
            del self._waiting[owner]
        self._go_on()


def _slice(work: Work, deadline: float) -> bool:
    """Takes steps until `deadline`; True when none is left."""
    return all(time.perf_counter() < deadline for _ in work)
