"""Writes a graph as ONNX, with what is known of it, and holds it against torch before it counts as written.

Called by `demond engine export` and by the tests. Weights keep their names and their layout: an engine's weights can
be told by the names of the checkpoint. That needs some care with constant folding, which would put transposed copies
with made-up names in the place of every matrix.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.model.checkpoint import Progress
from engine.trt.check import TOLERANCE, check, session_of
from engine.trt.files import (
    EXPORTED,
    GRAPH,
    WEIGHTS,
    EngineFileError,
    Exported,
    Method,
    Precision,
    Quantised,
    Value,
    digest_of,
    own_version,
)
from engine.trt.graphs import Dimension, Graph, GraphError
from engine.trt.quantize import Music, calibrate, layers_of, quantise, signal_to_noise, spectral_distance

OPSET = 20
"""Of ONNX. From 23 on there are operators for attention and norms, which not every TensorRT reads."""
_BATCH, _STEPS, _LENGTH = 2, 6, 5
"""Batch, steps of frames and length that the exporter follows; a batch of one would be taken for a constant."""


def export(
    graph: Graph,
    folder: Path,
    checkpoint: str,
    opset: int = OPSET,
    progress: Progress = lambda stage, share: None,
    music: Music | None = None,
    method: Method = Method.PERCENTILE,
) -> Exported:
    """Writes `graph` into `folder`, in place of what is there, engines included, once the check has passed.

    `checkpoint` is told in the metadata. One in INT8 needs `music`, over which `method` chooses the ranges. Raises
    `GraphError` when the graph differs from torch, and :class:`EngineFileError` when the folder cannot be written;
    the old files then stay.
    """
    scales: dict[str, float] = {}
    if graph.precision == Precision.INT8:
        if music is None:
            raise GraphError("INT8 needs music to measure the ranges of its layers with")
        scales = calibrate(graph.module, music.measured, method, lambda share: progress("measuring ranges", share))
        graph = replace(graph, sample=_pieces(music))
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        progress(f"exporting {graph.part}", 0.0)
        example = graph.sample(_BATCH, _STEPS * graph.step, _LENGTH)
        _write(graph, example, part / GRAPH, opset, scales)
        progress(f"exporting {graph.part}", 1.0)
        types = [str(tensor.dtype).removeprefix("torch.") for tensor in example]
        record = Exported(
            demond=own_version(),
            torch=torch.__version__,
            opset=opset,
            part=graph.part,
            precision=graph.precision,
            checkpoint=checkpoint,
            weights=graph.weights,
            graph=digest_of(part / GRAPH),
            frames_step=graph.step,
            inputs={
                name: Value(shape=list(shape), dtype=dtype)
                for (name, shape), dtype in zip(graph.inputs.items(), types, strict=True)
            },
            outputs={name: Value(shape=list(shape), dtype="float32") for name, shape in graph.outputs.items()},
            tolerance=TOLERANCE[graph.precision],
            checked=check(graph, part / GRAPH, lambda share: progress(f"checking {graph.part}", share)),
            quantised=_judge(graph, part / GRAPH, music, method) if music and scales else None,
        )
        record.write(part / EXPORTED)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise EngineFileError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return record


def _pieces(music: Music) -> Callable[[int, int, int], tuple[Tensor, ...]]:
    """Inputs of a decoder for the check: music, since noise is none that the ranges were made for."""

    def sample(batch: int, frames: int, length: int) -> tuple[Tensor, ...]:
        middle = [piece[(len(piece) - frames) // 2 :][:frames] for piece in music.judged]
        return (torch.stack([middle[row % len(middle)] for row in range(batch)]),)

    return sample


def _judge(graph: Graph, path: Path, music: Music, method: Method) -> Quantised:
    """What INT8 costs, by ONNX Runtime over whole pieces that no range was measured with."""
    session = session_of(path, graph.precision)
    pairs = []
    for piece in music.judged:
        (made,) = session.run(None, {name: piece[None].numpy() for name in graph.inputs})
        pairs.append((torch.from_numpy(made)[0], graph.reference(piece[None])[0]))
    own, kept = layers_of(graph.module)
    return Quantised(
        method=method,
        prompts=list(music.prompts),
        layers=len(own),
        kept=kept,
        snr_db=[round(signal_to_noise(*pair), 2) for pair in pairs],
        spectral_db=[round(spectral_distance(*pair), 2) for pair in pairs],
    )


def _write(
    graph: Graph, example: tuple[Tensor, ...], path: Path, opset: int, scales: Mapping[str, float] | None = None
) -> None:
    """Traces, folds, quantises and saves, the weights in a file of their own."""
    import onnx_ir as ir

    model = _trace(graph, example, opset)
    _fold(model)
    quantise(model, scales or {})
    ir.save(model, path, external_data=WEIGHTS)


def _trace(graph: Graph, example: tuple[Tensor, ...], opset: int) -> Any:
    step = torch.export.Dim("steps")
    free = {
        "batch": torch.export.Dim("batch"),
        "frames": graph.step * step if graph.step > 1 else step,
        "length": torch.export.Dim("length"),
    }
    noise = logging.getLogger("torch.onnx._internal.exporter")
    level = noise.level
    noise.setLevel(logging.ERROR)  # says of each library that is not installed that it has no operators of it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.module,
                example,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=opset,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=tuple(_free(shape, free) for shape in graph.inputs.values()),
            )
    finally:
        noise.setLevel(level)
    return program.model  # type: ignore[union-attr]


def _free(shape: tuple[Dimension, ...], free: Mapping[str, Any]) -> dict[int, Any]:
    """The dimensions of `shape` that are no numbers, by their place."""
    found = {}
    for place, size in enumerate(shape):
        if isinstance(size, str):
            factor, _, name = size.rpartition("*")
            found[place] = int(factor) * free[name] if factor else free[name]
    return found


def _fold(model: Any) -> None:
    """Folds constants and removes what nothing reads. Weights are left alone."""
    import onnx_ir.passes.common as passes
    from onnxscript.optimizer import fold_constants_ir, inline

    def fold(node: Any) -> bool | None:
        weights = any(value is not None and value.is_initializer() for value in node.inputs)
        return False if weights and node.op_type in ("Transpose", "Cast") else None

    inline(model)
    for _ in range(2):
        fold_constants_ir(model, should_fold=fold)
        passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveUnusedOpsetsPass()(model)
