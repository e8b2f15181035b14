"""LoRA files that are refused, in words and without anything having changed; and files made to do harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from engine.lora import LoraError, merged, read_lora
from tests.engine.lora_files import Tensors, in_memory, pair, random_oracle, state, trained
from tests.engine.parts import SIZES


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    return random_oracle()


@pytest.fixture(scope="module")
def base(oracle: nn.Module) -> Tensors:
    return state(oracle)


NAN = torch.full((2, 64), torch.nan)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "holds no LoRA of this network; what it holds is no tensors at all"),
        (
            {"down_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 2)},
            "what it holds is down_blocks.0.attn.to_q.lora_A",
        ),
        ({"layers.0.self_attn.to_q.weight": torch.ones(2, 2)}, "what it holds is layers.0.self_attn.to_q.weight"),
        (pair() | {"layers.0.self_attn.to_q.lora_magnitude_vector": torch.ones(64)}, "belongs to DoRA"),
        (pair() | {"layers.0.self_attn.to_q.dora_scale": torch.ones(64)}, "belongs to DoRA"),
        ({"lycoris_layers_0_self_attn_q_proj.lokr_w1": torch.ones(8, 8)}, "belongs to LoKr"),
        ({"lora_unet_layers_0_mlp_up_proj.hada_w1_a": torch.ones(8, 8)}, "belongs to LoHa"),
        ({"diffusion_model.layers.0.mlp.up_proj.diff": torch.ones(8, 8)}, "belongs to whole differences"),
        (pair() | {"layers.0.self_attn.to_q.lora_B.bias": torch.ones(64)}, "belongs to a LoRA with biases"),
        (pair() | {"layers.0.self_attn.to_q.lora_mid.weight": torch.ones(2, 2)}, "belongs to LoCon"),
        (pair() | pair("decoder.layers.0.self_attn.q_proj"), "holds the same matrix twice"),
        (
            {"layers.0.self_attn.to_q.lora_A.weight": torch.ones(2, 64)},
            "only one of the two matrices of layers.0.self",
        ),
        (
            pair() | {"layers.0.self_attn.to_q.lora_B.weight": torch.ones(64, 3)},
            "do not fit each other, 64x3 and 2x64",
        ),
        (pair() | {"layers.0.self_attn.to_q.lora_B.weight": torch.ones(64)}, "do not fit each other, 64 and 2x64"),
        (pair(rank=0), "do not fit each other, 64x0 and 0x64"),
        (pair() | {"layers.0.self_attn.to_q.lora_A.weight": NAN}, "numbers that are not finite"),
        (pair() | {"layers.0.self_attn.to_q.alpha": torch.tensor(torch.inf)}, "numbers that are not finite"),
        (pair() | {"layers.0.self_attn.to_q.alpha": torch.ones(2)}, "alpha of shape 2, instead of one number"),
        (pair() | {"layers.0.self_attn.to_q.lora_A.weight": torch.ones(2, 64).int()}, "of the kind I32"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(tensors: Tensors, words: str, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(LoraError, match=r"x\.safetensors .*") as caught:
        read_lora(tmp_path / "x.safetensors")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (pair("layers.7.self_attn.to_q"), "was made for another network: this one has no layers.7.self_attn.to_q"),
        (pair(rows=128), "layers.0.self_attn.to_q is (64, 64) here, and its matrices are 128x2 and 2x64"),
        (pair(columns=32), "is (64, 64) here, and its matrices are 64x2 and 2x32"),
        ({n: t[..., None].repeat(1, 1, 2) for n, t in pair().items()}, "64x2x2 and 2x64x2"),
        (pair("proj_in_conv", columns=384), "is (64, 192, 2) here, and its matrices are 64x2 and 2x384"),
    ],
)
def test_a_lora_of_another_network_is_refused_even_at_strength_0(base: Tensors, tensors: Tensors, words: str) -> None:
    with pytest.raises(LoraError) as caught:
        merged(base, SIZES, [(in_memory(tensors), 0.0)])
    assert words in str(caught.value)


def test_a_strength_that_is_no_number_is_refused(base: Tensors) -> None:
    with pytest.raises(ValueError, match="which is no finite number"):
        merged(base, SIZES, [(in_memory(pair()), float("nan"))])


def test_a_sum_that_overflows_is_refused(base: Tensors) -> None:
    with pytest.raises(LoraError, match=r"qkv\.weight overflows with x at 1e\+38; lower strengths"):
        merged(base, SIZES, [(in_memory({n: 9 * t for n, t in pair().items()}), 1e38)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peft_type": "LOKR"}, "its config says LOKR"),
        ({"peft_type": ["LORA"]}, "its config says a list"),
        ({"use_dora": True}, "asks for DoRA"),
        ({"lora_bias": True, "bias": "all"}, "asks for biases"),
        ({"modules_to_save": ["norm_out"]}, "asks for whole modules beside the LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "a base that it changed at the start"),
        ({"r": 8}, "has rank 4, not 8"),
        ({"r": 0}, "has rank 4, not 0"),
        ({"lora_alpha": "much"}, "a config with much where a number is wanted"),
        ({"lora_alpha": float("nan")}, "a config with nan where a number is wanted"),
        ({"lora_alpha": [[[]]]}, "a config with a list where a number is wanted"),
        ({"rank_pattern": [1]}, "rank_pattern is no table of names"),
        ({"alpha_pattern": {"(a+)+": 1}}, "only names are read there"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(
    oracle: nn.Module, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    trained(oracle, tmp_path, target_modules=["to_q"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(LoraError) as caught:
        read_lora(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "[" * 100_000, '{"r": ' + "9" * 5000 + "}", '"\\ud800"', "\xff\xfe"]
)
def test_a_broken_config_is_named(oracle: nn.Module, tmp_path: Path, text: str) -> None:
    trained(oracle, tmp_path, target_modules=["to_q"])
    (tmp_path / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(LoraError, match=r"adapter_config\.json|a number is wanted"):
        read_lora(tmp_path)


def test_paths_that_are_no_lora_are_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80")
    (tmp_path / "notes.txt").write_text("hello")
    for path, words in (
        (tmp_path, r"holds no adapter_model\.safetensors; adapter_model\.bin is a pickle, which is never opened"),
        (tmp_path / "notes.txt", "is no safetensors file"),
        (tmp_path / "adapter_model.bin", "is no safetensors file"),
        (tmp_path / "missing.safetensors", "there is no such file"),
        (Path("a\0b.safetensors"), "there is no such file"),
    ):
        with pytest.raises(LoraError, match=words):
            read_lora(path)


def test_a_hostile_file_of_thousands_of_names_is_answered_at_once_in_one_short_line(tmp_path: Path) -> None:
    one = torch.ones(1, 1)
    names = [f"layers.{i}" + ".lora_A" * 40 + "_" * 40 + "\x1b[31m\n" for i in range(5000)]
    names += ["decoder_" * 5000 + f"{i}.lora_A.weight" for i in range(20)]
    save_file({name: one.clone() for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(LoraError) as caught:
        read_lora(tmp_path / "x.safetensors")
    assert len(str(caught.value)) < 600 + len(str(tmp_path))
    assert str(caught.value).isprintable()


WORDS = [
    "base_model.model.",
    "transformer.",
    "decoder.",
    "lora_unet_",
    "layers.",
    "layers_",
    "0.",
    "1.",
    "9999.",
    "self_attn.",
]
WORDS += [
    "self_attn_",
    "mlp.",
    "to_q",
    "q_proj",
    "up_proj",
    "proj_in.1",
    "time_embed_r.",
    "linear_1",
    ".lora_A",
    ".lora_B",
]
WORDS += [".lora_up", ".lora_down", ".weight", ".alpha", ".default", ".bias", ".", "_", "\0", "é", "٣"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map("".join), min_size=1, max_size=8),
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=8, max_size=8),
)
def test_any_names_and_shapes_are_read_or_refused(
    base: Tensors, tmp_path: Path, names: list[str], shapes: list[list[int]]
) -> None:
    tensors = {name: torch.ones(shape) for name, shape in zip(names, shapes, strict=False)}
    save_file(tensors, tmp_path / "x.safetensors")
    try:
        merged(base, SIZES, [(read_lora(tmp_path / "x.safetensors"), 1.0)])
    except LoraError as error:
        said = str(error)
    else:
        said = ""
    assert said == "" or said.isprintable()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(base: Tensors, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(save(pair() | {"layers.0.self_attn.to_q.alpha": torch.ones(())}))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    (tmp_path / "x.safetensors").write_bytes(content)
    try:
        merged(base, SIZES, [(read_lora(tmp_path / "x.safetensors"), 1.0)])
    except LoraError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
