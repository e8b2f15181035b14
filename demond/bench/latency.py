"""`demond bench latency`: what a knob costs, at 200 phases of each kind.

At the level of the daemon: from a control message to the first changed sample at the JACK port, with a private JACK
server, the real daemon and an OSC socket; nothing of the engine is looked into but its trace of writes. At the level
of the engine: the session alone plays into a loop of the bench's own, on any device. Both make the same rows, so that
`demond bench diff --anyway` shows what the daemon adds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer
from rich.console import Console
from rich.progress import Progress

from demond.bench import report
from demond.bench.capture import Capture
from demond.bench.daemon import private_server as private_server
from demond.bench.daemon import running_daemon as running_daemon
from demond.bench.heard import PROBES, Bench, Probe, Reaction
from demond.bench.machine import device as free_device
from demond.bench.machine import here
from demond.bench.report import JsonFile, OutputFolder, Report, Row
from demond.bench.switches import Backend, Depth, Device, Steps
from demond.config import Engine
from demond.knobs import did_you_mean
from demond.paths import engines_dir
from demond.setting import DEPTH, STEPS

if TYPE_CHECKING:
    from engine.bench import reaction

PHASES = 200
Level = Literal["daemon", "engine"]
KINDS: dict[Level, tuple[str, ...]] = {
    "daemon": tuple(probe.kind for probe in PROBES),
    "engine": ("shared", "moving", "slot", "session"),
}
_STEADY = "write ahead", "lead", "write gap", "tick", "decode", "first write"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Figures(Protocol):
    """What both levels say of the stream, in milliseconds but for `generations`."""

    ahead: list[float]
    lead: list[float]
    gaps: list[float]
    ticks: list[float]
    decodes: list[float]
    generations: list[float]
    start: list[float]


def stream_rows(figures: Figures) -> list[Row]:
    """The rows that are not of one kind of knob."""
    columns = (figures.ahead, figures.lead, figures.gaps, figures.ticks, figures.decodes, figures.start)
    rows = [report.row(name, "ms", values) for name, values in zip(_STEADY, columns, strict=True)]
    return [*rows, report.row("generations", "1/s", figures.generations, better="higher")]


def heard_rows(found: Reaction) -> list[Row]:
    """The rows of one kind of knob, heard at the port."""
    kind = found.probe.kind
    times = {"first change": found.first, "converged": found.converged, "fresh audio": found.fresh, **found.parts}
    if kind == "output":
        times = {"first change": found.first}
    rows = [report.row(f"{kind}: {name}", "ms", values) for name, values in times.items()]
    return [*rows, report.row(f"{kind}: lost", "count", [found.lost])]


def of_daemon(phases: int, kinds: Sequence[str], period: int, rate: int, seed: int, run: list[str]) -> Report:
    """The report of a daemon that is started for it with the options `run`. Raises `RuntimeError`."""
    before = here()
    dice = random.Random(seed)  # noqa: S311 (phases need no secrecy)
    rows: list[Row] = []
    with private_server(rate, period) as server, running_daemon(server, run) as client:
        with Capture(server, ("demond:out_1", "demond:out_2")) as capture, _bar() as progress:
            bench = Bench(client, capture)
            for probe in _probes(kinds):
                task = progress.add_task(f"{probe.kind} {probe.address}", total=phases)
                found = bench.measure(probe, phases, partial(progress.advance, task), dice)
                rows += heard_rows(found)
            status = client.status()
            bench.close()
        audio = status["audio"]
        setup = report.playing(status, level="daemon", device_ms=audio["port_latency_ms"])
    rows += stream_rows(bench.figures)
    rows += [
        report.row("late writes", "count", [status["engine"]["late_writes"]]),
        report.row("xruns", "count", [audio["xruns"]]),
    ]
    return report.report("latency", setup, rows, {"phases": phases, "status": status}, before)


def of_engine(
    phases: int,
    kinds: Sequence[str],
    period: int,
    rate: int,
    seed: int,
    engine: Engine,
) -> Report:
    """The report of a session that plays as `engine` says, into a loop of its own. Raises what a session raises."""
    from demond.engine_session import open_session
    from engine.bench.reaction import Player

    before = here()
    dice = random.Random(seed)  # noqa: S311 (as above)
    rows: list[Row] = []
    with _bar() as progress:
        loading = progress.add_task("loading", total=None)
        session = open_session(
            engine.session().settings,
            engine.device,
            engine.threads,
            engine.cache,
            lambda *_: None,
            engine.backend,
            engine.engine_folder or engines_dir(),
        )
        progress.remove_task(loading)
        try:
            player = Player(session, rate, period)
            for kind in kinds:
                task = progress.add_task(kind, total=phases)
                found = player.react(kind, phases, dice, partial(progress.advance, task))
                rows += _engine_rows(found)
            setup = report.Setup(
                model=session.model_name,
                backend=session.backend_name,
                device=session.device_name,
                depth=session.setup.depth,
                steps=session.setup.steps,
                frames=round(25 * min(session.setup.context_seconds or session.loop_seconds, session.loop_seconds)),
                mode="ode",
                other={
                    "loop_s": round(session.loop_seconds, 2),
                    "period": period,
                    "rate": rate,
                    "level": "engine",
                    "device_ms": 0.0,
                },
            )
            late = session.lead.late_writes
        finally:
            session.close()
    rows += [*stream_rows(player.figures), report.row("late writes", "count", [late])]
    return report.report("latency", setup, rows, {"phases": phases}, before)


def _engine_rows(found: reaction.Reaction) -> list[Row]:
    times = {
        "latent changed": found.changed,
        "first change": found.first,
        "latent converged": found.converged,
        "fresh audio": found.fresh,
    }
    return [report.row(f"{found.kind}: {name}", "ms", values) for name, values in times.items()]


def _bar() -> Progress:
    return Progress(console=Console(stderr=True, highlight=False), transient=True)


def _probes(kinds: Sequence[str]) -> list[Probe]:
    return [probe for probe in PROBES if probe.kind in kinds]


def chosen(kinds: str | None, level: Level) -> tuple[str, ...]:
    """The kinds that the user names, all unless any. Raises `typer.BadParameter`."""
    if kinds is None:
        return KINDS[level]
    named = tuple(dict.fromkeys(kinds.split(",")))
    for kind in named:
        if kind not in KINDS[level]:
            said = f"there is no kind {kind!r} of knob at the level of the {level}{did_you_mean(kind, KINDS[level])}"
            raise typer.BadParameter(f"{said}; choose among {', '.join(KINDS[level])}", param_hint="--kinds")
    return named


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A quick look: demond bench latency --phases 20 --kinds shared. To compare: write two reports with "
    "--json, then demond bench diff BEFORE AFTER.",
)
def main(
    phases: Annotated[int, typer.Option(min=2, help="Changes of each kind, each at a random phase.")] = PHASES,
    kinds: Annotated[
        str | None,
        typer.Option(
            help=f"With commas between: {', '.join(KINDS['daemon'])}; engine: {', '.join(KINDS['engine'])}."
        ),
    ] = None,
    level: Annotated[
        Level, typer.Option(help="daemon: all of the way, on a private JACK server. engine: the session alone.")
    ] = "daemon",
    period: Annotated[
        int, typer.Option(help="Period of the private JACK server, or of the loop that stands for it.")
    ] = 256,
    rate: Annotated[int, typer.Option(help="Its rate.")] = 48_000,
    seed: Annotated[int, typer.Option(help="Of the random phases.")] = 1,
    depth: Depth = DEPTH,
    steps: Steps = STEPS,
    device: Device = "auto",
    backend: Backend = "auto",
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop; without it, the clip inside.")] = None,
    file: JsonFile = None,
    folder: OutputFolder = None,
    run: Annotated[
        list[str] | None, typer.Argument(help="More options for `demond run`, after `--`; at the daemon's level.")
    ] = None,
) -> None:
    """What a knob costs: first change, convergence, gaps between writes, the lead, at many phases."""
    named, where = chosen(kinds, level), free_device(device)
    try:
        if level == "daemon":
            options: list[Any] = ["--depth", depth, "--steps", steps, "--device", where, "--backend", backend]
            options += ["--checkpoint", checkpoint] if checkpoint else []
            options += ["--source", source] if source else []
            made = of_daemon(phases, named, period, rate, seed, [*map(str, options), *(run or [])])
        else:
            engine = Engine(
                depth=depth, steps=steps, device=where, backend=backend, checkpoint=checkpoint, source=source
            )
            made = of_engine(phases, named, period, rate, seed, engine)
    except RuntimeError as error:
        typer.echo(f"demond bench latency: {error}", err=True)
        raise typer.Exit(2) from None
    report.show(made)
    report.deliver(made, file, folder)
    lost = any(row.name.endswith("lost") and row.most for row in made.rows)
    raise typer.Exit(1 if lost else 0)


if __name__ == "__main__":
    app(prog_name="demond bench latency")
