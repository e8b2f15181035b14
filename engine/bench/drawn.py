"""`python -m engine.bench.drawn TABLE.json PICTURE.svg`: what `python -m engine.bench.table --json` measured, drawn.

Four panels: a tick against length and against slots, the memory that it needs, and the share of it that is the floor.
Needs matplotlib, which `demond[plots]` brings; the measurement itself does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.geometry import LATENT_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESCRIPTION = "Draws what engine.bench.table measured, as PNG or SVG."
WAYS = {
    "diffusers eager": ("diffusers", "#b8860b"),
    "diffusers default": ("diffusers, torch.compile", "#2e8b57"),
    "eager tick": ("ours without graphs", "#6a4c93"),
    "graph tick": ("graph", "#1b6ca8"),
    "graph-fp8 tick": ("graph-fp8", "#d1495b"),
}
"""What is drawn, with its name and colour."""
_MILLISECONDS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
_GUIDED = ", guidance full"

Line = Mapping[str, Any]


def draw(lines: Sequence[Line], title: str, path: Path) -> None:
    """`lines` are the rows of the table; the kind of picture is that of `path`. Raises `OSError`."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "demond"
    import matplotlib.pyplot as plt

    slots = _most_often([line["slots"] for line in lines])
    frames = max(line["frames"] for line in lines if line["slots"] == slots)
    by_length = sorted((line for line in lines if line["slots"] == slots), key=lambda line: int(line["frames"]))
    by_slots = sorted((line for line in lines if line["frames"] == frames), key=lambda line: int(line["slots"]))
    figure, ((length, count), (memory, share)) = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    _ticks(length, by_length, lambda line: line["frames"] / LATENT_RATE, f"seconds of a loop, {slots} slots")
    _ticks(count, by_slots, lambda line: line["slots"], f"slots, {frames / LATENT_RATE:g} s")
    by_work = sorted(lines, key=_work)
    for way, (name, colour) in WAYS.items():
        own = way.removesuffix(" tick")
        points = [(_work(line), line["memory"][own]) for line in by_work if own in line["memory"]]
        if points:
            memory.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=4)
        points = [(_work(line), 100 * line["floor"] / line["measured"][way]) for line in by_work]
        share.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=4)
    memory.set(xlabel="slots x latent frames", ylabel="GiB at most, weights included", ylim=(0, None))
    share.set(xlabel="slots x latent frames", ylabel="rate, % of one large bf16 product's", ylim=(0, 140))
    memory.legend(fontsize=8)
    share.legend(fontsize=8, loc="upper left", ncols=2)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _ticks(axes: Axes, lines: Sequence[Line], place: Callable[[Line], float], label: str) -> None:
    places = [place(line) for line in lines]
    for way, (name, colour) in WAYS.items():
        axes.plot(places, [line["measured"][way] for line in lines], "o-", color=colour, label=name, markersize=4)
        guided = [line["measured"].get(way + _GUIDED) for line in lines]
        if all(guided):
            axes.plot(places, guided, "x:", color=colour, linewidth=0.8, markersize=4)
    axes.plot(places, [line["floor"] for line in lines], "--", color="#444444", linewidth=0.8, label="floor, bf16")
    axes.set(xlabel=f"{label}; x with guidance full", ylabel="ms per tick", yscale="log", xticks=places)
    axes.set_yticks(_MILLISECONDS)
    axes.minorticks_off()
    axes.set_ylim(
        min(line["floor"] for line in lines) / 1.2, 1.2 * max(max(line["measured"].values()) for line in lines)
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=8)


def _work(line: Line) -> int:
    return int(line["slots"]) * int(line["frames"])


def _most_often(values: Sequence[int]) -> int:
    return max(values, key=values.count)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the table and draws it."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.drawn", description=DESCRIPTION)
    parser.add_argument("table", type=Path, help="what engine.bench.table wrote with --json")
    parser.add_argument("picture", type=Path, help="a file that ends in .png or .svg")
    asked = parser.parse_args(arguments)
    try:
        document = json.loads(asked.table.read_text())
        draw(document["rows"], document.get("machine", "ACE-Step v1.5 2B"), asked.picture)
    except (OSError, ValueError, LookupError) as error:
        parser.error(f"{asked.table}: {error!r} (is it a table of engine.bench.table?)")
    except ImportError as error:
        parser.error(f"{error}: pip install 'demond[plots]'")
    sys.stdout.write(f"{asked.picture}\n")


if __name__ == "__main__":
    main()
