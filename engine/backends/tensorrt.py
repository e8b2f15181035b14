"""The backend that runs a TensorRT engine, which was built ahead of time by `demond engine build`.

What depends on the time alone or on the condition alone is computed by torch as in the other backends, once; the
engine computes the rest. Rows are put together as the eager backend puts them. `engine.trt.runtime` binds and runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.backends import BackendError, BackendRangeError, Side
from engine.backends.eager import EagerBackend
from engine.model.checkpoint import Weighted, weights_of
from engine.model.dit import DiT
from engine.trt.decoder import EngineVae
from engine.trt.files import EngineFileError, EngineRangeError, Part, Precision
from engine.trt.runtime import DTYPES, Runner
from engine.trt.shelf import Shelf, find
from engine.vae import Vae

log = logging.getLogger("engine.backends")

ONCE = ("time_embed", "condition_embedder", "cross_attn.kv", "cross_attn.norm_k")
"""Parts of the names of the weights that torch has; all others are the engine's."""


class TensorRtBackend(EagerBackend):
    """See `engine.backends.Backend`."""

    name = "tensorrt"

    def __init__(self, model: DiT, device: torch.device, shelf: Shelf) -> None:
        """`model` is the whole network in fp32, anywhere; `shelf` has its engines for `device`."""
        super().__init__(_once(model, device, shelf.built.precision == Precision.BF16))
        self.device, self._dtype = device, torch.float32
        self._whole, self._shelf = model, shelf
        self._runner: Runner | None = None
        self._sizes: dict[str, int] = {}

    @torch.inference_mode()
    def prepare(self, batch: int, frames: int, length: int) -> None:
        """See `engine.backends.Backend`."""
        step = self._shelf.built.frames_step
        runner = self._open({"batch": batch, "frames": -(-frames // step) * step, "length": length})
        super().prepare(batch, frames, length)
        self.most = min(self.most, runner.built.ranges["batch"][2])

    def retuned(self, tensors: Mapping[str, Tensor]) -> TensorRtBackend:
        """See `engine.backends.Backend`. Raises `BackendError`, too."""
        model, shelf = self._whole.retuned(tensors), self._shelf
        changed = frozenset(name for name in tensors if not any(part in name for part in ONCE))
        try:
            if changed:
                shelf = shelf.refitted(changed, model.state_dict())
        except EngineRangeError as error:
            raise BackendRangeError(str(error)) from None
        twin = TensorRtBackend(model, self.device, shelf)
        twin._batch, twin.most = self._batch, self.most
        if self._sizes:
            twin._open(self._sizes)
        return twin

    @torch.inference_mode()
    def keys_values(self, states: Tensor) -> Tensor:
        """See `engine.backends.Backend`."""
        return super().keys_values(states).to(DTYPES[self._shelf.built.inputs["kv"].dtype])

    @torch.inference_mode()
    def velocity(self, x: Tensor, t: Sequence[float], sides: Sequence[Side]) -> Tensor:
        """See `engine.backends.Backend`."""
        return self._at_once(x.float(), torch.cat([self._modulation(time) for time in t]), sides)

    def _forward(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        if self._runner is None or mask is None:
            raise RuntimeError("a TensorRT backend is prepared before it runs: call prepare")
        frames = x.shape[1]
        short = -frames % self._shelf.built.frames_step
        x, context = (F.pad(y, (0, 0, 0, short)) for y in (x, context))
        return self._runner(x=x, rows=rows, context=context, kv=kv, mask=mask)[:, :frames]

    def _padded(self, length: int) -> int:
        longest = self._shelf.built.ranges["length"] if self._runner is None else self._runner.built.ranges["length"]
        return max(length, min(super()._padded(length), longest[2]))

    def _open(self, sizes: dict[str, int]) -> Runner:
        try:
            runner = self._shelf.runner(sizes)
        except EngineRangeError as error:
            raise BackendRangeError(str(error)) from None
        except EngineFileError as error:
            raise BackendError(str(error)) from None
        self._runner, self._sizes = runner, sizes
        return runner


def load(model: DiT, device: torch.device, engines: Path) -> TensorRtBackend:
    """The backend over `model`, in fp32, with its engines in the folder `engines`. Raises `BackendError`."""
    try:
        return TensorRtBackend(model, device, _engines(Part.DIT, model, device, engines))
    except EngineFileError as error:
        raise BackendError(f"{error}; or choose the backend auto") from None


def load_decoder(vae: Vae, device: torch.device, engines: Path) -> Vae:
    """`vae`, which is on `device` in fp32, with its decoder's engine if there is one. Raises `BackendError`."""
    try:
        shelf = _engines(Part.DECODER, vae, device, engines)
    except EngineFileError as error:
        log.info("torch decodes: %s", error)
        return vae
    try:
        return EngineVae(vae, shelf.runner({"batch": 1, "frames": shelf.built.ranges["frames"][1]}))
    except EngineFileError as error:
        raise BackendError(str(error)) from None


def _engines(part: Part, module: Weighted, device: torch.device, folder: Path) -> Shelf:
    capability = "{}.{}".format(*torch.cuda.get_device_capability(device))
    return find(folder, part, weights_of(module), capability, device)


def _once(model: DiT, device: torch.device, bf16_grid: bool) -> DiT:
    """The part of `model` that torch computes, on `device`; what the engine computes takes no memory."""
    with torch.device("meta"):
        part = DiT(model.sizes, bf16_grid=bf16_grid)
    state = {
        name: tensor.to(device if any(own in name for own in ONCE) else "meta")
        for name, tensor in model.state_dict().items()
    }
    part.load_state_dict(state, assign=True)
    return part.eval().requires_grad_(False)
