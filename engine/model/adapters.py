"""What LoRA files call the parts of the network, in all layouts, put into diffusers' names.

Called by `engine.lora`. Pure functions of strings out of a stranger's file: none of them takes long on any string.
"""

from __future__ import annotations

import re

_NAME_MOST = 200
"""Characters of a module's name; real ones have under a hundred."""
_TENSOR = re.compile(r"\.(?:(lora_A|lora_down|lora\.down)|(lora_B|lora_up|lora\.up))(?:\.[^.]+)?(?:\.weight)?\Z")
"""The end of a tensor's name; PEFT may put the adapter's name before `weight`."""
_MODULE = re.compile(
    r"(?:base_model_model_|lora_unet_|lycoris_|lora_transformer_|diffusion_model_|transformer_|decoder_|model_)*"
    r"(?:layers_(?P<layer>[0-9]{1,4})_"
    r"(?:(?P<part>self_attn|cross_attn)_(?P<leaf>to_q|to_k|to_v|to_out_0|to_out|q_proj|k_proj|v_proj|o_proj)"
    r"|mlp_(?P<mlp>gate_proj|up_proj|down_proj))"
    r"|(?P<conv>proj_in|proj_out)_(?:conv|1)"
    r"|(?P<embed>condition_embedder)"
    r"|(?P<time>time_embed|time_embed_r)_(?P<linear>linear_1|linear_2|time_proj))"
)
"""A module's name with its dots as underscores: the one form that all layouts can be brought to."""
_LEAVES = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out.0"}
_LEAVES |= {"to_out": "to_out.0", "to_out_0": "to_out.0"}

_OTHER_KINDS = {
    "lora_magnitude_vector": "DoRA",
    "dora_scale": "DoRA",
    "lora_mid": "LoCon with a middle tensor",
    "lora_embedding_": "a LoRA of an embedding",
    "lora_E": "AdaLoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
    "boft_": "BOFT",
    "ia3_": "IA3",
    "vera_": "VeRA",
    "diff": "whole differences of weights",
    "diff_b": "differences of biases",
}
"""Parts of a tensor's name, or how they begin (up to a `_`), that belong to another kind of adapter, and its name."""


def split_name(name: str) -> tuple[str, str | None]:
    """The module that a tensor belongs to, and whether it is its `up`, its `down`, its `alpha` or none of these."""
    if name.endswith(".alpha"):
        return name.removesuffix(".alpha"), "alpha"
    match = _TENSOR.search(name)
    return (name[: match.start()], "down" if match[1] else "up") if match else (name, None)


def module_name(raw: str) -> str | None:
    """Diffusers' name of the module that a file calls `raw`; none when this network has no such."""
    if len(raw) > _NAME_MOST:
        return None
    match = _MODULE.fullmatch(raw.replace(".", "_"))
    if not match:
        return None
    if match["layer"]:
        inner = (
            f"mlp.{match['mlp']}" if match["mlp"] else f"{match['part']}.{_LEAVES.get(match['leaf'], match['leaf'])}"
        )
        return f"layers.{int(match['layer'])}.{inner}"
    if match["conv"]:
        return f"{match['conv']}_conv"
    return str(match["embed"] or f"{match['time']}.{match['linear']}")


def other_kind(name: str) -> str | None:
    """What kind of adapter other than a plain LoRA a tensor of this name belongs to."""
    parts = name.split(".")
    if parts[-1] == "bias" and any(part in ("lora_B", "lora_up") for part in parts):
        return "a LoRA with biases"
    for word, kind in _OTHER_KINDS.items():
        if word in parts or (word.endswith("_") and any(part.startswith(word) for part in parts)):
            return kind
    return None
