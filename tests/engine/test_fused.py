"""The network arranged for a GPU against the transformer that it is made of, its kernels in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from engine.model.dit import DiT, Sizes
from tests.engine.parts import gaussian

pytest.importorskip("triton", reason="the kernels of a GPU are written in Triton, which the dev extra brings")

from engine.model.fused import Fused, Sides

SIZES = Sizes(48, 80, 4, 4, 2, 32, sliding_window=16, encoder_hidden_size=24)
LENGTHS = (5, 70, 1)


@pytest.fixture
def model() -> DiT:
    generator, model = torch.Generator().manual_seed(3), DiT(SIZES).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.1 * drawn if "norm" in name else drawn / parameter.shape[-1] ** 0.5)
    return model


@pytest.mark.parametrize("frames", [16, 51, 150, 520])
@torch.inference_mode()
def test_it_is_the_same_function(model: DiT, frames: int) -> None:
    """Rows of their own times, contexts and conditions; what lies in the padding is not heard."""
    count, tokens, padded = len(LENGTHS), -(-frames // 2), 80
    x, context = gaussian(count, frames, 64, seed=1), gaussian(count, frames, 128, seed=2)
    rows = model.modulation(torch.tensor([0.1, 0.6, 1.0]))
    kvs = [model.keys_values(gaussian(1, length, 24, seed=length)) for length in LENGTHS]
    masks = [gaussian(1, length, seed=length) for length in LENGTHS]
    wanted = torch.cat(
        [model(x[i : i + 1], rows[i : i + 1], context[i : i + 1], kvs[i], masks[i]) for i in range(count)]
    )
    kv, bias = torch.full((4, 2, count, 2, padded, 32), 7.0), torch.zeros(count, padded)
    for row, length in enumerate(LENGTHS):
        kv[:, :, row, :, :length], bias[row, :length] = kvs[row][:, :, 0], masks[row]
    counts = torch.tensor(LENGTHS, dtype=torch.int32)
    sides = Sides(*model.tables(tokens, x.device, x.dtype)[:2], kv, bias, counts)
    assert (Fused(model).velocity(x, rows, context, sides) - wanted).abs().max() < 2e-5
