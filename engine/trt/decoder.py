"""A VAE whose decoder is a TensorRT engine.

Made by the builder of rigs when the backend is `tensorrt` and there is such an engine; called like any VAE. Windows
that the engine was not built for are decoded by torch, and so is all sound encoded.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

from engine.trt.runtime import Runner
from engine.vae import Vae


class EngineVae:
    """See `engine.vae.Vae`. Any thread may decode: a context is lent to one at a time, until its work is queued."""

    def __init__(self, vae: Vae, runner: Runner) -> None:
        """`vae` is on the device of `runner`, which runs its decoder."""
        self.reach, self.encoder_reach = vae.reach, vae.encoder_reach
        self._vae, self._runner = vae, runner
        self._least, _, self._most = runner.built.ranges["frames"]
        self._lock = threading.Lock()

    def state_dict(self) -> dict[str, Any]:
        """See `engine.vae.Vae`."""
        return self._vae.state_dict()

    def encode(self, audio: Tensor) -> Tensor:
        """See `engine.vae.Vae`."""
        return self._vae.encode(audio)

    def decode(self, latents: Tensor) -> Tensor:
        """See `engine.vae.Vae`."""
        if not self._least <= len(latents) <= self._most:
            return self._vae.decode(latents)
        with self._lock:
            return self._runner(latents=latents[None])[0]
