"""Commands for scenes and the tempo: each does what its OSC address does."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from demond.client import ChangeRefusedError, Client
from demond.commands import HOST, PORT, Host, Json, Port, from_daemon, give_up, out, print_json
from demond.osc.codec import Argument

scene = typer.Typer(no_args_is_help=True, help="Store states of the instrument, and recall them.")
Name = Annotated[str, typer.Argument(help="The scene's name.")]


@scene.command("list")
def list_(host: Host = HOST, port: Port = PORT, as_json: Json = False) -> None:
    """List the scenes; the one that was recalled last has a star."""
    client = Client(host, port)
    [reply] = from_daemon(lambda: client.ask("/demond/scene/list"))
    rows = json.loads(str(reply.arguments[0]))
    if as_json:
        print_json(rows)
        return
    current = _told(client, "/demond/scene/current")
    table = Table(
        "", "scene", "program", "knobs", "settings", "morph", "begins", "from", box=None, header_style="bold"
    )
    for row in rows:
        table.add_row(
            "*" if row["name"] == current else "",
            row["name"],
            "" if row["program"] is None else str(row["program"]),
            str(row["knobs"]),
            str(row["settings"]),
            row["morph"],
            row["quantize"],
            "stored" if row["stored"] else "file",
        )
    out.print(table if rows else "no scenes yet: `demond scene store NAME` stores what is set now")


@scene.command()
def recall(
    name: Annotated[str, typer.Argument(help="A scene's name, or its program number.")],
    seconds: Annotated[
        float | None, typer.Option(help="Morph in so many seconds instead of in its own time.")
    ] = None,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Recall a scene: `demond scene recall drop --seconds 4`."""
    address, argument = ("index", int(name)) if name.isdecimal() else ("current", name)
    rest: tuple[Argument, ...] = () if seconds is None else (seconds,)
    _change(Client(host, port), f"/demond/scene/{address}", argument, *rest)


@scene.command()
def store(
    name: Name,
    program: Annotated[int | None, typer.Option(help="The program number that recalls it, from 0.")] = None,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Store all knobs, prompts, source, steps and curves as they are now."""
    rest: tuple[Argument, ...] = () if program is None else (program,)
    _change(Client(host, port), "/demond/scene/store", name, *rest)


@scene.command()
def remove(name: Name, host: Host = HOST, port: Port = PORT) -> None:
    """Forget a stored scene."""
    _change(Client(host, port), "/demond/scene/remove", name)


@scene.command()
def undo(host: Host = HOST, port: Port = PORT) -> None:
    """Bring back what the last recall changed; once more redoes it."""
    _change(Client(host, port), "/demond/scene/undo")


@scene.command()
def morph(
    position: Annotated[
        float | None, typer.Argument(help="0 is before the last recall, 1 its scene; none tells.", min=0, max=1)
    ] = None,
    pause: Annotated[bool | None, typer.Option("--pause/--go-on", help="Hold the morph where it is, or not.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="End the morph; everything stays as it is now.")] = False,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Move between the last two scenes, pause, or keep what is there."""
    client = Client(host, port)
    if position is not None:
        _send(client, "/demond/scene/morph", position)
    if pause is not None:
        _send(client, "/demond/scene/morph/pause", int(pause))
    if keep:
        _send(client, "/demond/scene/morph/keep")
    if position is None and pause is None and not keep:
        out.print(f"{_told(client, '/demond/scene/morph'):.2f}")


def tempo(
    bpm: Annotated[float | None, typer.Argument(help="Beats a minute; none tells.", min=20, max=400)] = None,
    sync: Annotated[str | None, typer.Option(help="Who may say the tempo: midi, jack, tap or none.")] = None,
    meter: Annotated[int | None, typer.Option(help="Beats of a bar.")] = None,
    lead: Annotated[
        bool | None, typer.Option("--lead/--no-lead", help="Be timebase master, so that JACK's transport follows.")
    ] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Tell the tempo, or set it: `demond tempo 124`, `demond tempo --sync midi`."""
    client = Client(host, port)
    given = {"sync": sync, "meter": meter, "bpm": bpm, "lead": None if lead is None else int(lead)}
    for word, value in given.items():
        if value is not None:
            _send(client, f"/demond/transport/{word}", value)
    if all(value is None for value in given.values()):
        told = {word: _told(client, f"/demond/transport/{word}") for word in ("bpm", "beat", "meter", "sync")}
        if as_json:
            print_json(told)
        else:
            out.print(f"{told['bpm']:g} bpm, beat {told['beat']:.1f}, {told['meter']} a bar, sync {told['sync']}")


def _told(client: Client, address: str) -> Argument:
    [reply] = from_daemon(lambda: client.ask(address))
    if reply.address == "/demond/error":
        give_up(reply.arguments[3])
    return reply.arguments[0]


def _send(client: Client, address: str, *arguments: Argument) -> None:
    """Sends what is done at once; what is refused ends the command."""
    for reply in from_daemon(lambda: client.ask(address, *arguments)):
        if reply.address == "/demond/error":
            give_up(reply.arguments[3])


def _change(client: Client, address: str, *arguments: Argument) -> None:
    """Asks for what may take time, and waits for how it ended."""
    try:
        remarks = from_daemon(lambda: client.change((address, arguments)))
    except ChangeRefusedError as error:
        give_up(error)
    for remark in remarks:
        out.print(remark, markup=False, soft_wrap=True)
