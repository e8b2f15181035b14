"""`demond bench model`: how long a shared knob should take, beside how long it took.

docs/latency.md has the formula, `engine.knob_time` the arithmetic. From a report of `demond bench latency` come the
median tick, what was written ahead, and the setup; the way to the port that follows from these is held against the
way that was heard. Without a report, the daemon is measured at some depths and periods first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from demond.bench import report, switches
from demond.bench.report import PHASES_LEAST, Report, ReportError, load
from engine import knob_time

WITHIN = 0.15
"""What is left out of the model: fills, other work of the machine, the spread of ticks."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Prediction:
    """One kind of knob in one report. Medians in milliseconds, up to the port."""

    level: str
    kind: str
    depth: int
    steps: int
    frames: int
    period: int
    tick: float
    ahead: float
    wait: float
    ticks: float
    """The part of the way that ticks are, and the wait before it."""
    predicted: float
    measured: float
    phases: int
    """That it was measured at; fewer than :data:`PHASES_LEAST` decide nothing."""

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured."""
        return self.predicted / self.measured - 1

    def is_off(self, within: float) -> bool:
        """Whether it is off by more than `within`, as far as so many phases can tell."""
        return self.phases >= PHASES_LEAST and abs(self.error) > within


def predictions(made: Report) -> list[Prediction]:
    """For a shared knob that meets a ring at rest, and for one that meets it at work, as far as the report has them.

    Raises `ReportError` for a report of another bench, or without what the formula needs.
    """
    if made.bench != "latency":
        raise ReportError(f"the model is of reports of `demond bench latency`, not of {made.bench}")
    other = made.setup.other
    period, rate = other.get("period"), other.get("rate")
    named = {row.name: row for row in made.rows}
    rows = {name: row.p50 for name, row in named.items()}
    tick, ahead = rows.get("tick"), rows.get("write ahead")
    if tick is None or ahead is None or not isinstance(period, int) or not isinstance(rate, int):
        raise ReportError("a report without ticks, write ahead, period and rate says nothing about the model")
    if other.get("level") == "engine":  # that was read off a clock, with what is left of the period in it
        ahead -= period * 1e3 / rate / 2
    found = []
    for kind, at_rest in (("shared", True), ("moving", False)):
        measured = rows.get(f"{kind}: first change")
        if measured:
            way = knob_time.way(tick, made.setup.depth, made.setup.steps, ahead, period, rate, at_rest=at_rest)
            found.append(
                Prediction(
                    level=str(other.get("level")),
                    kind=kind,
                    depth=made.setup.depth,
                    steps=made.setup.steps,
                    frames=made.setup.frames,
                    period=period,
                    tick=tick,
                    ahead=ahead,
                    wait=way.wait,
                    ticks=way.ticks,
                    predicted=way.port,
                    measured=measured,
                    phases=named[f"{kind}: first change"].n,
                )
            )
    return found


def _measured(depths: Sequence[int], periods: Sequence[int], phases: int, source: Path | None) -> Iterator[Report]:
    from demond.bench.latency import of_daemon

    for depth, period in product(depths, periods):
        options = [*switches.for_daemon(), "--depth", str(depth), *(["--source", str(source)] if source else [])]
        yield of_daemon(phases, ["shared"], period, 48_000, 1, options)


def _counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: whole numbers with commas between are wanted") from None


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="docs/latency.md explains the formula. Reports come from: demond bench latency --output DIR",
)
def main(
    reports: Annotated[
        list[Path] | None, typer.Argument(help="Reports of `demond bench latency`; without any, it is measured now.")
    ] = None,
    depths: Annotated[
        str, typer.Option(help="Depths to measure, with commas between.", envvar=switches.DEPTH_VARIABLE)
    ] = "1,2,4,8",
    periods: Annotated[str, typer.Option(help="Periods to measure.")] = "128,512",
    phases: Annotated[int, typer.Option(min=2, help="Changes at each.")] = 50,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop to measure with.")] = None,
    folder: report.OutputFolder = None,
    within: Annotated[float, typer.Option(min=0, help="How far off is too far, as a share.")] = WITHIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Print predicted against measured knob-to-ear times; the exit status is 1 when they are too far apart."""
    found: list[Prediction] = []
    try:
        for made in map(load, reports) if reports else _measured(_counts(depths), _counts(periods), phases, source):
            found += predictions(made)
            if not reports:
                report.deliver(made, None, folder)
    except (ReportError, RuntimeError) as error:
        typer.echo(f"demond bench model: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        rows = [{**asdict(each), "error": each.error} for each in found]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        _show(found, within)
    raise typer.Exit(1 if any(each.is_off(within) for each in found) else 0)


def _show(found: Sequence[Prediction], within: float) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    head = (
        "level",
        "kind",
        "depth",
        "steps",
        "T",
        "period",
        "tick",
        "wait",
        "ticks",
        "ahead",
        "predicted",
        "measured",
    )
    table = Table(*head, "off", box=None)
    for each in found:
        counts = map(str, (each.depth, each.steps, each.frames, each.period))
        times = (each.tick, each.wait, each.ticks, each.ahead, each.predicted, each.measured)
        style = "red" if each.is_off(within) else None
        table.add_row(
            each.level, each.kind, *counts, *(f"{time:.1f}" for time in times), f"{each.error:+.1%}", style=style
        )
    out.print(table)
    out.print("medians in ms, from the message to the first changed sample at the port")
    if any(each.phases < PHASES_LEAST for each in found):
        out.print(
            f"fewer than {PHASES_LEAST} phases decide nothing: they are shown, and the exit status leaves them out"
        )


if __name__ == "__main__":
    app(prog_name="demond bench model")
