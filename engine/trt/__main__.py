"""`demond engine`: exports graphs, builds engines of them, and says of each whether it fits.

A program of its own, since it loads torch. `DEMOND_ENGINES` names the folder of all graphs, which the command sets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine import CheckpointError, PromptError, embedded
from engine.trt.build import DEFAULT_RANGES, build, installed_tensorrt, need_modules
from engine.trt.export import OPSET, export
from engine.trt.files import (
    EXPORTED,
    SUFFIX,
    Built,
    EngineFileError,
    Exported,
    Library,
    Method,
    Part,
    Precision,
    Quantised,
    Range,
    find_exports,
    read_engine,
    record_of,
)
from engine.trt.graphs import GraphError, load_graph
from engine.trt.latents import PROMPTS, prompt_diverse
from engine.trt.profile import profile

BUILT_IN = "built-in"
REFUSALS = (CheckpointError, EngineFileError, GraphError, PromptError)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build TensorRT engines ahead of time. docs/tensorrt.md says what has been shown of them.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Folder = Annotated[Path, typer.Option(envvar="DEMOND_ENGINES", help="Where graphs and engines are kept.")]
Checkpoint = Annotated[Path | None, typer.Option(help="A model folder; without it, the model inside.")]


@app.command("export")
def export_command(
    folder: Folder,
    checkpoint: Checkpoint = None,
    part: Annotated[list[Part] | None, typer.Option(help="May be given again; else all.")] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of matrix products, convolutions and attention.")
    ] = Precision.FP16,
    opset: Annotated[int, typer.Option(min=18, max=23, help="Of ONNX.")] = OPSET,
    ranges: Annotated[Method, typer.Option(help="How ranges of INT8 are chosen.")] = Method.PERCENTILE,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Of music to measure ranges of INT8 with; else twelve of all kinds.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where that music is made: cpu, cuda or cuda:N.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Write the network and the VAE as ONNX, and hold each against torch. INT8 is for the VAE's decoder alone."""
    place = _place(device)
    name = BUILT_IN if checkpoint is None else checkpoint.resolve().name
    done = []
    with _refused(), _bars() as move:
        need_modules("onnx", "onnxscript", "onnxruntime")
        small = precision == Precision.INT8
        for each in part or ([Part.DECODER] if small else list(Part)):
            graph = load_graph(checkpoint or embedded.CHECKPOINT, each, precision, move)
            music = prompt_diverse(checkpoint, prompt or PROMPTS, place, move) if small else None
            target = folder / name / f"{each}-{precision}"
            done.append((target, export(graph, target, str(checkpoint or BUILT_IN), opset, move, music, ranges)))
    if as_json:
        _print_json([{"folder": str(target), **record.model_dump(mode="json")} for target, record in done])
    for target, record in [] if as_json else done:
        worst = max(case.error for case in record.checked)
        _say(f"{target}: differs from torch by {worst:.1e} at most, {record.tolerance:g} is let through")
        if record.quantised is not None:
            _say(f"  {_cost(record.quantised)}")


def _place(name: str) -> torch.device:
    try:
        place = torch.device(name)
    except RuntimeError:
        raise typer.BadParameter(f"{name!r}: write cpu, cuda or cuda:N", param_hint="--device") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("no CUDA device was found; write cpu", param_hint="--device")
    return place


def _cost(known: Quantised) -> str:
    """What INT8 costs, in words."""
    return (
        f"{known.layers} layers in INT8, ranges by {known.method} over music of {len(known.prompts)} prompts: "
        f"{min(known.snr_db):.1f} dB over its error at worst, spectra {max(known.spectral_db):.2f} dB apart at most"
    )


@app.command("build")
def build_command(
    graphs: Annotated[list[Path], typer.Argument(help="Folders that `export` wrote, or a folder above them.")],
    capability: Annotated[
        list[str],
        typer.Option(help="Of the GPU: 7.5 RTX 20, 8.6 RTX 30, 8.9 RTX 40, 12.0 RTX 50; may be given again."),
    ],
    batch: Annotated[str | None, typer.Option(help="Rows: least,usual,most, or one number.")] = None,
    frames: Annotated[str | None, typer.Option(help="Latent frames (25 a second), likewise.")] = None,
    length: Annotated[str | None, typer.Option(help="Condition tokens, likewise.")] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="So that LoRAs can be played; needs such a GPU here, and runs slower.")
    ] = False,
    library: Annotated[
        Library, typer.Option(help="tensorrt is for data-centre GPUs; it needs that GPU here, and was not tried.")
    ] = Library.RTX,
    as_json: Json = False,
) -> None:
    """Build engines of graphs; it needs no GPU. What is not said is chosen for 10 s, depth 4, writes of 0.4 s."""
    given = {"batch": batch, "frames": frames, "length": length}
    ranges = {name: _range(name, text) for name, text in given.items() if text is not None}
    done: list[tuple[Path, Built]] = []
    with _refused(), _bars() as move:
        found = _exports(graphs)
        for each in found:
            # Of several graphs, a dimension is of those that have it.
            names = DEFAULT_RANGES[Exported.read(each / EXPORTED).part]
            own = {name: span for name, span in ranges.items() if len(found) == 1 or name in names}
            done += [build(each, target, own, refit, move, library) for target in capability]
    if as_json:
        _print_json([{"file": str(path), **built.model_dump(mode="json")} for path, built in done])
    for path, built in [] if as_json else done:
        _say(f"{path}: {built.size / 1e6:.1f} MB in {built.seconds:.0f} s")


@app.command()
def verify(
    engines: Annotated[list[Path], typer.Argument(help="Engine files, or folders of them.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help=f"A model folder, or the word {BUILT_IN}, whose weights they must be of.")
    ] = None,
    capability: Annotated[str | None, typer.Option(help="Of the GPU they are to run on, such as 8.9.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows that they must take.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Latent frames that they must take.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Condition tokens that they must take.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether engines are whole and fit: TensorRT, GPU, weights, shapes. It does not run them."""
    sizes = {name: size for name, size in (("batch", batch), ("frames", frames), ("length", length)) if size}
    told: list[dict[str, Any]] = []
    known: dict[Part, str] = {}
    with _refused():
        files = _engines(engines)
        for path in files:
            try:
                known_engine = Built.read(record_of(path))
                part = known_engine.part
                if checkpoint is not None and part not in known:
                    root = embedded.CHECKPOINT if str(checkpoint) == BUILT_IN else checkpoint
                    known[part] = load_graph(root, part, Precision.FP32).weights
                read_engine(
                    path,
                    tensorrt=installed_tensorrt(known_engine.library),
                    capability=capability,
                    weights=known.get(part),
                    sizes=sizes,
                )
                told.append({"file": str(path), "ok": True, "message": ""})
            except EngineFileError as error:
                told.append({"file": str(path), "ok": False, "message": str(error)})
    if as_json:
        _print_json(told)
    for each in [] if as_json else told:
        _say(f"{each['file']}: fits" if each["ok"] else each["message"])
    if not all(each["ok"] for each in told):
        raise typer.Exit(1)


@app.command("profile")
def profile_command(
    engines: Annotated[list[Path], typer.Argument(help="Engine files, or folders of them.")],
    times: Annotated[
        bool, typer.Option("--times", help="Run them and time their layers; on the GPU that they were built for.")
    ] = False,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer, too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what engines are made of: layers by kind, with the work of each and the bytes it moves."""
    told: list[dict[str, Any]] = []
    with _refused():
        for path in _engines(engines):
            total, each = profile(path, times)
            listed = [{"name": one.name, "kind": one.kind, "bytes": one.traffic, "nodes": one.nodes} for one in each]
            told.append({"file": str(path), **total.model_dump(mode="json"), "list": listed if layers else []})
    if as_json:
        _print_json(told)
    for known in [] if as_json else told:
        _say_profile(known)


def _say_profile(known: dict[str, Any]) -> None:
    _say(f"{known['file']}: {known['flops'] / 1e9:.3g} GFLOP at its usual shapes")
    table = Table("kind", "layers", "GFLOP", "share", "MB moved", "ms", box=None, header_style="bold")
    for row in known["rows"]:
        moved, took = row["bytes"], row["milliseconds"]
        table.add_row(
            row["kind"],
            str(len(row["layers"])),
            f"{row['flops'] / 1e9:.3g}",
            f"{row['flops'] / max(known['flops'], 1):.0%}",
            "open" if moved is None else f"{moved / 1e6:.3g}",
            "" if took is None else f"{took:.3f}",
        )
    out.print(table)
    opaque = [name for row in known["rows"] if row["kind"] == "opaque" for name in row["layers"]]
    for what, names in (
        ("layers of a kind that is not known", opaque),
        ("work that no layer says it does", list(known["unplaced"])),
        ("timed, but not listed", list(known["unlisted"])),
    ):
        if names:
            _say(f"  {what}: {', '.join(names)}")
    for each in known["list"]:
        _say(f"  {each['kind']:<12} {each['name']}: {', '.join(each['nodes'])}")


@app.command("list")
def list_command(folder: Folder, as_json: Json = False) -> None:
    """List the graphs and engines that there are."""
    told: list[dict[str, Any]] = []
    with _refused():
        for each in find_exports(folder):
            engines = sorted(each.glob(f"*{SUFFIX}"))
            told.append(
                {
                    "folder": str(each),
                    **Exported.read(each / EXPORTED).model_dump(mode="json"),
                    "engines": [
                        {"file": path.name, **Built.read(record_of(path)).model_dump(mode="json")} for path in engines
                    ],
                }
            )
    if as_json:
        _print_json(told)
        return
    if not told:
        _say(f"nothing in {folder} yet: demond engine export")
    for known in told:
        worst = max(case["error"] for case in known["checked"])
        _say(f"{known['folder']}: {known['checkpoint']}, opset {known['opset']}, within {worst:.1e} of torch")
        if known["quantised"] is not None:
            _say(f"  {_cost(Quantised.model_validate(known['quantised']))}")
        for built in known["engines"]:
            spans = ", ".join(f"{name} {'-'.join(map(str, span))}" for name, span in built["ranges"].items())
            _say(
                f"  {built['file']}: GPUs of {built['capability']}, {spans}; {built['size'] / 1e6:.1f} MB, "
                f"{built['tensorrt']}"
            )


def _exports(places: list[Path]) -> list[Path]:
    found = [each for place in places for each in find_exports(place)]
    if not found:
        raise EngineFileError(f"no exported graph in {', '.join(map(str, places))}: demond engine export")
    return found


def _engines(places: list[Path]) -> list[Path]:
    found = [each for place in places for each in (sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place])]
    if not found:
        raise EngineFileError(f"no engine in {', '.join(map(str, places))}: demond engine build")
    return found


def _range(name: str, text: str) -> Range:
    numbers = text.split(",")
    if len(numbers) not in (1, 3) or not all(number.strip().isdecimal() for number in numbers):
        raise typer.BadParameter(f"{text!r}: write 250, or least,usual,most such as 1,28,250", param_hint=f"--{name}")
    least, usual, most = map(int, numbers * 3 if len(numbers) == 1 else numbers)
    return least, usual, most


@contextmanager
def _refused() -> Iterator[None]:
    """What cannot be done ends the command with one sentence."""
    try:
        yield
    except REFUSALS as error:
        _give_up(error)


def _give_up(error: Exception) -> NoReturn:
    err.print(f"demond: {error}", style="red" if err.is_terminal else None, soft_wrap=True, markup=False)
    raise typer.Exit(1) from None


@contextmanager
def _bars() -> Iterator[Callable[[str, float], None]]:
    """A progress bar for each stage on a terminal; elsewhere a line when a stage begins."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:

        def move(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
                if not err.is_terminal:
                    err.print(f"{stage} …")
            bars.update(tasks[stage], completed=share)

        yield move


def _say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


if __name__ == "__main__":
    app(prog_name="demond engine")
