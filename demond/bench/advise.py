"""`demond bench advise`: what each depth would mean on this machine, and which one `--depth auto` would take.

Ticks are measured at every depth, for the whole loop and for shorter contexts. What was measured is kept in the state
folder, where `demond run --depth auto` finds it and starts at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from demond.bench import machine
from demond.config import Engine
from demond.engine_session import REFUSALS, open_session
from demond.paths import cache_dir, engines_dir, paces_file
from demond.setting import DEPTH_LIMIT, STEPS, STEPS_LIMIT
from engine import pace
from engine.pace import Advice

CONTEXTS = (60.0, 30.0, 16.0, 10.0, 6.0, 4.0)
"""Seconds, of which those shorter than the loop are tried."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def survey(
    engine: Engine, contexts: Sequence[float], keep: Path | None
) -> tuple[str, float, list[tuple[float, Advice]]]:
    """What plays, the loop's seconds, and the advice for the whole loop and for each context that is shorter.

    Raises one of `REFUSALS`, or `OSError`.
    """
    with Progress(console=Console(stderr=True, highlight=False), transient=True) as bar:
        tasks = {}

        def progress(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0)
            bar.update(tasks[stage], completed=share)

        settings = engine.session().settings
        session = open_session(
            settings,
            engine.device,
            engine.threads,
            engine.cache or cache_dir(),
            progress,
            engine.backend,
            engine.engine_folder or engines_dir(),
            keep,
            engine.knob_ms,
        )
        try:
            loop, steps = session.loop_seconds, session.setup.steps
            tried = [loop, *(each for each in contexts if each < loop)]
            paces = session.survey([None, *tried[1:]], progress)
            named = f"{session.model_name} on {session.device_name} ({session.backend_name})"
        finally:
            session.close()
    advices = [pace.advise(each, steps, loop, engine.knob_ms) for each in paces]
    return named, loop, list(zip(tried, advices, strict=True))


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Then: demond run --depth auto. What the times follow from is in docs/latency.md.",
)
def main(
    knob_ms: Annotated[
        float, typer.Option(min=1, help="Milliseconds from a knob to the ear that the depth is to keep to.")
    ] = pace.TARGET,
    steps: Annotated[
        int, typer.Option(min=1, max=STEPS_LIMIT, help="Denoising steps.", envvar="DEMOND_BENCH_STEPS")
    ] = STEPS,
    device: Annotated[
        str, typer.Option(help="auto (the GPU with most free memory), cpu, or cuda:N.", envvar="DEMOND_BENCH_GPU")
    ] = "auto",
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop; without it, the clip inside.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a tick.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Measure the whole loop alone, which is quicker.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Measure ticks at every depth and for several contexts, and say which depth and context suit this machine."""
    engine = Engine(
        depth=1,
        steps=steps,
        device=machine.device(device),
        checkpoint=checkpoint,
        source=source,
        threads=threads,
        knob_ms=knob_ms,
    )
    try:
        named, loop, found = survey(engine, () if whole else CONTEXTS, paces_file())
    except (*REFUSALS, OSError) as error:
        typer.echo(f"demond bench advise: {error}", err=True)
        raise typer.Exit(2) from None
    context = pace.longest(found, knob_ms)
    if as_json:
        document = {
            "playing": named,
            "steps": steps,
            "loop_s": loop,
            "knob_ms": knob_ms,
            "contexts": [{"context_s": seconds, **asdict(advice)} for seconds, advice in found],
            "longest_context_s": context,
        }
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    _show(named, steps, loop, found)
    if context is None:
        word = f"no context keeps to {knob_ms:g} ms; fewer steps make every depth sooner"
    elif context < loop:
        word = f"the longest context that keeps to {knob_ms:g} ms: {context:g} s (demond context {context:g})"
    else:
        word = f"the whole loop keeps to {knob_ms:g} ms; no shorter context is needed"
    typer.echo(word)


def _show(named: str, steps: int, loop: float, found: Sequence[tuple[float, Advice]]) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    out.print(f"{named}, {steps} steps, a loop of {loop:.1f} s", soft_wrap=True, markup=False)
    columns = (str(depth) for depth in range(1, DEPTH_LIMIT + 1))
    table = Table("context", "", *columns, "advice", box=None)
    for seconds, advice in found:
        lines = (
            ("ms per tick", [f"{each.tick:.0f}" for each in advice.choices]),
            ("latents/s", [f"{each.latents:.1f}" for each in advice.choices]),
            ("knob, ms", [f"{each.knob:.0f}" for each in advice.choices]),
            ("all new, ms", [f"{each.fresh:.0f}" for each in advice.choices]),
        )
        for name, cells in lines:
            first = name == lines[0][0]
            table.add_row(f"{seconds:g} s" if first else "", name, *cells, f"depth {advice.depth}" if first else "")
    out.print(table)
    out.print(found[0][1].why, soft_wrap=True, markup=False)


if __name__ == "__main__":
    app(prog_name="demond bench advise")
