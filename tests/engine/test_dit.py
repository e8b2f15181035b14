"""Our transformer against diffusers', its oracle."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
import torch
from diffusers import AceStepTransformer1DModel
from torch import nn

from engine.model.dit import DiT, Sizes, place
from tests.engine.parts import gaussian

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


def test_every_weight_of_diffusers_is_found_again_inside_ours(ours: DiT, oracle: nn.Module) -> None:
    state = ours.state_dict()
    for name, weight in oracle.state_dict().items():
        if name.endswith(".weight"):
            own, view = place(name, SIZES)
            assert torch.equal(view(state[own]), weight), name
            assert view(state[own]).data_ptr() >= state[own].data_ptr(), name
            view(state[own]).add_(0)  # a view: writing to it would write to ours


@torch.inference_mode()
def test_a_retuned_network_shares_all_it_did_not_change_and_leaves_the_old_one_alone(ours: DiT) -> None:
    x, context, states = gaussian(1, 60, 64, seed=1), gaussian(1, 60, 128, seed=2), gaussian(1, 7, 48, seed=3)

    def velocity(model: DiT) -> torch.Tensor:
        return model(x, model.modulation(torch.tensor([0.6])), context, model.keys_values(states))

    before = velocity(ours)
    name = "layers.1.self_attn.qkv.weight"
    twin = ours.retuned({name: 2 * ours.state_dict()[name]})
    assert not torch.equal(velocity(twin), before)
    assert torch.equal(velocity(ours), before)
    old, new = ours.state_dict(), twin.state_dict()
    assert old.keys() == new.keys()
    assert {n for n in old if old[n].data_ptr() != new[n].data_ptr()} == {name}
    assert torch.equal(velocity(twin.retuned({name: old[name]})), before)


@torch.inference_mode()
def test_a_retuned_time_embedding_is_not_answered_from_the_old_one_s_constant(ours: DiT) -> None:
    t = torch.tensor([0.6])
    rows = ours.modulation(t)
    name = "time_embed_r.linear_2.bias"
    assert not torch.equal(ours.retuned({name: ours.state_dict()[name] + 1}).modulation(t), rows)
    twin = DiT(SIZES)
    twin.modulation(t)
    twin.load_state_dict(ours.state_dict())
    assert torch.equal(twin.modulation(t), rows)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("layers.9.extra", torch.zeros(1), "no weight layers.9.extra"),
        ("norm_out.weight", torch.zeros(3), "wants (96,)"),
        ("norm_out.weight", torch.zeros(96, dtype=torch.bfloat16), "in torch.bfloat16"),
        ("norm_out.weight", torch.zeros(96, device="meta"), "on meta"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(ours: DiT, name: str, tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ours.retuned({name: tensor})


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
