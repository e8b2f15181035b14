"""The engines that there are of one network for one GPU, and those of them that have been loaded.

Called by the TensorRT backend and by the VAE's decoder, on threads that load. Which engine serves is decided by the
sizes that are asked for; an engine is in memory once, however many run it. A LoRA changes an engine's weights, which
all who run it would hear: so the changed network has a shelf of its own, whose engines are loaded again and refitted.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from engine.trt.build import installed_tensorrt
from engine.trt.files import (
    SUFFIX,
    Built,
    EngineFileError,
    EngineRangeError,
    Part,
    check_sizes,
    read_engine,
    record_of,
)
from engine.trt.runtime import Loaded, Runner, load, refit


class Shelf:
    """See the module. Any thread may call it."""

    def __init__(self, engines: Mapping[Path, Built], device: torch.device) -> None:
        """`engines` are for the GPU `device`, and of the same network in the same precision; see :func:`find`."""
        self._engines, self._device = engines, device
        self.built = next(iter(engines.values()))
        self._changed: frozenset[str] = frozenset()
        self._state: Mapping[str, Tensor] = {}
        self._loaded: dict[Path, Loaded] = {}
        self._lock = threading.Lock()

    def refitted(self, changed: frozenset[str], state: Mapping[str, Tensor]) -> Shelf:
        """The same network, but with the weights `changed` of `state`. Raises :class:`EngineRangeError`."""
        able = {path: built for path, built in self._engines.items() if built.refit}
        if not able:
            raise EngineRangeError(
                "the TensorRT engine was built without refitting, so a LoRA cannot be added to its weights: "
                "`demond engine build --refit` on a machine with such a GPU, or choose the backend auto"
            )
        twin = Shelf(able, self._device)
        twin._changed, twin._state = self._changed | changed, state
        return twin

    def runner(self, sizes: Mapping[str, int]) -> Runner:
        """One that takes `batch`, `frames` and `length` of these `sizes`. Raises :class:`EngineFileError`."""
        *others, last = self._engines
        for path in others:
            with suppress(EngineRangeError):
                return Runner(self._load(path, sizes), self._device)
        return Runner(self._load(last, sizes), self._device)

    def _load(self, path: Path, sizes: Mapping[str, int]) -> Loaded:
        with self._lock:
            check_sizes(path, self._engines[path], sizes)
            if path not in self._loaded:
                loaded = load(*read_engine(path, tensorrt=installed_tensorrt(self.built.library), sizes=sizes))
                if self._changed:
                    refit(loaded, self._changed, self._state)
                self._loaded[path] = loaded
            return self._loaded[path]


def find(folder: Path, part: Part, weights: str, capability: str, device: torch.device) -> Shelf:
    """The engines below `folder` for `part` of a checkpoint whose weights have the SHA-256 `weights`.

    `capability` is that of the GPU, such as 8.9. Of several precisions the one that was built last counts. Raises
    :class:`EngineFileError`, with what the user can do.
    """
    known = {path: Built.read(record_of(path)) for path in folder.rglob(f"*{SUFFIX}") if record_of(path).exists()}
    own = {path: built for path, built in known.items() if (built.part, built.weights) == (part, weights)}
    if not own:
        raise EngineFileError(
            f"{folder} has no TensorRT engine of the {part} of this checkpoint: `demond engine export`, then "
            f"`demond engine build {folder} --capability {capability}`"
        )
    here = {path: built for path, built in own.items() if built.capability == capability}
    if not here:
        there = ", ".join(sorted({built.capability for built in own.values()}))
        raise EngineFileError(
            f"the engines in {folder} are for GPUs of compute capability {there}, and here is {capability}: "
            f"`demond engine build {folder} --capability {capability}`"
        )
    newest = sorted(here, key=lambda path: path.stat().st_mtime, reverse=True)
    precision = here[newest[0]].precision
    return Shelf({path: here[path] for path in newest if here[path].precision == precision}, device)
