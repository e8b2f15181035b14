"""`demond engine`: TensorRT engines, built ahead of time. The work is a program of its own, since it loads torch."""

from __future__ import annotations

import os
from typing import NoReturn

import typer

from demond.commands import PROGRAM, become
from demond.paths import engines_dir

app = typer.Typer(
    no_args_is_help=True,
    help="Build TensorRT engines ahead of time, for a machine with an RTX card; see docs/tensorrt.md.",
)


@app.command("export", context_settings=PROGRAM, add_help_option=False)
def export(context: typer.Context) -> None:
    """Write the network and the VAE as ONNX, and hold each against torch."""
    _become("export", context.args)


@app.command("build", context_settings=PROGRAM, add_help_option=False)
def build(context: typer.Context) -> None:
    """Build engines of exported graphs for the compute capability of a GPU; it needs no GPU."""
    _become("build", context.args)


@app.command("verify", context_settings=PROGRAM, add_help_option=False)
def verify(context: typer.Context) -> None:
    """Say whether engines are whole and fit: TensorRT, GPU, weights, shapes."""
    _become("verify", context.args)


@app.command("profile", context_settings=PROGRAM, add_help_option=False)
def profile(context: typer.Context) -> None:
    """Say what engines are made of: layers by kind, with the work of each and the bytes it moves."""
    _become("profile", context.args)


@app.command("list", context_settings=PROGRAM, add_help_option=False)
def list_(context: typer.Context) -> None:
    """List the graphs and engines that there are."""
    _become("list", context.args)


def _become(command: str, arguments: list[str]) -> NoReturn:
    os.environ["DEMOND_ENGINES"] = str(engines_dir())
    become("engine.trt", [command, *arguments])
