"""`demond run`: the daemon in the foreground."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from demond import config as settings
from demond.built_in import CLIPS
from demond.commands import err, give_up
from demond.knobs import did_you_mean
from demond.messages import Backend
from demond.strict_yaml import YamlError


def run(
    config: Annotated[Path | None, typer.Option(help="A settings file; see the README for its keys.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    source: Annotated[
        str | None, typer.Option(help="A WAV or FLAC loop, or one inside such as lofi-75; else the first of these.")
    ] = None,
    prompt_a: Annotated[str | None, typer.Option(help="What the music should be.")] = None,
    prompt_b: Annotated[str | None, typer.Option(help="What the knob prompt_blend crosses over to.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="A folder that OSC may name files in; may be given again.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave aside what was set last time.")] = False,
    state: Annotated[
        Literal["keep", "forget"] | None, typer.Option(help="Whether what you set outlives demond; it does.")
    ] = None,
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
    backend: Annotated[
        Backend | None, typer.Option(help="What runs the network; auto is graph on a GPU where it works, else eager.")
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            help="Slots in flight, 1 to 8: more is a higher rate, fewer a faster tick; auto measures both. "
            "Without it 4, on a CPU no more than it has cores."
        ),
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
            "checkpoint": checkpoint and checkpoint.absolute(),
            "source": source and (Path(source) if source in CLIPS else Path(source).absolute()),
            "prompt_a": prompt_a,
            "prompt_b": prompt_b,
            "device": device,
            "backend": backend,
            "depth": int(depth) if depth and depth.isdecimal() else depth,
            "steps": steps,
            "threads": threads,
        },
    }
    loaded = _settings(config, choices, {"mappings": mapping, "roots": root, "state": state})
    _look_at(loaded.engine.source, loaded.engine.checkpoint)
    terminal = Terminal(err)
    daemon = Daemon(loaded, terminal, fresh)

    async def play() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)
        await daemon.run()

    try:
        asyncio.run(play())
    except StartError as error:
        terminal.finish()
        give_up(error)
    finally:
        terminal.finish()


def _settings(path: Path | None, choices: dict[str, dict[str, Any]], whole: dict[str, object]) -> settings.Config:
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
        data |= {name: value for name, value in whole.items() if value}
        return validate(data, settings.Config, "the command line")
    except YamlError as error:
        give_up(error, 2)
    except OSError as error:
        give_up(f"{error.filename}: {error.strerror}", 2)


def _look_at(source: object, checkpoint: Path | None) -> None:
    """Ends the command if one of them cannot be read: sooner than the engine would, which loads torch first."""
    if checkpoint is not None and not checkpoint.is_dir():
        give_up(f"there is no folder {checkpoint}; a checkpoint is a folder in diffusers' layout", 2)
    if not isinstance(source, Path) or str(source) in CLIPS:
        return
    if not source.exists():
        like = did_you_mean(source.name, CLIPS) or "; `demond source --list` names the loops inside"
        give_up(f"there is no {source}{like}", 2)
    import soundfile

    try:
        soundfile.info(str(source))
    except (soundfile.LibsndfileError, OSError) as error:
        give_up(f"{source} cannot be read as audio ({error}). Give a WAV or FLAC file.", 2)
