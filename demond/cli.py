"""The command line: which commands there are, in the order in which `demond --help` shows them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from demond import __version__
from demond.commands import PROGRAM, become, engine, export, learn, look, mapping, out, play, run, scene, session

app = typer.Typer(
    name="demond",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Play a streaming diffusion model live: knobs from MIDI and OSC in, music to JACK out.",
    epilog="Start with `demond run`, then turn something: `demond set denoise 0.9`.",
)
bench = typer.Typer(
    no_args_is_help=True, help="Measure this machine: what a knob costs, what the audio process costs."
)


_NUMBERS = {"ignore_unknown_options": True}
"""Click's settings for a command that takes negative numbers."""

app.command()(run.run)
app.command("set", context_settings=_NUMBERS)(play.set_)
app.command()(play.get)
app.command()(session.prompt)
app.command(context_settings=_NUMBERS)(session.curve)
app.command()(session.source)
app.command()(session.timbre)
app.command()(session.structure)
app.command()(session.target)
app.command(context_settings=_NUMBERS)(session.lora)
app.command()(session.steps)
app.command()(session.depth)
app.command()(session.context)
app.command()(session.checkpoint)
app.command(context_settings=_NUMBERS)(play.send)
app.command()(look.status)
app.command()(look.knobs)
app.command()(look.trace)
app.command()(look.ports)
app.add_typer(scene.scene, name="scene")
app.command()(scene.tempo)
app.command()(learn.learn)
app.command()(mapping.monitor)
app.command()(mapping.why)
app.command()(look.check)
app.command()(mapping.fmt)
app.command()(mapping.schema)
app.add_typer(export.app, name="export")
app.command()(look.doctor)
app.add_typer(bench, name="bench")
app.add_typer(engine.app, name="engine")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        out.print(f"demond {__version__}")
        raise typer.Exit()


@app.command(context_settings=PROGRAM, add_help_option=False)
def render(context: typer.Context) -> None:
    """Write music to a file: the same engine without JACK. `demond render --help` lists its options."""
    become("demond.render", context.args)


@bench.command("latency", context_settings=PROGRAM, add_help_option=False)
def bench_latency(context: typer.Context) -> None:
    """What a knob costs: first change, convergence, gaps between writes, the lead, at many phases."""
    become("demond.bench.latency", context.args)


@bench.command("engine", context_settings=PROGRAM, add_help_option=False)
def bench_engine(context: typer.Context) -> None:
    """What a tick costs: milliseconds, latents a second, times real time, the floor; by depth and context."""
    become("demond.bench.engine", context.args)


@bench.command("advise", context_settings=PROGRAM, add_help_option=False)
def bench_advise(context: typer.Context) -> None:
    """Measure ticks at every depth and for several contexts, and say which depth and context suit this machine."""
    become("demond.bench.advise", context.args)


@bench.command("model", context_settings=PROGRAM, add_help_option=False)
def bench_model(context: typer.Context) -> None:
    """Print predicted against measured knob-to-ear times."""
    become("demond.bench.model", context.args)


@bench.command("diff", context_settings=PROGRAM, add_help_option=False)
def bench_diff(context: typer.Context) -> None:
    """Compare two reports row by row; the exit status is 1 when something got worse by more than noise."""
    become("demond.bench.diff", context.args)


@bench.command("plot", context_settings=PROGRAM, add_help_option=False)
def bench_plot(context: typer.Context) -> None:
    """Draw reports as PNG and SVG."""
    become("demond.bench.plots", context.args)


@bench.command("control", context_settings=PROGRAM, add_help_option=False)
def bench_control(context: typer.Context) -> None:
    """How soon and how reliably hands are followed, by MIDI and OSC: a table of goals, met or not."""
    become("demond.bench.control", context.args)


@bench.command("audio", context_settings=PROGRAM, add_help_option=False)
def bench_audio(context: typer.Context) -> None:
    """Skipped cycles and callback times beside a bare C client doing the same."""
    become("demond.bench.audio", context.args)


@bench.command("inside", context_settings=PROGRAM, add_help_option=False)
def bench_inside(context: typer.Context) -> None:
    """Decoding, ticks and the first sound of the model inside, against what is promised of two cores."""
    become("demond.bench.inside", context.args)


def main() -> None:
    """The `demond` command."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
