"""`demond bench control`: from a MIDI or OSC message to the knob's new value in the table that the engine reads.

A private JACK server, the real daemon with its engine playing, and eight faders in a process of their own. Every
message counts: its latency is the time until its value, or a newer one of the same fader, stands in the table. Times
come from the machine's monotonic clock at both ends: in the JACK cycle that the MIDI message is written in (or right
before the OSC message leaves), and when the daemon has stored the value, as its trace in shared memory says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from demond.bench.latency import machine, private_server, running_daemon
from demond.bench.senders import FADERS
from demond.client import Client
from demond.knobs import INDEX
from demond.trace import Trace

KNOBS = ("denoise", "prompt_blend", "hint_strength", "feedback", "source_lock", "sde_amp", "protect", "dry_wet")
"""One for each fader: their range is 0 to 1, so that a value is a travel."""
_SAME = 1e-4
"""Stored and sent values nearer than this are the same; steps of a fader are wider."""
_MATCH_NS = 300_000_000
"""A fader of 128 steps comes round no sooner, at the highest rate."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Measured:
    """Of one kind of sender: milliseconds over all messages of all bursts."""

    kind: str
    rate: float
    messages: int
    sets: int
    """How often a knob was set; fewer than messages, where several came at once."""
    p50: float
    p99: float
    longest: float
    inside_p99: float
    """From the daemon's machine having received a message to the value being set."""
    last_values: int
    lost: int
    """Faders that did not end where they were put."""


class Watch:
    """Follows the daemon's trace of changes."""

    def __init__(self, pid: int) -> None:
        """`pid` is the daemon's."""
        self._trace = Trace.attach(f"demond-{pid}-trace")
        self._found: dict[tuple[int, int], Any] = {}
        self._taken = 0
        """The version of the newest change that was taken."""

    def look(self) -> None:
        """Takes in what is new. To be called before a ring's worth of changes has passed."""
        for change in self._trace.changes():
            if int(change["version"]) > self._taken:
                self._found[int(change["version"]), int(change["knob"])] = change

    def take(self) -> NDArray[Any]:
        """All changes since the last call, in their order."""
        self.look()
        found, self._found = self._found, {}
        self._taken = max((version for version, _ in found), default=self._taken)
        return np.array(list(found.values()))

    def close(self) -> None:
        """Lets go of the trace."""
        self._trace.close()


def latencies(sent: NDArray[Any], changes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each message of `sent` the ms until its value or a newer one was set; and for each set the ms inside.

    A message that no later set answers is left out: whether last values are lost is asked of the daemon itself.
    """
    waits: list[float] = []
    inside: list[float] = []
    for fader, knob in enumerate(KNOBS):
        mine = sent[sent["fader"] == fader]
        sets = changes[changes["knob"] == INDEX[knob]] if len(changes) else changes
        answered = np.full(len(mine), -1, np.int64)
        for change in sets:
            stored = int(change["stored_ns"])
            fits = np.flatnonzero(
                (np.abs(mine["value"] - change["value"]) < _SAME)
                & (mine["time_ns"] <= stored)
                & (mine["time_ns"] > stored - _MATCH_NS)
            )
            if len(fits) and answered[fits[-1]] < 0:
                answered[fits[-1]] = stored
                inside.append((stored - int(change["received_ns"])) / 1e6)
        upcoming = -1
        for i in range(len(mine) - 1, -1, -1):
            upcoming = int(answered[i]) if answered[i] >= 0 else upcoming
            if upcoming >= 0:
                waits.append((upcoming - int(mine["time_ns"][i])) / 1e6)
    return np.array(waits), np.array(inside)


def burst(arguments: list[str], watch: Watch, folder: Path) -> NDArray[Any]:
    """Runs a sender to its end, with the trace followed; returns what it sent."""
    out = folder / "sent.npy"
    process = subprocess.Popen([sys.executable, "-m", "demond.bench.senders", *arguments, "--out", str(out)])
    while process.poll() is None:
        watch.look()
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError("the sender failed")
    sent: NDArray[Any] = np.load(out)
    return sent


def lost_values(client: Client, sent: NDArray[Any]) -> int:
    """How many faders' knobs are not where the fader was put last."""
    lost = 0
    for fader, knob in enumerate(KNOBS):
        mine = sent[sent["fader"] == fader]
        [reply] = client.ask(f"/demond/knob/{knob}")
        value = reply.arguments[0]
        lost += not (isinstance(value, float | int) and abs(value - mine["value"][-1]) < _SAME)
    return lost


def measure(
    kind: str,
    arguments: list[str],
    bursts: int,
    rate: float,
    client: Client,
    watch: Watch,
) -> Measured:
    """`bursts` runs of one kind of sender."""
    waits: list[NDArray[np.float64]] = []
    inside: list[NDArray[np.float64]] = []
    messages = sets = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(bursts):
            watch.take()
            sent = burst([kind, "--rate", str(rate), *arguments], watch, Path(folder))
            time.sleep(0.2)
            changes = watch.take()
            wait, within = latencies(sent, changes)
            waits.append(wait)
            inside.append(within)
            messages, sets = messages + len(sent), sets + len(changes)
            lost += lost_values(client, sent)
    every, within = np.concatenate(waits), np.concatenate(inside)
    p50, p99, longest = np.percentile(every, (50, 99, 100))
    return Measured(
        kind,
        rate,
        messages,
        sets,
        round(float(p50), 3),
        round(float(p99), 3),
        round(float(longest), 3),
        round(float(np.percentile(within, 99)), 3),
        bursts * FADERS,
        lost,
    )


MAPPING = "demond: 1\ndevices:\n  faders: {profile: korg/nanokontrol2, match: {name: 'faders:*'}}\nmaps:\n" + "".join(
    f"  - {{from: faders/fader{i + 1}, to: {knob}, takeover: off}}\n" for i, knob in enumerate(KNOBS)
)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    bursts: Annotated[int, typer.Option(min=1, help="Bursts of each kind of sender.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.2, help="How long a burst is.")] = 2.0,
    rate: Annotated[float, typer.Option(min=8, max=3_400, help="Messages a second, over eight faders.")] = 3_000.0,
    period: Annotated[int, typer.Option(help="Period of the private JACK server.")] = 256,
    report: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    run: Annotated[list[str] | None, typer.Argument(help="More options for `demond run`, after `--`.")] = None,
) -> None:
    """From a MIDI or OSC message to the knob's new value, while eight faders move at once."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    results = []
    with tempfile.TemporaryDirectory() as folder, private_server(48_000, period) as server:
        mapping = Path(folder) / "faders.yaml"
        mapping.write_text(MAPPING)
        options = ["--midi", "jack", "--mapping", str(mapping), *(run or [])]
        with running_daemon(server, options) as client:
            status = client.status()
            watch = Watch(int(status["pid"]))
            for kind in ("midi", "osc"):
                own = ["--server", server] if kind == "midi" else ["--port", str(status["osc"]["port"])]
                arguments = ["--seconds", str(seconds), *own, "--knobs", ",".join(KNOBS)]
                results.append(measure(kind, arguments, bursts, rate, client, watch))
            watch.close()
    _print(console, results, period)
    if report is not None:
        document = {"machine": machine(), "results": [asdict(result) for result in results]}
        report.write_text(json.dumps(document, indent=2) + "\n")
    raise typer.Exit(1 if any(result.lost for result in results) else 0)


def _print(console: Console, results: list[Measured], period: int) -> None:
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), f"JACK period {period}", sep=", ")
    table = Table("from", "msg/s", "messages", "sets", "p50 ms", "p99", "longest", "inside p99", "lost", box=None)
    for one in results:
        figures = (f"{value:.2f}" for value in (one.p50, one.p99, one.longest, one.inside_p99))
        lost = f"{one.lost} of {one.last_values}"
        table.add_row(one.kind, f"{one.rate:g}", str(one.messages), str(one.sets), *figures, lost)
    console.print(table)


if __name__ == "__main__":
    app(prog_name="demond bench control")
