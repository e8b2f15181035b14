"""G4: a mapping line from the control that a hand moves, by one command, kept in a file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from demond.bench.device import Controller
from demond.bench.devices import BOX, wait_for_port
from demond.bench.rows import Row, row
from demond.client import Client

TARGET = "shift"
LINE = f"{{from: {BOX}/fader1, to: {TARGET}}}"
_PATIENCE = 60.0


def lessons(client: Client, server: str, port: int, learned: Path, turns: int) -> Row:
    """Learns the box's fader `turns` times, each time with `demond learn --yes`, and takes it back.

    `learned` is the daemon's file of learned lines.
    """
    took: list[float] = []
    kept = gone = 0
    with Controller(BOX, server) as box:
        box.plug()
        wait_for_port(client, there=True)
        for _ in range(turns):
            with _command("learn", TARGET, "--yes", "--timeout", "30", port=port) as command:
                if not _is_searching(client):
                    continue
                began = time.monotonic()
                box.send(*(f"b000{value:02x}" for value in range(0, 120, 6)))
                ended = command.wait(_PATIENCE)
                took += [time.monotonic() - began] if ended == 0 else []
            kept += learned.is_file() and LINE in learned.read_text()
            with _command("learn", "--undo", port=port) as command:
                gone += command.wait(_PATIENCE) == 0 and LINE not in learned.read_text()
        box.unplug()
        wait_for_port(client, there=False)
    met = len(took) == kept == gone == turns
    notes = f"1 command each; {kept} of {turns} lines kept, {gone} taken back by one more; 1 s is the fader's rest"
    return row("G4", "a fader is moved until its line is in force", "s", took, "2 commands at most", met, notes)


def _command(*words: str, port: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "demond.cli", *words, "--port", str(port)]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _is_searching(client: Client) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while client.ask("/demond/learn/target")[0].arguments[0] != TARGET:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
