"""`demond bench audio`: what the audio process costs, beside a bare C client that does the same.

Turn by turn, on a private JACK server in its ordinary (asynchronous) mode and beside a CPU hog, first
`bare_client.c` plays a stored loop, then the real daemon plays while a knob keeps its model at work. A last turn with
the server in synchronous mode, where nothing is ever left out, records the daemon and looks for broken joins: clicks
at the border of two cycles, and gaps in the server's clock.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from demond import jack_server
from demond.bench import machine, report, switches
from demond.bench.capture import Capture
from demond.bench.clicks import clicks
from demond.bench.daemon import running_daemon
from demond.bench.report import JsonFile, OutputFolder, Report, Row
from demond.client import Client

_SOURCE = Path(__file__).with_name("bare_client.c")
_RECORDING_SECONDS = 60.0
"""The longest that the listener keeps."""
_TURN_OF_KNOB_SECONDS = 0.25
_SKIPPED_TIMES, _SKIPPED_PLUS = 2, 10
_CALLBACK_SHARE = 0.02
"""The promises: skipped cycles within twice the C client's plus 10, and the callback's 99.9th percentile."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class BenchError(RuntimeError):
    """The bench cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Player:
    """What one player did in one turn. Callback times in µs."""

    cycles: int
    skipped: int
    xruns: int
    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True)
class Joins:
    """What was heard of the daemon on a synchronous server."""

    seconds: float
    cycles: int
    gaps: int
    """In the server's clock."""
    broken: int
    """Clicks at the border of two cycles."""
    elsewhere: int
    """Clicks within a cycle: in the music itself."""


@dataclass(frozen=True)
class Verdict:
    """One promise, and whether it was kept."""

    promise: str
    measured: str
    kept: bool


def run(
    turns: int = 5,
    seconds: float = 60.0,
    period: int = 256,
    rate: int = 48_000,
    cores: int = 2,
    hogs: int = 1,
    options: list[str] | None = None,
    console: Console | None = None,
) -> Report:
    """The whole comparison; `options` go to `demond run`. The turns, joins and verdicts are the report's details.

    Raises :class:`BenchError` when something that it needs is not installed.
    """
    say = (console or Console(stderr=True, highlight=False)).print
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    facts = machine.here()
    try:
        with tempfile.TemporaryDirectory(prefix="demond-bench-") as folder, _hogs(hogs):
            program, loop = _compiled(Path(folder)), _stored_loop(Path(folder), rate)
            pairs = []
            with _server(rate, period, sync=False) as server:
                for turn in range(1, turns + 1):
                    say(f"turn {turn} of {turns}: the C client for {seconds:.0f} s, then demond")
                    bare = _bare(program, server, loop, seconds)
                    daemon, status = _daemon(server, seconds, options or [])
                    pairs.append((bare, daemon))
            say("synchronous server: demond, recorded")
            with _server(rate, period, sync=True) as server:
                joins = _joins(server, min(seconds, _RECORDING_SECONDS), options or [])
    finally:
        os.sched_setaffinity(0, before)
    details = {
        "turns": [{"bare": asdict(bare), "demond": asdict(daemon)} for bare, daemon in pairs],
        "joins": asdict(joins),
        "verdicts": [asdict(verdict) for verdict in verdicts(pairs, joins, rate, period)],
    }
    setup = report.playing(status, cores_used=cores, hogs=hogs, seconds=seconds)
    return report.report("audio", setup, rows(pairs, joins), details, facts)


def rows(pairs: list[tuple[Player, Player]], joins: Joins) -> list[Row]:
    """The figures of all turns: callback times have a sample for each."""
    found = []
    for name, turns in zip(("C client", "demond"), zip(*pairs, strict=True), strict=True):
        for figure, label in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"), ("max", "longest")):
            found.append(report.row(f"{name}: callback {label}", "µs", [getattr(turn, figure) for turn in turns]))
        for figure in ("skipped", "xruns"):
            found.append(report.row(f"{name}: {figure}", "count", [sum(getattr(turn, figure) for turn in turns)]))
    counts = {"broken joins": joins.broken, "gaps in the clock": joins.gaps, "clicks in the music": joins.elsewhere}
    return found + [report.row(name, "count", [count]) for name, count in counts.items()]


def verdicts(pairs: list[tuple[Player, Player]], joins: Joins, rate: int, period: int) -> list[Verdict]:
    """Whether demond kept what it promises, over all turns."""
    ours, theirs = sum(d.skipped for _, d in pairs), sum(b.skipped for b, _ in pairs)
    limit = _SKIPPED_TIMES * theirs + _SKIPPED_PLUS
    period_us = 1e6 * period / rate
    slowest = max(d.p999 for _, d in pairs)
    return [
        Verdict(
            f"skipped cycles: at most {_SKIPPED_TIMES} × the C client's + {_SKIPPED_PLUS}",
            f"{ours} (C client {theirs}, limit {limit})",
            ours <= limit,
        ),
        Verdict(
            f"callback at its 99.9th percentile under {_CALLBACK_SHARE:.0%} of the period",
            f"{slowest:.1f} µs of {period_us:.0f} µs = {slowest / period_us:.2%}",
            slowest < _CALLBACK_SHARE * period_us,
        ),
        Verdict(
            "synchronous server: no broken join",
            f"{joins.broken} at {joins.cycles} joins, {joins.gaps} gaps in the clock",
            joins.broken == 0 and joins.gaps == 0,
        ),
    ]


@contextmanager
def _server(rate: int, period: int, sync: bool) -> Iterator[str]:
    name = f"demond-bench-{os.getpid()}"
    server = jack_server.start_dummy(name, rate, period, sync)
    try:
        yield name
    finally:
        server.stop()


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    """Processes that do nothing but use a core."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _compiled(folder: Path) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchError("the comparison compiles a small C client and finds no compiler: apt install gcc")
    program = folder / "bare_client"
    result = subprocess.run(
        [compiler, "-O2", "-std=c11", "-o", str(program), str(_SOURCE), "-ljack"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        first = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr)
        raise BenchError(f"the C client does not compile; JACK's headers? apt install libjack-jackd2-dev\n{first}")
    return program


def _stored_loop(folder: Path, rate: int) -> Path:
    """Eight seconds of a soft tone."""
    phase = 2 * math.pi * 220 * np.arange(8 * rate) / rate
    path = folder / "loop.raw"
    np.stack([0.1 * np.sin(phase), 0.1 * np.cos(phase)], axis=1).astype(np.float32).tofile(path)
    return path


def _bare(program: Path, server: str, loop: Path, seconds: float) -> Player:
    result = subprocess.run(
        [str(program), server, str(loop), str(seconds)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise BenchError(result.stderr.strip())
    return Player(**json.loads(result.stdout))


def _daemon(server: str, seconds: float, options: list[str]) -> tuple[Player, dict[str, Any]]:
    """What it did, and its status at the end."""
    with running_daemon(server, options) as client:
        before = _audio(client)
        _play(client, seconds)
        status = client.status()
    after = status["audio"]
    player = Player(
        cycles=after["cycles"] - before["cycles"],
        skipped=after["skipped_cycles"] - before["skipped_cycles"],
        xruns=after["xruns"] - before["xruns"],
        **{name: after[f"callback_us_{name}"] for name in ("p50", "p99", "p999", "max")},
    )
    return player, status


def _audio(client: Client) -> dict[str, Any]:
    status = client.status()
    audio: dict[str, Any] = status["audio"]
    return audio


def _play(client: Client, seconds: float) -> None:
    """Turns a knob now and then, so that the model has something to do all the while."""
    stop = threading.Event()
    for turn in range(max(1, round(seconds / _TURN_OF_KNOB_SECONDS))):
        client.send("/demond/knob/denoise", (0.4, 0.7)[turn % 2])
        stop.wait(min(_TURN_OF_KNOB_SECONDS, seconds))


def _joins(server: str, seconds: float, options: list[str]) -> Joins:
    with running_daemon(server, options) as client:
        rate = int(_audio(client)["rate"])
        with Capture(server, ("demond:out_1", "demond:out_2")) as capture:
            _play(client, seconds)
            first = rate // 2  # the listener's own connections begin in the midst of a sound
            audio = capture.read(first, capture.frames - first)
            borders, times = capture.cycles()
    borders, times = borders[borders >= first] - first, times[borders >= first]
    gaps = int(np.count_nonzero(np.diff(times) != np.diff(borders)))
    broken = elsewhere = 0
    for frame in clicks(audio, rate):
        # The second difference reaches over three samples.
        if np.abs(borders - frame).min() <= 2:
            broken += 1
        else:
            elsewhere += 1
    return Joins(len(audio) / rate, len(borders), gaps, broken, elsewhere)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    turns: Annotated[int, typer.Option(min=1, help="How often each of the two plays.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="How long each time.")] = 60.0,
    period: Annotated[int, typer.Option(help="Period of the private JACK server.")] = 256,
    rate: Annotated[int, typer.Option(help="Its rate.")] = 48_000,
    cores: Annotated[int, typer.Option(min=1, help="Processor cores for everything together.")] = 2,
    hogs: Annotated[int, typer.Option(min=0, help="Processes that only use up a core.")] = 1,
    file: JsonFile = None,
    folder: OutputFolder = None,
    run_options: Annotated[
        list[str] | None, typer.Argument(help="More options for `demond run`, after `--`.")
    ] = None,
) -> None:
    """Skipped cycles and callback times beside a bare C client doing the same."""
    try:
        options = [*switches.for_daemon(), *(run_options or [])]
        made = run(turns, seconds, period, rate, cores, hogs, options)
    except (BenchError, jack_server.JackServerError) as error:
        typer.echo(f"demond bench audio: {error}", err=True)
        raise typer.Exit(2) from None
    document: dict[str, Any] = dict(made.details)
    _print(made, document)
    report.deliver(made, file, folder)
    raise typer.Exit(0 if all(verdict["kept"] for verdict in document["verdicts"]) else 1)


def _print(made: Report, document: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(made.setup.told(), soft_wrap=True, markup=False)
    console.print(made.machine.told(), soft_wrap=True, markup=False)
    table = Table("turn", "player", "cycles", "skipped", "xruns", "callback µs p50", "p99", "p99.9", "max", box=None)
    for number, turn in enumerate(document["turns"], 1):
        for name, player in (("C client", turn["bare"]), ("demond", turn["demond"])):
            counts = (str(player[key]) for key in ("cycles", "skipped", "xruns"))
            times = (f"{player[key]:.1f}" for key in ("p50", "p99", "p999", "max"))
            table.add_row(str(number), name, *counts, *times)
    console.print(table)
    joins = document["joins"]
    console.print(
        f"synchronous: {joins['seconds']:.0f} s, {joins['cycles']} joins, {joins['broken']} broken, "
        f"{joins['gaps']} gaps, {joins['elsewhere']} clicks within cycles",
        soft_wrap=True,
    )
    for verdict in document["verdicts"]:
        console.print(
            f"{'kept  ' if verdict['kept'] else 'BROKEN'} {verdict['promise']}: {verdict['measured']}",
            soft_wrap=True,
        )


if __name__ == "__main__":
    app(prog_name="demond bench audio")
