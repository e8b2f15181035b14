"""The network arranged for a GPU against the transformer that it is made of; here on the CPU, operator by operator."""

from __future__ import annotations

import pytest
import torch

from engine.model.dit import DiT, Sizes
from engine.model.fused import SPARSE, Fused, Sides, angles, band, seen
from tests.engine.parts import gaussian

SIZES = Sizes(64, 96, 4, 4, 2, 32, sliding_window=16, encoder_hidden_size=24)
ROWS, LENGTHS = 3, (5, 150, 1)


@pytest.fixture
def model() -> DiT:
    generator, model = torch.Generator().manual_seed(3), DiT(SIZES).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return model


@pytest.mark.parametrize("frames", [16, 51, 300])
@torch.inference_mode()
def test_it_is_the_same_function(model: DiT, frames: int) -> None:
    x, context = gaussian(ROWS, frames, 64, seed=1), gaussian(ROWS, frames, 128, seed=2)
    rows, tokens = model.modulation(torch.tensor([0.1, 0.6, 1.0])), -(-frames // 2)
    kvs = [model.keys_values(gaussian(1, length, 24, seed=length)) for length in LENGTHS]
    wanted = torch.cat(
        [model(x[i : i + 1], rows[i : i + 1], context[i : i + 1], kv) for i, kv in enumerate(kvs)]
    )
    padded = -(-max(LENGTHS) // SPARSE) * SPARSE
    kv, bias = torch.full((4, 2, ROWS, 2, padded, 32), 7.0), torch.full((ROWS, padded), -torch.inf)
    counts = torch.ones(ROWS, 1, -(-tokens // SPARSE), dtype=torch.int32)
    indices = torch.arange(padded // SPARSE, dtype=torch.int32).repeat(ROWS, 1, counts.shape[2], 1)
    for row, (given, length) in enumerate(zip(kvs, LENGTHS, strict=True)):
        kv[:, :, row, :, :length], bias[row, :length] = given[:, :, 0], 0.0
        counts[row] = -(-length // SPARSE)
    turn = angles(model, tokens, x.device, x.dtype)
    sides = Sides(*turn, band(SIZES, tokens, x.device), bias, seen(ROWS, tokens, counts, indices, padded))
    v = Fused(model, compiled=False).velocity(x, rows, context, kv, sides)
    assert (v - wanted).abs().max() < 2e-5
