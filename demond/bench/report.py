"""What a bench has measured, as one JSON file: every figure with the machine, the model and the sources it is of.

Every `demond bench` makes a :class:`Report` and gives it to :func:`deliver`; `demond bench diff` and the plots read
it back with :func:`load`, which refuses a file that does not say all of this. A row keeps its samples, so that
whoever compares two reports knows how far each figure wanders by itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from rich.console import Console
from rich.table import Table

from demond import __version__
from demond.bench import machine
from demond.bench.machine import Machine

SAMPLES_MOST = 2_000
"""Samples that a row keeps; of more, every so-manieth, in their order."""

PHASES_LEAST = 50
"""Random phases from which on a time from a change to what is heard decides anything: one phase says where in a tick
the change happened to fall, and wanders by a whole tick.
"""

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")]
OutputFolder = Annotated[
    Path | None,
    typer.Option("--output", help="Also write the report into this folder, named by date, with plots beside it."),
]
"""The options that every bench has for its report."""


class ReportError(Exception):
    """A report cannot be read, written or compared. The message says what to do."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Row(_Model):
    """One thing that was measured, so-and-so often. Figures are in `unit`, and null where nothing was measured."""

    name: Annotated[str, Field(min_length=1)]
    unit: str
    """`ms`, `1/s`, `x` (times real time), `MiB`, or `count` for a number of events."""
    better: Literal["lower", "higher"] = "lower"
    n: Annotated[int, Field(ge=0)]
    p50: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    sd: float | None
    least: float | None
    most: float | None
    samples: tuple[float, ...]
    """In their order."""


class Setup(_Model):
    """What played while it was measured."""

    model: str
    backend: str
    """What ran the network, with its version where it has one: `eager`, `tensorrt 1.7`."""
    device: str
    depth: int
    steps: int
    frames: int
    """T: latent frames (40 ms) that one slot covers."""
    mode: str
    """`ode` or `sde`, and what else changes the work of a tick, such as guidance."""
    other: dict[str, str | int | float | bool | None] = {}
    """What only this bench knows: period, rate, phases."""

    def told(self) -> str:
        """In one line."""
        other = [f"{name} {value}" for name, value in self.other.items() if value is not None]
        return ", ".join(
            (
                f"{self.model} on {self.device} ({self.backend})",
                f"depth {self.depth}",
                f"{self.steps} steps",
                f"T {self.frames}",
                self.mode,
                *other,
            )
        )


class Report(_Model):
    """The file."""

    demond_report: Literal[1] = 1
    """The version of this layout."""
    bench: str
    """`latency`, `engine`, `control`, `audio`, `inside`, `advise`."""
    date: AwareDatetime
    version: str
    """demond's."""
    commit: str | None
    """Of the checkout, with `+` for files that differ from it; null for an installed demond."""
    torch: str
    """Its version."""
    command: tuple[str, ...]
    machine: Machine
    setup: Setup
    rows: tuple[Row, ...]
    details: dict[str, JsonValue] = {}
    """Whatever else the bench has found out."""

    def row(self, name: str) -> Row:
        """The row of that name. Raises `KeyError`."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)


def of_phases(made: Report, row: Row) -> bool:
    """Whether each sample of `row` is of one change at a random phase: those of the kinds of knob in a latency."""
    return made.bench == "latency" and ": " in row.name and row.unit != "count"


def row(
    name: str,
    unit: str,
    samples: Sequence[float] | NDArray[np.float64],
    better: Literal["lower", "higher"] = "lower",
) -> Row:
    """The row of these samples, which may be none."""
    values = np.asarray(samples, np.float64)
    if not len(values):
        nothing = dict.fromkeys(("p50", "p95", "p99", "mean", "sd", "least", "most"))
        return Row(name=name, unit=unit, better=better, n=0, samples=(), **nothing)
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    figures = {
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "mean": values.mean(),
        "sd": values.std(ddof=1) if len(values) > 1 else 0.0,
        "least": values.min(),
        "most": values.max(),
    }
    kept = values[:: -(-len(values) // SAMPLES_MOST)]
    return Row(
        name=name,
        unit=unit,
        better=better,
        n=len(values),
        samples=tuple(_short(value) for value in kept),
        **{key: _short(value) for key, value in figures.items()},
    )


def _short(value: float) -> float:
    """Six significant digits: below what any clock here resolves."""
    return float(f"{value:.6g}")


def report(
    bench: str, setup: Setup, rows: Iterable[Row], details: Mapping[str, Any] | None = None, on: Machine | None = None
) -> Report:
    """The report of a bench that ends now. `on` is the machine, when it was looked at before."""
    return Report(
        bench=bench,
        date=datetime.now(UTC).replace(microsecond=0),
        version=__version__,
        commit=machine.commit(),
        torch=importlib.metadata.version("torch"),
        command=("demond", "bench", bench, *sys.argv[1:]),
        machine=on or machine.here(),
        setup=setup,
        rows=tuple(rows),
        details=dict(details or {}),
    )


def playing(status: Mapping[str, Any], **other: str | int | float | bool | None) -> Setup:
    """The setup that a daemon's `status` tells of, with its defaults for knobs."""
    engine, audio = status["engine"], status["audio"]
    context = float(status["session"]["context_s"])
    seconds = float(engine["loop_seconds"])
    return Setup(
        model=engine["model"],
        backend=engine["backend"],
        device=engine["device"],
        depth=engine["depth"],
        steps=engine["steps"],
        frames=round(25 * (min(context, seconds) if context else seconds)),
        mode="ode",
        other={"loop_s": round(seconds, 2), "period": audio["period"], "rate": audio["rate"], **other},
    )


def text(made: Report) -> str:
    """The file's content: JSON with one line for each row."""
    document = made.model_dump(mode="json")
    rows = document.pop("rows")
    mark = '"rows": []'
    head = json.dumps({**document, "rows": []}, indent=1)
    lines = ",\n  ".join(json.dumps(each) for each in rows)
    return head.replace(mark, f'"rows": [\n  {lines}\n ]' if rows else mark) + "\n"


def save(made: Report, path: Path) -> None:
    """Writes `path`, whole or not at all. Raises :class:`ReportError`."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text(made))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error


def load(path: Path) -> Report:
    """The report in `path`. Raises :class:`ReportError` for a file that is none, or lacks something."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ReportError(f"{path} is no report of `demond bench`: {where}: {first['msg']}") from None


def file_name(made: Report) -> str:
    """What a report is called in a folder of reports: bench and date, in an order that sorts."""
    return f"{made.bench}-{made.date:%Y%m%d-%H%M%S}.json"


def deliver(made: Report, file: Path | None, folder: Path | None) -> None:
    """Writes the report where the user asked for it, the plots beside it, and says so.

    Ends the command with a sentence when that is not possible.
    """
    told = Console(stderr=True, highlight=False)
    try:
        if file is not None:
            save(made, file)
        if folder is not None:
            path = folder / file_name(made)
            save(made, path)
            told.print(f"report: {path}", soft_wrap=True, markup=False)
            told.print(_drawn(made, path.with_suffix("")), soft_wrap=True, markup=False)
    except ReportError as error:
        told.print(f"demond bench: {error}", soft_wrap=True, markup=False)
        raise typer.Exit(2) from None


def _drawn(made: Report, stem: Path) -> str:
    """Draws the plots, and says which; or why there are none."""
    from demond.bench.plots import PlotsMissingError, draw

    try:
        return "plots: " + ", ".join(str(path) for path in draw(made, stem))
    except PlotsMissingError as error:
        return f"no plots: {error}; then: demond bench plot {stem}.json"
    except OSError as error:
        raise ReportError(f"{stem} cannot be drawn: {error.strerror}") from error


def show(made: Report, console: Console | None = None) -> None:
    """The report for people, on standard output."""
    out = console or Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    out.print(made.setup.told(), soft_wrap=True, markup=False)
    out.print(made.machine.told(), soft_wrap=True, markup=False)
    table = Table("", "unit", "n", "p50", "p95", "p99", "mean", "± sd", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for each in made.rows:
        figures = (each.p50, each.p95, each.p99, each.mean, each.sd)
        table.add_row(each.name, each.unit, str(each.n), *("" if f is None else f"{f:.4g}" for f in figures))
    out.print(table)
