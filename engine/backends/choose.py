"""Which backend runs the network: the one that was named, or the fastest that works here.

Called by the builder of rigs once per checkpoint, on a thread that loads, and by benchmarks. A backend that cannot
run is refused with a sentence; only `auto` goes on to another, and says so in the log.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any, get_args

from engine.backends import Backend, BackendError, Name
from engine.backends.eager import EagerBackend
from engine.model.dit import DiT

NAMES: tuple[Name, ...] = get_args(Name)
_TRIAL = (1, 64, 64)
"""Slots, frames and condition tokens with which `auto` tries whether a graph can be captured."""

log = logging.getLogger("engine.backends")


def choose(name: Name, model: DiT, root: Path, threads: int = 1, engines: Path | None = None) -> Backend:
    """The backend `name` over `model`, which is on its device with the weights of the checkpoint `root`.

    `threads` run rows on the CPU; `engines` is the folder in which TensorRT engines are looked for. Raises
    :class:`BackendError`, and `ValueError` for a name that is none of :data:`NAMES`.
    """
    match name:
        case "auto":
            return _best(model, threads)
        case "eager":
            return EagerBackend(model, threads)
        case "graph":
            return _graph(model)
        case "tensorrt":
            return _tensorrt(model, root, engines)
    raise ValueError(f"there is no backend {name!r}; {', '.join(NAMES)} are known")


def _best(model: DiT, threads: int) -> Backend:
    """CUDA graphs on a GPU where they can be captured, and no compilation elsewhere."""
    if _device(model) == "cuda":
        try:
            backend = _graph(model)
            backend.prepare(*_TRIAL)
            return backend
        except RuntimeError as error:
            log.warning("the network runs without CUDA graphs, which is slower: %s", error)
    return EagerBackend(model, threads)


def _graph(model: DiT) -> Backend:
    if _device(model) != "cuda":
        raise BackendError("the backend graph captures CUDA graphs, and the device is the CPU; choose auto or eager")
    backend: Backend = _module("graph").GraphBackend(model)
    return backend


def _tensorrt(model: DiT, root: Path, engines: Path | None) -> Backend:
    if _device(model) != "cuda":
        raise BackendError("the backend tensorrt runs on an RTX GPU, and the device is the CPU; choose auto or eager")
    backend: Backend = _module("tensorrt").load(model, root, engines)
    return backend


def _device(model: DiT) -> str:
    return next(model.parameters()).device.type


def _module(name: str) -> Any:
    """The module of a backend, imported once it is asked for: it may need libraries that others do not."""
    try:
        return importlib.import_module(f"engine.backends.{name}")
    except ImportError as error:
        raise BackendError(f"the backend {name} cannot be loaded ({error}); choose auto or eager") from None
