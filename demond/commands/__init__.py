"""The commands of `demond`, each a thin face of a module that does the work. None of them loads torch here.

This page has what they share. `demond.cli` puts them together.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console

from demond.client import NoAnswerError

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Host = Annotated[str, typer.Option(help="Where the daemon listens.", envvar="DEMOND_HOST")]
Port = Annotated[int, typer.Option(help="The daemon's OSC port.", envvar="DEMOND_PORT")]
HOST, PORT = "127.0.0.1", 9600
PROGRAM = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Click's settings for a command that is another program and reads its own options."""
Answer = TypeVar("Answer")


def give_up(message: object, status: int = 1) -> NoReturn:
    """Ends the command with one sentence on standard error."""
    err.print(f"demond: {message}", style="red" if err.is_terminal else None, soft_wrap=True, markup=False)
    raise typer.Exit(status)


def print_json(value: object) -> None:
    """`value` on standard output, for a script."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def from_daemon(ask: Callable[[], Answer]) -> Answer:
    """What the daemon answers; a sentence and the end of the command when it does not."""
    try:
        return ask()
    except NoAnswerError as error:
        give_up(error)


def become(module: str, arguments: list[str]) -> NoReturn:
    """Becomes another of demond's programs, so that its imports and its signals are its own."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
