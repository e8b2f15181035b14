"""`demond learn`: a mapping line from the control that a hand moves, with the running daemon, without a screen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import IO, Annotated, NoReturn

import typer
from rich.live import Live
from rich.text import Text

from demond.client import ChangeRefusedError, Client, NoAnswerError, Reply
from demond.commands import HOST, PORT, Host, Port, from_daemon, give_up, out

STILL_SECONDS = 1.0
"""With --yes, a candidate is taken when nothing was moved for this long."""
_PATIENCE = 10.0
"""Seconds beyond the search's own time after which the daemon counts as gone."""
_FIELDS = {
    "candidate": ("device", "control", "count", "span", "why"),
    "done": ("id", "line"),
    "timeout": ("target", "heard"),
    "cancelled": ("target", "why"),
}


def learn(
    target: Annotated[
        str, typer.Argument(help="What shall be moved: a knob, KNOB/reset, scene/NAME, layer/NAME, transport/tap.")
    ] = "",
    name: Annotated[str, typer.Option("--id", help="What the line is called; else DEVICE/CONTROL/TARGET.")] = "",
    timeout: Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for a hand.")] = 30.0,
    guess: Annotated[
        bool, typer.Option("--guess", help="Without a profile: propose encoders, buttons, 14-bit pairs, NRPN.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take what was moved when it rests, without Enter.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the line that was learned last.")] = False,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
) -> None:
    """Map a control by moving it: `demond learn denoise`, move a fader, press Enter. Without a target: list."""
    client = Client(host, port)
    if undo:
        _undo(client)
    elif not target:
        _list(client, as_json)
    else:
        with _Lesson(client, target, timeout, yes, as_json) as lesson:
            lesson.begin(name, guess)
            lesson.wait()


def _undo(client: Client) -> None:
    try:
        [line] = from_daemon(lambda: client.change(("/demond/learn/undo", ())))
    except ChangeRefusedError as error:
        give_up(error)
    out.print(f"forgotten: {line}", markup=False, soft_wrap=True)


def _list(client: Client, as_json: bool) -> None:
    lines = [line for line in from_daemon(client.lines) if line["learned"]]
    for line in lines:
        text = json.dumps(line) if as_json else f"{line['id']}: {line['from']} moves {line['to']}"
        out.print(text, markup=False, soft_wrap=True)
    if not lines and not as_json:
        out.print("nothing is learned yet; `demond learn denoise` begins")


class _Lesson:
    """One search, from this side. Leaving it ends the search, if nothing else has."""

    def __init__(self, client: Client, target: str, seconds: float, yes: bool, as_json: bool) -> None:
        self._client, self._target, self._seconds = client, target, seconds
        self._yes, self._as_json = yes, as_json
        self._running = False
        self._live: Live | None = None
        self._shown = ("", "")
        self._moved = 0.0
        """When a candidate was told of last; 0 before the first."""
        self._keys: IO[str] | None = None if yes else sys.stdin

    def __enter__(self) -> _Lesson:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._running:
            self._client.send("/demond/learn/cancel")

    def begin(self, name: str, guess: bool) -> None:
        """Asks the daemon to search."""
        words = ("guess",) if guess else ()
        start = ("/demond/learn/start", self._target, name, self._seconds, *words)
        for reply in from_daemon(lambda: self._client.ask(*start)):
            if reply.address == "/demond/error":
                give_up(reply.arguments[3])
        self._running = True
        if self._as_json:
            return
        how = "it is taken when it rests" if self._yes else "Enter takes it"
        out.print(f"Move the control that shall move {self._target}; {how}, Ctrl-C gives up.", markup=False)
        if out.is_terminal:
            self._live = Live(Text("nothing moved yet"), console=out, refresh_per_second=10, transient=True)
            self._live.start()

    def wait(self) -> None:
        """Shows what was moved until it ends."""
        deadline = time.monotonic() + self._seconds + _PATIENCE
        while True:
            others = [self._keys] if self._keys is not None else []
            try:
                heard = self._client.wait(0.1, *others)
            except NoAnswerError as error:
                self._end(str(error))
            if isinstance(heard, Reply):
                self._take(heard)
            elif heard is not None:
                self._key(heard)
            elif self._yes and self._moved and time.monotonic() - self._moved > STILL_SECONDS:
                self._moved = 0.0
                self._client.send("/demond/learn/accept")
            if time.monotonic() > deadline:
                self._end("the daemon does not answer any more")

    def _key(self, keys: IO[str]) -> None:
        if keys.readline():
            self._client.send("/demond/learn/accept")
        else:  # nobody is there to press Enter; a surface may still accept
            self._keys = None

    def _take(self, reply: Reply) -> None:
        what = reply.address.rpartition("/")[2]
        if reply.address == "/demond/error":
            out.print(f"{reply.arguments[3]}", markup=False, soft_wrap=True)
            return
        if what not in _FIELDS or not reply.address.startswith("/demond/learn/"):
            return
        said = dict(zip(_FIELDS[what], reply.arguments, strict=False))
        if self._as_json:
            out.print(json.dumps({"event": what, **said}), markup=False, soft_wrap=True)
        if what == "candidate":
            self._moved = time.monotonic()
            self._show(said)
            return
        self._running = False
        if what == "done":
            self._done(str(said["line"]))
        words = f"{self._target}: no control was accepted; {said.get('heard', said.get('why'))}"
        self._end("" if self._as_json else words)

    def _show(self, said: Mapping[str, object]) -> None:
        named = f"{said['device']}{':' if said['device'] == 'osc' else '/'}{said['control']}"
        text = f"{named}  {said['count']} moves over {float(str(said['span'])):.0%}"
        why = f"  ({said['why']})" if said["why"] else ""
        if self._live is not None:
            self._live.update(Text(text + why))
        elif not self._as_json and self._shown != (named, why):
            out.print(named + why, markup=False, soft_wrap=True)
        self._shown = (named, why)

    def _done(self, line: str) -> NoReturn:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if not self._as_json:
            out.print(line, markup=False, soft_wrap=True)
            out.print("It is in force and stays; `demond learn --undo` takes it back.")
        raise typer.Exit()

    def _end(self, why: str) -> NoReturn:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if why:
            give_up(why)
        raise typer.Exit(1)
