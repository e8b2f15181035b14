"""What an engine is made of: its layers as TensorRT lists them, and how much of the work each kind of layer does.

`build` keeps the listing that TensorRT prints when it has made an engine, `demond engine profile` adds it up. A layer
of an engine is one kernel or a few, fused out of many nodes of the graph; the listing names the nodes. The work of a
matrix product, a convolution or an attention is computed from the graph, at the usual shapes, and counted once, with
the layer that does it: others name the same node because they bring its inputs into place. What the rules here do
not know is opaque: it is named, and neither guessed nor left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from engine.trt.files import Record, dimension

LISTING = ".layers.json"
"""How the listing of an engine's layers ends, in the place of the engine's suffix."""


class Kind(StrEnum):
    """What a layer is; of several fused operations the one that costs most, in this order."""

    ATTENTION = "attention"
    CONVOLUTION = "convolution"
    GEMM = "gemm"
    SOFTMAX = "softmax"
    NORM = "norm"
    POINTWISE = "pointwise"
    MOVEMENT = "movement"
    SHAPES = "shapes"
    OPAQUE = "opaque"


HEAVY = (Kind.ATTENTION, Kind.CONVOLUTION, Kind.GEMM)
"""Those that the graph's products and convolutions are computed by."""

_TYPES = {
    "gemm": Kind.GEMM,
    "matrixmultiply": Kind.GEMM,
    "correlation": Kind.CONVOLUTION,
    "deconv": Kind.CONVOLUTION,
    "convolution": Kind.CONVOLUTION,
    "caskconvolution": Kind.CONVOLUTION,
    "deconvolution": Kind.CONVOLUTION,
    "caskdeconvolution": Kind.CONVOLUTION,
    "softmax": Kind.SOFTMAX,
    "normalization": Kind.NORM,
    "pointwise": Kind.POINTWISE,
    "shuffle": Kind.MOVEMENT,
    "reformat": Kind.MOVEMENT,
    "noop": Kind.MOVEMENT,
    "shape_call": Kind.SHAPES,
}
"""TensorRT's types of layers, in lower case."""
_FUSED = ("kgen", "runtime_fusion")
"""Types whose layers are named after what they fuse, four letters for each: `__myl_FcAddCast_myl0_2`."""
_HEAVY_PARTS = {"Corr": Kind.CONVOLUTION, "Deco": Kind.CONVOLUTION, "Fc": Kind.GEMM}
_MOVING_PARTS = frozenset(
    ["Cast", "Conc", "Gath", "Iota", "Move", "Pad", "Repl", "Resh", "Scat", "Slic", "Squz", "Tran"]
)
_POINTWISE_PARTS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "Clip",
        "Cos",
        "Div",
        "Equa",
        "Erf",
        "Exp",
        "Gelu",
        "Grea",
        "Less",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Quan",
        "Dequ",
        "Reci",
        "Roun",
        "Sele",
        "Sigm",
        "Sign",
        "Silu",
        "Sin",
        "Sqrt",
        "Sub",
        "Tanh",
        "Whe",
    ]
)
_REDUCING_PARTS = frozenset(["Mean", "Sum", "Max", "Min", "Prod"])
_WIDTHS = {"Float": 4, "Half": 2, "BFloat16": 2, "Int8": 1, "FP8": 1, "Int32": 4, "Int64": 8, "Bool": 1, "UInt8": 1}
"""Bytes of TensorRT's types of numbers."""


class Buffer(BaseModel):
    """What a layer reads or writes; -1 is a size that the engine leaves open."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shape: list[int]
    dtype: str

    @property
    def size(self) -> int | None:
        """Bytes, if they are known."""
        width = _WIDTHS.get(self.dtype)
        return None if width is None or min(self.shape, default=1) < 0 else width * math.prod(self.shape)


class Layer(BaseModel):
    """One entry of the listing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    type: str
    inputs: list[Buffer]
    constants: list[Buffer]
    outputs: list[Buffer]
    nodes: list[str]
    """Of the graph, by name."""

    @property
    def kind(self) -> Kind:
        """See :class:`Kind`."""
        words, kind = f"{self.name} {self.type}".lower(), _TYPES.get(self.type.lower())
        if "mha" in words or "attention" in words:
            return Kind.ATTENTION
        if kind is not None or self.type not in _FUSED:
            return kind or Kind.OPAQUE
        parts = re.findall(r"[A-Z][a-z0-9]*", self.name)
        heavy = {_HEAVY_PARTS[part] for part in parts if part in _HEAVY_PARTS}
        if heavy:
            return min(heavy, key=HEAVY.index)
        known = [part for part in parts if part != "Etc"]  # of a long name the end is left out
        if not known or not set(known) <= _MOVING_PARTS | _POINTWISE_PARTS | _REDUCING_PARTS:
            return Kind.OPAQUE
        if {"Max", "Sum", "Exp"} <= set(known):
            return Kind.SOFTMAX
        if "Mean" in known or "SqrtDivMul" in self.name:
            return Kind.NORM
        return Kind.MOVEMENT if set(known) <= _MOVING_PARTS else Kind.POINTWISE

    @property
    def traffic(self) -> int | None:
        """Bytes read and written, each buffer once, if they are known."""
        sizes = [
            buffer.size for buffer in {b.name: b for b in [*self.inputs, *self.constants, *self.outputs]}.values()
        ]
        return None if None in sizes else sum(size or 0 for size in sizes)


class Listing(Record):
    """The layers of an engine."""

    engine: str
    """SHA-256 of the engine file."""
    layers: list[Layer]


class Row(BaseModel):
    """All layers of one kind."""

    model_config = ConfigDict(frozen=True)
    kind: Kind
    layers: list[str]
    flops: int
    """Of products and convolutions at the usual shapes, a multiplication and an addition being two."""
    bytes: int | None
    """Read and written; none when the engine leaves one of the sizes open."""
    milliseconds: float | None
    """Measured, one run."""


class Rollup(BaseModel):
    """An engine's layers by kind."""

    model_config = ConfigDict(frozen=True)
    rows: list[Row]
    flops: int
    """Of the whole graph; the rows' add up to it, but for what is `unplaced`."""
    unplaced: dict[str, int]
    """Nodes of the graph that cost, and that no layer which could compute them names."""
    unlisted: dict[str, float]
    """Milliseconds that were measured under a name that is no layer's."""


def listing_of(engine: Path) -> Path:
    """Where the layers of an engine lie."""
    return engine.with_name(engine.stem + LISTING)


def parse(text: str) -> list[Layer]:
    """The layers in TensorRT's own words, one a line. Raises `ValueError` for a line that is none, or no line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("TensorRT lists no layers")
    return [_layer(line) for line in lines]


def rollup(layers: Sequence[Layer], work: Mapping[str, int], times: Mapping[str, float] | None = None) -> Rollup:
    """Adds `layers` up by kind; `work` is that of the graph's nodes, `times` are milliseconds by layer."""
    left = dict(work)
    flops = dict.fromkeys(Kind, 0)
    for heavy in (True, False):  # an opaque layer is given what no other layer computes
        for layer in layers:
            if layer.kind in HEAVY if heavy else layer.kind is Kind.OPAQUE:
                flops[layer.kind] += sum(left.pop(node, 0) for node in layer.nodes)
    rows = []
    for kind in Kind:
        own = [layer for layer in layers if layer.kind is kind]
        traffic = [layer.traffic for layer in own]
        rows.append(
            Row(
                kind=kind,
                layers=[layer.name for layer in own],
                flops=flops[kind],
                bytes=None if None in traffic else sum(size or 0 for size in traffic),
                milliseconds=None if times is None else sum(times.get(layer.name, 0.0) for layer in own),
            )
        )
    names = {layer.name for layer in layers}
    return Rollup(
        rows=[row for row in rows if row.layers],
        flops=sum(work.values()),
        unplaced={node: size for node, size in left.items() if size},
        unlisted={name: ms for name, ms in (times or {}).items() if name not in names},
    )


def work_of(graph: Path, inputs: Mapping[str, Sequence[int | str]], sizes: Mapping[str, int]) -> dict[str, int]:
    """Floating-point operations of every product and convolution of an exported graph, by node, at these `sizes`.

    `inputs` are their shapes as `Exported` has them. A product [..,M,K] by [..,K,N] is 2 M K N, a convolution twice
    its kernel for every sample that it makes, or takes if it is transposed. Raises `ValueError` for a graph whose
    shapes do not follow from those of its inputs.
    """
    import onnx_ir as ir
    from onnxscript.optimizer import fold_constants_ir

    model = ir.load(graph)
    for value in model.graph.inputs:
        value.shape = ir.Shape([dimension(size, sizes) for size in inputs[value.name or ""]])
    for node in model.graph:
        for made in node.outputs:
            made.shape = None
    for _ in range(2):  # shapes are computed by nodes of the graph, which are constants now
        fold_constants_ir(model, onnx_shape_inference=True)
    return {node.name or "": _flops(node.op_type, *_shapes(node)) for node in model.graph if node.op_type in _WORKING}


_WORKING = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def _flops(operation: str, inputs: Sequence[Sequence[int]], output: Sequence[int]) -> int:
    first, second = inputs[:2]
    match operation:
        case "MatMul" | "Gemm":
            return 2 * math.prod(output) * first[-1]
        case "Conv":
            return 2 * math.prod(output) * math.prod(second[1:])
    return 2 * math.prod(first) * math.prod(second[1:])


def _shapes(node: Any) -> tuple[list[list[int]], list[int]]:
    inputs = [_shape(value) for value in node.inputs if value is not None]
    return inputs, _shape(node.outputs[0])


def _shape(value: Any) -> list[int]:
    sizes = [size for size in value.shape or () if isinstance(size, int)]
    if value.shape is None or len(sizes) != len(value.shape):
        raise ValueError(f"the shape of {value.name} does not follow from those of the graph's inputs")
    return sizes


_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<type>.*?), Inputs: \[(?P<inputs>.*)\], Constants: \[(?P<constants>.*)\], "
    r"Outputs: \[(?P<outputs>.*)\], TacticName: .*?, StreamId: \d+, Metadata: (?P<nodes>.*)"
)
_BUFFER = re.compile(r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<shape>[-\d,]*)\], .*?Datatype: (?P<dtype>\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def _layer(line: str) -> Layer:
    found = _LINE.match(line)
    if found is None:
        raise ValueError(f"TensorRT describes a layer in words that are not known here: {line[:200]}")
    return Layer(
        name=found["name"],
        type=found["type"],
        inputs=_buffers(found["inputs"]),
        constants=_buffers(found["constants"]),
        outputs=_buffers(found["outputs"]),
        nodes=_NODE.findall(found["nodes"]),
    )


def _buffers(text: str) -> list[Buffer]:
    return [
        Buffer(
            name=found["name"],
            shape=[int(size) for size in found["shape"].split(",") if size],
            dtype=found["dtype"],
        )
        for found in _BUFFER.finditer(text)
    ]
