"""`demond bench inside`: does the model inside keep what it promises of two cores?

Three promises: one core decodes ten times faster than is played; a tick of four slots over sixteen seconds takes at
most 150 ms on two threads; the first sound comes within ten seconds of `demond run`. The first sound is heard by
another JACK client, on a server of the bench's own; the daemon starts once before it is timed, so that its files are
in memory as they are on any start but the first.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from demond.bench import report, switches
from demond.bench.capture import Capture
from demond.bench.daemon import private_server
from demond.bench.machine import here
from demond.bench.report import JsonFile, OutputFolder, Report
from engine import Knobs, embedded
from engine.backends.eager import EagerBackend
from engine.bench.stand import built_in
from engine.geometry import HOP, SAMPLE_RATE
from engine.model.checkpoint import load_transformer
from engine.vae import decode_window, load_vae

FRAMES, DEPTH, STEPS = 400, 4, 8
"""Sixteen seconds of latents; slots in flight; steps of the schedule."""
_THREADS = 2
_HEARD = 1e-4
"""A sample beyond this (-80 dBFS) is sound."""
_PATIENCE = 120.0
_UNITS = {"x": "times real time"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Promise:
    """One figure: the median, the best and the worst of all times."""

    name: str
    unit: str
    """`ms`, `s`, or `x`: times real time."""
    limit: float
    at_least: bool
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """What the promise is about."""
        return float(np.median(self.values))

    @property
    def kept(self) -> bool:
        """Whether the median is within the limit."""
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    @property
    def reported(self) -> report.Row:
        """As a report has it."""
        return report.row(self.name, self.unit, self.values, "higher" if self.at_least else "lower")

    def said(self) -> dict[str, object]:
        """What the figures had to be, and whether they were."""
        kept = {"median": self.median, "kept": self.kept}
        return {"promise": self.name, "limit": self.limit, "at_least": self.at_least, **kept}


def decoding(times: int) -> Promise:
    """How many times faster than it is played one core decodes sixteen seconds."""
    vae = load_vae(embedded.CHECKPOINT, torch.device("cpu"))
    latents = built_in(FRAMES).source
    took = _timed(lambda: decode_window(vae, latents, 0, FRAMES), times)
    seconds = FRAMES * HOP / SAMPLE_RATE
    return Promise("decode on one core", "x", 10.0, True, tuple(seconds / each for each in took))


def ticking(times: int) -> Promise:
    """Milliseconds of a tick, with all that it is in performance."""
    stand = built_in(FRAMES)
    model = load_transformer(embedded.CHECKPOINT, torch.device("cpu"), torch.float32)
    stand = replace(stand, backend=EagerBackend(model, _THREADS))
    ring = stand.ring(DEPTH, STEPS)
    for _ in range(2 * STEPS):
        stand.tick(ring, Knobs())
    took = _timed(lambda: stand.tick(ring, Knobs()), times)
    name = f"a tick of {DEPTH} slots over 16 s, {_THREADS} threads"
    return Promise(name, "ms", 150.0, False, tuple(1_000 * each for each in took))


def _timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds that `work` takes, `times` times, after once."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # as in the engine process
    took = []
    with torch.inference_mode():
        work()
        for _ in range(times):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
    return took


def first_sound(times: int, options: list[str]) -> Promise:
    """Seconds from `demond run` to the first sample of sound at another client's ports. Raises `RuntimeError`."""
    with private_server(48_000, 256) as server:
        took = [_started(server, options) for _ in range(times + 1)]
    return Promise("first sound after `demond run`", "s", 10.0, False, tuple(took[1:]))


def _started(server: str, options: list[str]) -> float:
    with Capture(server, None) as capture:
        command = [
            sys.executable,
            "-m",
            "demond.cli",
            "run",
            "--server",
            server,
            "--connect",
            ",".join(capture.inputs),
        ]
        began = capture.now
        process = subprocess.Popen(
            [*command, "--osc-port", "0", "--midi", "none", "--state", "forget", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            heard, deadline = 0, time.monotonic() + _PATIENCE
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
                until = capture.frames
                sound = np.flatnonzero(np.abs(capture.read(heard, until - heard)).max(axis=1) > _HEARD)
                if len(sound):
                    return (capture.time_of(heard + int(sound[0])) - began) / capture.rate
                heard = until
        finally:
            process.terminate()
            said = process.communicate()[1]
        raise RuntimeError(f"no sound came within {_PATIENCE:.0f} s:\n{said}")


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    times: Annotated[int, typer.Option(min=1, help="Decodes and ticks.")] = 20,
    starts: Annotated[int, typer.Option(min=0, help="Starts of the daemon; 0 leaves them out.")] = 3,
    file: JsonFile = None,
    folder: OutputFolder = None,
    run: Annotated[list[str] | None, typer.Argument(help="More options for `demond run`, after `--`.")] = None,
) -> None:
    """Decoding, ticks and the first sound of the model inside, against what is promised of two cores."""
    errors, before = Console(stderr=True, highlight=False), here()
    measures: dict[str, Callable[[], Promise]] = {
        "decoding": lambda: decoding(times),
        "ticking": lambda: ticking(times),
    }
    if starts:
        measures["starting the daemon"] = lambda: first_sound(starts, [*switches.for_daemon(), *(run or [])])
    promises = []
    for title, measure in measures.items():
        with errors.status(title):
            promises.append(measure())
    setup = report.Setup(
        model="built-in",
        backend="eager",
        device=f"CPU, {_THREADS} threads",
        depth=DEPTH,
        steps=STEPS,
        frames=FRAMES,
        mode="ode",
        other={"options": " ".join(run or []) or None},
    )
    details = {"promises": [each.said() for each in promises]}
    made = report.report("inside", setup, [each.reported for each in promises], details, before)
    _print(promises, made)
    report.deliver(made, file, folder)
    raise typer.Exit(0 if all(each.kept for each in promises) else 1)


def _print(promises: list[Promise], made: Report) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(made.setup.told(), soft_wrap=True, markup=False)
    console.print(made.machine.told(), soft_wrap=True, markup=False)
    table = Table("promise", "n", "median", "least", "most", "asked for", "", box=None)
    for each in promises:
        figures = (f"{value:.3g}" for value in (each.median, min(each.values), max(each.values)))
        asked = f"{'>=' if each.at_least else '<='} {each.limit:g} {_UNITS.get(each.unit, each.unit)}"
        table.add_row(each.name, str(len(each.values)), *figures, asked, "" if each.kept else "MISSED")
    console.print(table)


if __name__ == "__main__":
    app(prog_name="demond bench inside")
