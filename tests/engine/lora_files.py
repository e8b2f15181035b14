"""LoRA files to read, made by PEFT or by hand; used by the tests of `engine.lora`."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
import torch
from diffusers import AceStepTransformer1DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.lora import Lora, read_lora
from engine.model.dit import DiT
from tests.engine.parts import SIZES, gaussian

MODULES = ["to_q", "to_k", "to_v", "to_out.0", "gate_proj", "up_proj", "down_proj"]
MODULES += ["linear_1", "linear_2", "time_proj", "condition_embedder", "proj_in_conv"]
ORIGINAL = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "o_proj", "proj_in_conv": "proj_in.1"}
Tensors = dict[str, Tensor]


def random_oracle() -> nn.Module:
    """A small transformer of diffusers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = AceStepTransformer1DModel(**asdict(SIZES))  # type: ignore[no-untyped-call, assignment]
        return model.eval()


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
