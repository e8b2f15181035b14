"""Commands that look and change nothing: at files, at the knobs, at the machine, at the running daemon."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from demond.client import Client, NoAnswerError
from demond.commands import HOST, PORT, Host, Json, Port, err, from_daemon, give_up, out, print_json
from demond.knobs import KNOBS, Kind, described
from demond.strict_yaml import Problem, YamlError


def check(
    files: Annotated[list[Path], typer.Argument(help="Mapping files, device profiles or a settings file.")],
    as_json: Json = False,
) -> None:
    """Say whether files are right, with file:line:col and a suggestion for each mistake.

    With --json a list of what was found, each with file, line, column (from 1), severity
    (error or warning) and message, for editors. The exit status is 1 when there is an error.
    """
    found: list[dict[str, object]] = []
    wrong = 0
    for path in files:
        problems, what, warnings = _judged(path)
        wrong += bool(problems)
        if as_json:
            found += [{**asdict(each), "severity": "error"} for each in problems]
            found += [{**asdict(each), "severity": "warning"} for each in warnings]
        elif problems:
            err.print("\n".join(map(str, problems)), soft_wrap=True, markup=False)
        else:
            said = [f"{path}: {what}, no mistakes", *(f"warning: {each}" for each in warnings)]
            out.print("\n".join(said), soft_wrap=True, markup=False)
    if as_json:
        print_json(found)
    raise typer.Exit(1 if wrong else 0)


def _judged(path: Path) -> tuple[tuple[Problem, ...], str, tuple[Problem, ...]]:
    """The mistakes of a file, or what it is and its warnings."""
    from demond.mapping import check_file

    try:
        what, warnings = check_file(path)
    except YamlError as error:
        return error.problems, "", ()
    except OSError as error:
        return (Problem(str(path), 0, 0, str(error.strerror)),), "", ()
    return (), what, warnings


def knobs(host: Host = HOST, port: Port = PORT, as_json: Json = False) -> None:
    """List every knob with its kind, range, default and meaning; with a daemon running, how soon each is heard."""
    heard = _heard_within(host, port)
    if as_json:
        print_json(
            [
                {
                    **described(knob),
                    "address": f"/demond/knob/{knob.name}",
                    "heard_within_ms": heard.get(knob.kind),
                }
                for knob in KNOBS
            ]
        )
        return
    table = Table("knob", "kind", "heard", "range", "default", "what it does", box=None, header_style="bold")
    for knob in KNOBS:
        span = f"{knob.minimum:g} – {knob.maximum:g} {knob.unit}".rstrip()
        within = f"{heard[knob.kind]:.0f} ms" if knob.kind in heard else ""
        table.add_row(knob.name, knob.kind.value, within, span, knob.format(knob.default), knob.text)
    out.print(table)
    out.print("\nshared acts one tick later, slot three (in full a schedule) later, output at the next period.")


def _heard_within(host: str, port: int) -> dict[Kind, float]:
    """The milliseconds in which a change of each kind is heard, as the running daemon measured; empty without one.

    A knob waits for the top of a tick; then comes the lead. A slot knob waits for a schedule on top.
    """
    try:
        status = Client(host, port, timeout=0.5).status()
    except NoAnswerError:
        return {}
    engine, audio = status["engine"], status["audio"]
    if engine["state"] != "playing" or not audio["rate"]:
        return {}
    shared = engine["tick_ms_p99"] + engine["lead_ms"]
    return {
        Kind.SHARED: shared,
        Kind.SLOT: shared + engine["steps"] * engine["tick_ms_p99"],
        Kind.OUTPUT: 1000 * 2 * audio["period"] / audio["rate"] + audio["port_latency_ms"],
    }


def ports(
    server: Annotated[str | None, typer.Option(help="The JACK server's name.", envvar="JACK_DEFAULT_SERVER")] = None,
    as_json: Json = False,
) -> None:
    """List the JACK ports that demond can be connected to: audio outputs and MIDI sources."""
    from demond.ports import NoServerError, list_ports

    try:
        found = list_ports(server)
    except NoServerError as error:
        give_up(error)
    if as_json:
        print_json(found)
        return
    for title, names in found.items():
        out.print(f"[bold]{title.replace('_', ' ')}[/bold]")
        for name in names or ["none"]:
            out.print(f"  {name}", markup=False)


def status(host: Host = HOST, port: Port = PORT, as_json: Json = False) -> None:
    """Show how the running daemon does."""
    answer = from_daemon(Client(host, port).status)
    if as_json:
        print_json(answer)
        return
    for section, value in answer.items():
        if not isinstance(value, dict):
            out.print(f"[bold]{section}[/bold]  {value}")
            continue
        out.print(f"[bold]{section}[/bold]")
        for key, item in value.items():
            text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
            out.print(f"  {key:<20} {text}", markup=False, soft_wrap=True)


def trace(
    count: Annotated[int, typer.Argument(help="How many of the last changes.", min=1, max=200)] = 20,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Show the last control changes and the milliseconds each took to every hop on its way to the ear."""
    journeys = from_daemon(lambda: Client(host, port).trace(count))
    if as_json:
        print_json(journeys)
        return
    hops = ("stored", "tick", "latent", "written", "heard")
    table = Table("from", "knob", "value", *(f"{hop} ms" for hop in hops), box=None, header_style="bold")
    for journey in journeys:
        cells = (f"{journey[f'{hop}_ms']:.1f}" if f"{hop}_ms" in journey else "" for hop in hops)
        table.add_row(journey["origin"], journey["knob"], f"{journey['value']:.4g}", *cells)
    out.print(table)


def doctor(
    checkpoint: Annotated[Path | None, typer.Option(help="Also look at this model folder.")] = None,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Look at this machine and say what is missing, and what to do about it."""
    from demond.doctor import checks

    results = checks(checkpoint=checkpoint, osc_port=port)
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in results])
    else:
        marks = {True: "[green]ok  [/green]", False: "[red]FAIL[/red]", None: "[yellow]note[/yellow]"}
        for result in results:
            out.print(f"{marks[result.ok]} {result.name:<22} {result.detail}", soft_wrap=True)
            if result.fix and result.ok is not True:
                out.print(f"     {'':<22} → {result.fix}", soft_wrap=True, markup=False)
    raise typer.Exit(1 if any(result.ok is False for result in results) else 0)
