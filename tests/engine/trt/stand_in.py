"""TensorRT as far as it needs a GPU, played by ONNX Runtime.

Everything else is the real library's: its types, its `Weights`, its enumerations. An engine here is the exported
graph; an execution context knows nothing but what it was told as TensorRT is told it, names, shapes and addresses,
and reads and writes the memory at those addresses. So a pointer, a shape or a type that is wrong gives a wrong
result, or none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import tensorrt_rtx

from engine.geometry import HOP
from engine.trt.build import installed_tensorrt
from engine.trt.files import GRAPH, Built, Exported, Range, Value, digest_of, dimension, record_of

NUMPY = {"float": np.float32, "half": np.float16}


def written(folder: Path, exported: Exported, capability: str, ranges: dict[str, Range]) -> tuple[Path, Built]:
    """An engine of a graph that no TensorRT has built, for this stand-in alone, beside the graph."""
    types = {"float32": "float", "float16": "half"}
    path = folder / "played.engine"
    path.write_bytes(b"played")
    built = Built(
        demond=exported.demond,
        tensorrt=installed_tensorrt() or "",
        capability=capability,
        part=exported.part,
        precision=exported.precision,
        weights=exported.weights,
        graph=exported.graph,
        frames_step=exported.frames_step,
        engine=digest_of(path),
        size=path.stat().st_size,
        seconds=0.0,
        ranges=ranges,
        profile={name: _shapes(value, ranges) for name, value in exported.inputs.items()},
        inputs={name: _seen(value, types) for name, value in exported.inputs.items()},
        outputs={name: _seen(value, types) for name, value in exported.outputs.items()},
    )
    built.write(record_of(path))
    return path, built


def _shapes(value: Value, ranges: dict[str, Range]) -> tuple[list[int], list[int], list[int]]:
    least, usual, most = ({name: span[k] for name, span in ranges.items()} for k in range(3))
    return tuple([dimension(size, sizes) for size in value.shape] for sizes in (least, usual, most))  # type: ignore[return-value]


def _seen(value: Value, types: dict[str, str]) -> Value:
    return Value(shape=[size if isinstance(size, int) else -1 for size in value.shape], dtype=types[value.dtype])


class StandIn:
    """In the place of the module `tensorrt_rtx`."""

    def __init__(self, folder: Path, built: Built, scratch: Path) -> None:
        self.folder, self.built, self.scratch = folder, built, scratch
        self.loaded: list[Engine] = []
        self.refuse = False
        self.layer_times: dict[str, float] = {}
        stand_in = self

        class Runtime:
            def __init__(self, log: Any) -> None:
                self.log = log

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                if stand_in.refuse:
                    self.log.log(tensorrt_rtx.ILogger.Severity.ERROR, "no room on the GPU")
                    return None
                stand_in.loaded.append(Engine(stand_in))
                return stand_in.loaded[-1]

        self.Runtime, self.Refitter = Runtime, Refitter

    def __getattr__(self, name: str) -> Any:
        return getattr(tensorrt_rtx, name)


class Engine:
    def __init__(self, library: StandIn) -> None:
        self.library, self.built = library, library.built
        self.values = self.built.inputs | self.built.outputs
        self.model = ir.load(library.folder / GRAPH)
        self.num_io_tensors = len(self.values)
        self.contexts = 0
        self.start(library.folder / GRAPH)

    def start(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def get_tensor_name(self, index: int) -> str:
        return list(self.values)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return tensorrt_rtx.TensorIOMode.INPUT if name in self.built.inputs else tensorrt_rtx.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return {"float": tensorrt_rtx.float32, "half": tensorrt_rtx.float16}[self.values[name].dtype]

    def get_tensor_shape(self, name: str) -> Any:
        """A dimension of which the profile leaves one number is that number, as TensorRT tells it."""
        shape, profile = self.values[name].shape, self.built.profile.get(name)
        if profile is not None:
            shape = [low if low == high else size for size, low, high in zip(shape, *profile[::2], strict=True)]
        return tuple(shape)

    def create_execution_context(self) -> Context:
        self.contexts += 1
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.runs = 0
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.built.profile[name]
        if len(shape) != len(least) or not all(
            low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
        ):
            return False
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert name in self.engine.values
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name in self.engine.built.outputs
        assert self.shapes.keys() == self.engine.built.inputs.keys(), "a shape is missing"
        if name == "audio":
            return (1, 2, HOP * self.shapes["latents"][1])
        return (*self.shapes["x"][:2], 64)

    def execute_async_v3(self, stream: int) -> bool:
        assert self.addresses.keys() == self.engine.values.keys(), "an address is missing"
        feed = {name: self.memory(name, shape).copy() for name, shape in self.shapes.items()}
        (made,) = self.engine.session.run(None, feed)
        (name,) = self.engine.built.outputs
        self.memory(name, self.get_tensor_shape(name))[:] = made
        self.runs += 1
        for name, milliseconds in self.engine.library.layer_times.items() if self.profiler else ():
            self.profiler.report_layer_time(name, milliseconds)
        return True

    def memory(self, name: str, shape: tuple[int, ...]) -> Any:
        """What lies at the address of `name`, as an array that shares it."""
        dtype = np.dtype(NUMPY[self.engine.values[name].dtype])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class Refitter:
    """Wants the norm of the queries with every change of their matrix, as if the two had been folded together."""

    def __init__(self, engine: Engine, log: Any) -> None:
        assert engine.contexts == 0, "nothing runs an engine that is refitted"
        self.engine = engine
        self.given: dict[str, Any] = {}

    def get_weights_prototype(self, name: str) -> Any:
        array = self.engine.model.graph.initializers[name].const_value.numpy()  # type: ignore[union-attr]
        kind = {"float16": tensorrt_rtx.float16, "float32": tensorrt_rtx.float32}[array.dtype.name]
        return tensorrt_rtx.Weights(kind, 0, array.size)

    def set_named_weights(self, name: str, weights: Any) -> bool:
        wanted = self.get_weights_prototype(name)
        if (weights.dtype, weights.size) != (wanted.dtype, wanted.size):
            return False
        self.given[name] = weights.numpy().copy()
        return True

    def get_missing_weights(self) -> list[str]:
        norms = {name.replace("qkv.weight", "norm_q.weight") for name in self.given if name.endswith("qkv.weight")}
        return sorted(norms - self.given.keys())

    def refit_cuda_engine(self) -> bool:
        if self.get_missing_weights():
            return False
        for name, array in self.given.items():
            value = self.engine.model.graph.initializers[name]
            value.const_value = ir.tensor(array.reshape(value.const_value.shape.numpy()), name=name)  # type: ignore[union-attr]
        path = self.engine.library.scratch / f"{len(list(self.files()))}.onnx"
        ir.save(self.engine.model, path, external_data=f"{path.name}.data")
        self.engine.start(path)
        return True

    def files(self) -> Iterator[Path]:
        return self.engine.library.scratch.glob("*.onnx")
