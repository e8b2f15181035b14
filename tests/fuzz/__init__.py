"""Fuzzing of everything that strangers can send: OSC datagrams and streams, OSCQuery requests, mapping files,
MIDI bytes.

`python -m tests.fuzz --count 100000 --seed 1` feeds that many inputs to the real server, loader and mapper, and says
what became of them. Each input must be obeyed, answered or refused; nothing may raise, and nothing may reach a log as
an error.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    kind: str
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    exceptions: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds that the slowest input took."""
    seconds: float = 0.0

    def line(self) -> str:
        """One line for a person."""
        outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(self.outcomes.items()))
        speed = self.inputs / self.seconds if self.seconds else 0
        return (
            f"{self.kind:8} {self.inputs:>8,} inputs: {outcomes}; exceptions={len(self.exceptions)}; "
            f"{self.seconds:.1f} s, {speed:,.0f}/s, slowest {self.slowest * 1000:.1f} ms"
        )

    @contextmanager
    def input(self) -> Iterator[None]:
        """Around the treatment of one input: counts, times and catches."""
        began = time.perf_counter()
        self.inputs += 1
        try:
            yield
        except Exception as error:
            self.exceptions.append(f"{type(error).__name__}: {error}")
        self.slowest = max(self.slowest, time.perf_counter() - began)


class ErrorLog(logging.Handler):
    """Collects what is logged as an error, from any logger."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the message."""
        self.records.append(record.getMessage())

    def __enter__(self) -> ErrorLog:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
