"""Bundles that wait for their time. Used by `demond.osc.server` in the daemon's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum

from demond.osc.codec import IMMEDIATELY, Bundle, unix_seconds

SECONDS_AHEAD = 10.0
"""How far ahead a time tag may lie."""
SECONDS_BEHIND = 1.0
"""How long ago one may be without a word: a network that dawdles, clocks that differ a little."""
MESSAGE_LIMIT = 1_024
"""Messages that may wait for their time."""


class When(Enum):
    """What becomes of a bundle."""

    NOW = "now"
    WAITS = "waits"
    FULL = "full"
    """Too many messages wait already; it is dropped."""
    TOO_FAR = "ahead"
    TOO_OLD = "ago"


class Schedule:
    """What waits."""

    def __init__(self) -> None:
        """Nothing does."""
        self._handles: dict[object, tuple[asyncio.TimerHandle, int]] = {}
        self.waiting = 0
        """Messages."""

    def put(self, bundle: Bundle, due: Callable[[], None]) -> tuple[When, float]:
        """Calls `due` at the bundle's time, if it is to wait; says so, and how many seconds ahead that is."""
        if bundle.time_tag == IMMEDIATELY or not bundle.messages:
            return When.NOW, 0.0
        delay = unix_seconds(bundle.time_tag) - time.time()
        if delay <= 0:
            return (When.TOO_OLD if delay < -SECONDS_BEHIND else When.NOW), delay
        if delay > SECONDS_AHEAD:
            return When.TOO_FAR, delay
        count = len(bundle.messages)
        if self.waiting + count > MESSAGE_LIMIT:
            return When.FULL, delay
        key = object()

        def act() -> None:
            self.waiting -= self._handles.pop(key)[1]
            due()

        self._handles[key] = (asyncio.get_running_loop().call_later(delay, act), count)
        self.waiting += count
        return When.WAITS, delay

    def clear(self) -> None:
        """Forgets everything."""
        for handle, _ in self._handles.values():
            handle.cancel()
        self._handles.clear()
        self.waiting = 0
