"""`demond render`: music to a file, by the same engine without JACK. A process of its own, since it loads torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import soundfile
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import engine
from demond.config import Engine
from demond.engine_process import knobs_of
from demond.knob_table import KnobState
from demond.knobs import KNOBS, Kind, KnobValueError, UnknownKnobError, knob

_DEFAULTS = Engine()
_FORMATS = {".wav": "PCM_24", ".flac": "PCM_24"}
_RATE = 48_000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _knob_state(settings: list[str]) -> KnobState:
    """`NAME=VALUE` settings on top of the defaults. Raises `typer.BadParameter` with what would be right."""
    values = {each.name: each.default for each in KNOBS}
    for setting in settings:
        name, sign, text = setting.partition("=")
        try:
            target = knob(name)
            if not sign or target.kind is Kind.OUTPUT:
                raise typer.BadParameter(
                    f"{setting!r}: write NAME=VALUE with a knob of the engine, such as denoise=0.8"
                )
            values[name] = target.clamp(float(text))
        except (UnknownKnobError, KnobValueError) as error:
            raise typer.BadParameter(str(error)) from error
        except ValueError as error:
            raise typer.BadParameter(f"{setting!r}: {text!r} is not a number") from error
    return KnobState(0, tuple(values.values()))


@app.command()
def main(
    seconds: Annotated[float, typer.Option(min=0.2, max=36_000, help="How much music.")],
    out: Annotated[Path, typer.Option(help="The file to write: .wav or .flac (24 bit).")],
    prompt_a: Annotated[str, typer.Option(help="What the music should be.")] = _DEFAULTS.prompt_a.text,
    prompt_b: Annotated[str, typer.Option(help="What prompt_blend crosses over to.")] = _DEFAULTS.prompt_b.text,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop; without it, the clip inside.")] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob, as NAME=VALUE; may be given again.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = _DEFAULTS.device,
    depth: Annotated[int, typer.Option(min=1, max=8, help="Slots in flight.")] = _DEFAULTS.depth,
    steps: Annotated[int, typer.Option(min=1, max=64, help="Denoising steps of each result.")] = _DEFAULTS.steps,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a tick.")] = None,
) -> None:
    """Write music to a file: the same engine without JACK, the same file for the same seed and settings."""
    console = Console(stderr=True, highlight=False)
    if out.suffix.lower() not in _FORMATS:
        raise typer.BadParameter(f"{out}: the name must end in .wav or .flac", param_hint="--out")
    if not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"{out}: there is no folder {out.parent}", param_hint="--out")
    state = _knob_state(knobs or [])
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    # Written beside and moved into place, so that Ctrl-C leaves no half a file.
    part = out.with_name(f".{out.name}.part")
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            tasks = {}

            def loading(stage: str, share: float) -> None:
                if stage not in tasks:
                    tasks[stage] = progress.add_task(stage, total=1.0)
                progress.update(tasks[stage], completed=share)

            session = engine.Session(
                checkpoint=checkpoint,
                device=device,
                depth=depth,
                steps=steps,
                threads=threads,
                source=source,
                prompt_a=prompt_a,
                prompt_b=prompt_b,
                progress=loading,
            )
            task = progress.add_task("rendering", total=seconds)
            started, frames = time.monotonic(), 0
            kind, container = _FORMATS[out.suffix.lower()], out.suffix[1:].upper()
            with soundfile.SoundFile(part, "w", _RATE, 2, kind, format=container) as file:
                for block in session.stream(seconds, knobs_of(state)):
                    file.write(block)
                    frames += len(block)
                    progress.update(task, completed=frames / _RATE)
            took = time.monotonic() - started
        part.replace(out)
    except (engine.CheckpointError, engine.SourceError, engine.PromptError, engine.DeviceError, OSError) as error:
        console.print(f"demond: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        part.unlink(missing_ok=True)
    console.print(
        f"{out}: {seconds:g} s of music in {took:.1f} s ({seconds / took:.1f} times real time)", soft_wrap=True
    )


if __name__ == "__main__":
    app(prog_name="demond render")
