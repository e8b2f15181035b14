"""Runs engines: the one place that touches TensorRT's runtime, so thin that it can be read in one go.

Called by `engine.trt.shelf`, on a thread that loads; a :class:`Runner` is then called by a tick. Nothing here waits
for the GPU but a refit. Which library an engine needs, `tensorrt_rtx` or `tensorrt`, stands in what is known of it;
both have the same interface here.

It has not been executed with a real GPU (docs/tensorrt.md): the tests stand in for what needs one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.trt.files import Built, EngineFileError

DTYPES = {"float": torch.float32, "half": torch.float16, "bf16": torch.bfloat16}
"""TensorRT's names of types, in lower case, as `Built` has them."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An engine in the GPU's memory. Any number of :class:`Runner` may share it."""

    built: Built
    library: Any
    log: Any
    runtime: Any
    """Kept for as long as the engine is."""
    engine: Any


def library(named: str) -> Any:
    """The module that `Built.tensorrt` names. Raises :class:`EngineFileError`."""
    module = named.partition(" ")[0]
    if module not in ("tensorrt", "tensorrt_rtx"):
        raise EngineFileError(f"{named} is no TensorRT; build the engine again with `demond engine build`")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineFileError(f"{named} is not here ({error}): pip install 'demond[tensorrt]'") from None


def load(data: bytes, built: Built) -> Loaded:
    """Deserialises an engine onto the current GPU, if it is what `built` says. Raises :class:`EngineFileError`."""
    trt = library(built.tensorrt)
    log = _log(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineFileError(f"TensorRT cannot load the engine of the {built.part}: {log.said}")
    _verify(engine, trt.TensorIOMode.INPUT, built)
    return Loaded(built, trt, log, runtime, engine)


def refit(loaded: Loaded, names: Iterable[str], state: Mapping[str, Tensor]) -> None:
    """Gives the engine the weights `names` of `state`, and those that TensorRT has folded together with them.

    Whatever runs the engine must have ended. Raises :class:`EngineFileError`.
    """
    trt, refitter = loaded.library, loaded.library.Refitter(loaded.engine, loaded.log)
    held: list[Tensor] = []  # read until the refit is done
    for group in (names, None):
        for name in refitter.get_missing_weights() if group is None else group:
            if name not in state:
                raise EngineFileError(f"TensorRT asks for a weight {name!r}, which the network does not have")
            wanted = refitter.get_weights_prototype(name)
            held.append(state[name].to("cpu", DTYPES[wanted.dtype.name.lower()]).contiguous())
            if not refitter.set_named_weights(name, trt.Weights(wanted.dtype, held[-1].data_ptr(), held[-1].numel())):
                raise EngineFileError(f"TensorRT does not take the weight {name}: {loaded.log.said}")
    if not refitter.refit_cuda_engine():
        raise EngineFileError(f"TensorRT cannot refit the engine: {loaded.log.said}")


class Runner:
    """An engine with an execution context of its own, for one thread at a time."""

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        """`device` is where the engine was loaded. Raises :class:`EngineFileError`."""
        self.built, self._loaded, self._device = loaded.built, loaded, device
        self._context = loaded.engine.create_execution_context()
        if self._context is None:
            raise EngineFileError(f"TensorRT cannot make ready to run: {loaded.log.said}")
        # On CUDA's default stream TensorRT makes the host wait for the device; a stream of its own it leaves alone.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, **inputs: Tensor) -> Tensor:
        """The output for `inputs`, which are of the shapes in `built`; queued behind what the current stream has.

        The result is the caller's. Raises `ValueError` for shapes outside of the profile, and `RuntimeError`.
        """
        context, ((output, made),) = self._context, self.built.outputs.items()
        held: list[Tensor] = []  # until it is queued: what comes after on this stream may take the memory over
        for name, value in self.built.inputs.items():
            held.append(inputs[name].to(self._device, DTYPES[value.dtype]).contiguous())
            if not context.set_input_shape(name, tuple(held[-1].shape)):
                raise ValueError(f"the engine takes no {name} of {list(held[-1].shape)}: {self._loaded.log.said}")
            context.set_tensor_address(name, held[-1].data_ptr())
        result = torch.empty(tuple(context.get_tensor_shape(output)), dtype=DTYPES[made.dtype], device=self._device)
        context.set_tensor_address(output, result.data_ptr())
        with self._queue() as stream:
            if not context.execute_async_v3(stream):
                raise RuntimeError(f"TensorRT did not run the engine: {self._loaded.log.said}")
        return result

    def time_layers(self) -> dict[str, float]:
        """What this returns grows from now on by the milliseconds of each layer, by name; every run waits for it."""
        total: dict[str, float] = {}

        class Profiler(self._loaded.library.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self, base: Any) -> None:
                base.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                total[layer_name] = total.get(layer_name, 0.0) + ms

        self._context.profiler = Profiler(self._loaded.library.IProfiler)
        return total

    @contextmanager
    def _queue(self) -> Iterator[int]:
        """The handle of a stream that waits for the current one, and that the current one waits for. No host does."""
        if self._stream is None:
            yield 0
            return
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        yield self._stream.cuda_stream
        here.wait_stream(self._stream)


def _verify(engine: Any, inward: Any, built: Built) -> None:
    """Names, directions, types and shapes of what the engine takes and gives are those of its metadata."""
    found = {
        name: (engine.get_tensor_mode(name) == inward, engine.get_tensor_dtype(name).name.lower())
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
    }
    values = built.inputs | built.outputs
    known = {name: (name in built.inputs, value.dtype) for name, value in values.items()}
    shapes = {name: (list(engine.get_tensor_shape(name)), values[name].shape) for name in found if name in values}
    if found != known or not all(_fit(*pair) for pair in shapes.values()):
        raise EngineFileError(
            f"the engine of the {built.part} is not as its metadata says ({found}, {shapes}); "
            "build it again with `demond engine build`"
        )


def _fit(shape: list[int], known: list[int | str]) -> bool:
    """Whether both may be the same; -1 is any, and a profile may have left only one of any."""
    return len(shape) == len(known) and all(a == b or -1 in (a, b) for a, b in zip(shape, known, strict=True))


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps the first complaint, which the others follow from."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said = "it does not say why"
            self._complained = False

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR) and not self._complained:
                self.said, self._complained = message.strip(), True

    return Log()
