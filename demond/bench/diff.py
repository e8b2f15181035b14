"""`demond bench diff A B`: two reports, row by row, and whether B is worse than A by more than both wander.

A row is worse when its ratio is beyond a tolerance even at the end of its 99 % interval that speaks for B. The
interval is that of the ratio of medians (and of 95th percentiles, where there are enough samples) over resamples of
both rows, taken in blocks, since what is measured one after the other is alike. What differs from run to run without
any reason is not in one run: a second report of A's (`--repeat`) shows it, and widens the tolerance to twice as much.
Rows of too few samples say how they differ and decide nothing; a time from a change to what is heard wants fifty
phases. Counts are worse when they grow by more than three times the spread of counts at random.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from demond.bench.report import PHASES_LEAST, Report, ReportError, Row, load, of_phases

TOLERANCE = 0.05
"""A ratio within this is the same to any performer, and runs differ by as much for no reason that is in them."""
_RESAMPLES = 1_000
_INTERVAL = (0.5, 99.5)
_ENOUGH = {50: 8, 95: 60}
"""Samples that a row must have for its median, and for its 95th percentile, to be compared."""
_COUNT_SPREADS = 3.0
_REPEATED = 2.0
"""Two runs alike show about half of what many would."""
_NOTHING = 1e-9
"""A figure below this cannot be divided by."""

Verdict = Literal["same", "worse", "better", "undecided"]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Difference:
    """One figure of one row in both reports. `ratio` is B / A; `low` and `high` are the ends of its interval."""

    row: str
    figure: Literal["p50", "p95", "count"]
    unit: str
    before: float
    after: float
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict


def apart(before: Report, after: Report) -> list[str]:
    """Why these two should not be compared: what they are of, where it is not the same."""
    pairs: list[tuple[str, object, object]] = [("bench", before.bench, after.bench)]
    for name in ("cpu", "cores"):
        pairs.append((name, getattr(before.machine, name), getattr(after.machine, name)))
    pairs.append(("GPUs", [gpu.name for gpu in before.machine.gpus], [gpu.name for gpu in after.machine.gpus]))
    for name in ("model", "device", "depth", "steps", "frames", "mode"):
        pairs.append((name, getattr(before.setup, name), getattr(after.setup, name)))
    for name in sorted({*before.setup.other, *after.setup.other}):
        pairs.append((name, before.setup.other.get(name), after.setup.other.get(name)))
    return [f"{name}: {one} and {other}" for name, one, other in pairs if one != other]


def compare(
    before: Report, after: Report, tolerance: float = TOLERANCE, repeat: Report | None = None, seed: int = 1
) -> list[Difference]:
    """Every figure that both reports have, in the order of `before`; `repeat` is of the same thing as that.

    The same `seed` gives the same intervals.
    """
    dice = np.random.default_rng(seed)
    others = {row.name: row for row in after.rows}
    again = {row.name: row for row in repeat.rows} if repeat else {}
    found: list[Difference] = []
    for row in before.rows:
        other = others.get(row.name)
        if other is None or not row.n or not other.n:
            continue
        if row.unit == "count":
            found.append(_counted(row, other))
            continue
        for percentile in (50, 95):
            if percentile == 50 or min(len(row.samples), len(other.samples)) >= _ENOUGH[95]:
                wide = max(tolerance, _wander(row, again.get(row.name), percentile))
                least = max(_ENOUGH[percentile], PHASES_LEAST if of_phases(before, row) else 0)
                found.append(_figure(row, other, percentile, wide, least, dice))
    return found


def _wander(row: Row, again: Row | None, percentile: int) -> float:
    """The tolerance that two reports of the same thing show to be needed."""
    if again is None or not again.samples:
        return 0.0
    one, other = (float(np.percentile(each.samples, percentile)) for each in (row, again))
    apart = max(one, other) / max(min(one, other), _NOTHING)
    return _REPEATED * (apart - 1)


def _figure(
    row: Row, other: Row, percentile: int, tolerance: float, least: int, dice: np.random.Generator
) -> Difference:
    """Undecided unless both rows have `least` samples."""
    a, b = (float(np.percentile(each.samples, percentile)) for each in (row, other))
    ratio = b / a if a > _NOTHING else None
    low = high = None
    verdict: Verdict = "undecided"
    if ratio is not None and min(len(row.samples), len(other.samples)) >= least:
        below, above = (resampled(np.array(each.samples), percentile, dice) for each in (row, other))
        ratios = above / np.maximum(below, _NOTHING)
        low, high = (float(end) for end in np.percentile(ratios, _INTERVAL))
        verdict = _judged(low, high, row.better, tolerance)
    return Difference(row.name, "p50" if percentile == 50 else "p95", row.unit, a, b, ratio, low, high, verdict)


def _judged(low: float, high: float, better: Literal["lower", "higher"], tolerance: float) -> Verdict:
    grown, shrunk = low > 1 + tolerance, high < 1 / (1 + tolerance)
    if not grown and not shrunk:
        return "same"
    return "worse" if grown == (better == "lower") else "better"


def _counted(row: Row, other: Row) -> Difference:
    a, b = sum(row.samples), sum(other.samples)
    far = abs(b - a) > _COUNT_SPREADS * math.sqrt(a + b)
    verdict: Verdict = "same" if not far else "worse" if (b > a) == (row.better == "lower") else "better"
    return Difference(row.name, "count", row.unit, a, b, b / a if a else None, None, None, verdict)


def resampled(samples: NDArray[np.float64], percentile: float, dice: np.random.Generator) -> NDArray[np.float64]:
    """The percentile of :data:`_RESAMPLES` resamples, in blocks of about the cube root of the number of samples.

    (The order of block length for which the variance of a mean is estimated best: Künsch 1989.) Blocks go round.
    """
    n = len(samples)
    block = max(1, round(n ** (1 / 3)))
    starts = dice.integers(0, n, (_RESAMPLES, -(-n // block)))
    places = (starts[:, :, None] + np.arange(block)) % n
    drawn = samples[places.reshape(_RESAMPLES, -1)[:, :n]]
    found: NDArray[np.float64] = np.percentile(drawn, percentile, axis=1)
    return found


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    before: Annotated[Path, typer.Argument(help="A report that a bench wrote with --json or --output.")],
    after: Annotated[Path, typer.Argument(help="Another, of the same bench.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="How much worse is still the same; 0.05 is five per cent.")
    ] = TOLERANCE,
    repeat: Annotated[
        Path | None, typer.Option(help="A second report of the first one's: what those differ by is noise.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare other machines, models or settings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Compare two reports row by row; the exit status is 1 when something got worse by more than noise."""
    try:
        one, other, again = load(before), load(after), load(repeat) if repeat else None
    except ReportError as error:
        typer.echo(f"demond bench diff: {error}", err=True)
        raise typer.Exit(2) from None
    reasons = [*apart(one, other), *(apart(one, again) if again else [])]
    if reasons and not anyway:
        typer.echo("demond bench diff: these are not of the same thing; --anyway compares them still", err=True)
        for reason in reasons:
            typer.echo(f"  {reason}", err=True)
        raise typer.Exit(2)
    differences = compare(one, other, tolerance, again)
    if not differences:
        typer.echo("demond bench diff: they have no row in common", err=True)
        raise typer.Exit(2)
    if as_json:
        document = {"apart": reasons, "tolerance": tolerance, "rows": [asdict(each) for each in differences]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        _show(one, other, reasons, differences)
    raise typer.Exit(1 if any(each.verdict == "worse" for each in differences) else 0)


def _show(one: Report, other: Report, reasons: Sequence[str], differences: Sequence[Difference]) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for name, made in (("A", one), ("B", other)):
        told = f"{name}: {made.date:%Y-%m-%d %H:%M}, demond {made.version} ({made.commit}), torch {made.torch}, "
        out.print(told + f"{made.setup.backend}, load {made.machine.load_1min:g}", soft_wrap=True, markup=False)
        if made.machine.load_1min > made.machine.cores:
            said = (
                "this machine had more to do than its cores can; repeat it and say --repeat before you trust the rest"
            )
            out.print(f"{name}: {said}", soft_wrap=True, markup=False)
    for reason in reasons:
        out.print(f"not the same: {reason}", soft_wrap=True, markup=False)
    table = Table("", "", "unit", "A", "B", "B / A", "99 % interval", "", box=None)
    styles = {"worse": "red", "better": "green"}
    for each in differences:
        ratio = "" if each.ratio is None else f"{each.ratio:.3f}"
        interval = "" if each.low is None or each.high is None else f"{each.low:.3f} – {each.high:.3f}"
        figures = (f"{each.before:.4g}", f"{each.after:.4g}", ratio, interval)
        verdict = "" if each.verdict == "same" else each.verdict
        table.add_row(each.row, each.figure, each.unit, *figures, verdict, style=styles.get(each.verdict))
    out.print(table)
    worse = sum(each.verdict == "worse" for each in differences)
    better = sum(each.verdict == "better" for each in differences)
    out.print(f"{worse} worse, {better} better, of {len(differences)} figures", highlight=False)


if __name__ == "__main__":
    app(prog_name="demond bench diff")
