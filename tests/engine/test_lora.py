"""LoRA files in all layouts against PEFT's own merge, and weights that are swapped while the old ones run."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.backends import Side
from engine.backends.eager import EagerBackend
from engine.lora import Lora, merged, read_lora
from tests.engine.lora_files import Tensors, in_memory, layout, pair, random_oracle, state, trained
from tests.engine.parts import SIZES, gaussian

TOLERANCE = 5e-7
"""Of weights around 1, in fp32: PEFT adds the product once it is scaled, we scale it while adding."""


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    return random_oracle()


@pytest.fixture(scope="module")
def base(oracle: nn.Module) -> Tensors:
    return state(oracle)


def applied(base: Tensors, *loras: tuple[Lora, float]) -> Tensors:
    return base | merged(base, SIZES, loras)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="all"),
        pytest.param({"use_rslora": True}, id="rslora"),
        pytest.param({"lora_alpha": 3, "r": 7}, id="odd"),
        pytest.param({"target_modules": ["to_v", "up_proj"]}, id="slices"),
        pytest.param(
            {
                "rank_pattern": {"layers.0.self_attn.to_q": 2, "down_proj": 5},
                "alpha_pattern": {"layers.1.cross_attn.to_k": 1, "^layers\\.0\\.mlp\\.gate_proj$": 9, "to_out.0": 2},
            },
            id="patterns",
        ),
        pytest.param({"alpha_pattern": {"to_q": 1, "self_attn.to_q": 20}}, id="the-first-pattern-counts"),
        pytest.param({"alpha_pattern": {"q": 9, "attn.to_k": 20}}, id="patterns-are-whole-names"),
        pytest.param({"init_lora_weights": "gaussian", "rank_pattern": {"to_q": 3}, "use_rslora": True}, id="mixed"),
    ],
)
@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys")
def test_an_adapter_of_peft_gives_the_weights_of_peft_s_own_merge(
    oracle: nn.Module, base: Tensors, tmp_path: Path, config: dict[str, Any]
) -> None:
    theirs = trained(oracle, tmp_path / "warm", **config)
    lora = read_lora(tmp_path / "warm")
    assert (lora.name, lora.remark) == ("warm", "")
    ours = applied(base, (lora, 1.0))
    assert {n for n in base if not torch.equal(ours[n], base[n])} == {
        n for n in base if not torch.equal(theirs[n], base[n])
    }
    print(f"{distance(ours, theirs):.1e}; the change is up to {distance(base, theirs):.1f}")
    assert distance(ours, theirs) <= TOLERANCE
    again = applied(base, (read_lora(tmp_path / "warm" / "adapter_model.safetensors"), 1.0))
    assert distance(again, ours) == 0


def test_several_at_once_at_their_strengths_are_the_sum_that_peft_makes(
    oracle: nn.Module, base: Tensors, tmp_path: Path
) -> None:
    first = trained(oracle, tmp_path / "a", seed=1)
    second = trained(oracle, tmp_path / "b", seed=2, target_modules=["to_k", "to_v", "linear_2"], r=3)
    a, b = read_lora(tmp_path / "a"), read_lora(tmp_path / "b")
    wanted = {n: base[n] + 0.5 * (first[n] - base[n]) - 1.5 * (second[n] - base[n]) for n in base}
    assert distance(applied(base, (a, 0.5), (b, -1.5)), wanted) <= 2 * TOLERANCE


def test_strength_0_is_the_base_bit_for_bit_and_moving_there_and_back_leaves_nothing(
    oracle: nn.Module, base: Tensors, tmp_path: Path
) -> None:
    trained(oracle, tmp_path / "a")
    lora = read_lora(tmp_path / "a")
    once = merged(base, SIZES, [(lora, 0.3)])
    for step in range(20):
        merged(base, SIZES, [(lora, step / 7)])
    assert merged(base, SIZES, [(lora, 0.0)]) == {}
    again = merged(base, SIZES, [(lora, 0.3)])
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_bf16_base_is_rounded_once(oracle: nn.Module, base: Tensors, tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in base.items()}
    trained(oracle, tmp_path / "a")
    trained(oracle, tmp_path / "b", seed=2)
    loras = [(read_lora(tmp_path / "a"), 0.7), (read_lora(tmp_path / "b"), -0.2)]
    exact = merged({name: tensor.float() for name, tensor in half.items()}, SIZES, loras)
    for name, tensor in merged(half, SIZES, loras).items():
        assert torch.equal(tensor, exact[name].bfloat16())


@pytest.mark.parametrize(
    "kind", ["original", "original-decoder", "original-comfy", "diffusers", "bare", "old", "kohya", "original-kohya"]
)
def test_a_single_file_gives_the_same_as_the_adapter_of_peft(
    oracle: nn.Module, base: Tensors, tmp_path: Path, kind: str
) -> None:
    trained(oracle, tmp_path / "a")
    whole = applied(base, (read_lora(tmp_path / "a"), 0.8))
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    file = tmp_path / "strings.safetensors"
    save_file(layout(tensors, kind, 6.0), file)
    lora = read_lora(file)
    assert (lora.name, lora.remark) == ("strings", "")
    assert distance(applied(base, (lora, 0.8)), whole) == 0


def test_a_file_without_alpha_says_that_it_is_taken_to_be_the_rank(
    oracle: nn.Module, base: Tensors, tmp_path: Path
) -> None:
    theirs = trained(oracle, tmp_path / "a", lora_alpha=4)
    save_file(load_file(tmp_path / "a" / "adapter_model.safetensors"), tmp_path / "b.safetensors")
    lora = read_lora(tmp_path / "b.safetensors")
    assert lora.remark == "no alpha is given, so it is taken to be the rank"
    assert distance(applied(base, (lora, 1.0)), theirs) <= TOLERANCE


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_the_header_that_diffusers_writes_gives_the_scale(
    oracle: nn.Module, base: Tensors, tmp_path: Path, prefix: str
) -> None:
    theirs = trained(oracle, tmp_path / "a", use_rslora=True, alpha_pattern={"to_q": 1})
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    header = {"lora_adapter_metadata": json.dumps({f"{prefix}{key}": value for key, value in config.items()})}
    tensors = layout(load_file(tmp_path / "a" / "adapter_model.safetensors"), "diffusers", None)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_file(tensors, folder / "pytorch_lora_weights.safetensors", header)
    assert distance(applied(base, (read_lora(folder), 1.0)), theirs) <= TOLERANCE


def test_a_lora_of_the_output_convolution_is_added_in_the_order_of_its_weight(
    oracle: nn.Module, base: Tensors
) -> None:
    """PEFT has no LoRA of a transposed convolution; the definition is the same."""
    up, down = gaussian(SIZES.hidden_size, 3, 1, seed=1), gaussian(3, 64, 2, seed=2)
    lora = in_memory({"proj_out.1.lora_up.weight": up, "proj_out.1.lora_down.weight": down})
    changed = copy.deepcopy(oracle)
    weight = changed.get_parameter("proj_out_conv.weight")
    with torch.no_grad():
        weight += torch.einsum("or,rck->ock", up[:, :, 0], down)
    assert distance(applied(base, (lora, 1.0)), state(changed)) <= 10 * TOLERANCE


def test_what_the_network_does_not_have_is_left_out_and_named() -> None:
    tensors = pair() | pair("text_encoder.layers.0.self_attn.q_proj") | {"lora_te_x.alpha": torch.ones(())}
    lora = in_memory(tensors)
    assert list(lora.pairs) == ["layers.0.self_attn.to_q"]
    assert "left out what this network does not have: lora_te_x.alpha, text_encoder.layers.0" in lora.remark


def test_an_alpha_may_be_an_integer() -> None:
    lora = in_memory(pair() | {"layers.0.self_attn.to_q.alpha": torch.tensor(8)})
    assert lora.pairs["layers.0.self_attn.to_q"].scale == 4


def test_a_retuned_backend_shares_its_weights_and_is_made_while_the_old_one_runs(
    backend: EagerBackend,
) -> None:
    x, context, states = gaussian(4, 50, 64, seed=1), gaussian(1, 50, 128, seed=2), gaussian(1, 5, 24, seed=3)
    base = backend.model.state_dict()
    lora = in_memory(pair() | pair("time_embed.linear_2"))

    def velocity(backend: EagerBackend) -> Tensor:
        return backend.velocity(x, [0.2, 0.5, 0.9, 1.0], [Side(context, backend.keys_values(states), None)] * 4)

    before, made = velocity(backend), []
    worker = threading.Thread(
        target=lambda: made.extend(backend.retuned(merged(base, SIZES, [(lora, 1.0)])) for _ in range(10))
    )
    worker.start()
    while worker.is_alive():
        assert torch.equal(velocity(backend), before)
    worker.join()
    after = velocity(made[0])
    assert not torch.equal(after, before)
    assert torch.equal(velocity(made[-1]), after)
    assert made[0].most == backend.most
    assert torch.equal(velocity(backend), before)
    assert torch.equal(velocity(made[0].retuned({})), after)
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in made[0].model.state_dict().values()}
    shared = {t.untyped_storage().data_ptr() for t in base.values()}
    changed = ("layers.0.self_attn.qkv.weight", "time_embed.linear_2.weight")
    assert sum(size for place, size in own.items() if place not in shared) == sum(base[n].nbytes for n in changed)
