"""A ring to measure: the built-in model over the beginning of its clip, or a network of any size with random weights.

Called by the other modules here. Random weights cost and react as trained ones do; only the music is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from engine import embedded
from engine.backends import Backend
from engine.backends.eager import EagerBackend
from engine.conditioning import Condition, Prompt, load_conditioner
from engine.curves import Curves
from engine.geometry import CHANNELS, HOP
from engine.guide import Guides, PromptSlot
from engine.knobs import Knobs
from engine.model.checkpoint import check_checkpoint, load_transformer
from engine.model.dit import DiT, Sizes
from engine.source import load_source
from engine.stream import Result, Ring
from engine.vae import Vae, encode_loop, load_vae

SHAPES = {
    "tiny": Sizes(64, 96, 2, 2, 1, 32, encoder_hidden_size=24),
    "2b": Sizes(),
    "xl": Sizes(2560, 9728, 32, 32, 8, 128, encoder_hidden_size=2048),
}
"""Networks by name: one for tests, and those of the ACE-Step v1.5 releases."""
Runner = Callable[[DiT], Backend]
"""Makes of a network what runs it."""

TOKENS = 200
"""Tokens of a random condition; a usual prompt has 60 to 300."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What a ring is made of, and what its ticks are given."""

    backend: Backend
    source: Tensor
    """[T,64]."""
    guides: Guides
    curves: Curves
    sizes: Sizes
    vae: Vae | None = None
    """What decodes it, where the model has one."""

    def over(self, frames: int) -> Stand:
        """The same network over the source again and again, for so many frames."""
        at = torch.arange(frames, device=self.source.device) % len(self.source)
        return replace(
            self, source=self.source[at], guides=self.guides.over(at), curves=Curves(frames, self.backend.device)
        )

    def ring(self, depth: int, steps: int) -> Ring:
        """A ring over the source, warmed up."""
        self.backend.prepare(depth, len(self.source), TOKENS)
        return Ring(self.backend, self.source, depth, steps)

    def tick(self, ring: Ring, knobs: Knobs, curves: Curves | None = None) -> list[Result]:
        """All that a tick is in performance, the guide included."""
        curves = curves or self.curves
        return ring.tick(knobs, self.guides.at(knobs, curves), curves)


@torch.inference_mode()
def built_in(frames: int) -> Stand:
    """The built-in model on the CPU, over the first `frames` of its clip."""
    cpu = torch.device("cpu")
    return loaded(embedded.CHECKPOINT, cpu, EagerBackend, frames)


@torch.inference_mode()
def loaded(root: Path, device: torch.device, runner: Runner, most: int | None = None) -> Stand:
    """The checkpoint `root` over the clip inside, or over its first `most` frames. Raises `CheckpointError`."""
    check_checkpoint(root)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    audio = torch.from_numpy(load_source(embedded.CLIP))
    audio = audio if most is None else audio[:, : most * HOP]
    vae = load_vae(root, device)
    source = encode_loop(vae, audio.to(device))
    conditioner = load_conditioner(root, device, dtype)
    transformer = load_transformer(root, device, dtype)
    backend = runner(transformer)
    conditions: dict[PromptSlot, Condition] = {
        "a": conditioner.encode(Prompt(embedded.PROMPT_A)),
        "b": conditioner.encode(Prompt(embedded.PROMPT_B)),
        "negative": conditioner.null(),
    }
    silence = conditioner.silence(len(source))
    guides = Guides(backend, source, conditioner.hint(source), silence, conditions)
    return Stand(backend, source, guides, Curves(len(source), device), transformer.sizes, vae)


@torch.inference_mode()
def random(sizes: Sizes, frames: int, device: torch.device, runner: Runner = EagerBackend) -> Stand:
    """A network of these sizes with random weights of the magnitude of trained ones, in bf16 on a GPU, run by what
    `runner` makes of it.
    """
    generator = torch.Generator(device).manual_seed(1)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device("meta"):
        model = DiT(sizes)
    state = {}
    for name, tensor in model.state_dict().items():
        if tensor.dim() > 1:
            drawn = gaussian(*tensor.shape) / tensor.shape[-1] ** 0.5
        else:
            drawn = torch.full(tensor.shape, float("norm" in name), device=device)
        state[name] = drawn.to(torch.float32 if name.startswith("time_embed") else dtype)
    model.load_state_dict(state, assign=True)
    backend = runner(model.eval().requires_grad_(False))
    lengths: dict[PromptSlot, int] = {"a": TOKENS, "b": TOKENS // 2, "negative": 1}
    conditions = {slot: Condition(gaussian(1, n, sizes.encoder_hidden_size)) for slot, n in lengths.items()}
    source, hint = gaussian(frames, CHANNELS), gaussian(frames, CHANNELS)
    guides = Guides(backend, source, hint, torch.zeros_like(hint), conditions)
    return Stand(backend, source, guides, Curves(frames, device), sizes)
