"""Builds TensorRT engines of exported graphs, ahead of time: it needs TensorRT for RTX but no GPU.

Called by `demond engine build` and by the tests. The network is strongly typed, so its types are those of the graph;
the profile's optimum is the shape that will really run: batch = depth, frames of the window. Every engine is built by
a process of its own (`_builder`), for one compute capability.

An engine that was built here has not run: a GPU that TensorRT for RTX supports was not at hand (docs/tensorrt.md).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from engine.model.checkpoint import Progress
from engine.trt import layers
from engine.trt.files import (
    EXPORTED,
    GRAPH,
    SUFFIX,
    WORDS,
    Built,
    EngineFileError,
    Exported,
    Library,
    Part,
    Range,
    digest_of,
    dimension,
    own_version,
    record_of,
)

DEFAULT_RANGES: dict[Part, dict[str, Range]] = {
    Part.DIT: {"batch": (1, 4, 8), "frames": (250, 250, 250), "length": (1, 300, 1024)},
    Part.DECODER: {"batch": (1, 1, 1), "frames": (1, 28, 250)},
    Part.ENCODER: {"batch": (1, 1, 1), "frames": (1, 250, 1500)},
}
"""Of the network: depth 4, twice that with guidance, 10 s; of the decoder: a write of 0.4 s and what surrounds it."""
_SAID = 400
"""Characters of a library's complaint that are passed on."""


def installed_tensorrt(library: str = "tensorrt_rtx") -> str | None:
    """The library and its version as `Built` names them, or none."""
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return None


def need_modules(*names: str) -> None:
    """Raises :class:`EngineFileError` when one of the modules is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineFileError(
            f"the libraries of demond's tensorrt extra are not here ({', '.join(missing)}): "
            "pip install 'demond[tensorrt]'"
        )


def build(
    folder: Path,
    capability: str,
    ranges: Mapping[str, Range] | None = None,
    refit: bool = False,
    progress: Progress = lambda stage, share: None,
    library: Library = Library.RTX,
) -> tuple[Path, Built]:
    """Builds the graph in `folder` for GPUs of `capability`, such as 8.9; `ranges` replace :data:`DEFAULT_RANGES`.

    One that is to `refit` can take a LoRA, and needs such a GPU to be built; so does any by TensorRT proper. Returns
    the engine's file, which lies in `folder` with its metadata and the list of its layers beside it. Raises
    :class:`EngineFileError`.
    """
    exported = Exported.read(folder / EXPORTED)
    if digest_of(folder / GRAPH) != exported.graph:
        raise EngineFileError(f"{folder / GRAPH} is not the graph that was exported; `demond engine export` it again")
    _need_library(library, capability)
    spans = _ranges(exported, ranges or {})
    profile = {
        name: tuple(
            [dimension(size, {n: span[k] for n, span in spans.items()}) for size in value.shape] for k in range(3)
        )
        for name, value in exported.inputs.items()
    }
    engine = (
        folder / f"sm{capability.replace('.', '')}_{'_'.join(_short(n, span) for n, span in spans.items())}"
        f"{'_refit' if refit else ''}{'' if library == Library.RTX else f'_{library}'}{SUFFIX}"
    )
    part = engine.with_name(f".{engine.name}.{os.getpid()}.part")
    stage = f"building {exported.part} for {capability}"
    try:
        progress(stage, 0.0)
        told = _run(
            {
                "graph": str(folder / GRAPH),
                "engine": str(part),
                "capability": capability,
                "profile": profile,
                "refit": refit,
                "library": library,
            },
            lambda share: progress(stage, share),
        )
        listed = told.pop("layers")
        built = Built(
            demond=own_version(),
            capability=capability,
            part=exported.part,
            precision=exported.precision,
            weights=exported.weights,
            graph=exported.graph,
            frames_step=exported.frames_step,
            engine=digest_of(part),
            size=part.stat().st_size,
            ranges=spans,
            refit=refit,
            profile=profile,  # type: ignore[arg-type]
            **told,
        )
        record_of(engine).unlink(missing_ok=True)  # an engine without its metadata is refused, never believed
        part.replace(engine)
        _keep_layers(engine, built, listed)
        built.write(record_of(engine))
        progress(stage, 1.0)
    except OSError as error:
        raise EngineFileError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return engine, built


def _need_library(library: Library, capability: str) -> None:
    """TensorRT proper is none of demond's dependencies, and builds for the GPU that is there."""
    if library == Library.RTX:
        need_modules(library, "polygraphy")
        return
    if importlib.util.find_spec(library) is None:
        raise EngineFileError("TensorRT proper is not here; install NVIDIA's tensorrt, or leave out --library")
    here = own_capability()
    if here != capability:
        raise EngineFileError(f"TensorRT builds for the GPU that is there, of {here or 'none'}, not for {capability}")


def own_capability() -> str | None:
    """The compute capability of the GPU that is there, such as 9.0."""
    return "{}.{}".format(*torch.cuda.get_device_capability()) if torch.cuda.is_available() else None


def _keep_layers(engine: Path, built: Built, listed: str | None) -> None:
    """Writes the list of layers beside the engine, or none when this TensorRT tells it in words of its own."""
    path = layers.listing_of(engine)
    path.unlink(missing_ok=True)
    with suppress(ValueError):
        layers.Listing(engine=built.engine, layers=layers.parse(listed or "")).write(path)


def _ranges(exported: Exported, given: Mapping[str, Range]) -> dict[str, Range]:
    """Those that the graph has, checked."""
    spans = {name: given.get(name, span) for name, span in DEFAULT_RANGES[exported.part].items()}
    unknown = sorted(given.keys() - spans.keys())
    if unknown:
        raise EngineFileError(f"the {exported.part} has no {WORDS[unknown[0]]} to choose")
    for name, (least, usual, most) in spans.items():
        if not 1 <= least <= usual <= most:
            raise EngineFileError(f"{WORDS[name]} rise from 1 on: least, usual, most, unlike {least},{usual},{most}")
    step = exported.frames_step
    for frames in spans["frames"]:
        if frames % step:
            raise EngineFileError(f"the {exported.part} takes latent frames in multiples of {step}, not {frames}")
    return spans


def _short(name: str, span: Range) -> str:
    letter = {"batch": "b", "frames": "t", "length": "l"}[name]
    return letter + (str(span[1]) if span[0] == span[2] else "-".join(map(str, span)))


def _run(wanted: Mapping[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
    """What the builder tells of the engine that it wrote. Raises :class:`EngineFileError`."""
    program = Path(__file__).with_name("_builder.py")
    told: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+") as question,
        tempfile.TemporaryFile("w+", errors="replace") as complaints,
    ):
        json.dump(wanted, question)
        question.seek(0)
        # -P: this folder's modules are not to stand in for those that the libraries import.
        with subprocess.Popen(
            [sys.executable, "-P", str(program)],
            stdin=question,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    told |= json.loads(line)
                    if "share" in told:
                        progress(told.pop("share"))
            except BaseException:
                process.kill()
                raise
        if "built" in told:
            return dict(told["built"])
        complaints.seek(0)
        said = _complaint(complaints.read()) or told.get("error") or f"it ended with status {process.returncode}"
    needs = (
        "an engine that LoRAs can be played with is built on a machine with such a GPU; " if wanted["refit"] else ""
    )
    raise EngineFileError(f"TensorRT cannot build this engine: {needs}{said[:_SAID]}")


def _complaint(text: str) -> str:
    """The first error that TensorRT printed: those after it follow from it."""
    errors = [line.partition("[E]")[2].strip() for line in text.splitlines() if "[E]" in line]
    return errors[0] if errors else ""
