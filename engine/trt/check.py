"""Holds an exported graph against torch: the same inputs through ONNX Runtime and through the engine's own modules.

Called after every export, which is refused when they differ, and by the tests. It runs on the CPU. ONNX Runtime has
no bf16 there: a bf16 graph is run with its rounded weights, its casts left out, so that what is checked is the graph
and the rounding of the weights, not that of the products.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.trt.files import Case, Part, Precision
from engine.trt.graphs import Graph, GraphError

TOLERANCE: dict[Precision, float] = {
    Precision.FP32: 2e-5,
    Precision.FP16: 4e-3,
    Precision.BF16: 2e-2,
    Precision.INT8: 0.3,
}
"""Relative error (norm of the difference over the norm of torch's result) that is let through."""
CASES: dict[Part, tuple[tuple[int, int, int], ...]] = {
    Part.DIT: ((1, 62, 5), (2, 250, 40), (3, 700, 17), (4, 2, 1)),
    Part.DECODER: ((1, 28, 1), (2, 9, 1), (3, 1, 1)),
    Part.ENCODER: ((1, 28, 1), (2, 9, 1), (3, 1, 1)),
}
"""Batches, frames and lengths; of the network's, one is longer than the sliding window and one a single token."""


def check(graph: Graph, path: Path, progress: Callable[[float], None] = lambda share: None) -> list[Case]:
    """Compares the ONNX file `path` with torch in every case of :data:`CASES`.

    Raises :class:`GraphError` when one differs by more than :data:`TOLERANCE`.
    """
    session = session_of(path, graph.precision)
    types = {each.name: each.type for each in session.get_inputs()}
    results: list[Case] = []
    for batch, frames, length in CASES[graph.part]:
        given = graph.sample(batch, frames, length)
        feed = {
            name: (tensor if types[name] == "tensor(float16)" else tensor.float()).numpy()
            for name, tensor in zip(graph.inputs, given, strict=True)
        }
        (made,) = session.run(None, feed)
        wanted = graph.reference(*given)
        difference = torch.from_numpy(made) - wanted
        error = (difference.norm() / wanted.norm()).item()
        case = Case(batch=batch, frames=frames, length=length, error=error, largest=difference.abs().max().item())
        if not error <= TOLERANCE[graph.precision]:
            raise GraphError(
                f"the exported {graph.part} in {graph.precision} differs from torch by {error:.2g} of its size at "
                f"batch {batch}, {frames} frames, length {length}; up to {TOLERANCE[graph.precision]:g} is rounding"
            )
        results.append(case)
        progress(len(results) / len(CASES[graph.part]))
    return results


def session_of(path: Path, precision: Precision) -> Any:
    """ONNX Runtime over the graph in `path`, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if precision == Precision.INT8:  # exactly as the graph says, not by kernels that round in a way of their own
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if precision != Precision.BF16:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    whole = path.with_name("in-fp32.onnx")
    try:
        _write_in_fp32(path, whole)
        return onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    finally:
        whole.unlink(missing_ok=True)
        whole.with_suffix(".onnx.data").unlink(missing_ok=True)


def _write_in_fp32(path: Path, target: Path) -> None:
    """The graph with every bf16 tensor in fp32, to the same values."""
    import numpy as np
    import onnx_ir as ir

    model = ir.load(path)
    half, full = ir.DataType.BFLOAT16, ir.DataType.FLOAT
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.dtype == half:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = full
    for value in [*model.graph.inputs, *(made for node in model.graph for made in node.outputs)]:
        if value.dtype == half:
            value.dtype = full
    for node in model.graph:
        if node.op_type == "Cast" and node.attributes["to"].as_int() == half:
            node.attributes["to"] = ir.AttrInt64("to", full)
    ir.save(model, target, external_data=target.name + ".data")
