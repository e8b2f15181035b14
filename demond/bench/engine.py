"""`demond bench engine`: what a tick costs on this machine, by depth, context and way through a step.

The model alone, without JACK and without a session: the model inside, a checkpoint, or the sizes of a published one
with random weights, which cost what trained ones do. On the CPU and on CUDA.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from demond.bench import machine, report
from demond.bench.report import JsonFile, OutputFolder, Report, Row
from demond.knobs import did_you_mean
from demond.setting import DEPTH_LIMIT, STEPS, STEPS_LIMIT
from engine import CheckpointError, embedded
from engine.backends import Backend
from engine.backends.choose import choose
from engine.bench import cost, stand
from engine.bench.audit import CASES
from engine.geometry import LATENT_RATE
from engine.model.dit import DiT

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Unbuilt = Literal["auto", "eager", "graph", "graph-fp8"]
"""What runs the network: all that needs nothing built ahead."""


def runner(name: Unbuilt, threads: int, model: DiT) -> Backend:
    """What makes of a network what runs it, on so many threads of the CPU."""
    return choose(name, model, model.proj_in.weight.device, threads)


def run(
    made: stand.Stand,
    name: str,
    device_name: str,
    depths: Sequence[int],
    contexts: Sequence[float],
    cases: Sequence[str],
    steps: int,
    ticks: int,
    console: Console,
) -> Report:
    """The report on a network that is loaded: `contexts` in seconds, at least `ticks` ticks of each."""
    before = machine.here()
    costs: list[cost.Cost] = []
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=len(contexts) * len(depths) * len(cases))
        for seconds in contexts:
            over = made.over(round(seconds * LATENT_RATE))
            for depth in depths:
                for case in cases:
                    bar.update(task, description=f"T {len(over.source)}, depth {depth}, {case}")
                    costs.append(cost.measure(over, case, depth, steps, ticks))
                    bar.advance(task)
        bar.update(task, description="decoding")
        decodes = cost.decodes(made.over(max(cost.WINDOWS) + 100), ticks)
    setup = report.Setup(
        model=name,
        backend=made.backend.name,
        device=device_name,
        depth=max(depths),
        steps=steps,
        frames=max(each.frames for each in costs),
        mode="ode",
        other={
            "depths": " ".join(map(str, depths)),
            "contexts_s": " ".join(f"{each:g}" for each in contexts),
            "cases": ", ".join(cases),
        },
    )
    rows = [row for each in costs for row in _rows(each)]
    rows += [report.row(f"decode {each.frames / LATENT_RATE:g} s", "ms", each.runs) for each in decodes]
    return report.report("engine", setup, rows, {"table": [_line(each) for each in costs]}, before)


def _rows(found: cost.Cost) -> list[Row]:
    name = f"T {found.frames}, depth {found.depth}, {found.case}"
    return [
        report.row(f"{name}: tick", "ms", found.ticks),
        report.row(f"{name}: host", "ms", found.host),
        report.row(f"{name}: latents", "1/s", [found.latents_per_second], better="higher"),
        report.row(f"{name}: memory", "MiB", [found.memory]),
    ]


def _line(found: cost.Cost) -> dict[str, Any]:
    """For the table and the plots."""
    return {
        "case": found.case,
        "depth": found.depth,
        "frames": found.frames,
        "tick_ms": report.row("tick", "ms", found.ticks).p50,
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


def _cases(text: str) -> list[str]:
    """Names of `CASES`. Raises `typer.BadParameter`."""
    named = [part.strip() for part in text.split(",")]
    for name in named:
        if name not in CASES:
            known = ", ".join(CASES)
            said = f"there is no case {name!r}{did_you_mean(name, CASES)}; choose among {known}"
            raise typer.BadParameter(said, param_hint="--cases")
    return named


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The sizes of ACE-Step v1.5 on a GPU: demond bench engine --shape 2b --random --depths 1,4,8 "
    "--contexts 10,60",
)
def main(
    depths: Annotated[str, typer.Option(help="Slots in flight, with commas between.")] = "1,2,4,8",
    contexts: Annotated[str, typer.Option(help="Seconds that a slot covers, with commas between.")] = "4,10,16",
    cases: Annotated[
        str, typer.Option(help=f"Ways through a step, with commas between: {', '.join(CASES)}.")
    ] = "plain,guidance full,DCW",
    steps: Annotated[
        int, typer.Option(min=1, max=STEPS_LIMIT, help="Denoising steps.", envvar="DEMOND_BENCH_STEPS")
    ] = STEPS,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks of each, rounded up to whole schedules.")] = 24,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    shape: Annotated[
        str | None, typer.Option(help=f"Sizes instead of a model, with --random: {', '.join(stand.SHAPES)}.")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights, which cost what trained ones do.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto (the GPU with most free memory), cpu, or cuda:N.", envvar="DEMOND_BENCH_GPU")
    ] = "auto",
    backend: Annotated[Unbuilt, typer.Option(help="What runs the network.", envvar="DEMOND_BENCH_BACKEND")] = "eager",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a tick.")] = None,
    file: JsonFile = None,
    folder: OutputFolder = None,
) -> None:
    """What a tick costs: milliseconds, latents a second, times real time, the floor; by depth and context."""
    counts = [int(each) for each in _numbers(depths, "--depths", 1, DEPTH_LIMIT)]
    seconds, named = _numbers(contexts, "--contexts", 0.4, 600), _cases(cases)
    where = torch.device("cuda" if (asked := machine.device(device)) == "auto" else asked)
    if random != (shape is not None) or (random and checkpoint):
        raise typer.BadParameter("--shape and --random go together, and without --checkpoint", param_hint="--random")
    if shape is not None and shape not in stand.SHAPES:
        raise typer.BadParameter(f"{shape}: choose among {', '.join(stand.SHAPES)}", param_hint="--shape")
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    used = threads or min(DEPTH_LIMIT, cores if cores <= 2 else cores - 1)
    made_by = partial(runner, backend, used)
    console = Console(stderr=True, highlight=False)
    try:
        if shape is not None:
            made = stand.random(stand.SHAPES[shape], round(max(seconds) * LATENT_RATE), where, made_by)
        else:
            made = stand.loaded(checkpoint or embedded.CHECKPOINT, where, made_by)
    except (CheckpointError, RuntimeError) as error:
        typer.echo(f"demond bench engine: {error}", err=True)
        raise typer.Exit(2) from None
    name = f"{shape}, random weights" if shape else checkpoint.name if checkpoint else "built-in"
    device_name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {used} threads"
    found = run(made, name, device_name, counts, seconds, named, steps, ticks, console)
    _show(found)
    report.deliver(found, file, folder)


def _show(found: Report) -> None:
    sys.stdout.write(f"{found.setup.told()}\n{found.machine.told()}\n")
    lines: Any = found.details["table"]
    sys.stdout.write("    T depth                 ms/tick   ± sd latents/s  × real   floor  of it    MiB\n")
    for line in lines:
        ticks = found.row(f"T {line['frames']}, depth {line['depth']}, {line['case']}: tick")
        sys.stdout.write(
            f"{line['frames']:5} {line['depth']:5} {line['case']:14} {ticks.p50:8.2f} {ticks.sd:6.2f} "
            f"{line['latents_per_second']:9.2f} {line['times_real_time']:7.1f} {line['floor_ms']:7.2f} "
            f"{line['of_floor']:6.0%} {line['memory_mib']:6.0f}\n"
        )
    for row in found.rows:
        if row.name.startswith("decode"):
            sys.stdout.write(f"{row.name}: {row.p50:.2f} ms ± {row.sd:.2f}\n")


if __name__ == "__main__":
    app(prog_name="demond bench engine")
