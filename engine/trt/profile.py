"""An engine's layers by kind, with the work that each kind does and, on the GPU it was built for, how long it takes.

Called by `demond engine profile`. Without a GPU the layers are those that TensorRT listed when it built the engine.
"""

from __future__ import annotations

from pathlib import Path

import torch

from engine.trt.build import own_capability
from engine.trt.files import (
    EXPORTED,
    GRAPH,
    Built,
    EngineFileError,
    EngineRangeError,
    Exported,
    digest_of,
    record_of,
)
from engine.trt.layers import Layer, Listing, Rollup, listing_of, rollup, work_of
from engine.trt.runtime import DTYPES, Runner
from engine.trt.shelf import Shelf

RUNS, WARM_UP = 20, 5
"""Runs that are measured, and those before."""


def profile(engine: Path, timed: bool = False) -> tuple[Rollup, list[Layer]]:
    """The layers of an engine file by kind, and one by one; with `timed`, it is run here at its usual shapes.

    Raises :class:`EngineFileError`.
    """
    built, listing, folder = Built.read(record_of(engine)), Listing.read(listing_of(engine)), engine.parent
    exported = Exported.read(folder / EXPORTED)
    if listing.engine != built.engine or digest_of(folder / GRAPH) != built.graph:
        raise EngineFileError(
            f"{engine} is not of the graph or the list of layers beside it; `demond engine build` again"
        )
    usual = {name: span[1] for name, span in built.ranges.items()}
    shapes = {name: value.shape for name, value in exported.inputs.items()}
    times = measure(_runner(engine, built, usual)) if timed else None
    return rollup(listing.layers, work_of(folder / GRAPH, shapes, usual), times), listing.layers


def measure(runner: Runner) -> dict[str, float]:
    """Milliseconds of each layer in one run at the usual shapes, by TensorRT's profiler, the mean of :data:`RUNS`."""
    given = {
        name: torch.randn(usual).to(DTYPES[runner.built.inputs[name].dtype])
        for name, (_, usual, _) in runner.built.profile.items()
    }
    for _ in range(WARM_UP):
        runner(**given)
    total = runner.time_layers()
    for _ in range(RUNS):
        runner(**given)
    return {name: milliseconds / RUNS for name, milliseconds in total.items()}


def _runner(engine: Path, built: Built, sizes: dict[str, int]) -> Runner:
    capability = own_capability()
    if capability is None:
        raise EngineFileError("layers are timed on the GPU that an engine was built for, and here is none")
    if capability != built.capability:
        raise EngineRangeError(
            f"{engine} was built for GPUs of compute capability {built.capability}, and here is {capability}"
        )
    return Shelf({engine: built}, torch.device("cuda", torch.cuda.current_device())).runner(sizes)
