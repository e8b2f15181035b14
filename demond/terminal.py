"""How `demond run` speaks to the person who started it: plain sentences, a progress bar on a terminal, a log.

Only `demond run` uses it, in the daemon's process. Without a terminal (under systemd, in a pipe) the same words come
as plain lines, without colours and without a bar.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from demond.daemon import Daemon

_JOURNAL_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _JournalFormatter(logging.Formatter):
    """The priority prefix of sd-daemon(3), so that `journalctl -p warning` works; the journal has the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>{super().format(record)}"


def set_up_logging(console: Console, verbose: bool) -> None:
    """Sends the log to the console: coloured on a terminal, with priorities to the journal, plain elsewhere."""
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        journal = "JOURNAL_STREAM" in os.environ
        handler.setFormatter(
            _JournalFormatter("%(message)s")
            if journal
            else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
        )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


def _command() -> str:
    """How the person who reads this can call `demond`: by its name if that is found, else by its path from here."""
    if shutil.which("demond"):
        return "demond"
    return os.path.relpath(Path(sys.executable).with_name("demond"))


class Terminal:
    """The daemon's `Presenter` on standard error."""

    def __init__(self, console: Console) -> None:
        """`console` should write to standard error, so that standard output stays free."""
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told = False

    def progress(self, stage: str, share: float) -> None:
        """Moves the bar of `stage`; without a terminal, one line when a stage begins."""
        if stage not in self._tasks and not self._console.is_terminal:
            self._tasks[stage] = TaskID(0)
            self._console.print(f"{stage} …", highlight=False)
        if not self._console.is_terminal:
            return
        if self._progress is None:
            columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=1.0)
        self._progress.update(self._tasks[stage], completed=share)

    def note(self, text: str) -> None:
        """One sentence."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Takes the bar away; called before the last words."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._tasks.clear()

    def playing(self, daemon: Daemon) -> None:
        """The summary a newcomer needs, once; after a restart of the engine, one line."""
        self.finish()
        if self._told:
            self.note("the engine plays again")
            return
        self._told = True
        config, ready = daemon.config, daemon.engine.ready
        client, port = config.jack.client, daemon.osc.port
        model = f"{ready.model}, {ready.device}, depth {ready.depth} of {ready.steps}" if ready else ""
        hear = f"JACK ports {client}:out_1 and {client}:out_2"
        if daemon.server_is_ours:
            hear += " (on a server without a sound card: `demond render` writes a file to listen to)"
        midi = "off"
        if daemon.midi is not None:
            midi = (
                f"{daemon.midi.backend}: {', '.join(daemon.midi.ports) or 'no controller yet; plug one in any time'}"
            )
        lines = {
            "plays": model,
            "hear it": hear,
            "OSC": f"{config.osc.bind}:{port}, try: {_command()} send{'' if port == 9600 else f' --port {port}'} "
            "/demond/knob/denoise 0.9",
            "MIDI": midi,
            "mappings": ", ".join(map(str, config.mappings or [])) or "the ready ones of every known controller",
            "stop": "Ctrl-C",
        }
        for label, text in lines.items():
            self._console.print(f"  {label:<9} {text}", highlight=False, soft_wrap=True)
