"""A VAE on a CUDA device whose windows are decoded by captured graphs, in a stream of their own.

Made by the builder of rigs, called by playback. A block is decoded behind the ticks: the stream waits for the latent
on the device, the host waits once, for the audio. The decoder runs in half precision.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.geometry import CHANNELS, HOP
from engine.graphs import captured
from engine.vae import OobleckVae, Vae, decode_window

COUNTS = (11, 16, 27, 52)
"""Frames of the windows that are captured: a block, a long one, one that fills the loop, and what slow ticks need."""


class CapturedVae:
    """See `engine.vae.Vae`; of `inner`, which it takes over."""

    def __init__(self, inner: Vae, device: torch.device) -> None:
        """Captures the windows. Raises `RuntimeError` when that cannot be done."""
        if isinstance(inner, OobleckVae):
            inner.model.decoder.half()
            _fuse_snakes(inner.model.decoder)
        self._inner, self.reach, self.encoder_reach = inner, inner.reach, inner.encoder_reach
        self._device, self._lock = device, threading.Lock()
        self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call] # heard sooner than a tick
        pool = torch.cuda.graph_pool_handle()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._windows = [_Window(inner, count, device, pool) for count in COUNTS]

    def state_dict(self) -> dict[str, Any]:
        """See `engine.vae.Vae`."""
        return self._inner.state_dict()

    def encode(self, audio: Tensor) -> Tensor:
        """See `engine.vae.Vae`."""
        return self._inner.encode(audio)

    def decode(self, latents: Tensor) -> Tensor:
        """See `engine.vae.Vae`."""
        return self._inner.decode(latents)

    @torch.inference_mode()
    def begin_window(self, latents: Tensor, start: int, count: int) -> Callable[[], NDArray[np.float32]]:
        """See `engine.vae.begin_window`. A window longer than the longest of :data:`COUNTS` is decoded uncaptured."""
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with self._lock, torch.cuda.stream(stream):  # a rehearsal decodes in another thread
            at = bisect_left(COUNTS, count)
            if at < len(COUNTS):
                audio = self._windows[at].decode(latents, start, self.reach)[:, : count * HOP]
            else:
                audio = decode_window(self._inner, latents, start, count)
            latents.record_stream(stream)
            host = torch.empty(audio.shape, pin_memory=True)
            host.copy_(audio, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(stream)

        def wait() -> NDArray[np.float32]:
            done.synchronize()
            return host.numpy().T

        return wait


class _Window:
    """The decoding of a window of one length."""

    def __init__(self, vae: Vae, count: int, device: torch.device, pool: Any) -> None:
        self._around = torch.arange(count + 2 * vae.reach, device=device)
        self._latents = torch.zeros(count + 2 * vae.reach, CHANNELS, device=device)
        self._audio = torch.zeros(2, count * HOP, device=device)
        inside = slice(vae.reach * HOP, (vae.reach + count) * HOP)

        def run() -> None:
            self._audio.copy_(vae.decode(self._latents)[:, inside])

        self._graph = captured(run, pool)

    def decode(self, latents: Tensor, start: int, reach: int) -> Tensor:
        """Audio [2,N] that the next call overwrites."""
        torch.index_select(latents, 0, (self._around + (start - reach)) % latents.shape[0], out=self._latents)
        self._graph.replay()
        return self._audio


class _Snake(nn.Module):
    """`x + sin(alpha x)^2 / beta` (Ziyin et al., 2020) in one kernel."""

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        """Both by channel."""
        super().__init__()
        self.register_buffer("alpha", alpha)
        self.register_buffer("share", 1 / beta)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B,C,N]."""
        from engine.model.kernels import snake

        return snake(x, self.alpha, self.share)  # type: ignore[arg-type]


def _fuse_snakes(decoder: nn.Module) -> None:
    """Puts :class:`_Snake` in the place of diffusers' `Snake1d`, which takes five kernels."""
    for module in list(decoder.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "Snake1d":
                found: Any = child
                alpha, beta = (
                    (torch.exp(p) if found.logscale else p).detach().float().flatten()
                    for p in (found.alpha, found.beta)
                )
                setattr(module, name, _Snake(alpha, beta + 1e-9))
