"""The last lines of the daemon's log, for those who ask over OSC. Lines may come from any thread."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

LEVELS = ("debug", "info", "warning", "error")
LINE_LIMIT = 200
"""Lines that are kept."""
LINE_LENGTH = 1_000


class LogTail(logging.Handler):
    """Keeps what is logged, from :meth:`start` to :meth:`stop`."""

    def __init__(self, told: Callable[[], None]) -> None:
        """`told` is called in the event loop after lines have come."""
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._told = told
        self._lines: deque[str] = deque(maxlen=LINE_LIMIT)
        self.count = 0
        """Lines that ever came."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listens to all loggers. Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        logging.getLogger().addHandler(self)

    def stop(self) -> None:
        """Ends that."""
        logging.getLogger().removeHandler(self)
        self._loop = None

    def emit(self, record: logging.LogRecord) -> None:
        """One record, from any thread."""
        line = self.format(record)[:LINE_LENGTH].replace("\0", " ")
        self._lines.append(line)
        self.count += 1
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told)

    def last(self, count: int) -> tuple[str, ...]:
        """The last `count` lines, oldest first."""
        return tuple(self._lines)[-count:] if count > 0 else ()

    @property
    def chosen_level(self) -> str:
        """How much demond logs."""
        return logging.getLevelName(logging.getLogger("demond").getEffectiveLevel()).lower()

    @chosen_level.setter
    def chosen_level(self, level: str) -> None:
        logging.getLogger("demond").setLevel(level.upper())
