"""Which backend runs the network: the one that was named, or the fastest that works here.

Called by the builder of rigs once per checkpoint, on a thread that loads, and by benchmarks. A backend that cannot
run is refused with a sentence; only `auto` goes on to another, and says so in the log.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch

from engine.backends import Backend, BackendError, Name
from engine.backends.eager import EagerBackend
from engine.captured import CapturedVae
from engine.model.dit import DiT
from engine.vae import Vae

NAMES: tuple[Name, ...] = get_args(Name)
_TRIAL = (1, 64, 64)
"""Slots, frames and condition tokens with which `auto` tries whether a graph can be captured."""

log = logging.getLogger("engine.backends")


def home(name: Name, device: torch.device, dtype: torch.dtype) -> tuple[torch.device, torch.dtype]:
    """Where and in which type the backend `name` wants its model, if it is to run on `device`, in `dtype` at best.

    An engine of TensorRT has its own weights. Torch's are kept exact beside it: they tell which it must be of, and
    LoRAs are added to them.
    """
    return (torch.device("cpu"), torch.float32) if name == "tensorrt" else (device, dtype)


def choose(name: Name, model: DiT, device: torch.device, threads: int = 1, engines: Path | None = None) -> Backend:
    """The backend `name` over `model`, which is where :func:`home` says, to run on `device`.

    `threads` run rows on the CPU; `engines` is the folder in which TensorRT engines are looked for. Raises
    :class:`BackendError`, and `ValueError` for a name that is none of :data:`NAMES`.
    """
    match name:
        case "auto":
            return _best(model, device, threads)
        case "eager":
            return EagerBackend(model, threads)
        case "graph" | "graph-fp8":
            return _graph(name, model, device)
        case "tensorrt":
            return _tensorrt(model, device, engines)
    raise ValueError(f"there is no backend {name!r}; {', '.join(NAMES)} are known")


def choose_vae(name: Name, load: Callable[[], Vae], device: torch.device, engines: Path | None = None) -> Vae:
    """What `load` brings to `device`, decoding as suits the backend `name`. Raises :class:`BackendError`.

    On a GPU windows are captured as graphs where that can be done; where not, the log says so.
    """
    vae = load()
    if name == "tensorrt" and engines is not None:
        decoding: Vae = _module("tensorrt").load_decoder(vae, device, engines)
        return decoding
    if name == "eager" or device.type != "cuda":
        return vae
    try:
        captured: Vae = CapturedVae(vae, device)
        return captured
    except RuntimeError as error:
        log.warning("audio is decoded without CUDA graphs, which is slower: %s", error)
        return load()


def _best(model: DiT, device: torch.device, threads: int) -> Backend:
    """CUDA graphs on a GPU where they can be captured, and no compilation elsewhere."""
    if device.type == "cuda":
        try:
            backend = _graph("graph", model, device)
            backend.prepare(*_TRIAL)
            return backend
        except RuntimeError as error:
            log.warning("the network runs without CUDA graphs, which is slower: %s", error)
    return EagerBackend(model, threads)


def _graph(name: Name, model: DiT, device: torch.device) -> Backend:
    if device.type != "cuda":
        raise BackendError(
            f"the backend {name} captures CUDA graphs, and the device is the CPU; choose auto or eager"
        )
    backend: Backend = _module("graph").GraphBackend(model, "fp8" if name == "graph-fp8" else "bf16")
    return backend


def _tensorrt(model: DiT, device: torch.device, engines: Path | None) -> Backend:
    if device.type != "cuda":
        raise BackendError("the backend tensorrt runs on an RTX GPU, and the device is the CPU; choose auto or eager")
    if engines is None:
        raise BackendError("the backend tensorrt needs a folder of engines, and was given none")
    backend: Backend = _module("tensorrt").load(model, device, engines)
    return backend


def _module(name: str) -> Any:
    """The module of a backend, imported once it is asked for: it may need libraries that others do not."""
    try:
        return importlib.import_module(f"engine.backends.{name}")
    except ImportError as error:
        raise BackendError(f"the backend {name} cannot be loaded ({error}); choose auto or eager") from None
