"""The network arranged for a GPU against the transformer that it is made of, its kernels in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.model.dit import DiT, Sizes
from tests.engine.parts import gaussian

pytest.importorskip("triton", reason="the kernels of a GPU are written in Triton, which the dev extra brings")

from engine.model import attention, kernels
from engine.model.fused import Fused, Sides

SIZES = Sizes(48, 80, 2, 4, 2, 32, sliding_window=16, encoder_hidden_size=24)
LENGTHS = (5, 40)


@pytest.fixture
def model() -> DiT:
    generator, model = torch.Generator().manual_seed(3), DiT(SIZES).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.1 * drawn if "norm" in name else drawn / parameter.shape[-1] ** 0.5)
    return model


@pytest.mark.parametrize(("frames", "short"), [(16, 256), (51, 256), (51, 10)])
@torch.inference_mode()
def test_it_is_the_same_function(model: DiT, frames: int, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of their own times, contexts and conditions; what lies in the padding is not heard."""
    monkeypatch.setattr(attention, "SHORT", short)
    count, tokens, padded = len(LENGTHS), -(-frames // 2), 48
    x, context = gaussian(count, frames, 64, seed=1), gaussian(count, frames, 128, seed=2)
    rows = model.modulation(torch.tensor([0.1, 1.0]))
    kvs = [model.keys_values(gaussian(1, length, 24, seed=length)) for length in LENGTHS]
    masks = [gaussian(1, length, seed=length) for length in LENGTHS]
    wanted = torch.cat(
        [model(x[i : i + 1], rows[i : i + 1], context[i : i + 1], kvs[i], masks[i]) for i in range(count)]
    )
    kv, bias = torch.full((2, 2, count, 2, padded, 32), 7.0), torch.zeros(count, padded)
    for row, length in enumerate(LENGTHS):
        kv[:, :, row, :, :length], bias[row, :length] = kvs[row][:, :, 0], masks[row]
    counts = torch.tensor(LENGTHS, dtype=torch.int32)
    sides = Sides(*model.tables(tokens, x.device, x.dtype)[:2], kv, bias, counts)
    seen = F.pad(torch.cat((context, x), dim=-1), (0, 0, 0, -frames % 2))
    assert (Fused(model).velocity(seen, rows, sides)[:, :frames] - wanted).abs().max() < 2e-5


def test_a_factor_in_fp8_is_scaled_row_by_row() -> None:
    x, weight = gaussian(1, 3, 48, seed=1) * torch.tensor([1e-3, 1.0, 1e3])[:, None], torch.ones(48)
    _, wanted = kernels.norm(x, weight, 0.0)
    _, rows = kernels.norm(x, weight, 0.0, fp8=True)
    assert isinstance(rows, kernels.Rows)
    assert isinstance(wanted, torch.Tensor)
    assert torch.allclose(rows.scale[:, 0], wanted[0].abs().amax(1) / kernels.FP8_MOST)
    error = (rows.rows.float() * rows.scale - wanted[0]).abs() / wanted[0].abs()
    assert error.median() < 1 / 16  # of most: the interpreter forgets the carry into the exponent


@pytest.mark.parametrize("width", [64, 80])
def test_gated_rows_are_scaled_to_their_largest(width: int) -> None:
    x = gaussian(1, 3, 2 * width, seed=4) * torch.tensor([1e-2, 1.0, 10.0])[:, None]
    wanted = torch.nn.functional.silu(x[0, :, :width]) * x[0, :, width:]
    plain, rows = kernels.swiglu(x), kernels.swiglu(x, fp8=True)
    assert isinstance(plain, torch.Tensor)
    assert isinstance(rows, kernels.Rows)
    assert torch.allclose(plain[0], wanted, rtol=1e-5)
    assert torch.allclose(rows.scale[:, 0], wanted.abs().amax(1) / kernels.FP8_MOST)
    error = (rows.rows.float() * rows.scale - wanted).abs() / wanted.abs().clamp_min(1e-9)
    assert error.median() < 1 / 16  # of most: the interpreter forgets the carry into the exponent


@pytest.mark.parametrize(("heads", "shared"), [(3, 1), (4, 2), (2, 2)])
@pytest.mark.parametrize("window", [0, 5])
def test_heads_attend_alone_or_with_those_that_share_their_keys(heads: int, shared: int, window: int) -> None:
    q, k, v = (gaussian(2, 70, count, 16, seed=count) for count in (heads, shared, shared))
    place = torch.arange(70)
    near = (place[:, None] - place).abs() <= (window or 70)
    alone = (each.transpose(1, 2).repeat_interleave(heads // each.shape[2], dim=1) for each in (q, k, v))
    wanted = torch.nn.functional.scaled_dot_product_attention(*alone, attn_mask=near).transpose(1, 2).flatten(2)
    assert (attention.attended(q, k, v, window) - wanted).abs().max() < 1e-5


def test_a_snake_bends_every_channel_by_its_own_numbers() -> None:
    x, alpha, share = gaussian(2, 3, 40, seed=2), torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 2.0, 0.1])
    wanted = x + share[:, None] * torch.sin(alpha[:, None] * x) ** 2
    assert (kernels.snake(x, alpha, share) - wanted).abs().max() < 1e-5
