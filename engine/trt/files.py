"""What is known of an exported graph and of an engine built of it: one JSON file beside each.

Written by `export` and `build`, read by the commands and by whoever loads an engine. An engine that does not fit the
machine, the weights or the shapes at hand is refused with one sentence before TensorRT sees it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

GRAPH, WEIGHTS, EXPORTED = "model.onnx", "model.onnx.data", "export.json"
"""Files of an exported graph, in a folder of its own; engines built of it lie beside them."""
SUFFIX = ".engine"


class Part(StrEnum):
    """What is exported: the network, and the halves of the VAE."""

    DIT = "dit"
    DECODER = "decoder"
    ENCODER = "encoder"


class Precision(StrEnum):
    """The type of matrix products, convolutions and attention."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    """With explicit quantisation, all else in fp32; of a VAE's decoder alone (`engine.trt.quantize`)."""


class Library(StrEnum):
    """What builds an engine and runs it: the name of its module."""

    RTX = "tensorrt_rtx"
    """TensorRT for RTX: no GPU is needed to build, and engines are for GeForce and RTX cards."""
    PROPER = "tensorrt"


class Method(StrEnum):
    """How the range of a layer's input in INT8 is chosen from what was seen."""

    MAX = "max"
    """The largest value: nothing is clipped."""
    PERCENTILE = "percentile"
    """The value that 99.99 % of all stay below."""
    ENTROPY = "entropy"
    """That of the least Kullback-Leibler divergence of the quantised values from those that were."""


Range = tuple[int, int, int]
"""The least, the usual and the most of a dimension."""


class EngineFileError(Exception):
    """A graph or an engine cannot be used. What the user can do is in the message."""


class EngineRangeError(EngineFileError):
    """An engine was not built for such sizes, or for a change of its weights."""


class Record(BaseModel):
    """One JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1

    def write(self, path: Path) -> None:
        """As JSON, for people to read too."""
        path.write_text(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises :class:`EngineFileError`."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise EngineFileError(f"{path} is missing; it is written beside every graph and every engine") from None
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise EngineFileError(f"{path} does not say what demond writes there: {first}") from None


class Value(BaseModel):
    """An input or output. A dimension is a number, -1, `batch`, `frames`, `length`, or as `1920*frames`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shape: list[int | str]
    dtype: str


class Case(BaseModel):
    """One comparison of a graph with torch."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    batch: int
    frames: int
    length: int
    error: float
    """Norm of the difference over the norm of torch's result."""
    largest: float
    """Largest absolute difference."""


class Quantised(BaseModel):
    """How a graph was quantised, and what it costs in sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Method
    prompts: list[str]
    """Whose music the ranges were measured with."""
    layers: int
    """In INT8."""
    kept: list[str]
    """Layers that were left in fp32, by the names of their weights."""
    snr_db: list[float] = Field(min_length=1)
    """Of each piece that no range was measured with: its power over that of the difference from fp32."""
    spectral_db: list[float]
    """Of each, the log-spectral distance from fp32."""


class Exported(Record):
    """What is known of a graph."""

    demond: str
    torch: str
    opset: int
    part: Part
    precision: Precision
    checkpoint: str
    weights: str
    """SHA-256 of the weights in the checkpoint, from `graphs.Graph`."""
    graph: str
    """SHA-256 of the ONNX file, weights not included."""
    frames_step: int = Field(ge=1)
    """`frames` is a multiple of it."""
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    tolerance: float
    checked: list[Case] = Field(min_length=1)
    quantised: Quantised | None = None


class Built(Record):
    """What is known of an engine."""

    demond: str
    tensorrt: str
    """The library and its version; an engine runs on that version alone."""
    capability: str
    """The compute capability of the GPUs it runs on, such as 8.9."""
    part: Part
    precision: Precision
    weights: str
    graph: str
    frames_step: int = Field(ge=1)
    engine: str
    """SHA-256 of the engine file."""
    size: int
    seconds: float
    """How long the build took."""
    ranges: dict[str, Range]
    """Of `batch`, `frames` and `length`, as far as the graph has them."""
    refit: bool = False
    """Whether its weights can be changed once it is loaded."""
    profile: dict[str, tuple[list[int], list[int], list[int]]]
    """Least, usual and largest shape of each input."""
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    """Names, shapes (-1 is free) and types as the TensorRT network had them."""

    @property
    def library(self) -> str:
        """The module that runs it: `tensorrt_rtx` or `tensorrt`."""
        return self.tensorrt.partition(" ")[0]


def dimension(size: int | str, sizes: Mapping[str, int]) -> int:
    """The number that `size` stands for."""
    if isinstance(size, int):
        return size
    factor, _, name = size.rpartition("*")
    return int(factor or 1) * sizes[name]


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises :class:`EngineFileError` when it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineFileError(f"{path} cannot be read: {error.strerror}") from None


def own_version() -> str:
    """demond's."""
    return version("demond")


def record_of(engine: Path) -> Path:
    """Where the metadata of an engine lies."""
    return engine.with_suffix(".json")


def read_engine(
    path: Path,
    *,
    tensorrt: str | None = None,
    capability: str | None = None,
    weights: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> tuple[bytes, Built]:
    """An engine and what is known of it, after everything that is given here has been found to fit.

    `tensorrt` is the library at hand as `Built` names it, `capability` that of the GPU, `weights` the SHA-256 of the
    checkpoint's, `sizes` the `batch`, `frames` and `length` it is to run with. Raises :class:`EngineFileError` for
    the first that does not fit, and for a file that is not the one that was built.
    """
    built = Built.read(record_of(path))
    again = "build it again with `demond engine build`"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineFileError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != built.engine:
        raise EngineFileError(
            f"{path} is not the file that was built ({built.size} bytes then, {len(data)} now); {again}"
        )
    if tensorrt is not None and tensorrt != built.tensorrt:
        raise EngineFileError(f"{path} was built by {built.tensorrt}, and here is {tensorrt}; {again}")
    if capability is not None and capability != built.capability:
        raise EngineFileError(
            f"{path} was built for GPUs of compute capability {built.capability}, and here is {capability}; {again}"
        )
    if weights is not None and weights != built.weights:
        raise EngineFileError(f"{path} was built of other weights than those of this checkpoint; export and {again}")
    if sizes is not None:
        check_sizes(path, built, sizes)
    return data, built


def check_sizes(path: Path, built: Built, sizes: Mapping[str, int]) -> None:
    """Raises :class:`EngineRangeError` for `batch`, `frames` or `length` that the engine in `path` does not take."""
    for name, size in sizes.items():
        least, _, most = built.ranges.get(name, (0, 0, 0))
        if name in built.ranges and not least <= size <= most:
            raise EngineRangeError(
                f"{path} takes {least} to {most} {WORDS[name]}, not {size}; build it again with `demond engine build`"
            )
    if sizes.get("frames", 0) % built.frames_step:
        raise EngineRangeError(
            f"{path} takes latent frames in multiples of {built.frames_step}, not {sizes['frames']}"
        )


WORDS = {"batch": "rows in a batch", "frames": "latent frames", "length": "condition tokens"}
"""What the free dimensions are, as a user reads them."""


def find_exports(folder: Path) -> Iterator[Path]:
    """The folders below `folder` that hold an exported graph."""
    yield from sorted(path.parent for path in folder.rglob(EXPORTED))
