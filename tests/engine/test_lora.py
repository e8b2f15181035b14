"""LoRA files in all layouts against PEFT's own merge, and files that are refused."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
import pytest
import torch
from diffusers import AceStepTransformer1DModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from engine.backends.eager import EagerBackend
from engine.lora import Lora, LoraError, merged, read_lora
from engine.model.dit import DiT
from tests.engine.conftest import SIZES, gaussian

TOLERANCE = 5e-7
"""Of weights around 1, in fp32: PEFT adds the product once it is scaled, we scale it while adding."""
MODULES = ["to_q", "to_k", "to_v", "to_out.0", "gate_proj", "up_proj", "down_proj"]
MODULES += ["linear_1", "linear_2", "time_proj", "condition_embedder", "proj_in_conv"]
ORIGINAL = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "o_proj", "proj_in_conv": "proj_in.1"}
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = AceStepTransformer1DModel(**asdict(SIZES))  # type: ignore[no-untyped-call, assignment]
        return model.eval()


@pytest.fixture(scope="module")
def base(oracle: nn.Module) -> Tensors:
    return state(oracle)


def state(oracle: nn.Module) -> Tensors:
    """Diffusers' weights as ours."""
    model = DiT(SIZES)
    model.load_state_dict(oracle.state_dict())
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def trained(oracle: nn.Module, folder: Path, seed: int = 1, **config: Any) -> Tensors:
    """Saves a random adapter in PEFT's layout, and returns the weights of PEFT's own merge."""
    config = {"r": 4, "lora_alpha": 6, "target_modules": MODULES} | config
    adapted = peft.get_peft_model(copy.deepcopy(oracle), peft.LoraConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(folder)
    return state(peft.PeftModel.from_pretrained(copy.deepcopy(oracle), folder).merge_and_unload())


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


def layout(tensors: Tensors, kind: str, alpha: float | None) -> Tensors:
    """The tensors of an adapter of PEFT as another program would have written them."""
    out = {}
    for name, tensor in tensors.items():
        module, _, rest = name.removeprefix("base_model.model.").partition(".lora_")
        which = rest[0]
        if kind.startswith("original"):
            for ours, theirs in ORIGINAL.items():
                module = module.removesuffix(ours) + theirs if module.endswith(ours) else module
        module, ending = {
            "original": (f"base_model.model.{module}", f"lora_{which}.weight"),
            "original-decoder": (f"base_model.model.decoder.{module}", f"lora_{which}.default.weight"),
            "original-comfy": (f"diffusion_model.decoder.{module}", f"lora_{which}.weight"),
            "diffusers": (f"transformer.{module}", f"lora_{which}.weight"),
            "bare": (module, f"lora_{which}"),
            "old": (f"transformer.{module}", f"lora.{'down' if which == 'A' else 'up'}.weight"),
            "kohya": (f"lora_unet_{module.replace('.', '_')}", f"lora_{'down' if which == 'A' else 'up'}.weight"),
            "original-kohya": (
                f"lora_transformer_decoder_{module.replace('.', '_')}",
                f"lora_{'down' if which == 'A' else 'up'}.weight",
            ),
        }[kind]
        out[f"{module}.{ending}"] = tensor
        if alpha is not None:
            out[f"{module}.alpha"] = torch.tensor(alpha)
    return out


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


def in_memory(tensors: Tensors) -> Lora:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        save_file(tensors, file)
        return read_lora(file)


def pair(module: str = "layers.0.self_attn.to_q", rows: int = 64, columns: int = 64, rank: int = 2) -> Tensors:
    return {
        f"{module}.lora_A.weight": gaussian(rank, columns, seed=1),
        f"{module}.lora_B.weight": gaussian(rows, rank, seed=2),
    }


def test_what_the_network_does_not_have_is_left_out_and_named() -> None:
    tensors = pair() | pair("text_encoder.layers.0.self_attn.q_proj") | {"lora_te_x.alpha": torch.ones(())}
    lora = in_memory(tensors)
    assert list(lora.pairs) == ["layers.0.self_attn.to_q"]
    assert "left out what this network does not have: lora_te_x.alpha, text_encoder.layers.0" in lora.remark


def test_an_alpha_may_be_an_integer() -> None:
    lora = in_memory(pair() | {"layers.0.self_attn.to_q.alpha": torch.tensor(8)})
    assert lora.pairs["layers.0.self_attn.to_q"].scale == 4


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


def test_a_retuned_backend_shares_its_weights_and_is_made_while_the_old_one_runs(
    backend: EagerBackend, tmp_path: Path
) -> None:
    x, context, states = gaussian(4, 50, 64, seed=1), gaussian(1, 50, 128, seed=2), gaussian(1, 5, 24, seed=3)
    times = [0.2, 0.5, 0.9, 1.0]
    base = backend._model.state_dict()
    lora = in_memory(pair() | pair("time_embed.linear_2"))

    def velocity(backend: EagerBackend) -> Tensor:
        return backend.velocity(x, times, context, backend.keys_values(states), None)

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
    assert torch.equal(velocity(backend), before)
    assert torch.equal(velocity(made[0].retuned({})), after)
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in made[0]._model.state_dict().values()}
    shared = {t.untyped_storage().data_ptr() for t in base.values()}
    changed = ("layers.0.self_attn.qkv.weight", "time_embed.linear_2.weight")
    assert sum(size for place, size in own.items() if place not in shared) == sum(base[n].nbytes for n in changed)
