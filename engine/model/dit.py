"""The ACE-Step v1.5 diffusion transformer, as the tick loop runs it.

Called by the backends of the engine process. It is the same function as diffusers' `AceStepTransformer1DModel` with
`timestep_r == timestep` (the tests hold the two together within 5e-5 in fp32), arranged for streaming: what depends
only on the condition (cross-attention keys and values) or only on the time (modulation rows) is computed once by a
named call and handed to `forward`; projections that read the same input are one matrix, fused at loading.

Symbols: B batch, T latent frames, S = ceil(T / patch) tokens, L condition tokens, E condition width, d model width,
H query heads, K key/value heads, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TIME_CHANNELS = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of a transformer's `config.json`; the defaults are those of ACE-Step v1.5 turbo (2B)."""

    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    in_channels: int = 192
    audio_acoustic_hidden_dim: int = 64
    patch_size: int = 2
    sliding_window: int = 128
    encoder_hidden_size: int = 2048
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sizes:
        """Reads a `config.json`. Keys that do not change the function are ignored.

        Raises `ValueError` for a variant that this file does not compute.
        """
        if config.get("attention_bias"):
            raise ValueError("attention_bias is set, and this engine computes attention without biases")
        given: dict[str, Any] = {f.name: config[f.name] for f in fields(cls) if config.get(f.name) is not None}
        given.setdefault("encoder_hidden_size", given.get("hidden_size", cls().hidden_size))
        sizes = cls(**given)
        wanted = [("sliding_attention", "full_attention")[i % 2] for i in range(sizes.num_hidden_layers)]
        if list(config.get("layer_types") or wanted) != wanted:
            raise ValueError("layer_types do not alternate between sliding and full attention")
        if sizes.num_attention_heads % sizes.num_key_value_heads:
            raise ValueError("num_attention_heads is no multiple of num_key_value_heads")
        return sizes


class RMSNorm(nn.Module):
    """`x / rms(x) * weight` over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        """`width` of the last axis; `eps` is added to the mean square."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any shape whose last axis is the width."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class SelfAttention(nn.Module):
    """Grouped-query attention with normalised queries and keys and rotary positions."""

    def __init__(self, s: Sizes) -> None:
        """One fused matrix gives queries, keys and values."""
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = s.num_attention_heads, s.num_key_value_heads, s.head_dim
        self.qkv = nn.Linear(s.hidden_size, (self.heads + 2 * self.kv_heads) * s.head_dim, bias=False)
        self.out = nn.Linear(self.heads * s.head_dim, s.hidden_size, bias=False)
        self.norm_q = RMSNorm(s.head_dim, s.rms_norm_eps)
        self.norm_k = RMSNorm(s.head_dim, s.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """`x` [B,S,d], `cos` and `sin` [S,D], `mask` [S,S] (true = seen) or none."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, H+2K, S, D]
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        q, k = rotate(self.norm_q(q), cos, sin), rotate(self.norm_k(k), cos, sin)
        out: Tensor = self.out(attend(q, k, v, mask))
        return out


class CrossAttention(nn.Module):
    """Attention to the condition. Its keys and values come from :meth:`keys_values`, once per condition."""

    def __init__(self, s: Sizes) -> None:
        """One fused matrix gives keys and values; queries have their own."""
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = s.num_attention_heads, s.num_key_value_heads, s.head_dim
        self.q = nn.Linear(s.hidden_size, self.heads * s.head_dim, bias=False)
        self.kv = nn.Linear(s.hidden_size, 2 * self.kv_heads * s.head_dim, bias=False)
        self.out = nn.Linear(self.heads * s.head_dim, s.hidden_size, bias=False)
        self.norm_q = RMSNorm(s.head_dim, s.rms_norm_eps)
        self.norm_k = RMSNorm(s.head_dim, s.rms_norm_eps)

    def keys_values(self, c: Tensor) -> Tensor:
        """Embedded condition `c` [B,L,d] -> [2,B,K,L,D]: normalised keys, then values."""
        k, v = self.kv(c).unflatten(-1, (2, self.kv_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return torch.stack((self.norm_k(k), v))

    def forward(self, x: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """`x` [B,S,d], `kv` as :meth:`keys_values` gives it, `mask` broadcastable to [B,H,S,L] or none."""
        q = self.norm_q(self.q(x).unflatten(-1, (self.heads, self.head_dim))).transpose(1, 2)
        out: Tensor = self.out(attend(q, kv[0], kv[1], mask))
        return out


class FeedForward(nn.Module):
    """SwiGLU with gate and up projections in one matrix."""

    def __init__(self, s: Sizes) -> None:
        """Sizes from the config."""
        super().__init__()
        self.gate_up = nn.Linear(s.hidden_size, 2 * s.intermediate_size, bias=False)
        self.down = nn.Linear(s.intermediate_size, s.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B,S,d]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


class Block(nn.Module):
    """Modulated self-attention, plain cross-attention, modulated feed-forward."""

    def __init__(self, s: Sizes) -> None:
        """Sizes from the config."""
        super().__init__()
        self.self_attn_norm = RMSNorm(s.hidden_size, s.rms_norm_eps)
        self.self_attn = SelfAttention(s)
        self.cross_attn_norm = RMSNorm(s.hidden_size, s.rms_norm_eps)
        self.cross_attn = CrossAttention(s)
        self.mlp_norm = RMSNorm(s.hidden_size, s.rms_norm_eps)
        self.mlp = FeedForward(s)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, s.hidden_size))

    def forward(
        self, x: Tensor, rows: Tensor, cos: Tensor, sin: Tensor, band: Tensor | None, kv: Tensor, mask: Tensor | None
    ) -> Tensor:
        """`x` [B,S,d], `rows` [B,6,d] of the time, `band` of sliding layers, `kv` and `mask` of the condition."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table + rows).chunk(6, dim=1)
        h = torch.addcmul(shift1, self.self_attn_norm(x), 1 + scale1)
        x = torch.addcmul(x, self.self_attn(h, cos, sin, band), gate1)
        x = x + self.cross_attn(self.cross_attn_norm(x), kv, mask)
        h = torch.addcmul(shift2, self.mlp_norm(x), 1 + scale2)
        return torch.addcmul(x, self.mlp(h), gate2)


class TimeEmbedding(nn.Module):
    """Sinusoid, two layers, and a projection to the six modulation rows that all blocks share."""

    def __init__(self, s: Sizes) -> None:
        """Sizes from the config."""
        super().__init__()
        self.linear_1 = nn.Linear(_TIME_CHANNELS, s.hidden_size)
        self.linear_2 = nn.Linear(s.hidden_size, s.hidden_size)
        self.time_proj = nn.Linear(s.hidden_size, 6 * s.hidden_size)

    def forward(self, t1000: Tensor) -> Tensor:
        """`1000 t` [B] -> [B,7,d]: six rows for the blocks, one for the output norm."""
        half = _TIME_CHANNELS // 2
        f = torch.exp(-math.log(10_000) * torch.arange(half, device=t1000.device, dtype=torch.float32) / half)
        angle = t1000[:, None] * f
        e = self.linear_2(F.silu(self.linear_1(torch.cat((angle.cos(), angle.sin()), dim=-1))))
        return torch.cat((self.time_proj(F.silu(e)).unflatten(1, (6, -1)), e[:, None]), dim=1)


class DiT(nn.Module):
    """Velocity of a rectified flow over music latents: `v = noise - x0` at `x_t = t noise + (1 - t) x0`."""

    def __init__(self, sizes: Sizes, *, bf16_grid: bool = False) -> None:
        """`bf16_grid` rounds `t`, `1000 t` and the rotary frequencies to bf16 as the published bf16 runs do."""
        super().__init__()
        self.sizes, self.bf16_grid = sizes, bf16_grid
        s, patch = sizes, sizes.patch_size
        self.proj_in = nn.Linear(patch * s.in_channels, s.hidden_size)
        self.time_embed = TimeEmbedding(s)
        self.time_embed_r = TimeEmbedding(s)
        self._constant: Tensor | None = None
        self.condition_embedder = nn.Linear(s.encoder_hidden_size, s.hidden_size)
        self.layers = nn.ModuleList(Block(s) for _ in range(s.num_hidden_layers))
        self.norm_out = RMSNorm(s.hidden_size, s.rms_norm_eps)
        self.proj_out = nn.Linear(s.hidden_size, patch * s.audio_acoustic_hidden_dim)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, s.hidden_size))
        self._tables: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor | None]] = {}
        self.register_load_state_dict_pre_hook(_fuse)  # type: ignore[no-untyped-call]

    def retuned(self, tensors: Mapping[str, Tensor]) -> DiT:
        """The same network with these weights, by our names, in place of its own; all others are shared.

        This one is not touched, so it may go on running in another thread. Raises `ValueError` for a tensor that is
        none of the network's, or has another shape, dtype or device.
        """
        state = self.state_dict()
        for name, tensor in tensors.items():
            if name not in state:
                raise ValueError(f"the network has no weight {name}")
            old = state[name]
            if (tensor.shape, tensor.dtype, tensor.device) != (old.shape, old.dtype, old.device):
                raise ValueError(
                    f"{name} is {tuple(tensor.shape)} in {tensor.dtype} on {tensor.device}, "
                    f"and the network wants {tuple(old.shape)} in {old.dtype} on {old.device}"
                )
        with torch.device("meta"):
            twin = DiT(self.sizes, bf16_grid=self.bf16_grid).requires_grad_(False)  # before weights of inference mode
        twin.load_state_dict({**state, **tensors}, assign=True)
        twin._tables = self._tables
        return twin.train(self.training)

    def modulation(self, t: Tensor) -> Tensor:
        """Times `t` [B] in 0–1 -> modulation rows [B,7,d] in fp32, for :meth:`forward`."""
        t1000 = (t.bfloat16() * 1000).float() if self.bf16_grid else t.float() * 1000
        if self._constant is None:  # t - r is always 0
            self._constant = self.time_embed_r(torch.zeros(1, device=t.device))
        rows: Tensor = self.time_embed(t1000) + self._constant
        return rows

    def keys_values(self, states: Tensor) -> Tensor:
        """Condition `states` [B,L,E] -> keys and values of every layer [layers,2,B,K,L,D]."""
        c = self.condition_embedder(states)
        return torch.stack([layer.cross_attn.keys_values(c) for layer in self.layers])  # type: ignore[operator, union-attr]

    def tables(self, tokens: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rotary `cos`, `sin` [S,D] and the band mask [S,S]; the mask is none while it would hide nothing."""
        key = (tokens, device, dtype)
        if key not in self._tables:
            s = self.sizes
            f = s.rope_theta ** -(torch.arange(0, s.head_dim, 2, dtype=torch.float32) / s.head_dim)
            if self.bf16_grid:
                f = f.bfloat16().float()
            place = torch.arange(tokens, dtype=torch.float32)
            angle = torch.outer(place, f).repeat(1, 2)
            band = None
            if tokens > s.sliding_window + 1:
                band = ((place[:, None] - place).abs() <= s.sliding_window).to(device)
            self._tables[key] = (angle.cos().to(device, dtype), angle.sin().to(device, dtype), band)
        return self._tables[key]

    def forward(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
        """The velocity [B,T,64].

        `x` [B,T,64]; `rows` [B,7,d] from :meth:`modulation`; `context` [B,T,128]; `kv` [layers,2,B,K,L,D] from
        :meth:`keys_values`; `mask` [B,L] marks padded keys: boolean (true = seen) or added to the scores.
        """
        batch, frames, _ = x.shape
        patch = self.sizes.patch_size
        h = torch.cat((context, x), dim=-1)
        h = F.pad(h, (0, 0, 0, -frames % patch))
        h = self.proj_in(h.reshape(batch, -1, patch * self.sizes.in_channels))
        cos, sin, band = self.tables(h.shape[1], h.device, h.dtype)
        rows = rows.to(h.dtype)
        if mask is not None:
            mask = mask[:, None, None, :]
        for i, layer in enumerate(self.layers):
            h = layer(h, rows[:, :6], cos, sin, band if i % 2 == 0 else None, kv[i], mask)
        shift, scale = (self.scale_shift_table + rows[:, 6:]).chunk(2, dim=1)
        v: Tensor = self.proj_out(torch.addcmul(shift, self.norm_out(h), 1 + scale))
        return v.reshape(batch, -1, self.sizes.audio_acoustic_hidden_dim)[:, :frames]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotary embedding of `x` [...,S,D] by `cos`, `sin` [S,D]."""
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((-b, a), dim=-1), sin)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention; `q` [B,H,S,D], `k` and `v` [B,K,L,D] -> [B,S,H*D]."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:  # heads are expanded by hand: fused kernels with a mask refuse grouped queries
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _fuse(module: DiT, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    """Turns diffusers' tensors into ours while they are loaded; tensors that are fused already pass untouched."""
    module._constant = None
    for name in [n for n in state if n.startswith(prefix)]:
        stem, _, leaf = name.removesuffix(".weight").rpartition(".")
        if leaf == "to_q" and stem.endswith("self_attn"):
            parts = [state.pop(f"{stem}.{p}.weight") for p in ("to_q", "to_k", "to_v")]
            state[f"{stem}.qkv.weight"] = torch.cat(parts)
        elif leaf == "to_q":
            state[f"{stem}.q.weight"] = state.pop(name)
            state[f"{stem}.kv.weight"] = torch.cat([state.pop(f"{stem}.{p}.weight") for p in ("to_k", "to_v")])
        elif leaf == "0" and stem.endswith("to_out"):
            state[f"{stem.removesuffix('to_out')}out.weight"] = state.pop(name)
        elif leaf == "gate_proj":
            state[f"{stem}.gate_up.weight"] = torch.cat([state.pop(name), state.pop(f"{stem}.up_proj.weight")])
        elif leaf == "down_proj":
            state[f"{stem}.down.weight"] = state.pop(name)
    if f"{prefix}proj_in_conv.weight" in state:  # [d, channels, patch] -> [d, patch * channels]
        state[f"{prefix}proj_in.weight"] = state.pop(f"{prefix}proj_in_conv.weight").transpose(1, 2).flatten(1)
        state[f"{prefix}proj_in.bias"] = state.pop(f"{prefix}proj_in_conv.bias")
        w = state.pop(f"{prefix}proj_out_conv.weight")  # [d, channels, patch] -> [patch * channels, d]
        state[f"{prefix}proj_out.weight"] = w.permute(2, 1, 0).flatten(0, 1)
        state[f"{prefix}proj_out.bias"] = state.pop(f"{prefix}proj_out_conv.bias").repeat(w.shape[2])


def place(name: str, s: Sizes) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Where a weight of diffusers' lies in ours: our name, and the view of our tensor that has its shape and order.

    The inverse of what loading does, for whoever changes a part of a fused matrix.
    """
    stem, _, leaf = name.removesuffix(".weight").rpartition(".")
    q, k = s.num_attention_heads * s.head_dim, s.num_key_value_heads * s.head_dim
    own: dict[str, tuple[str, slice]] = {
        "gate_proj": ("gate_up", slice(s.intermediate_size)),
        "up_proj": ("gate_up", slice(s.intermediate_size, None)),
        "down_proj": ("down", slice(None)),
    }
    if stem.endswith("self_attn"):
        parts = {"to_q": slice(q), "to_k": slice(q, q + k), "to_v": slice(q + k, None)}
        own = {part: ("qkv", rows) for part, rows in parts.items()}
    elif stem.endswith("cross_attn"):
        own = {"to_q": ("q", slice(None)), "to_k": ("kv", slice(k)), "to_v": ("kv", slice(k, None))}
    elif stem.endswith("to_out"):
        return f"{stem.removesuffix('to_out')}out.weight", lambda w: w
    if leaf in own:
        matrix, rows = own[leaf]
        return f"{stem}.{matrix}.weight", lambda w: w[rows]
    if name == "proj_in_conv.weight":
        return "proj_in.weight", lambda w: w.unflatten(1, (s.patch_size, -1)).transpose(1, 2)
    if name == "proj_out_conv.weight":
        return "proj_out.weight", lambda w: w.unflatten(0, (s.patch_size, -1)).permute(2, 1, 0)
    return name, lambda w: w
