"""`demond export`: surfaces for other people's programs, made of what the daemon has now."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from demond.client import Client, NoAnswerError
from demond.commands import HOST, PORT, Host, Json, Port, err, give_up, out, print_json
from demond.export import open_stage_control, reaper, touchosc
from demond.export.instrument import OWN_TABLE, Instrument, StrangeAnswerError, of_daemon
from demond.export.surface import surface
from demond.export.widgets import LAYOUTS, Surface

app = typer.Typer(
    no_args_is_help=True,
    help="Write a surface with every knob, prompt and scene for Open Stage Control, TouchOSC or REAPER.",
    epilog="A running daemon is asked for its knobs, scenes and LoRAs; without one, the knobs are demond's own. "
    "Then `docs/recipes` goes on: how to load the file, and what to connect.",
)

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write; - is standard output.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no daemon; scenes and LoRAs are left out.")]
Screen = Annotated[Literal["tablet", "phone"], typer.Option("--layout", help="The kind of screen.")]
Listen = Annotated[
    int, typer.Option(help="The UDP port on which the surface listens.", min=1024, max=65_535, metavar="PORT")
]
_STDOUT = Path("-")


@app.command("open-stage-control")
def open_stage_control_(
    output: Output = None,
    layout: Screen = "tablet",
    host: Host = HOST,
    port: Port = PORT,
    listen: Listen = 9001,
    offline: Offline = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a session for Open Stage Control, and the module that shows what demond refuses.

    Faders in the knobs' own units, buttons that send no value, prompts as text inputs. The command that starts Open
    Stage Control with it is printed.
    """
    session = _named(output or Path(f"demond-{layout}.json"), ".json")
    instrument = _instrument(host, port, offline)
    files: dict[Path, str | bytes] = {session: open_stage_control.session(_surface(instrument, layout))}
    module = None if session == _STDOUT else session.with_suffix(".js")
    if module is not None:
        files[module] = open_stage_control.MODULE
    start = open_stage_control.launch(str(session), str(module) if module else None, host, port, listen)
    _write(files, force)
    _say(instrument, files, {"start": shlex.join(start)}, as_json)


@app.command("touchosc")
def touchosc_(
    output: Output = None,
    layout: Screen = "tablet",
    host: Host = HOST,
    port: Port = PORT,
    listen: Listen = 9001,
    offline: Offline = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a layout for TouchOSC, the second generation (.tosc).

    Open it on the device, and set its connection 1 to UDP, this machine's address, send port 9600 and the receive
    port of --listen. The page is painted by itself.
    """
    file = _named(output or Path(f"demond-{layout}.tosc"), ".tosc")
    instrument = _instrument(host, port, offline)
    files: dict[Path, str | bytes] = {file: touchosc.layout(_surface(instrument, layout), listen)}
    _write(files, force)
    words = f"UDP, host: the address of demond's machine, send port {port}, receive port {listen}"
    _say(instrument, files, {"connection 1": words}, as_json)


@app.command("reaper")
def reaper_(
    output: Output = None,
    host: Host = HOST,
    port: Port = PORT,
    offline: Offline = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write an effect for REAPER (.jsfx) with a slider for each knob, which envelopes move.

    Put it into the folder Effects of REAPER's resource path, insert it on a track, and send the track's MIDI to
    demond.
    """
    file = _named(output or Path("demond.jsfx"), ".jsfx")
    instrument = _instrument(host, port, offline)
    files: dict[Path, str | bytes] = {file: reaper.effect(instrument)}
    _write(files, force)
    notes = {"folder": "Effects, below Options > Show REAPER resource path"}
    if len(instrument.knobs) > reaper.SLIDERS:
        notes["left out"] = ", ".join(knob.name for knob in instrument.knobs[reaper.SLIDERS :])
    _say(instrument, files, notes, as_json)


def _named(file: Path, suffix: str) -> Path:
    """`file`, if it is standard output or ends as the program that reads it wants."""
    if file != _STDOUT and file.suffix != suffix:
        give_up(f"{file}: the name has to end in {suffix}")
    return file


def _instrument(host: str, port: int, offline: bool) -> Instrument:
    """What the daemon has, or demond's own table where none runs."""
    if offline:
        return Instrument()
    try:
        return of_daemon(Client(host, port, timeout=1.0), f"{host}:{port}")
    except NoAnswerError:
        return Instrument(origin=f"{OWN_TABLE} (nobody answers on {host}:{port})")
    except StrangeAnswerError as error:
        give_up(f"what answers on {host}:{port} was not understood: {error}")
    except OSError as error:
        give_up(f"{host}:{port}: {error.strerror or error}")


def _surface(instrument: Instrument, layout: str) -> Surface:
    return surface(instrument, LAYOUTS[layout])


def _write(files: Mapping[Path, str | bytes], force: bool) -> None:
    """Writes all of them or none: each is whole before it takes its name."""
    if _STDOUT in files:
        content = files[_STDOUT]
        if isinstance(content, bytes) and sys.stdout.isatty():
            give_up("this file is no text for a terminal; name one with --output, or send it on")
        sys.stdout.buffer.write(content.encode() if isinstance(content, str) else content)
        sys.stdout.buffer.flush()
        return
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there and not force:
        give_up(f"{' and '.join(there)}: already there; --force writes over, --output names another file")
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, part in parts.items():
            content = files[path]
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        give_up(f"{', '.join(map(str, files))} cannot be written: {error.strerror}")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _say(instrument: Instrument, files: Mapping[Path, str | bytes], notes: Mapping[str, str], as_json: bool) -> None:
    """What was written, from what, and what to do with it; beside a file on standard output, on standard error."""
    counts = {name: len(getattr(instrument, name)) for name in ("knobs", "scenes", "loras", "layers")}
    written = [str(path) for path in files if path != _STDOUT]
    if as_json and written:
        print_json({"files": written, "from": instrument.origin, **counts, **notes})
        return
    amounts = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "knobs")
    lines = {"written": ", ".join(written) or "standard output", "from": f"{instrument.origin}: {amounts}", **notes}
    console = out if written else err
    for label, text in lines.items():
        console.print(f"{label:<13}{text}", markup=False, soft_wrap=True)
