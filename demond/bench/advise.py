"""`demond bench advise`: what each depth would mean on this machine, and which one `--depth auto` would take.

Ticks are measured at every depth, for the whole loop and for shorter contexts. What was measured is kept in the state
folder, where `demond run --depth auto` finds it and starts at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from demond.bench import machine, report
from demond.bench.report import OutputFolder, Report
from demond.bench.switches import Backend, Device, Steps
from demond.config import Engine
from demond.engine_session import REFUSALS, open_session
from demond.paths import cache_dir, engines_dir, paces_file
from demond.setting import DEPTH_LIMIT, STEPS
from engine import pace
from engine.geometry import LATENT_RATE
from engine.pace import Advice

CONTEXTS = (60.0, 30.0, 16.0, 10.0, 6.0, 4.0)
"""Seconds, of which those shorter than the loop are tried."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Survey:
    """What was measured, and what follows from it."""

    model: str
    backend: str
    device: str
    steps: int
    loop: float
    """Seconds."""
    knob_ms: float
    advices: list[tuple[float, Advice]]
    """For the whole loop and for each context that is shorter, in seconds."""
    frames: list[int]
    """T of each of them."""

    @property
    def context(self) -> float | None:
        """The longest context in which a knob is heard in time; the loop's length where that is the whole loop."""
        return pace.longest(self.advices, self.knob_ms)

    def document(self) -> dict[str, Any]:
        """For a script, and for a report's details."""
        return {
            "playing": f"{self.model} on {self.device} ({self.backend})",
            "steps": self.steps,
            "loop_s": self.loop,
            "knob_ms": self.knob_ms,
            "contexts": [
                {"context_s": seconds, **asdict(advice), "choices": [asdict(each) for each in advice.choices]}
                for seconds, advice in self.advices
            ],
            "longest_context_s": self.context,
        }

    def words(self) -> str:
        """The context that is advised, in a sentence."""
        if self.context is None:
            return f"no context keeps to {self.knob_ms:g} ms; fewer steps make every depth sooner"
        if self.context >= self.loop:
            return f"the whole loop keeps to {self.knob_ms:g} ms; no shorter context is needed"
        depth = dict(self.advices)[self.context].depth
        return (
            f"the longest context that keeps to {self.knob_ms:g} ms: {self.context:g} s, at depth {depth} "
            f"(demond context {self.context:g}, demond depth {depth})"
        )


def survey(engine: Engine, contexts: Sequence[float], keep: Path | None) -> Survey:
    """Measures the whole loop, and each of `contexts` that is shorter. Raises one of `REFUSALS`, or `OSError`."""
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
            played = session.model_name, session.backend_name, session.device_name
        finally:
            session.close()
    advices = [pace.advise(each, steps, loop, engine.knob_ms) for each in paces]
    frames = [round(LATENT_RATE * seconds) for seconds in tried]
    return Survey(*played, steps, loop, engine.knob_ms, list(zip(tried, advices, strict=True)), frames)


def told(found: Survey, before: machine.Machine) -> Report:
    """The report. A tick is the shortest of some, so a row has one sample."""
    whole = found.advices[0][1]
    setup = report.Setup(
        model=found.model,
        backend=found.backend,
        device=found.device,
        depth=whole.depth,
        steps=found.steps,
        frames=found.frames[0],
        mode="ode",
        other={"loop_s": round(found.loop, 2), "knob_ms": found.knob_ms},
    )
    rows = [
        report.row(f"T {frames}, depth {each.depth}: {name}", "ms", [getattr(each, key)])
        for frames, (_, advice) in zip(found.frames, found.advices, strict=True)
        for each in advice.choices
        for key, name in (("tick", "tick"), ("knob", "knob to ear, reckoned"))
    ]
    return report.report("advise", setup, rows, found.document(), before)


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Then: demond run --depth auto. What the times follow from is in docs/latency.md.",
)
def main(
    knob_ms: Annotated[
        float, typer.Option(min=1, help="Milliseconds from a knob to the ear that the depth is to keep to.")
    ] = pace.TARGET,
    steps: Steps = STEPS,
    device: Device = "auto",
    backend: Backend = "auto",
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop; without it, the clip inside.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a tick.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Measure the whole loop alone, which is quicker.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
    folder: OutputFolder = None,
) -> None:
    """Measure ticks at every depth and for several contexts, and say which depth and context suit this machine."""
    engine = Engine(
        depth=1,
        steps=steps,
        device=machine.device(device),
        backend=backend,
        checkpoint=checkpoint,
        source=source,
        threads=threads,
        knob_ms=knob_ms,
    )
    before = machine.here()
    try:
        found = survey(engine, () if whole else CONTEXTS, paces_file())
    except (*REFUSALS, OSError) as error:
        typer.echo(f"demond bench advise: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        sys.stdout.write(json.dumps(found.document(), indent=1) + "\n")
    else:
        _show(found)
        typer.echo(found.words())
    report.deliver(told(found, before), None, folder)


def _show(found: Survey) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    playing = found.document()["playing"]
    out.print(f"{playing}, {found.steps} steps, a loop of {found.loop:.1f} s", soft_wrap=True, markup=False)
    columns = (str(depth) for depth in range(1, DEPTH_LIMIT + 1))
    table = Table("context", "", *columns, "advice", box=None)
    for seconds, advice in found.advices:
        lines = (
            ("ms per tick", [_short(each.tick) for each in advice.choices]),
            ("latents/s", [f"{each.latents:.1f}" for each in advice.choices]),
            ("knob, ms", [_short(each.knob) for each in advice.choices]),
            ("all new, ms", [_short(each.fresh) for each in advice.choices]),
        )
        for name, cells in lines:
            first = name == lines[0][0]
            table.add_row(f"{seconds:g} s" if first else "", name, *cells, f"depth {advice.depth}" if first else "")
    out.print(table)
    out.print(found.advices[0][1].why, soft_wrap=True, markup=False)


def _short(milliseconds: float) -> str:
    """With tenths where they matter: a tick of a GPU has few milliseconds."""
    return f"{milliseconds:.1f}" if milliseconds < 20 else f"{milliseconds:.0f}"


if __name__ == "__main__":
    app(prog_name="demond bench advise")
