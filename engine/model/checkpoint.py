"""Reads the weights of a model from a folder on disk, and says in words what is wrong with one that cannot be used.

Called once by the engine process while it starts. The layout is that of a diffusers pipeline: a folder for each part
(`transformer/`, `vae/`, `condition_encoder/`) with a `config.json` and safetensors, in one file or in shards. A
transformer may also carry the names of the original ACE-Step release. Only safetensors are read, never a pickle, and
no file outside the folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.model.dit import DiT, Sizes
from engine.recent import content_of

Progress = Callable[[str, float], None]
"""Called with a stage of loading and the share (0–1) of it that is done."""

_STEM = "diffusion_pytorch_model"
_ORIGINAL = (
    ("q_proj.", "to_q."),
    ("k_proj.", "to_k."),
    ("v_proj.", "to_v."),
    ("o_proj.", "to_out.0."),
    ("q_norm.", "norm_q."),
    ("k_norm.", "norm_k."),
    ("proj_in.1.", "proj_in_conv."),
    ("proj_out.1.", "proj_out_conv."),
)
_BESIDE = ("encoder.", "tokenizer.", "detokenizer.", "null_condition_emb")
"""How tensors begin that the original release keeps in one file with the transformer's."""
_NAMED = 6
"""Tensor names listed in an error before it says how many more there are."""


class CheckpointError(Exception):
    """The checkpoint cannot be used. What the user can do: point to another folder, or fetch the named file again."""


def check_checkpoint(root: Path) -> None:
    """Raises one :class:`CheckpointError` that names all that `root` lacks, before minutes are spent on loading."""
    if not root.is_dir():
        raise CheckpointError(f"{root} is no folder; a checkpoint is a folder in the diffusers layout")
    parts = [_transformer_folder(root), root / "vae", root / "condition_encoder"]
    conditioner = root / "condition_encoder" / "config.json"
    full = conditioner.is_file() and read_config(conditioner.parent).get("_class_name") == "AceStepConditionEncoder"
    if full:
        parts.append(root / "text_encoder")
        parts += [p for p in (root / "audio_tokenizer", root / "audio_token_detokenizer") if p.is_dir()]
    faults = [f"{part / 'config.json'} is missing" for part in parts if not (part / "config.json").is_file()]
    if full and not (root / "tokenizer" / "tokenizer.json").is_file():
        faults.append(f"{root / 'tokenizer' / 'tokenizer.json'} is missing")
    for part in parts:
        try:
            if (part / "config.json").is_file():
                faults += [f"{path} is missing" for path in _weight_files(part) if not path.is_file()]
        except CheckpointError as error:
            faults.append(str(error))
    if faults:
        raise CheckpointError(f"{root} is no whole checkpoint in the diffusers layout: {'; '.join(faults)}")
    if full:
        with needed_libraries(root):
            for name in ("diffusers", "transformers"):
                if importlib.util.find_spec(name) is None:
                    raise ModuleNotFoundError(f"No module named {name!r}")


@contextmanager
def needed_libraries(folder: Path) -> Iterator[None]:
    """Imports inside are those that `folder` needs; one that fails is said as a :class:`CheckpointError`."""
    try:
        yield
    except ImportError as error:
        raise CheckpointError(
            f"{folder} needs the libraries of demond's gpu extra ({error}): pip install 'demond[gpu]'"
        ) from None


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of one part. Raises :class:`CheckpointError` when it is missing or no JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; a checkpoint in the diffusers layout has one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return config


def read_tensors(
    folder: Path, progress: Callable[[float], None] = lambda share: None, without: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The tensors of one part, by the names in its files; names that begin with one of `without` are not read.

    Raises :class:`CheckpointError`.
    """
    tensors: dict[str, Tensor] = {}
    files = _weight_files(folder)
    for i, path in enumerate(files):
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if not name.startswith(without)]  # noqa: SIM118
                for j, name in enumerate(names):
                    tensors[name] = file.get_tensor(name).clone()  # not the file's own pages: it may be replaced
                    progress((i + (j + 1) / len(names)) / len(files))
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing, though the index beside it names it") from None
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is no whole safetensors file: {error}") from None
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a part, whole or sharded."""
    for stem in (_STEM, "model"):
        if (folder / f"{stem}.safetensors").is_file():
            return [folder / f"{stem}.safetensors"]
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise CheckpointError(f"{index} is no index of safetensors files") from None
            for name in names:
                if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                    raise CheckpointError(f"{index} names {name!r}, which is no safetensors file in the same folder")
            return [folder / name for name in names]
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
    hint = f"; {pickles[0]} is a pickle, which is never opened" if pickles else ""
    raise CheckpointError(f"{folder} holds no {_STEM}.safetensors{hint}")


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copies `tensors` into `module` in fp32. Raises :class:`CheckpointError` unless names and shapes match."""
    check_shapes({n: tuple(t.shape) for n, t in module.state_dict().items()}, tensors, where)
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raises one :class:`CheckpointError` naming every kind of difference between a file and what the config says."""
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    other = [
        f"{n} is {tuple(tensors[n].shape)} instead of {expected[n]}"
        for n in sorted(expected.keys() & tensors.keys())
        if tuple(tensors[n].shape) != expected[n]
    ]
    faults = [
        f"{word} {_some(names)}"
        for word, names in (("lacks", missing), ("has the unknown", unknown), ("has another shape:", other))
        if names
    ]
    if faults:
        raise CheckpointError(f"the weights in {where} do not fit its config.json: they {'; they '.join(faults)}")


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def tensor_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a transformer's tensors as diffusers stores them."""
    d, m, q, k = s.hidden_size, s.intermediate_size, s.num_attention_heads, s.num_key_value_heads
    q, k = q * s.head_dim, k * s.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "proj_in_conv.weight": (d, s.in_channels, s.patch_size),
        "proj_in_conv.bias": (d,),
        "proj_out_conv.weight": (d, s.audio_acoustic_hidden_dim, s.patch_size),
        "proj_out_conv.bias": (s.audio_acoustic_hidden_dim,),
        "condition_embedder.weight": (d, s.encoder_hidden_size),
        "condition_embedder.bias": (d,),
        "norm_out.weight": (d,),
        "scale_shift_table": (1, 2, d),
    }
    for part in ("time_embed", "time_embed_r"):
        for layer, rows, columns in (("linear_1", d, 256), ("linear_2", d, d), ("time_proj", 6 * d, d)):
            shapes[f"{part}.{layer}.weight"], shapes[f"{part}.{layer}.bias"] = (rows, columns), (rows,)
    for i in range(s.num_hidden_layers):
        layer = f"layers.{i}"
        shapes[f"{layer}.scale_shift_table"] = (1, 6, d)
        for norm in ("self_attn_norm", "cross_attn_norm", "mlp_norm"):
            shapes[f"{layer}.{norm}.weight"] = (d,)
        for attention in (f"{layer}.self_attn", f"{layer}.cross_attn"):
            for name, shape in (("to_q", (q, d)), ("to_k", (k, d)), ("to_v", (k, d)), ("to_out.0", (d, q))):
                shapes[f"{attention}.{name}.weight"] = shape
            shapes[f"{attention}.norm_q.weight"] = shapes[f"{attention}.norm_k.weight"] = (s.head_dim,)
        for name, shape in (("gate_proj", (m, d)), ("up_proj", (m, d)), ("down_proj", (d, m))):
            shapes[f"{layer}.mlp.{name}.weight"] = shape
    return shapes


def diffusers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's tensors under diffusers' names, from either naming; the original begins with `decoder.`"""
    if not any(name.startswith("decoder.") for name in tensors):
        own = {"decoder." + name: tensor for name, tensor in tensors.items()}
    else:
        own = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    renamed = {}
    for name, tensor in own.items():
        name = name.removeprefix("decoder.")
        for original, ours in _ORIGINAL:
            name = name.replace(original, ours)
        renamed[name] = tensor
    return renamed


def _transformer_folder(root: Path) -> Path:
    return root / "transformer" if (root / "transformer").is_dir() else root


def read_transformer_sizes(root: Path) -> Sizes:
    """The numbers of the transformer of the checkpoint `root`. Raises :class:`CheckpointError`."""
    folder = _transformer_folder(root)
    config = read_config(folder)
    name = config.get("_class_name", "AceStepTransformer1DModel")
    if name != "AceStepTransformer1DModel" and "AceStep" not in str(config.get("architectures", "")):
        raise CheckpointError(f"{folder / 'config.json'} says {name}; demond plays AceStepTransformer1DModel")
    try:
        return Sizes.from_config(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} cannot be played: {error}") from None


def read_turbo(root: Path) -> bool:
    """Whether the checkpoint `root` is distilled to few steps and has guidance built in, as its config says.

    Base and SFT checkpoints are not: they want guidance and more steps. Raises :class:`CheckpointError`.
    """
    config = read_config(_transformer_folder(root))
    return config.get("is_turbo") is True or "turbo" in str(config.get("model_version")).lower()


def load_transformer(
    root: Path, device: torch.device, dtype: torch.dtype, progress: Progress = lambda stage, share: None
) -> DiT:
    """The transformer of the checkpoint `root`, ready to run on `device`.

    The time embedding stays in fp32 whatever `dtype` is. Raises :class:`CheckpointError`.
    """
    folder, sizes = _transformer_folder(root), read_transformer_sizes(root)
    tensors = diffusers_names(read_tensors(folder, lambda share: progress("transformer", share), _BESIDE))
    check_shapes(tensor_shapes(sizes), tensors, folder)
    with torch.device("meta"):
        model = DiT(sizes, bf16_grid=dtype == torch.bfloat16)
    keep = torch.float32
    state = {n: t.to(device, keep if n.startswith("time_embed") else dtype) for n, t in tensors.items()}
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


class Weighted(Protocol):
    """What has weights by name."""

    def state_dict(self) -> dict[str, Any]:
        """As of torch's modules."""


def weights_of(module: Weighted) -> str:
    """What tells the weights of `module` from others: SHA-256 of their names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + content_of(tensor))
    return digest.hexdigest()
