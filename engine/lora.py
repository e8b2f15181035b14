"""Reads LoRA files, and adds them to the network's weights.

Called by the session on its worker thread, never in a tick. A LoRA (Hu et al., 2021) changes a weight by two thin
matrices, `W' = W + strength * scale * up @ down`. Its scale is alpha / rank, or alpha / sqrt(rank) where the config
asks for it (rsLoRA, Kalajdzievski, 2023). Two layouts are known: PEFT's (`adapter_model.safetensors` with
`adapter_config.json`), and single files with `lora_A`/`lora_B` or kohya's `lora_down`/`lora_up`, whose scale is in
`.alpha` tensors or in the header that diffusers writes. Modules go by diffusers' names or by those of the original
ACE-Step release, with dots or kohya's underscores, after any of the usual prefixes.

What cannot be added exactly is refused, never approximated. Only safetensors are read, never a pickle.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.model.adapters import module_name, other_kind, split_name
from engine.model.checkpoint import tensor_shapes
from engine.model.dit import Sizes, place

_ADAPTER, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_CONFIG_MOST = 1 << 20
"""Bytes of a config that are read; real ones have a few thousand."""
_SHOWN = 4
"""Names listed in a message before it says how many more there are."""

_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_INTEGERS = ("I64", "I32", "I16", "I8", "U8")
"""The kinds of numbers that are read, by safetensors' names; integers as an alpha only."""

_OTHER_SETTINGS = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "kasa_config": "KaSA",
    "arrow_config": "Arrow",
    "lora_bias": "biases",
    "alora_invocation_tokens": "activation by tokens",
    "layer_replication": "replicated layers",
    "modules_to_save": "whole modules beside the LoRA",
    "target_parameters": "bare parameters",
}
"""Settings of PEFT that change what an adapter computes, and what they stand for."""
_CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations of PEFT that also change the weights which the adapter is added to."""


class LoraError(Exception):
    """The LoRA cannot be used. What the user can do: give another file, or one made for this checkpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The change of one weight: `scale * up @ down`."""

    up: Tensor
    """[rows, rank], as a file holds it: of a convolution with axes of length 1 behind."""
    down: Tensor
    """[rank, ...]: behind the rank the axes of the weight."""
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """A LoRA as read from a file, on the CPU in the file's dtype."""

    name: str
    """As a performer knows it: the stem of the file, or the name of the folder."""
    pairs: Mapping[str, Pair]
    """By diffusers' name of the module, such as `layers.0.self_attn.to_q`."""
    remark: str
    """What the user should know, such as what was left out; often empty."""


def read_lora(path: Path) -> Lora:
    """The LoRA in the file or folder `path`. Raises :class:`LoraError`."""
    file, config = _find(path)
    try:
        with safe_open(file, framework="pt") as opened:
            found = _Found(list(opened.keys()), file)
            config = config or _from_header(opened.metadata() or {}, file)
            tensors = {name: _read(opened, name, file) for name in found.wanted()}
    except (OSError, SafetensorError) as error:
        raise LoraError(f"{file} is no whole safetensors file: {error}") from None
    settings = _Settings(config, file) if config else None
    pairs, assumed = {}, False
    for module, (names, raw) in found.modules.items():
        if not {"up", "down"} <= names.keys():
            raise LoraError(f"{file} holds only one of the two matrices of {module}")
        up, down = tensors[names["up"]], tensors[names["down"]]
        if up.dim() < 2 or down.dim() < 2 or not up.shape[1] == down.shape[0] > 0:
            raise LoraError(
                f"{file} has matrices that do not fit each other, {_shape(up)} and {_shape(down)}: {module}"
            )
        rank, scale = down.shape[0], 1.0
        if "alpha" in names:
            alpha = tensors[names["alpha"]]
            if alpha.numel() != 1:
                raise LoraError(f"{file} has an alpha of shape {_shape(alpha)}, instead of one number: {module}")
            scale = alpha.item() / rank
        elif settings:
            scale = settings.scale(raw, rank)
        else:
            assumed = True
        pairs[module] = Pair(up, down, scale)
    remarks = [f"left out what this network does not have: {_some(found.others)}"] if found.others else []
    remarks += ["no alpha is given, so it is taken to be the rank"] if assumed else []
    whole = path.is_dir() or path.name == _ADAPTER
    folder = path if path.is_dir() else path.parent
    return Lora(folder.absolute().name if whole else path.stem, pairs, "; ".join(remarks))


@torch.no_grad()
def merged(base: Mapping[str, Tensor], sizes: Sizes, loras: Sequence[tuple[Lora, float]]) -> dict[str, Tensor]:
    """The weights that `loras` at their strengths change, by our names, in the dtype and on the device of `base`.

    `base` is the state of the network without any LoRA, which is not touched. Strengths are finite and may be
    negative; a LoRA at 0 takes no part, so a weight that no other changes is not in the answer. Sums are made in
    fp32 from the base, in the order given, and rounded once. Raises :class:`LoraError` when one was made for a
    network of other sizes or the sum overflows, and `ValueError` for a strength that is no finite number.
    """
    shapes = tensor_shapes(sizes)
    changes: dict[str, list[tuple[Callable[[Tensor], Tensor], Pair, float]]] = {}
    for lora, strength in loras:
        if not math.isfinite(strength):
            raise ValueError(f"the strength of {lora.name} is {strength}, which is no finite number")
        for module, pair in lora.pairs.items():
            _check_fit(lora.name, module, pair, shapes)
            if strength:
                name, view = place(f"{module}.weight", sizes)
                changes.setdefault(name, []).append((view, pair, strength * pair.scale))
    result = {}
    for name, parts in changes.items():
        total = base[name].to(torch.float32, copy=True)
        for view, pair, factor in parts:
            up, down = (m.to(total.device, torch.float32).flatten(1) for m in (pair.up, pair.down))
            weight = view(total)
            weight.add_((up @ down).reshape(weight.shape), alpha=factor)
        result[name] = total.to(base[name].dtype)
        if not result[name].isfinite().all():
            names = ", ".join(f"{lora.name} at {strength:g}" for lora, strength in loras)
            raise LoraError(f"{name} overflows with {names}; lower strengths are needed")
    return result


def _check_fit(lora: str, module: str, pair: Pair, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises :class:`LoraError` unless `pair` has the shape of the module's weight."""
    wanted = shapes.get(f"{module}.weight")
    if wanted is None:
        raise LoraError(f"{lora} was made for another network: this one has no {module}")
    down = list(pair.down.shape[1:])
    while len(down) > len(wanted) - 1 and down[-1] == 1:
        down.pop()
    if (pair.up.shape[0], *down) != wanted or pair.up[0, 0].numel() != 1:
        raise LoraError(
            f"{lora} was made for another network: {module} is {wanted} here, "
            f"and its matrices are {_shape(pair.up)} and {_shape(pair.down)}"
        )


class _Found:
    """The tensors of a file, sorted by what they are of."""

    def __init__(self, names: Sequence[str], file: Path) -> None:
        """Raises :class:`LoraError` for another kind of adapter, for a module that is there twice, and for none."""
        self.modules: dict[str, tuple[dict[str, str], str]] = {}
        """By diffusers' module name: the tensors' names by kind (`up`, `down`, `alpha`), and the file's own name."""
        self.others: list[str] = []
        alphas = {}
        for name in sorted(names):
            kind = other_kind(name)
            if kind:
                raise LoraError(f"{file} is another kind of adapter than a LoRA: {_some([name])} belongs to {kind}")
            raw, which = split_name(name)
            module = module_name(raw)
            if which is None or module is None:
                self.others.append(name)
            elif which == "alpha":
                alphas[name] = module
            else:
                parts, _ = self.modules.setdefault(module, ({}, raw))
                self._add(parts, which, name, file)
        for name, module in alphas.items():
            if module in self.modules:
                self._add(self.modules[module][0], "alpha", name, file)
            else:
                self.others.append(name)
        if not self.modules:
            what = _some(self.others) if self.others else "no tensors at all"
            raise LoraError(f"{file} holds no LoRA of this network; what it holds is {what}")

    @staticmethod
    def _add(parts: dict[str, str], which: str, name: str, file: Path) -> None:
        if which in parts:
            raise LoraError(f"{file} holds the same matrix twice: {_some([parts[which], name])}")
        parts[which] = name

    def wanted(self) -> Iterable[str]:
        """Names of the tensors to read."""
        return (name for names, _ in self.modules.values() for name in names.values())


def _read(opened: Any, name: str, file: Path) -> Tensor:
    """One tensor, owned: the file may be replaced while it is in use."""
    kind = opened.get_slice(name).get_dtype()
    if kind not in (*_FLOATS, *(_INTEGERS if name.endswith(".alpha") else ())):
        raise LoraError(
            f"{file} holds numbers of the kind {kind}, which is no float that demond reads: {_some([name])}"
        )
    tensor: Tensor = opened.get_tensor(name).clone()
    if not tensor.float().isfinite().all():
        raise LoraError(f"{file} holds numbers that are not finite: {_some([name])}")
    return tensor


class _Settings:
    """What an adapter's config says of its scale."""

    def __init__(self, config: Mapping[str, Any], file: Path) -> None:
        """Raises :class:`LoraError` for numbers that are none, and for settings that make another kind of adapter."""
        self._file = file
        kind = config.get("peft_type", "LORA")
        if kind != "LORA":
            raise LoraError(f"{file} is another kind of adapter than a LoRA: its config says {_value(kind)}")
        others = [what for key, what in _OTHER_SETTINGS.items() if config.get(key)]
        if config.get("bias") not in (None, "none"):
            others.append("biases")
        start = config.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_CHANGED_BASES):
            others.append("a base that it changed at the start; PEFT can convert it to a plain LoRA")
        if others:
            raise LoraError(f"{file} is no plain LoRA: its config asks for {', '.join(others)}")
        self._alpha, self._rslora = self._number(config.get("lora_alpha", 8)), bool(config.get("use_rslora"))
        ranks, alphas = (self._pattern(config, key) for key in ("rank_pattern", "alpha_pattern"))
        self._ranks = {self._number(rank) for rank in (config.get("r", 8), *ranks.values())}
        self._alphas = {self._plain(pattern): self._number(alpha) for pattern, alpha in alphas.items()}

    def scale(self, raw: str, rank: int) -> float:
        """For the module that the file calls `raw`. Raises :class:`LoraError` for a rank unknown to the config."""
        if rank not in self._ranks:
            known = ", ".join(f"{known:g}" for known in sorted(self._ranks))
            raise LoraError(
                f"{self._file} does not belong to its config: {_some([raw])} has rank {rank}, not {known}"
            )
        dotted = f".{raw}"
        alpha = next((a for name, a in self._alphas.items() if dotted.endswith(f".{name}")), self._alpha)
        return alpha / (math.sqrt(rank) if self._rslora else rank)

    def _pattern(self, config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        pattern = config.get(key) or {}
        if not isinstance(pattern, dict):
            raise LoraError(f"{self._file} has a config whose {key} is no table of names")
        return pattern

    def _number(self, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9:
            return float(value)
        raise LoraError(f"{self._file} has a config with {_value(value)} where a number is wanted")

    def _plain(self, pattern: str) -> str:
        """The name that an `alpha_pattern` stands for.

        PEFT takes it as a regular expression, which a stranger's file shall not run here. Names with escaped dots and
        anchors are what is found in practice.
        """
        name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if re.search(r"[\\^$*+?{}\[\]|()]", name):
            raise LoraError(
                f"{self._file} has {_some([pattern])} as alpha_pattern in its config; only names are read there"
            )
        return name


def _find(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The file of tensors that `path` stands for, and the config beside it."""
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        file = path / _ADAPTER if path / _ADAPTER in files or len(files) != 1 else files[0]
        if file not in files:
            pickles = sorted(p.name for p in path.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
            hint = f"; {pickles[0]} is a pickle, which is never opened" if pickles else ""
            raise LoraError(f"{path} holds no {_ADAPTER}{hint}")
    else:
        file = path
    if not file.is_file():
        raise LoraError(f"{path} is no LoRA: there is no such file or folder")
    if file.suffix != ".safetensors":
        raise LoraError(f"{path} is no safetensors file, and others are never opened")
    beside = file.with_name(_CONFIG)
    if not (beside.is_file() and (path.is_dir() or file.name == _ADAPTER)):
        return file, None
    try:
        with beside.open("rb") as opened:
            return file, _object(opened.read(_CONFIG_MOST), beside)
    except OSError as error:
        raise LoraError(f"{beside} cannot be read: {error}") from None


def _from_header(header: Mapping[str, str], file: Path) -> dict[str, Any] | None:
    """The config in a file's own header, where diffusers writes it, its keys perhaps after `transformer.`."""
    text = header.get("lora_adapter_metadata")
    if text is None:
        return None
    config = _object(text.encode(), file)
    own = {key.removeprefix("transformer."): value for key, value in config.items() if key.startswith("transformer.")}
    return own or config


def _object(text: bytes, where: Path) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoraError(f"the config in {where} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise LoraError(f"the config in {where} is no JSON object")
    return config


def _value(value: object) -> str:
    """A value out of a config, for a message."""
    return _some([str(value)]) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _some(names: Sequence[str]) -> str:
    """Names out of a file, for a message: on one line, short, and few."""
    shown = ", ".join(
        ascii(name)[1:-1] if len(name) <= 80 else f"{ascii(name[:76])[1:-1]}..." for name in names[:_SHOWN]
    )
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
