"""Our transformer against diffusers', its oracle."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from diffusers import AceStepTransformer1DModel
from torch import nn

from engine.model.dit import DiT, Sizes
from tests.engine.conftest import gaussian

TOLERANCE = 5e-5
SIZES = Sizes(
    hidden_size=96,
    intermediate_size=160,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    encoder_hidden_size=48,
)


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = AceStepTransformer1DModel(**asdict(SIZES))  # type: ignore[no-untyped-call, assignment]
        return model.eval()


@pytest.fixture(scope="module")
def ours(oracle: nn.Module) -> DiT:
    model = DiT(SIZES).eval()
    model.load_state_dict(oracle.state_dict())
    return model


@pytest.mark.parametrize(
    ("batch", "frames", "length"),
    [
        pytest.param(1, 250, 60, id="usual"),
        pytest.param(2, 251, 33, id="odd-frames"),
        pytest.param(2, 700, 20, id="longer-than-the-window"),
        pytest.param(1, 261, 5, id="just-longer-than-the-window"),
        pytest.param(1, 40, 400, id="more-condition-than-music"),
        pytest.param(4, 62, 1, id="one-token"),
    ],
)
@torch.inference_mode()
def test_the_velocity_is_that_of_diffusers(
    ours: DiT, oracle: nn.Module, batch: int, frames: int, length: int
) -> None:
    x, context = gaussian(batch, frames, 64, seed=1), gaussian(batch, frames, 128, seed=2)
    states, t = gaussian(batch, length, 48, seed=3), torch.linspace(0.05, 1, batch)
    theirs = oracle(x, t, t, states, context).sample
    difference = (ours(x, ours.modulation(t), context, ours.keys_values(states)) - theirs).abs().max().item()
    print(f"B {batch} T {frames} L {length}: {difference:.2e} of {theirs.abs().max():.1f}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("boolean", [True, False])
@torch.inference_mode()
def test_a_padded_condition_equals_the_unpadded_one(ours: DiT, boolean: bool) -> None:
    x, context, states = gaussian(1, 60, 64, seed=1), gaussian(1, 60, 128, seed=2), gaussian(1, 7, 48, seed=3)
    rows = ours.modulation(torch.tensor([0.6]))
    plain = ours(x, rows, context, ours.keys_values(states))
    padded = torch.cat((states, 9 * gaussian(1, 5, 48, seed=4)), dim=1)
    mask = torch.arange(12)[None] < 7
    if not boolean:
        mask = torch.where(mask, 0.0, -torch.inf)
    masked = ours(x, rows, context, ours.keys_values(padded), mask)
    assert (masked - plain).abs().max() <= 1e-5
    assert (ours(x, rows, context, ours.keys_values(padded)) - plain).abs().max() > 1e-2  # the mask is what does it


@torch.inference_mode()
def test_fused_weights_load_again(ours: DiT) -> None:
    twin = DiT(SIZES)
    twin.load_state_dict(ours.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), ours.parameters(), strict=True))


def test_the_bf16_grid_rounds_times_as_training_did() -> None:
    model = DiT(SIZES, bf16_grid=True)
    seen: list[torch.Tensor] = []
    model.time_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.modulation(torch.tensor([21 / 22, 9 / 14]))
    assert seen[0].tolist() == [952.0, 644.0]


@pytest.mark.parametrize(
    "fault",
    [{"attention_bias": True}, {"layer_types": ["full_attention"] * 24}, {"num_key_value_heads": 3}],
)
def test_a_variant_that_is_not_computed_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"attention|layer_types|num_attention_heads"):
        Sizes.from_config(fault)
