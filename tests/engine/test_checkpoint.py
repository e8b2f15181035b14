"""Checkpoint folders: both namings, shards, and faults said in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AceStepTransformer1DModel
from safetensors.torch import save_file
from torch import Tensor

from engine import CheckpointError, embedded
from engine.model.checkpoint import load_transformer, read_tensors, read_turbo, tensor_shapes
from engine.model.dit import DiT
from tests.engine.parts import SIZES, gaussian

CPU = torch.device("cpu")
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(shape, generator=generator) for n, shape in tensor_shapes(SIZES).items()}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save(weights: Weights, config: dict[str, object] | None = None) -> Path:
        folder = tmp_path / "transformer"
        folder.mkdir(exist_ok=True)
        content = {"_class_name": "AceStepTransformer1DModel", **asdict(SIZES), **(config or {})}
        (folder / "config.json").write_text(json.dumps(content))
        save_file(weights, folder / "diffusion_pytorch_model.safetensors")
        return tmp_path

    return save


def original(weights: Weights) -> Weights:
    """The transformer as the original release has it, beside parts of other models."""
    table = {
        "to_q.": "q_proj.",
        "to_k.": "k_proj.",
        "to_v.": "v_proj.",
        "to_out.0.": "o_proj.",
        "norm_q.": "q_norm.",
        "norm_k.": "k_norm.",
        "proj_in_conv.": "proj_in.1.",
        "proj_out_conv.": "proj_out.1.",
    }
    renamed = {
        "encoder.text_projector.weight": torch.zeros(2, 2),
        "tokenizer.quantizer.project_in.weight": torch.zeros(2, 2),
        "detokenizer.embed_tokens.weight": torch.zeros(2, 2),
        "null_condition_emb": torch.zeros(1, 1, 4),
    }
    for name, tensor in weights.items():
        for ours, theirs in table.items():
            name = name.replace(ours, theirs)
        renamed[f"decoder.{name}"] = tensor
    return renamed


def load(root: Path) -> DiT:
    return load_transformer(root, CPU, torch.float32)


def same(a: DiT, b: DiT) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_the_embedded_checkpoint_loads_and_tells_how_far_it_is() -> None:
    seen: list[tuple[str, float]] = []
    model = load_transformer(
        embedded.CHECKPOINT, CPU, torch.float32, lambda stage, share: seen.append((stage, share))
    )
    assert sum(p.numel() for p in model.parameters()) > 8e6
    assert seen[-1] == ("transformer", 1.0)
    assert [share for _, share in seen] == sorted(share for _, share in seen)


def test_shards_are_read_as_one(save: Callable[..., Path], weights: Weights, tmp_path: Path) -> None:
    whole = load(save(weights))
    folder = tmp_path / "transformer"
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    names = sorted(weights)
    index: dict[str, str] = {}
    for i, part in enumerate((names[:20], names[20:])):
        file = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        save_file({n: weights[n] for n in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(load(tmp_path), whole)


def test_the_original_release_s_names_are_understood(save: Callable[..., Path], weights: Weights) -> None:
    whole = load(save(weights))
    assert same(load(save(original(weights))), whole)


def test_a_folder_of_the_original_release_loads_whole_or_in_shards(
    save: Callable[..., Path], weights: Weights, tmp_path: Path
) -> None:
    whole = load(save(weights))
    root = tmp_path / "acestep-v15-xl-base"
    root.mkdir()
    config = {**asdict(SIZES), "architectures": ["AceStepConditionGenerationModel"], "model_type": "acestep"}
    (root / "config.json").write_text(json.dumps(config))
    tensors = original(weights)
    save_file(tensors, root / "model.safetensors")
    assert same(load(root), whole)
    (root / "model.safetensors").unlink()
    beside = [name for name in tensors if not name.startswith("decoder.")]
    decoder = [name for name in tensors if name.startswith("decoder.")]
    index: dict[str, str] = {}
    for i, part in enumerate((beside, decoder[:9], decoder[9:])):
        file = f"model-0000{i + 1}-of-00003.safetensors"
        save_file({n: tensors[n] for n in part}, root / file)
        index |= dict.fromkeys(part, file)
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(load(root), whole)


def test_tensors_that_are_not_wanted_are_not_read(save: Callable[..., Path], weights: Weights) -> None:
    folder = save(original(weights)) / "transformer"
    assert {name.partition(".")[0] for name in read_tensors(folder)} > {"decoder", "encoder"}
    names = read_tensors(folder, without=("encoder.", "tokenizer.", "detokenizer.", "null_condition_emb"))
    assert {name.partition(".")[0] for name in names} == {"decoder"}


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float32])
def test_weights_of_any_precision_load_into_the_one_that_is_wanted(
    save: Callable[..., Path], weights: Weights, stored: torch.dtype, wanted: torch.dtype
) -> None:
    model = load_transformer(save({name: t.to(stored) for name, t in weights.items()}), CPU, wanted)
    assert torch.equal(model.proj_out.bias[:64], weights["proj_out_conv.bias"].to(stored).to(wanted))
    linear = model.time_embed.linear_1.weight
    assert linear.dtype == torch.float32
    assert torch.equal(linear, weights["time_embed.linear_1.weight"].to(stored).float())


@torch.inference_mode()
def test_a_transformer_wider_than_its_conditions_and_narrower_than_its_heads_is_that_of_diffusers(
    save: Callable[..., Path],
) -> None:
    """As XL checkpoints are: 2560 wide, with conditions of 2048 and 32 heads of 128."""
    sizes = replace(SIZES, hidden_size=40, num_attention_heads=4, num_key_value_heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        oracle: Any = AceStepTransformer1DModel(**asdict(sizes)).eval()  # type: ignore[no-untyped-call]
    model = load(save(original(dict(oracle.state_dict())), asdict(sizes) | {"is_turbo": False}))
    x, context, states = gaussian(2, 40, 64, seed=1), gaussian(2, 40, 128, seed=2), gaussian(2, 5, 24, seed=3)
    t = torch.tensor([0.3, 0.9])
    difference = (
        model(x, model.modulation(t), context, model.keys_values(states)) - oracle(x, t, t, states, context).sample
    )
    assert difference.abs().max() < 5e-5


@pytest.mark.parametrize(
    ("config", "turbo"),
    [
        ({"is_turbo": True}, True),
        ({"is_turbo": False, "model_version": "base"}, False),
        ({"is_turbo": None, "model_version": None}, False),
        ({"model_version": "turbo"}, True),
        ({"model_version": "xl_turbo"}, True),
        ({"is_turbo": "yes", "model_version": 3}, False),
        ({}, False),
    ],
)
def test_a_config_tells_whether_the_checkpoint_is_a_turbo(
    save: Callable[..., Path], weights: Weights, config: dict[str, object], turbo: bool
) -> None:
    assert read_turbo(save(weights, config)) is turbo


@torch.inference_mode()
def test_a_bf16_model_runs_and_keeps_its_times_in_fp32(save: Callable[..., Path], weights: Weights) -> None:
    root = save({name: tensor / max(1, tensor.shape[-1]) ** 0.5 for name, tensor in weights.items()})
    exact, half = load(root), load_transformer(root, CPU, torch.bfloat16)
    half.bf16_grid = False
    assert {p.dtype for p in half.time_embed.parameters()} == {torch.float32}
    assert {p.dtype for n, p in half.named_parameters() if not n.startswith("time_embed")} == {torch.bfloat16}
    x, context, states = gaussian(1, 40, 64, seed=1), gaussian(1, 40, 128, seed=2), gaussian(1, 5, 24, seed=3)
    rows = exact.modulation(torch.tensor([0.5]))
    assert torch.equal(half.modulation(torch.tensor([0.5])), rows)
    v = exact(x, rows, context, exact.keys_values(states))
    rough = half(x.bfloat16(), rows, context.bfloat16(), half.keys_values(states.bfloat16()))
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - v).square().mean().sqrt() < 0.05 * v.square().mean().sqrt()


def test_missing_unknown_and_misshapen_tensors_are_all_named(save: Callable[..., Path], weights: Weights) -> None:
    broken = dict(weights)
    del broken["layers.1.mlp.up_proj.weight"]
    broken["layers.0.extra.weight"] = torch.zeros(1)
    broken["norm_out.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        load(save(broken))
    for words in ("lacks layers.1.mlp.up_proj.weight", "layers.0.extra.weight", "norm_out.weight is (3,) instead"):
        assert words in str(caught.value)


def test_another_architecture_is_named(save: Callable[..., Path], weights: Weights) -> None:
    with pytest.raises(CheckpointError, match="UNet1DModel"):
        load(save(weights, {"_class_name": "UNet1DModel"}))


def test_a_pickle_is_never_opened(save: Callable[..., Path], weights: Weights) -> None:
    root = save(weights)
    file = root / "transformer" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="is a pickle, which is never opened"):
        load(root)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "weights.bin", 3])
def test_an_index_may_not_leave_the_folder(
    save: Callable[..., Path], weights: Weights, tmp_path: Path, name: object
) -> None:
    save(weights)
    folder = tmp_path / "transformer"
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="no safetensors file in the same folder"):
        load(tmp_path)


def test_a_truncated_file_is_named(save: Callable[..., Path], weights: Weights) -> None:
    root = save(weights)
    file = root / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.safetensors is no whole safetensors file"):
        load(root)


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"hidden_size": "large"}'])
def test_a_broken_config_is_named(save: Callable[..., Path], weights: Weights, content: str) -> None:
    root = save(weights)
    (root / "transformer" / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(root)
