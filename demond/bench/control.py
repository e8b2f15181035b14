"""`demond bench control`: how soon and how reliably hands are followed, as one table of goals.

A private JACK server, the real daemon with its engine playing; senders, controllers and surfaces talk to it as those
of a performer do: through JACK MIDI and UDP. Each goal has a module of its own; this one sets the stage and prints.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from demond.bench import devices, hands, lessons, morphs, report, surfaces, switches
from demond.bench.daemon import private_server, running_daemon
from demond.bench.hands import KNOBS, Watch
from demond.bench.machine import here
from demond.bench.report import JsonFile, OutputFolder, Report
from demond.bench.rows import Row
from demond.client import Client

HEAD = (
    "demond: 1\n"
    "devices:\n"
    "  faders: {profile: korg/nanokontrol2, match: {name: 'faders:*'}}\n"
    f"  {devices.BOX}: {{profile: bench/box}}\n"
    f"{morphs.SCENES}"
    "maps:\n"
    + "".join(f"  - {{from: faders/fader{i + 1}, to: {knob}, takeover: off}}\n" for i, knob in enumerate(KNOBS))
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    turns: int
    bursts: int
    seconds: float
    """Of a burst."""
    rate: float
    """Messages a second."""


@dataclass(frozen=True)
class Stand:
    """The daemon that is measured, and how much."""

    client: Client
    watch: Watch
    server: str
    port: int
    mapping: Path
    learned: Path
    """The daemon's file of learned lines."""
    effort: Effort
    crowd: ExitStack
    """Sockets that stay open until the end."""


def _from_hand(stand: Stand) -> Iterator[Row]:
    for kind in ("midi", "osc"):
        own = ["--server", stand.server] if kind == "midi" else ["--port", str(stand.port)]
        arguments = ["--seconds", str(stand.effort.seconds), *own, "--knobs", ",".join(KNOBS)]
        yield hands.measure(kind, arguments, stand.effort.bursts, stand.effort.rate, stand.client, stand.watch)


def _on_surfaces(stand: Stand) -> Iterator[Row]:
    yield surfaces.dumps(stand.port, 5 * stand.effort.turns, stand.crowd)
    yield surfaces.first_paints(stand.port, stand.effort.turns, stand.crowd)


GOALS: dict[str, Callable[[Stand], Iterator[Row]]] = {
    "G1": _from_hand,
    "G2": lambda stand: iter([devices.replugs(stand.client, stand.server, stand.effort.turns)]),
    "G3": lambda stand: iter([devices.reloads(stand.client, stand.server, stand.mapping, HEAD, stand.effort.turns)]),
    "G4": lambda stand: iter(
        [lessons.lessons(stand.client, stand.server, stand.port, stand.learned, min(stand.effort.turns, 3))]
    ),
    "G5": lambda stand: iter([surfaces.many_clients(stand.client, stand.port, stand.effort.turns, stand.crowd)]),
    "G6": _on_surfaces,
    "G7": lambda stand: iter([surfaces.mistakes(stand.port, stand.crowd)]),
    "G8": lambda stand: iter([morphs.morphs(stand.client, stand.watch, stand.effort.turns)]),
}


def _wanted(text: str) -> list[str]:
    goals = [each.strip().upper() for each in text.split(",")] if text else list(GOALS)
    for goal in goals:
        if goal not in GOALS:
            raise typer.BadParameter(f"{goal} is none of {', '.join(GOALS)}")
    return goals


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    goals: Annotated[str, typer.Option(help="Only these, such as G2,G3.")] = "",
    turns: Annotated[int, typer.Option(min=1, help="Replugs, reloads, morphs and so on.")] = 10,
    bursts: Annotated[int, typer.Option(min=1, help="G1: bursts of each kind of sender.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.2, help="G1: how long a burst is.")] = 2.0,
    rate: Annotated[
        float, typer.Option(min=8, max=3_400, help="G1: messages a second, over eight faders.")
    ] = 3_000.0,
    period: Annotated[int, typer.Option(help="Period of the private JACK server.")] = 256,
    file: JsonFile = None,
    folder: OutputFolder = None,
    run: Annotated[list[str] | None, typer.Argument(help="More options for `demond run`, after `--`.")] = None,
) -> None:
    """How soon and how reliably hands are followed: a table of goals, with what was measured and whether it was met.

    G1 from a MIDI or OSC message to the knob; G2 a controller that is plugged in again; G3 a mapping that is saved;
    G4 a fader that is learned; G5 many OSC clients, one of them dead; G6 a dump and the first paint of a page; G7
    answers to mistakes; G8 morphs.
    Ends with status 1 when a goal was not met. `--turns 3 --bursts 2` takes half a minute.
    """
    wanted, before = _wanted(goals), here()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    rows: list[Row] = []
    with _stage(Effort(turns, bursts, seconds, rate), period, run or []) as (stand, status):
        for goal in wanted:
            with console.status(f"{goal} ..."):
                rows += GOALS[goal](stand)
    setup = report.playing(status, turns=turns, bursts=bursts, seconds=seconds, messages_per_s=rate)
    said = [{key: getattr(each, key) for key in ("goal", "what", "wanted", "met", "notes")} for each in rows]
    made = report.report("control", setup, [each.reported for each in rows], {"goals": said}, before)
    _print(console, rows, made)
    report.deliver(made, file, folder)
    raise typer.Exit(0 if all(each.met for each in rows) else 1)


@contextmanager
def _stage(effort: Effort, period: int, run: list[str]) -> Iterator[tuple[Stand, dict[str, Any]]]:
    """A private JACK server and the daemon on it, playing; and its status at the beginning."""
    with tempfile.TemporaryDirectory() as folder, private_server(48_000, period) as server:
        mapping = Path(folder) / "bench.yaml"
        mapping.write_text(HEAD + devices.box_mapping())
        devices.write_profile(Path(folder))
        options = ["--midi", "jack", "--mapping", str(mapping), *switches.for_daemon(), *run]
        learned = Path(folder) / "demond/learned.yaml"  # as demond.paths has it
        with running_daemon(server, options, state=Path(folder)) as client, ExitStack() as crowd:
            status = client.status()
            watch = Watch(int(status["pid"]))
            port = int(status["osc"]["port"])
            yield Stand(client, watch, server, port, mapping, learned, effort, crowd), status
            watch.close()


def _print(console: Console, rows: list[Row], made: Report) -> None:
    console.print(made.setup.told(), soft_wrap=True, markup=False)
    console.print(made.machine.told(), soft_wrap=True, markup=False)
    table = Table("goal", "what", "n", "p50", "p99", "longest", "", "wanted", "met", "besides", box=None)
    for each in rows:
        figures = (f"{value:.2f}" for value in each.figures)
        met = "yes" if each.met else "NO"
        table.add_row(each.goal, each.what, str(each.count), *figures, each.unit, each.wanted, met, each.notes)
    console.print(table)


if __name__ == "__main__":
    app(prog_name="demond bench control")
