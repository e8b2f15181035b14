"""`demond bench latency`: from a control message to the first changed sample at the JACK port.

A private JACK server, the real daemon and an OSC socket; nothing of the engine is looked into. With constant knobs
the music repeats bit for bit, so a reference of each of two settings is recorded first; then the knob is moved back
and forth at random phases, and the first sample that leaves the reference ends the measurement. The split of the
time comes from what the daemon answers to `/demond/trace`.
"""

from __future__ import annotations

import json
import os
import platform
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from demond import __version__, jack_server
from demond.bench.capture import Capture
from demond.client import Client, NoAnswerError

_CHANGED = 2e-4
"""A sample this far (-74 dBFS) from the reference has changed; repeats of steady music differ by under 1e-5."""
_SETTLE_SECONDS = 60.0
_LONGEST_SECONDS = 5.0
"""A change that is not heard by then counts as lost."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Probe:
    """A knob to flip between two settings; each kind of knob has one."""

    kind: str
    address: str
    settings: tuple[float | str, float | str]


PROBES = (
    Probe("shared", "/demond/knob/denoise", (0.7, 0.4)),
    Probe("slot", "/demond/knob/seed", (1, 2)),
    Probe("session", "/demond/prompt/a/text", ("synthwave, 120 bpm", "chiptune, 120 bpm")),
    Probe("output", "/demond/knob/volume_db", (0.0, -6.0)),
)


@dataclass(frozen=True)
class Measured:
    """Of one kind of knob: milliseconds over all phases."""

    kind: str
    address: str
    phases: int
    lost: int
    p50: float
    p95: float
    p99: float
    split: dict[str, float]
    """The median of each part, from the daemon's own trace; `device` is the port's playback latency."""


@contextmanager
def private_server(rate: int, period: int) -> Iterator[str]:
    """A JACK server of the bench's own with the dummy backend; yields its name."""
    name = f"demond-bench-{os.getpid()}"
    server = jack_server.start_dummy(name, rate, period, sync=True)
    try:
        yield name
    finally:
        server.stop()


@contextmanager
def running_daemon(server: str, arguments: list[str]) -> Iterator[Client]:
    """The real daemon on `server`, playing; yields a client that talks to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    midi = [] if "--midi" in arguments else ["--midi", "none"]
    options = ["--server", server, "--osc-port", str(port), *midi, "--state", "forget", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "demond.cli", "run", *options], stderr=subprocess.PIPE, text=True
    )
    try:
        client = Client(port=port)
        deadline = time.monotonic() + 180
        while engine_of(client).get("state") != "playing":
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise RuntimeError(f"the daemon did not start to play:\n{process.communicate()[1]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def engine_of(client: Client) -> dict[str, Any]:
    """The `engine` section of the status; empty while nobody answers."""
    try:
        engine: dict[str, Any] = client.status()["engine"]
    except NoAnswerError:
        return {}
    return engine


class Bench:
    """The daemon, the ears, and the references of the settings heard so far."""

    def __init__(self, client: Client, capture: Capture) -> None:
        """The daemon plays already, and `capture` hears it."""
        self._client, self._capture = client, capture
        self.status = client.status()
        self._loop: int = self.status["audio"]["loop_frames"]

    def listen(self, seconds: float) -> None:
        """Until so much more has been captured."""
        until = self._capture.frames + int(seconds * self._capture.rate)
        while self._capture.frames < until:
            time.sleep(0.01)

    def reference(self) -> tuple[int, NDArray[np.float32]]:
        """One pass of the loop under constant knobs, and the number of its first frame.

        Raises :class:`RuntimeError` when two passes differ: then nothing can be measured against them.
        """
        seconds = self._loop / self._capture.rate
        while not engine_of(self._client).get("idle"):
            self.listen(0.1)
        self.listen(seconds + 0.5)
        first = self._capture.frames - self._loop
        audio = self._capture.read(first, self._loop)
        self.listen(seconds / 2)
        start, count = self._capture.frames - self._loop // 2, self._loop // 2
        again = self._capture.read(start, count)
        difference = float(np.abs(again - audio[(start - first + np.arange(count)) % self._loop]).max())
        if difference > _CHANGED / 4:
            raise RuntimeError(f"the music does not repeat under constant knobs (difference {difference:.2g})")
        return first, audio

    def settle(self, reference: tuple[int, NDArray[np.float32]]) -> None:
        """Until a quarter of a second on end was as in `reference`. Raises :class:`RuntimeError` if it never is."""
        first, audio = reference
        count = self._capture.rate // 4
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            self.listen(0.05)
            start = self._capture.frames - count
            expected = audio[(start - first + np.arange(count)) % self._loop]
            if float(np.abs(self._capture.read(start, count) - expected).max()) < _CHANGED:
                return
        raise RuntimeError(f"{_SETTLE_SECONDS:.0f} s after a change the music is not what it was before")

    def first_change(self, reference: tuple[int, NDArray[np.float32]], sent: int) -> float | None:
        """Milliseconds from frame time `sent` to the first sample that is not of `reference`; None when lost."""
        first, audio = reference
        start = self._capture.frame_at(sent)
        checked = start
        deadline = start + int(_LONGEST_SECONDS * self._capture.rate)
        while checked < deadline:
            self.listen(0.05)
            end = self._capture.frames
            heard = self._capture.read(checked, end - checked)
            expected = audio[(checked - first + np.arange(end - checked)) % self._loop]
            changed = np.flatnonzero(np.abs(heard - expected).max(axis=1) > _CHANGED)
            if len(changed):
                frame = checked + int(changed[0])
                return (self._capture.time_of(frame) - sent) * 1000 / self._capture.rate
            checked = end
        return None

    def measure(self, probe: Probe, phases: int, advance: Any, dice: random.Random) -> Measured:
        """Flips `probe` at `phases` random phases and times each."""
        references = []
        for setting in reversed(probe.settings):
            self._client.ask(probe.address, setting)
            references.append(self.reference())
        references.reverse()  # the first setting was recorded last, so it is the present one
        times: list[float] = []
        splits: list[dict[str, float]] = []
        lost = 0
        for phase in range(phases):
            present = phase % 2
            self.settle(references[present])
            self.listen(dice.uniform(0, 0.5))
            sent = self._capture.now
            self._client.send(probe.address, probe.settings[1 - present])
            took = self.first_change(references[present], sent)
            if took is None:
                lost += 1
            else:
                times.append(took)
            splits += self._split(probe)
            advance(1)
        self._client.ask(probe.address, probe.settings[0])
        p50, p95, p99 = np.percentile(times, (50, 95, 99)) if times else (float("nan"),) * 3
        split = {
            part: round(float(np.median([s[part] for s in splits])), 2) for part in (splits[0] if splits else {})
        }
        return Measured(
            probe.kind,
            probe.address,
            phases,
            lost,
            round(float(p50), 1),
            round(float(p95), 1),
            round(float(p99), 1),
            split,
        )

    def _split(self, probe: Probe) -> list[dict[str, float]]:
        """The parts of the last change's way, as the daemon traced it: none for what is not a knob of the engine."""
        journeys = self._client.trace(1)
        device = float(self.status["audio"]["port_latency_ms"])
        if not journeys or "heard_ms" not in journeys[-1] or not probe.address.endswith(journeys[-1]["knob"]):
            return []
        last = journeys[-1]
        return [
            {
                "wait": last["tick_ms"],
                "compute": last["written_ms"] - last["tick_ms"],
                "lead": last["heard_ms"] - last["written_ms"] - device,
                "device": device,
            }
        ]


def machine() -> dict[str, object]:
    """What a reader needs to know about where the figures come from."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "demond": __version__,
    }


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    phases: Annotated[int, typer.Option(min=2, help="Flips per knob.")] = 50,
    kinds: Annotated[
        str, typer.Option(help="Which kinds of knob, with commas between.")
    ] = "shared,slot,session,output",
    period: Annotated[int, typer.Option(help="Period of the private JACK server.")] = 256,
    rate: Annotated[int, typer.Option(help="Its rate.")] = 48_000,
    seed: Annotated[int, typer.Option(help="Of the random phases.")] = 1,
    report: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    run: Annotated[list[str] | None, typer.Argument(help="More options for `demond run`, after `--`.")] = None,
) -> None:
    """From a control message to the first changed sample at the JACK port, per kind of knob."""
    console = Console(stderr=True, highlight=False)
    chosen = [probe for probe in PROBES if probe.kind in kinds.split(",")]
    if not chosen:
        raise typer.BadParameter(
            f"{kinds}: choose among {', '.join(probe.kind for probe in PROBES)}", param_hint="--kinds"
        )
    dice = random.Random(seed)  # noqa: S311 (phases need no secrecy)
    results: list[Measured] = []
    with private_server(rate, period) as server, running_daemon(server, run or []) as client:
        ports = ("demond:out_1", "demond:out_2")
        with Capture(server, ports) as capture, Progress(console=console, transient=True) as progress:
            bench = Bench(client, capture)
            for probe in chosen:
                task = progress.add_task(f"{probe.kind} {probe.address}", total=phases)
                results.append(bench.measure(probe, phases, lambda n, task=task: progress.advance(task, n), dice))
            status = client.status()
    _print(results, bench.status)
    if report is not None:
        document = {"machine": machine(), "status": status, "results": [asdict(result) for result in results]}
        report.write_text(json.dumps(document, indent=2) + "\n")
    raise typer.Exit(1 if any(result.lost for result in results) else 0)


def _print(results: list[Measured], status: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    engine, audio = status["engine"], status["audio"]
    console.print(
        f"{engine['model']} on {engine['device']} ({engine['backend']}), depth {engine['depth']}, "
        f"{engine['steps']} steps, loop {engine['loop_seconds']:.1f} s, "
        f"period {audio['period']} at {audio['rate']} Hz",
        soft_wrap=True,
    )
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), soft_wrap=True)
    table = Table(
        "kind", "address", "n", "lost", "p50 ms", "p95", "p99", "wait", "compute", "lead", "device", box=None
    )
    for result in results:
        parts = (
            f"{result.split[part]:.1f}" if part in result.split else ""
            for part in ("wait", "compute", "lead", "device")
        )
        figures = (f"{value:.1f}" for value in (result.p50, result.p95, result.p99))
        table.add_row(result.kind, result.address, str(result.phases), str(result.lost), *figures, *parts)
    console.print(table)


if __name__ == "__main__":
    app(prog_name="demond bench latency")
