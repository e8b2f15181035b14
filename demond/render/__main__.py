"""`demond render`: the command around `demond.render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from demond import render
from demond.built_in import UnknownNameError, prompt_text
from demond.config import Engine
from demond.engine_session import REFUSALS
from demond.knobs import KnobValueError, UnknownKnobError, knob, read_number
from demond.messages import Backend
from demond.setting import DEPTH, Prompt
from demond.strict_yaml import YamlError, validate

INSIDE = "inside"
"""Stands for the clip inside where a source file would."""
_DEFAULTS = Engine()

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    epilog="From text: demond render --prompt 'lofi, calm' --seconds 30 --out lofi.flac. A cover: demond render "
    "--source song.wav --denoise 0.7 --prompt 'jazz' --out jazz.wav. A part anew: demond render --source song.wav "
    "--repaint 4-12 --prompt 'jazz' --out solo.wav."
)
def main(
    out: Annotated[Path, typer.Option(help="The file to write: .wav, .flac (both 24 bit) or .ogg.")],
    seconds: Annotated[
        float | None, typer.Option(min=0.2, max=36_000, help="How much music; else once the source, or 30 from text.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "--prompt-a", help="What the music should be.")] = None,
    named: Annotated[str | None, typer.Option(help="A prompt inside, by its name, such as neon.")] = None,
    lyrics: Annotated[str, typer.Option(help="What is sung.")] = "",
    language: Annotated[str, typer.Option(help="Of the lyrics: en, de, ja.")] = "en",
    bpm: Annotated[float | None, typer.Option(help="Tempo; wins over the prompt's.")] = None,
    key: Annotated[str | None, typer.Option(help="Such as 'a minor'; wins over the prompt's.")] = None,
    time_signature: Annotated[str | None, typer.Option(help="Such as 3/4; wins over the prompt's.")] = None,
    prompt_b: Annotated[str, typer.Option(help="What prompt_blend crosses over to.")] = _DEFAULTS.prompt_b.text,
    negative: Annotated[str, typer.Option(help="What guidance steers away from.")] = "",
    source: Annotated[
        str | None,
        typer.Option(
            help=f"A WAV or FLAC file, {INSIDE} or a loop inside such as lofi-75; without one, the text alone."
        ),
    ] = None,
    denoise: Annotated[float | None, typer.Option(help="How far from the source, 0 to 1; else 0.7.")] = None,
    repaint: Annotated[
        str | None, typer.Option(help="Make only these seconds of the source anew, such as 4-12.")
    ] = None,
    timbre: Annotated[Path | None, typer.Option(help="A clip whose sound is taken.")] = None,
    structure: Annotated[Path | None, typer.Option(help="A clip whose rhythm and harmony are followed.")] = None,
    target: Annotated[Path | None, typer.Option(help="A clip that source_lock draws to.")] = None,
    lora: Annotated[list[str] | None, typer.Option(help="FILE or FILE=STRENGTH; may be given again.")] = None,
    curve: Annotated[
        list[str] | None, typer.Option(help="A knob drawn over the loop, NAME=0,0.5,1; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The noise to start from; the same gives the same file.")] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="A knob, as NAME=VALUE; may be given again.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = _DEFAULTS.device,
    backend: Annotated[
        Backend, typer.Option(help="What runs the network; auto is graph on a GPU where it works, else eager.")
    ] = _DEFAULTS.backend,
    depth: Annotated[int, typer.Option(help="Slots in flight.")] = DEPTH,
    steps: Annotated[int, typer.Option(help="Denoising steps of each result.")] = _DEFAULTS.steps,
    context: Annotated[float, typer.Option(help="Seconds of the loop that a slot covers; 0 is all.")] = 0.0,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a tick.")] = None,
) -> None:
    """Write music to a file: from text, from another piece, or a part of one anew."""
    console = Console(stderr=True, highlight=False)
    if named is not None:
        prompt = _named(named, prompt)
    text = _DEFAULTS.prompt_a.text if prompt is None else prompt
    options: dict[str, Any] = {
        "prompt_a": {
            "text": text,
            "lyrics": lyrics,
            "language": language,
            "bpm": bpm,
            "key": key,
            "time_signature": time_signature,
        },
        "prompt_b": prompt_b,
        "negative": negative,
        "timbre": timbre,
        "structure": structure,
        "target": target,
        "loras": [_lora(each) for each in lora or []],
        "curves": dict(_curve(each) for each in curve or []),
        "checkpoint": checkpoint,
        "device": device,
        "backend": backend,
        "depth": depth,
        "steps": steps,
        "context": context,
        "threads": threads,
    }
    given = dict(_knob(each) for each in knobs or [])
    given |= {name: value for name, value in (("denoise", denoise), ("seed", seed)) if value is not None}
    try:
        engine = validate(options, Engine, "the command line")
        from_text = source is None and prompt is not None
        piece = _piece(
            engine, None if source in (None, INSIDE) else Path(str(source)), from_text, seconds, repaint, given
        )
        with _Bars(console) as bars:
            written = render.write(piece, out, bars.move)
    except (render.RenderError, YamlError, UnknownKnobError, KnobValueError, *REFUSALS) as error:
        console.print(f"demond: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    times = written.seconds / written.took
    words = f"{out}: {written.seconds:g} s of music in {written.took:.1f} s ({times:.1f} times real time)"
    console.print(words, markup=False, soft_wrap=True)


def _named(name: str, prompt: str | None) -> str:
    if prompt is not None:
        raise typer.BadParameter("a prompt has a text or the name of one, not both", param_hint="--named")
    try:
        return prompt_text(name)
    except UnknownNameError as error:
        raise typer.BadParameter(str(error), param_hint="--named") from error


def _piece(
    engine: Engine,
    source: Path | None,
    from_text: bool,
    seconds: float | None,
    span: str | None,
    knobs: dict[str, float],
) -> render.Piece:
    prompt: Prompt = engine.prompt_a
    if span is not None:
        if from_text or seconds is not None:
            raise render.RenderError("--repaint needs a --source, and takes its length")
        return render.repaint(source, prompt, *_span(span), engine=engine, knobs=knobs)
    if from_text:
        return render.text_to_music(prompt, 30.0 if seconds is None else seconds, engine, knobs)
    return render.cover(source, prompt, seconds=seconds, engine=engine, knobs=knobs)


def _span(text: str) -> tuple[float, float]:
    start, end = (read_number(part) for part in text.partition("-")[::2])
    if start is None or end is None:
        raise render.RenderError(f"--repaint {text}: two times in seconds are wanted, such as 4-12")
    return start, end


def _lora(text: str) -> dict[str, object]:
    file, _, strength = text.rpartition("=")
    number = read_number(strength)
    return {"file": file, "strength": number} if file and number is not None else {"file": text}


def _curve(text: str) -> tuple[str, list[float]]:
    name, _, values = text.partition("=")
    numbers = [read_number(value.strip()) for value in values.split(",")]
    if None in numbers:
        raise typer.BadParameter(
            f"{text!r}: write NAME=0,0.5,1 with numbers in the knob's unit", param_hint="--curve"
        )
    return name, [number for number in numbers if number is not None]


def _knob(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r}: write NAME=VALUE, such as denoise=0.8", param_hint="--set")
    try:
        return name, knob(name).read(value)
    except (UnknownKnobError, KnobValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error


class _Bars:
    """A progress bar for each stage, while the block runs."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def move(self, stage: str, share: float) -> None:
        """`share` (0–1) of `stage` is done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=1.0)
        self._progress.update(self._tasks[stage], completed=share)


if __name__ == "__main__":
    app(prog_name="demond render")
