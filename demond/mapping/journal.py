"""What came of each control message: device, control, line, reason, value.

The answer to "why did that knob do nothing?". Written by the mapper for every message, read by `demond monitor` and
`demond why` through the daemon. Writing is cheap: nothing is made into words before somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

CAPACITY = 2_000
"""Messages that are remembered; the flood of eight faders for two thirds of a second."""


@dataclass(frozen=True, slots=True)
class LastMessage:
    """Why a control message did what it did, for a person who wonders."""

    source: str
    """The port or OSC sender."""
    message: str
    """The bytes in hex, or the OSC address."""
    control: str
    """`nk2/fader1`, or nothing if no device has such a control."""
    outcome: str
    """`denoise = 0.4`, or why nothing happened."""
    line: str = ""
    """The ids of the lines that spoke."""
    number: int = 0
    """Counts all messages since the start, from 1."""
    time_ns: int = 0
    """When it was received, on the monotonic clock."""


@dataclass(slots=True)
class Record:
    """One message on its way. What became of it is filled in as it becomes known."""

    number: int
    time_ns: int
    source: str
    message: bytes | str
    control: str = ""
    lines: tuple[str, ...] = ()
    reason: str = ""
    """Why nothing, or not everything, was done."""
    changes: dict[str, float] = field(default_factory=dict)

    def said(self) -> LastMessage:
        """The record in words."""
        done = ", ".join(f"{name} = {value:g}" for name, value in self.changes.items())
        outcome = "; ".join(part for part in (done, self.reason) if part)
        message = self.message.hex(" ") if isinstance(self.message, bytes) else self.message
        return LastMessage(
            self.source, message, self.control, outcome, " ".join(self.lines), self.number, self.time_ns
        )


class Journal:
    """The last messages."""

    def __init__(self) -> None:
        """Empty."""
        self._records: deque[Record] = deque(maxlen=CAPACITY)
        self.count = 0
        """How many messages there have been."""

    def begin(self, time_ns: int, source: str, message: bytes | str) -> Record:
        """A new record, to be filled in."""
        self.count += 1
        record = Record(self.count, time_ns, source, message)
        self._records.append(record)
        return record

    @property
    def last(self) -> LastMessage | None:
        """The last message."""
        return self._records[-1].said() if self._records else None

    def after(self, time_ns: int) -> Iterator[Record]:
        """The records of messages that came since `time_ns`, newest first."""
        return takewhile(lambda record: record.time_ns >= time_ns, reversed(self._records))

    def since(self, number: int, limit: int) -> list[LastMessage]:
        """At most `limit` messages after message `number`, the newest ones, oldest first."""
        found = [record for record in self._records if record.number > number]
        return [record.said() for record in found[-limit:]]
