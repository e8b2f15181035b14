"""`demond bench engine`: what a tick costs on this machine, by depth, context and way through a step.

The model alone, without JACK and without a session: the model inside, a checkpoint, or the sizes of a published one
with random weights, which cost what trained ones do. On the CPU and on CUDA.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from demond.bench import machine, report
from demond.bench.report import JsonFile, OutputFolder, Report, Row
from demond.bench.switches import BACKEND_VARIABLE, DEPTH_VARIABLE, Device, Steps
from demond.knobs import did_you_mean
from demond.setting import DEPTH_LIMIT, STEPS
from engine import CheckpointError, embedded
from engine.backends import Backend, Name
from engine.backends.choose import choose
from engine.bench import cost, stand
from engine.bench.audit import CASES
from engine.geometry import LATENT_RATE
from engine.model.dit import DiT

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BACKENDS: tuple[Name, ...] = ("auto", "eager", "graph", "graph-fp8")
"""What may run the network here: all that needs nothing built ahead."""


@dataclass(frozen=True)
class Sweep:
    """What is measured: everything with everything."""

    depths: Sequence[int]
    contexts: Sequence[float]
    """Seconds that a slot covers."""
    cases: Sequence[str]
    steps: int
    ticks: int
    """Of each, at least."""


@dataclass(frozen=True)
class Measured:
    """What one backend costs."""

    backend: str
    costs: list[cost.Cost]
    decodes: list[cost.Decode]


def runner(name: Name, threads: int, model: DiT) -> Backend:
    """What makes of a network what runs it, on so many threads of the CPU."""
    return choose(name, model, model.proj_in.weight.device, threads)


def measure(made: stand.Stand, sweep: Sweep, console: Console) -> Measured:
    """A network that is loaded, through the whole sweep."""
    costs: list[cost.Cost] = []
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=len(sweep.contexts) * len(sweep.depths) * len(sweep.cases))
        for seconds in sweep.contexts:
            over = made.over(round(seconds * LATENT_RATE))
            for depth, case in product(sweep.depths, sweep.cases):
                named = f"{made.backend.name}, T {len(over.source)}, depth {depth}, {case}"
                bar.update(task, description=named)
                costs.append(cost.measure(over, case, depth, sweep.steps, sweep.ticks))
                bar.advance(task)
        bar.update(task, description="decoding")
        decodes = cost.decodes(made.over(max(cost.WINDOWS) + 100), sweep.ticks)
    return Measured(made.backend.name, costs, decodes)


def result(found: Sequence[Measured], sweep: Sweep, model: str, device: str, before: machine.Machine) -> Report:
    """The report on what was measured; rows are named by their backend where there are several."""
    setup = report.Setup(
        model=model,
        backend=", ".join(each.backend for each in found),
        device=device,
        depth=max(sweep.depths),
        steps=sweep.steps,
        frames=max(each.frames for measured in found for each in measured.costs),
        mode="ode",
        other={
            "depths": " ".join(map(str, sweep.depths)),
            "contexts_s": " ".join(f"{each:g}" for each in sweep.contexts),
            "cases": ", ".join(sweep.cases),
        },
    )
    rows: list[Row] = []
    for measured in found:
        prefix = f"{measured.backend}, " if len(found) > 1 else ""
        rows += [row for each in measured.costs for row in _rows(prefix, each)]
        for each in measured.decodes:
            rows.append(report.row(f"{prefix}decode {each.frames / LATENT_RATE:g} s", "ms", each.runs))
    table = [_line(measured.backend, each) for measured in found for each in measured.costs]
    return report.report("engine", setup, rows, {"table": table}, before)


def _rows(prefix: str, found: cost.Cost) -> list[Row]:
    name = f"{prefix}T {found.frames}, depth {found.depth}, {found.case}"
    return [
        report.row(f"{name}: tick", "ms", found.ticks),
        report.row(f"{name}: host", "ms", found.host),
        report.row(f"{name}: latents", "1/s", [found.latents_per_second], better="higher"),
        report.row(f"{name}: memory", "MiB", [found.memory]),
    ]


def _line(backend: str, found: cost.Cost) -> dict[str, Any]:
    """For the table and the plots."""
    ticks = report.row("tick", "ms", found.ticks)
    return {
        "backend": backend,
        "case": found.case,
        "depth": found.depth,
        "frames": found.frames,
        "tick_ms": ticks.p50,
        "tick_p95_ms": ticks.p95,
        "tick_sd_ms": ticks.sd,
        "host_ms": report.row("host", "ms", found.host).p50,
        "latents_per_second": found.latents_per_second,
        "times_real_time": found.times_real_time,
        "floor_ms": found.floor,
        "of_floor": found.of_floor,
        "memory_mib": found.memory,
    }


def _numbers(text: str, option: str, least: float, most: float) -> list[float]:
    """Numbers with commas between. Raises `typer.BadParameter`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: numbers with commas between are wanted", param_hint=option) from None
    wrong = [each for each in found if not least <= each <= most]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]:g} is not within {least:g} to {most:g}", param_hint=option)
    return found


def _named(text: str, option: str, known: Collection[str]) -> list[str]:
    """Names that are known, with commas between. Raises `typer.BadParameter`."""
    named = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in named:
        if name not in known:
            said = f"there is no {name!r}{did_you_mean(name, known)}; choose among {', '.join(known)}"
            raise typer.BadParameter(said, param_hint=option)
    return named


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The sizes of ACE-Step v1.5 on a GPU: demond bench engine --shape 2b --random --backend graph,graph-fp8 "
    "--contexts 10,30,60",
)
def main(
    depths: Annotated[
        str, typer.Option(help="Slots in flight, with commas between.", envvar=DEPTH_VARIABLE)
    ] = "1,2,4,8",
    contexts: Annotated[str, typer.Option(help="Seconds that a slot covers, with commas between.")] = "4,10,16",
    cases: Annotated[
        str, typer.Option(help=f"Ways through a step, with commas between: {', '.join(CASES)}.")
    ] = "plain,guidance full,DCW",
    steps: Steps = STEPS,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks of each, rounded up to whole schedules.")] = 24,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    shape: Annotated[
        str | None, typer.Option(help=f"Sizes instead of a model, with --random: {', '.join(stand.SHAPES)}.")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights, which cost what trained ones do.")
    ] = False,
    device: Device = "auto",
    backend: Annotated[
        str,
        typer.Option(
            help=f"What runs the network, with commas between: {', '.join(BACKENDS)}.", envvar=BACKEND_VARIABLE
        ),
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a tick.")] = None,
    file: JsonFile = None,
    folder: OutputFolder = None,
) -> None:
    """What a tick costs: milliseconds, latents a second, times real time, the floor; by depth and context."""
    counts = [int(each) for each in _numbers(depths, "--depths", 1, DEPTH_LIMIT)]
    seconds, ways = _numbers(contexts, "--contexts", 0.4, 600), _named(cases, "--cases", CASES)
    sweep = Sweep(counts, seconds, ways, steps, ticks)
    backends = _named(backend, "--backend", BACKENDS)
    where = torch.device("cuda" if (asked := machine.device(device)) == "auto" else asked)
    if random != (shape is not None) or (random and checkpoint):
        raise typer.BadParameter("--shape and --random go together, and without --checkpoint", param_hint="--random")
    if shape is not None and shape not in stand.SHAPES:
        raise typer.BadParameter(f"{shape}: choose among {', '.join(stand.SHAPES)}", param_hint="--shape")
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    used = threads or min(DEPTH_LIMIT, cores if cores <= 2 else cores - 1)
    before = machine.here()
    found: list[Measured] = []
    try:
        for name in backends:
            made = _loaded(shape, checkpoint, where, partial(runner, cast(Name, name), used), max(seconds))
            if made.backend.name not in (each.backend for each in found):  # `auto` is one of the others
                found.append(measure(made, sweep, Console(stderr=True, highlight=False)))
            del made  # the next one's memory is its own
            cost.let_go(where)
    except (CheckpointError, RuntimeError) as error:
        typer.echo(f"demond bench engine: {error}", err=True)
        raise typer.Exit(2) from None
    model = f"{shape}, random weights" if shape else checkpoint.name if checkpoint else "built-in"
    device_name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {used} threads"
    told = result(found, sweep, model, device_name, before)
    _show(told)
    report.deliver(told, file, folder)


def _loaded(
    shape: str | None, checkpoint: Path | None, where: torch.device, made_by: stand.Runner, seconds: float
) -> stand.Stand:
    """What is measured: sizes with random weights over so many seconds, or a checkpoint over the clip inside."""
    if shape is not None:
        return stand.random(stand.SHAPES[shape], round(seconds * LATENT_RATE), where, made_by)
    return stand.loaded(checkpoint or embedded.CHECKPOINT, where, made_by)


def _show(found: Report) -> None:
    sys.stdout.write(f"{found.setup.told()}\n{found.machine.told()}\n")
    lines: Any = found.details["table"]
    for backend, mine in groupby(lines, lambda line: line["backend"]):
        sys.stdout.write(
            f"{backend}\n    T depth                 ms/tick   ± sd     p95   host latents/s  × real   floor  of it"
            "    MiB\n"
        )
        for line in mine:
            sys.stdout.write(
                f"{line['frames']:5} {line['depth']:5} {line['case']:14} {line['tick_ms']:8.2f} "
                f"{line['tick_sd_ms']:6.2f} {line['tick_p95_ms']:7.2f} {line['host_ms']:6.2f} "
                f"{line['latents_per_second']:9.2f} {line['times_real_time']:7.1f} {line['floor_ms']:7.2f} "
                f"{line['of_floor']:6.0%} {line['memory_mib']:6.0f}\n"
            )
    for row in found.rows:
        if "decode" in row.name:
            sys.stdout.write(f"{row.name}: {row.p50:.2f} ms ± {row.sd:.2f}\n")


if __name__ == "__main__":
    app(prog_name="demond bench engine")
