"""The transformer's tensors under diffusers' names: the inverse of what the engine fuses at loading.

Called when training writes a checkpoint. What the engine folds away (the embedding of `t - r`, always of zero) comes
back as zeros, so that diffusers' class computes the same function.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model.checkpoint import tensor_shapes
from engine.model.dit import DiT


def diffusers_tensors(model: DiT) -> dict[str, Tensor]:
    """All tensors of `model`, with the names and shapes of `AceStepTransformer1DModel`."""
    s = model.sizes
    q, k = s.num_attention_heads * s.head_dim, s.num_key_value_heads * s.head_dim
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem.endswith(".qkv"):
            parts = zip(("to_q", "to_k", "to_v"), tensor.split((q, k, k)), strict=True)
        elif stem.endswith(".kv"):
            parts = zip(("to_k", "to_v"), tensor.split((k, k)), strict=True)
        elif stem.endswith("_attn.q"):
            parts = zip(("to_q",), (tensor,), strict=True)
        elif stem.endswith("_attn.out"):
            parts = zip(("to_out.0",), (tensor,), strict=True)
        elif stem.endswith(".gate_up"):
            parts = zip(("gate_proj", "up_proj"), tensor.chunk(2), strict=True)
        elif stem.endswith("mlp.down"):
            parts = zip(("down_proj",), (tensor,), strict=True)
        elif stem == "proj_in":
            tensors["proj_in_conv.weight"] = tensor.unflatten(1, (s.patch_size, -1)).transpose(1, 2)
            continue
        elif stem == "proj_out":
            tensors["proj_out_conv.weight"] = tensor.unflatten(0, (s.patch_size, -1)).permute(2, 1, 0)
            continue
        elif name == "proj_in.bias":
            tensors["proj_in_conv.bias"] = tensor
            continue
        elif name == "proj_out.bias":  # diffusers has one bias for all frames of a patch
            tensors["proj_out_conv.bias"] = tensor.unflatten(0, (s.patch_size, -1)).mean(0)
            continue
        else:
            tensors[name] = tensor
            continue
        base = stem.rpartition(".")[0]
        tensors.update({f"{base}.{part}.weight": value for part, value in parts})
    for name, shape in tensor_shapes(s).items():
        if name.startswith("time_embed_r."):
            tensors[name] = torch.zeros(shape)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
