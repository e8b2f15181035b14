"""Pieces composed in other processes while the GPU works: a few milliseconds of one core each."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from engine.embedded.music import Piece, Request, compose_pair

Pair = tuple[Piece, Piece]
_STRIDE = 16


def pairs(first: int, count: int, seconds: float) -> list[Pair]:
    """Pieces with their covers from consecutive seeds."""
    return [compose_pair(Request(), seed, seconds) for seed in range(first, first + count)]


class Composers:
    """An endless supply of pairs, in the order of their seeds. Close it: it owns processes."""

    def __init__(self, seconds: float, first_seed: int, processes: int | None = None) -> None:
        """`processes` is by default all cores but three, 12 at the most; with none, this process composes."""
        self._seconds, self._next, self._given = seconds, first_seed, first_seed
        count = min(12, (os.cpu_count() or 1) - 3) if processes is None else processes
        self._pool = ProcessPoolExecutor(count, get_context("spawn")) if count > 0 else None
        self._ahead: deque[Future[list[Pair]]] = deque()
        self._ready: deque[Pair] = deque()
        if self._pool:
            for _ in range(4 * count):
                self._order(self._pool)

    @property
    def next_seed(self) -> int:
        """The first seed that was not handed out."""
        return self._given

    def take(self, count: int) -> Sequence[Pair]:
        """The next `count` pairs."""
        while len(self._ready) < count:
            if self._pool:
                self._ready.extend(self._ahead.popleft().result())
                self._order(self._pool)
            else:
                self._ready.extend(pairs(self._next, count, self._seconds))
                self._next += count
        self._given += count
        return [self._ready.popleft() for _ in range(count)]

    def close(self) -> None:
        """Ends the processes."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _order(self, pool: ProcessPoolExecutor) -> None:
        self._ahead.append(pool.submit(pairs, self._next, _STRIDE, self._seconds))
        self._next += _STRIDE
