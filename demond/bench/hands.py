"""G1: from a MIDI or OSC message to the knob's new value in the table that the engine reads.

Eight faders in a process of their own. Every message counts: its latency is the time until its value, or a newer one
of the same fader, stands in the table. Times come from the machine's monotonic clock at both ends: in the JACK cycle
that the MIDI message is written in (or right before the OSC message leaves), and when the daemon has stored the
value, as its trace in shared memory says.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demond.bench.rows import Row, below, row
from demond.bench.senders import FADERS
from demond.client import Client
from demond.knobs import INDEX
from demond.trace import Trace

KNOBS = ("denoise", "prompt_blend", "hint_strength", "feedback", "source_lock", "sde_amp", "protect", "dry_wet")
"""One for each fader: their range is 0 to 1, so that a value is a travel."""
_LATENCY_MS = 2.0
_SAME = 1e-4
"""Stored and sent values nearer than this are the same; steps of a fader are wider."""
_MATCH_NS = 300_000_000
"""A fader of 128 steps comes round no sooner, at the highest rate."""


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


def measure(kind: str, arguments: list[str], bursts: int, rate: float, client: Client, watch: Watch) -> Row:
    """`bursts` runs of one kind of sender, `midi` or `osc`."""
    waits: list[NDArray[np.float64]] = []
    inside: list[NDArray[np.float64]] = []
    sets = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(bursts):
            watch.take()
            sent = burst([kind, "--rate", str(rate), *arguments], watch, Path(folder))
            time.sleep(0.2)
            changes = watch.take()
            wait, within = latencies(sent, changes)
            waits.append(wait)
            inside.append(within)
            sets += len(changes)
            lost += lost_values(client, sent)
    every, within = np.concatenate(waits), np.concatenate(inside)
    what = f"{kind.upper()} message to knob, {rate:g} a second"
    notes = (
        f"{sets} sets; inside the daemon p99 {np.percentile(within, 99):.2f} ms; "
        f"{lost} of {bursts * FADERS} last values lost"
    )
    wanted = f"p99 < {_LATENCY_MS:g} ms, 0 lost"
    met = below(every.tolist(), _LATENCY_MS) and not lost
    return row("G1", what, "ms", every.tolist(), wanted, met, notes, f"{kind.upper()} message to knob")
