"""Small real parts with random weights, the same in every run: what tests and golden values are made with."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.backends.eager import EagerBackend
from engine.conditioning import Condition
from engine.guide import Guides, PromptSlot
from engine.model.dit import DiT, Sizes

SIZES = Sizes(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    encoder_hidden_size=24,
)
FRAMES = 50


def single_threaded() -> None:
    """Sums are split among threads, and so rounded by their number."""
    torch.set_num_threads(1)


def gaussian(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_backend() -> EagerBackend:
    """An eager backend over a random transformer whose velocities are as large as real ones."""
    model = DiT(SIZES)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
            elif "norm" not in name:
                parameter.zero_()
    backend = EagerBackend(model.eval().requires_grad_(False))
    backend.prepare(4, FRAMES, 6)
    return backend


def random_source() -> Tensor:
    """A loop of latents [50,64]."""
    return gaussian(FRAMES, 64, seed=4)


def random_guides(backend: EagerBackend, source: Tensor) -> Guides:
    """Two prompts of different lengths, a negative one, and hints."""
    conditions: dict[PromptSlot, Condition] = {
        "a": Condition(gaussian(1, 6, 24, seed=1)),
        "b": Condition(gaussian(1, 4, 24, seed=2)),
        "negative": Condition(gaussian(1, 1, 24, seed=8)),
    }
    return Guides(backend, source, gaussian(FRAMES, 64, seed=3), torch.zeros(FRAMES, 64), conditions)
