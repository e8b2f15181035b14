"""Pictures of a report, as PNG and SVG beside it; and `demond bench plot` for reports that were made elsewhere.

Only here and in `demond.bench.cost_plots` is matplotlib known, which is in the extra `plots` and is imported when
something is drawn. The same report gives the same SVG, so that one in a repository changes only when its figures do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from demond.bench import cost_plots
from demond.bench.cost_plots import INK
from demond.bench.report import Report, ReportError, Row, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "plots need matplotlib: pip install 'demond[plots]'"
_POINTS = 101
"""Quantiles that a curve is drawn through; more would only make the file larger."""

_FAR = 20
"""Medians that are so many times apart share an axis only when it is logarithmic."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class PlotsMissingError(Exception):
    """matplotlib is not installed; the message says how to get it."""


def draw(made: Report, stem: Path) -> list[Path]:
    """Draws `stem`.png and `stem`.svg. Raises :class:`PlotsMissingError`, and `OSError` where it may not write."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotsMissingError(MISSING) from None
    style: Any = {
        "svg.hashsalt": "demond",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        picture = PICTURES.get(made.bench, _percentiles) if made.details else _percentiles
        picture(figure, made)
        figure.suptitle(f"{made.setup.told()}\n{made.machine.told()}, {made.date:%Y-%m-%d}", fontsize=8)
        files = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        figure.savefig(files[0], dpi=110)
        figure.savefig(files[1], metadata={"Date": None})
    return files


def _latency(figure: Figure, made: Report) -> None:
    """How many of the changes are heard within a time; and what the stream did meanwhile."""
    left, right = figure.subplots(1, 2)
    for name, title, axes in (("first change", "heard first", left), ("fresh audio", "all of it heard", right)):
        rows = [row for row in made.rows if row.name.endswith(f": {name}") and row.n]
        for row, colour in zip(rows, INK, strict=False):
            shares = np.linspace(0, 100, _POINTS)
            axes.plot(np.percentile(row.samples, shares), shares, color=colour, label=row.name.partition(":")[0])
        axes.set(title=title, xlabel="ms after the message", ylabel="% of changes", xlim=(0, None), ylim=(0, 100))
        axes.axhline(50, color="#bbbbbb", linewidth=0.8)
        if rows:
            axes.legend()


def _percentiles(figure: Figure, made: Report) -> None:
    """Median to 99th percentile of every row, a panel for each unit."""
    units = list(dict.fromkeys(row.unit for row in made.rows if row.n and row.unit != "count"))
    if not units:
        figure.subplots(1, 1).set_axis_off()
        return
    grouped = [[row for row in made.rows if row.unit == unit and row.n] for unit in units]
    figure.set_size_inches(11, 1 + sum(0.7 + 0.3 * len(rows) for rows in grouped))
    heights = [1 + len(rows) for rows in grouped]
    panels = figure.subplots(len(units), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, unit, rows in zip(panels, units, grouped, strict=True):
        _panel(axes, rows, unit)


def _panel(axes: Axes, rows: Sequence[Row], unit: str) -> None:
    places = np.arange(len(rows))[::-1]
    for row, place in zip(rows, places, strict=True):
        axes.plot([row.p50 or 0, row.p99 or 0], [place, place], color=INK[0], linewidth=3, alpha=0.35)
        axes.plot([row.p50 or 0], [place], "o", color=INK[0])
    axes.set_yticks(places, [row.name for row in rows])
    axes.set(xlabel=f"{unit}, median to 99th percentile", ylim=(-0.6, len(rows) - 0.4))
    medians = [row.p50 or 0.0 for row in rows]
    if min(medians) > 0 and max(medians) > _FAR * min(medians):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(0, 1.05 * max(row.p99 or 0 for row in rows) or 1)


PICTURES: dict[str, Callable[[Figure, Report], None]] = {
    "latency": _latency,
    "engine": cost_plots.engine,
    "advise": cost_plots.advise,
}
"""What is drawn of a bench; of the others the percentiles are."""


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    reports: Annotated[list[Path], typer.Argument(help="Reports that a bench wrote with --json or --output.")],
    folder: Annotated[Path | None, typer.Option("--output", help="Where to draw; else beside each report.")] = None,
) -> None:
    """Draw reports as PNG and SVG."""
    try:
        for path in reports:
            stem = (folder or path.parent) / path.stem
            stem.parent.mkdir(parents=True, exist_ok=True)
            for file in draw(load(path), stem):
                typer.echo(file)
    except (ReportError, PlotsMissingError) as error:
        typer.echo(f"demond bench plot: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"demond bench plot: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app(prog_name="demond bench plot")
