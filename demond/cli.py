"""The command line. Each command is a thin face of a module that does the work; none of them loads torch here."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from demond import __version__
from demond import config as settings
from demond.client import Client, NoAnswerError
from demond.knobs import KNOBS, Kind
from demond.osc.codec import Argument
from demond.strict_yaml import YamlError

app = typer.Typer(
    name="demond",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Play a streaming diffusion model live: knobs from MIDI and OSC in, music to JACK out.",
    epilog="Start with `demond run`, then turn something: `demond send /demond/knob/denoise 0.9`.",
)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Host = Annotated[str, typer.Option(help="Where the daemon listens.", envvar="DEMOND_HOST")]
Port = Annotated[int, typer.Option(help="The daemon's OSC port.", envvar="DEMOND_PORT")]
HOST, PORT = "127.0.0.1", 9600
Answer = TypeVar("Answer")


def _give_up(message: object, status: int = 1) -> NoReturn:
    err.print(f"demond: {message}", style="red" if err.is_terminal else None, soft_wrap=True, markup=False)
    raise typer.Exit(status)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        out.print(f"demond {__version__}")
        raise typer.Exit()


@app.command()
def run(
    config: Annotated[Path | None, typer.Option(help="A settings file; see the README for its keys.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    source: Annotated[Path | None, typer.Option(help="A WAV or FLAC loop; without it, the clip inside.")] = None,
    prompt_a: Annotated[str | None, typer.Option(help="What the music should be.")] = None,
    prompt_b: Annotated[str | None, typer.Option(help="What the knob prompt_blend crosses over to.")] = None,
    mapping: Annotated[list[Path] | None, typer.Option(help="A mapping file; may be given again.")] = None,
    client: Annotated[str | None, typer.Option(help="The JACK client name.")] = None,
    server: Annotated[str | None, typer.Option(help="The JACK server's name.", envvar="JACK_DEFAULT_SERVER")] = None,
    connect: Annotated[str | None, typer.Option(help="auto, none, or two ports with a comma between.")] = None,
    period: Annotated[int | None, typer.Option(help="Period of a JACK server that demond starts itself.")] = None,
    start_server: Annotated[bool | None, typer.Option(help="Start a JACK server when none runs.")] = None,
    osc_port: Annotated[int | None, typer.Option(help="UDP port for OSC; 0 takes a free one.")] = None,
    midi: Annotated[
        Literal["auto", "alsa", "jack", "none"] | None, typer.Option(help="Where MIDI comes from.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="Slots in flight: more is a higher rate, fewer a faster tick.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of each result.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a tick.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Play, until Ctrl-C. What is not said here comes from the settings file, or works without."""
    from demond.daemon import Daemon, StartError
    from demond.terminal import Terminal, set_up_logging

    set_up_logging(err, verbose)
    choices: dict[str, dict[str, Any]] = {
        "jack": {
            "client": client,
            "server": server,
            "connect": connect.split(",") if connect and "," in connect else connect,
            "start_server": start_server,
            "period": period,
        },
        "osc": {"port": osc_port},
        "midi": {"backend": midi},
        "engine": {
            "checkpoint": checkpoint,
            "source": source,
            "prompt_a": prompt_a,
            "prompt_b": prompt_b,
            "device": device,
            "depth": depth,
            "steps": steps,
            "threads": threads,
        },
    }
    loaded = _settings(config, choices, mapping)
    terminal = Terminal(err)
    daemon = Daemon(loaded, terminal, _source_seconds(loaded.engine.source))

    async def play() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)
        await daemon.run()

    try:
        asyncio.run(play())
    except StartError as error:
        terminal.finish()
        _give_up(error)
    finally:
        terminal.finish()


def _settings(path: Path | None, choices: dict[str, dict[str, Any]], mapping: list[Path] | None) -> settings.Config:
    """The settings file with the command line's `choices` on top; mistakes in either end the command."""
    from demond.strict_yaml import validate

    try:
        loaded = settings.load(path or settings.default_path())
        said = {
            part: {key: value for key, value in keys.items() if value is not None} for part, keys in choices.items()
        }
        data = loaded.model_dump()
        for part, keys in said.items():
            data[part] |= keys
        if mapping:
            data["mappings"] = mapping
        return validate(data, settings.Config, "the command line")
    except YamlError as error:
        _give_up(error, 2)
    except OSError as error:
        _give_up(f"{error.filename}: {error.strerror}", 2)


def _source_seconds(source: Path | None) -> float | None:
    """The length of the user's source, from its header alone: the daemon makes the loop's memory of that size."""
    if source is None:
        return None
    import soundfile

    try:
        info = soundfile.info(str(source))
    except (soundfile.LibsndfileError, OSError) as error:
        _give_up(f"{source} cannot be read as audio ({error}). Give a WAV or FLAC file.", 2)
    return float(info.duration)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Mapping files, device profiles or a settings file.")],
) -> None:
    """Say whether files are right, with file:line:col and a suggestion for each mistake."""
    from demond.mapping import check_file

    wrong = 0
    for path in files:
        try:
            what = check_file(path)
        except YamlError as error:
            wrong += 1
            err.print(str(error), soft_wrap=True, markup=False)
        except OSError as error:
            wrong += 1
            err.print(f"{path}: {error.strerror}", soft_wrap=True, markup=False)
        else:
            out.print(f"{path}: {what}, no mistakes", soft_wrap=True, markup=False)
    raise typer.Exit(1 if wrong else 0)


@app.command()
def knobs(host: Host = HOST, port: Port = PORT, as_json: Json = False) -> None:
    """List every knob with its kind, range, default and meaning; with a daemon running, how soon each is heard."""
    heard = _heard_within(host, port)
    if as_json:
        _print_json(
            [
                {
                    "name": knob.name,
                    "kind": knob.kind.value,
                    "form": knob.form.value,
                    "minimum": knob.minimum,
                    "maximum": knob.maximum,
                    "default": knob.default,
                    "unit": knob.unit,
                    "address": f"/demond/knob/{knob.name}",
                    "text": knob.text,
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


@app.command()
def ports(
    server: Annotated[str | None, typer.Option(help="The JACK server's name.", envvar="JACK_DEFAULT_SERVER")] = None,
    as_json: Json = False,
) -> None:
    """List the JACK ports that demond can be connected to: audio outputs and MIDI sources."""
    from demond.ports import NoServerError, list_ports

    try:
        found = list_ports(server)
    except NoServerError as error:
        _give_up(error)
    if as_json:
        _print_json(found)
        return
    for title, names in found.items():
        out.print(f"[bold]{title.replace('_', ' ')}[/bold]")
        for name in names or ["none"]:
            out.print(f"  {name}", markup=False)


@app.command()
def status(host: Host = HOST, port: Port = PORT, as_json: Json = False) -> None:
    """Show how the running daemon does."""
    answer = _from_daemon(Client(host, port).status)
    if as_json:
        _print_json(answer)
        return
    for section, value in answer.items():
        if not isinstance(value, dict):
            out.print(f"[bold]{section}[/bold]  {value}")
            continue
        out.print(f"[bold]{section}[/bold]")
        for key, item in value.items():
            text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
            out.print(f"  {key:<20} {text}", markup=False, soft_wrap=True)


@app.command()
def send(
    address: Annotated[str, typer.Argument(help="An OSC address, such as /demond/knob/denoise.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Values; none asks for the present one.")] = None,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Send one OSC message to the running daemon and print what it answers."""
    failed = False
    try:
        replies = Client(host, port).ask(address, *(_argument(text) for text in arguments or ()))
    except NoAnswerError as error:
        _give_up(error)
    except (ValueError, OSError) as error:
        _give_up(error, 2)
    for reply in replies:
        failed |= reply.address == "/demond/error"
        # OSC's floats have 24 bits: seven digits say all there is to say.
        words = [f"{value:.7g}" if isinstance(value, float) else value for value in reply.arguments]
        out.print(reply.address, *words, markup=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def _argument(text: str) -> Argument:
    """A word of the command line as an OSC argument: a whole number, another number, or a text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return (
        int(text)
        if text.lstrip("+-").isdigit() and abs(number) < 2**31
        else number
        if math.isfinite(number)
        else text
    )


@app.command()
def trace(
    count: Annotated[int, typer.Argument(help="How many of the last changes.", min=1, max=500)] = 20,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Show the last control changes and the milliseconds each took to every hop on its way to the ear."""
    journeys = _from_daemon(lambda: Client(host, port).trace(count))
    if as_json:
        _print_json(journeys)
        return
    hops = ("stored", "tick", "latent", "written", "heard")
    table = Table("from", "knob", "value", *(f"{hop} ms" for hop in hops), box=None, header_style="bold")
    for journey in journeys:
        cells = (f"{journey[f'{hop}_ms']:.1f}" if f"{hop}_ms" in journey else "" for hop in hops)
        table.add_row(journey["origin"], journey["knob"], f"{journey['value']:.4g}", *cells)
    out.print(table)


def _from_daemon(ask: Callable[[], Answer]) -> Answer:
    """What the daemon answers; a sentence and the end of the command when it does not."""
    try:
        return ask()
    except NoAnswerError as error:
        _give_up(error)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def render(context: typer.Context) -> None:
    """Write music to a file: the same engine without JACK. `demond render --help` lists its options."""
    _exec_module("demond.render", context.args)


@app.command()
def doctor(
    checkpoint: Annotated[Path | None, typer.Option(help="Also look at this model folder.")] = None,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Look at this machine and say what is missing, and what to do about it."""
    from demond.doctor import checks

    results = checks(checkpoint=checkpoint, osc_port=port)
    if as_json:
        _print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in results])
    else:
        marks = {True: "[green]ok  [/green]", False: "[red]FAIL[/red]", None: "[yellow]note[/yellow]"}
        for result in results:
            out.print(f"{marks[result.ok]} {result.name:<22} {result.detail}", soft_wrap=True)
            if result.fix and result.ok is not True:
                out.print(f"     {'':<22} → {result.fix}", soft_wrap=True, markup=False)
    raise typer.Exit(1 if any(result.ok is False for result in results) else 0)


bench = typer.Typer(
    no_args_is_help=True, help="Measure this machine: what a knob costs, what the audio process costs."
)
app.add_typer(bench, name="bench")


@bench.command(
    "latency", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def bench_latency(context: typer.Context) -> None:
    """From a control message to the first changed sample at the JACK port, per kind of knob."""
    _exec_module("demond.bench.latency", context.args)


@bench.command(
    "audio", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def bench_audio(context: typer.Context) -> None:
    """Skipped cycles and callback times beside a bare C client doing the same."""
    _exec_module("demond.bench.audio", context.args)


def _exec_module(module: str, arguments: list[str]) -> NoReturn:
    """Becomes another of demond's programs, so that its imports and its signals are its own."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def main() -> None:
    """The `demond` command."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
