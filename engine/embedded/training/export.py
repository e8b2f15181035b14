"""The transformer's tensors under diffusers' names: the inverse of what the engine fuses at loading.

Called when training writes a checkpoint.
"""

from __future__ import annotations

from torch import Tensor

from engine.model.checkpoint import tensor_shapes
from engine.model.dit import DiT, place


def diffusers_tensors(model: DiT) -> dict[str, Tensor]:
    """All tensors of `model`, with the names and shapes of `AceStepTransformer1DModel`."""
    own = model.state_dict()
    # diffusers has one output bias for all frames of a patch, and training keeps them equal
    own["proj_out_conv.bias"] = own["proj_out.bias"].view(model.sizes.patch_size, -1)[0]
    own["proj_in_conv.bias"] = own["proj_in.bias"]
    tensors = {}
    for name in tensor_shapes(model.sizes):
        matrix, part = place(name, model.sizes)
        tensors[name] = part(own[matrix]).contiguous()
    return tensors
