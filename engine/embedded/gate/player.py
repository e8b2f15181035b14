"""The model without its stream: whole clips sampled at once, many requests in a batch.

Called by the measures of the gate and by the evaluation during training. It samples what the engine's ring samples:
Euler steps on the engine's own schedule from the engine's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from engine.conditioning import Prompt, load_conditioner
from engine.embedded.front import TagConditioner
from engine.model.checkpoint import CheckpointError, load_transformer
from engine.model.dit import DiT
from engine.noise import noise
from engine.schedule import times
from engine.vae import Vae, decode_window, encode_loop, load_vae


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A loaded codec on one device, in fp32, as the engine uses it."""

    vae: Vae
    device: torch.device

    def encode(self, audio: Tensor) -> Tensor:
        """Loops [B,2,N] -> latents [B,T,64]."""
        return torch.stack([encode_loop(self.vae, loop.to(self.device)) for loop in audio])

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B,T,64] -> loops [B,2,N]."""
        return torch.stack([decode_window(self.vae, z, 0, z.shape[0]) for z in latents])


@dataclass(frozen=True, slots=True, kw_only=True)
class Player(Codec):
    """A loaded model on one device, in fp32."""

    dit: DiT
    front: TagConditioner

    @classmethod
    def load(cls, checkpoint: Path, device: torch.device) -> Player:
        """The checkpoint of the built-in model's kind in a folder. Raises `CheckpointError`."""
        front = load_conditioner(checkpoint, device)
        if not isinstance(front, TagConditioner):
            raise CheckpointError(f"{checkpoint} is not of the built-in model's kind; the gate is about that one")
        dit = load_transformer(checkpoint, device, torch.float32)
        return cls(dit=dit, vae=load_vae(checkpoint, device), front=front, device=device)

    def context(self, hints: Tensor | None, count: int, frames: int) -> Tensor:
        """[count,frames,128]: structure hints [count,frames,64] or silence, everything to be generated."""
        if hints is None:
            hints = self.front.silence(frames).expand(count, -1, -1)
        return torch.cat((hints, torch.ones_like(hints)), -1)

    def hints(self, latents: Tensor) -> Tensor:
        """Structure hints [B,T,64] of latents [B,T,64]."""
        return torch.stack([self.front.hint(z) for z in latents])

    def sample(
        self,
        texts: Sequence[str],
        context: Tensor,
        seeds: Sequence[int],
        steps: int = 8,
        strength: float = 1.0,
        source: Tensor | None = None,
    ) -> Tensor:
        """Latents [B,T,64] for one text each; with `source` [B,T,64], from as much of it as `strength` leaves."""
        out = []
        for i in range(0, len(texts), 8):
            rows = slice(i, i + 8)
            start = None if source is None else source[rows]
            out.append(self._batch(texts[rows], context[rows], seeds[rows], steps, strength, start))
        return torch.cat(out)

    def _batch(
        self, texts: Sequence[str], context: Tensor, seeds: Sequence[int], steps: int, strength: float,
        source: Tensor | None,
    ) -> Tensor:  # fmt: skip
        frames = context.shape[1]
        states = torch.cat([self.front.encode(Prompt(text)).states for text in texts])
        kv = self.dit.keys_values(states)
        schedule = times(steps, strength, 3.0)
        x = torch.stack([noise(seed, frames, self.device) for seed in seeds])
        if source is not None:
            x = schedule[0] * x + (1 - schedule[0]) * source
        for t, following in pairwise(schedule):
            rows = self.dit.modulation(torch.full((len(texts),), t, device=self.device))
            x = x + (following - t) * self.dit(x, rows, context, kv)
        return x
