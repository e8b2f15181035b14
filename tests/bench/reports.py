"""Reports with known figures, for the tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from demond.bench.machine import Machine
from demond.bench.report import Report, Row, Setup

MACHINE = Machine(cpu="Some CPU", cores=2, load_1min=0.5, kernel="6.1", python="3.11.7")
SETUP = Setup(model="built-in", backend="eager", device="CPU", depth=4, steps=8, frames=400, mode="ode")


def made(*rows: Row, bench: str = "engine", day: int = 1, **changed: Any) -> Report:
    """A report of `rows`; `changed` replaces its other fields."""
    fields: dict[str, Any] = {
        "bench": bench,
        "date": datetime(2026, 1, day, tzinfo=UTC),
        "version": "0.1.0",
        "commit": "0123456789ab",
        "torch": "2.13.0",
        "command": ("demond", "bench", bench),
        "machine": MACHINE,
        "setup": SETUP,
        "rows": rows,
    }
    return Report(**{**fields, **changed})
