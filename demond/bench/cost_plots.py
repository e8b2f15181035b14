"""The pictures of what a tick costs: against the length, the number of slots and the backend; and what is advised.

Called by `demond.bench.plots`, which owns the file. Each takes an empty figure of matplotlib's and the report, and
reads nothing but the report's `details`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from demond.bench.report import Report

INK = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#444444", "#00838f", "#a0522d")
"""Colours that are told apart on white, in their order."""
_MARKS = "os^Dv*<>"
_ROOM = 1.35
"""How much higher than its highest point a panel is, for the legend."""
_COLUMNS = 3
_GIB = 1024
_SEVERAL = 4
"""Lengths from which on an axis is better logarithmic, or whose ends are so many times apart."""

Line = dict[str, Any]
"""One line of a report's table: see `demond.bench.engine`."""


def engine(figure: Figure, made: Report) -> None:
    """For each backend ms per tick against T, a line for each depth; then what all of them give, need and leave."""
    table: Any = made.details["table"]
    # Reports of before there were several backends in one have neither of these.
    lines: list[Line] = [{"backend": made.setup.backend, "tick_p95_ms": line["tick_ms"], **line} for line in table]
    backends = list(dict.fromkeys(line["backend"] for line in lines))
    shared = (
        ("times_real_time", "× real time", 1.0),
        ("memory_mib", "memory at most, GiB", 1 / _GIB),
        ("of_floor", "the floor's share of a tick, %", 100.0),
    )
    panels = _panels(figure, len(backends) + len(shared))
    for axes, backend in zip(panels, backends, strict=False):
        if axes is not panels[0]:
            axes.sharey(panels[0])
        _ticks(axes, [line for line in lines if line["backend"] == backend], backend)
    first = lines[0]["case"]
    for axes, (column, label, unit) in zip(panels[len(backends) :], shared, strict=True):
        _by_work(axes, [line for line in lines if line["case"] == first], backends, column, unit)
        axes.set_title(first, fontsize=8)
        axes.set(xlabel="depth × T, latent frames", ylabel=label)
        axes.legend(fontsize=7, ncols=2, loc="upper left")


def _panels(figure: Figure, count: int) -> list[Axes]:
    """So many axes in rows of three at most, and the figure as high as they need."""
    columns = min(_COLUMNS, count) if count != _COLUMNS + 1 else 2
    rows = -(-count // columns)
    figure.set_size_inches(11, 0.6 + 3.6 * rows)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return panels[:count]


def _ticks(axes: Axes, lines: Sequence[Line], backend: str) -> None:
    """Milliseconds against T: lines for the first case, shaded up to the 95th percentile; dots for the others, and
    dashes for the floor.
    """
    first = lines[0]["case"]
    cases = list(dict.fromkeys(line["case"] for line in lines))
    for depth, colour in zip(sorted({line["depth"] for line in lines}), INK, strict=False):
        for case in cases:
            mine = sorted((line for line in lines if (line["depth"], line["case"]) == (depth, case)), key=_frames)
            frames, times = [_frames(line) for line in mine], [line["tick_ms"] for line in mine]
            if case != first:
                axes.plot(frames, times, "x:", color=colour, linewidth=0.8, markersize=4)
                continue
            axes.plot(frames, times, "o-", color=colour, markersize=4, label=f"depth {depth}")
            axes.fill_between(frames, times, [line["tick_p95_ms"] for line in mine], color=colour, alpha=0.2)
            axes.plot(frames, [line["floor_ms"] for line in mine], "--", color=colour, linewidth=0.8)
    _spread(axes, [_frames(line) for line in lines])
    others = f", x {', '.join(cases[1:])}" if cases[1:] else ""
    axes.set_title(f"{backend}: o {first}{others}, -- floor", fontsize=8)
    axes.set(xlabel="T, latent frames", ylabel="ms per tick", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7)


def _frames(line: Line) -> int:
    return int(line["frames"])


def _by_work(axes: Axes, lines: Sequence[Line], backends: Sequence[str], column: str, unit: float) -> None:
    """A column against depth × T: a colour for each backend, a mark for each depth."""
    depths = sorted({line["depth"] for line in lines})
    for backend, colour in zip(backends, INK, strict=False):
        for depth, mark in zip(depths, _MARKS, strict=False):
            mine = sorted(
                (line for line in lines if (line["backend"], line["depth"]) == (backend, depth)), key=_frames
            )
            work, values = [depth * _frames(line) for line in mine], [unit * line[column] for line in mine]
            axes.plot(work, values, f"{mark}-", linewidth=0.7, markersize=4, color=colour)
        axes.plot([], [], color=colour, label=backend)
    for depth, mark in zip(depths, _MARKS, strict=False):
        axes.plot([], [], mark, color="#444444", markersize=4, label=f"depth {depth}")
    _spread(axes, [line["depth"] * _frames(line) for line in lines])
    axes.set_ylim(0, _ROOM * unit * max(line[column] for line in lines))


def _spread(axes: Axes, values: Sequence[int]) -> None:
    """An axis on which lengths that double lie evenly, where they are far apart, with a tick at each of a few."""
    if max(values) > _SEVERAL * min(values):
        axes.set_xscale("log", base=2)
    places = sorted(set(values))
    if len(places) <= _SEVERAL:
        axes.set_xticks(places)
        axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:g}")


def advise(figure: Figure, made: Report) -> None:
    """Ticks, and a knob's way to the ear, against depth: a line for each context; the chosen depths are ringed."""
    contexts: Any = made.details["contexts"]
    columns = (("tick", "ms per tick"), ("knob", "ms from a shared knob to the ear"))
    for axes, (column, label) in zip(figure.subplots(1, 2), columns, strict=True):
        for context, colour in zip(contexts, INK, strict=False):
            depths = [choice["depth"] for choice in context["choices"]]
            times = [choice[column] for choice in context["choices"]]
            axes.plot(depths, times, "o-", color=colour, label=f"{context['context_s']:g} s", markersize=4)
            chosen = depths.index(context["depth"])
            axes.plot([depths[chosen]], [times[chosen]], "o", color=colour, markersize=11, fillstyle="none")
        axes.set(xlabel="depth", ylabel=label, ylim=(0, None))
    axes.axhline(float(str(made.details["knob_ms"])), color="#444444", linestyle="--", linewidth=0.8)
    axes.set_title("ringed: what is advised; -- the target", fontsize=8)
    axes.legend(title="context", fontsize=7)
