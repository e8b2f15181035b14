"""The transformer of `engine.model.dit` arranged for a GPU: the same function of the same weights, fewer kernels.

Called by the graph backend, which compiles and captures it. Blocks are plain functions of their weights, two at a time
(one with sliding, one with full attention), so that one compiled function serves all layers. Sliding layers compute
only the blocks of their band (FlexAttention, Dong et al., 2024); the padding of shorter conditions is skipped the same
way. Matrices are in bf16, or in fp8 (e4m3) with a scale for every row of both factors; everything else is as in
`engine.model.dit`, whose symbols are used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from engine.model.dit import Block, DiT, Sizes

Precision = Literal["bf16", "fp8"]
"""Of the matrix products of the blocks."""

SPARSE = 128
"""Queries and keys in one block of a mask."""

_FP8 = torch.float8_e4m3fn
_FP8_MOST = 448.0
"""The largest number of e4m3."""


class Scaled(NamedTuple):
    """A matrix in fp8: `matrix * scale`."""

    matrix: Tensor
    """[out,in]."""
    scale: Tensor
    """[1,out] in fp32: each output's weights are scaled to use all of the format."""


Matrix = Tensor | Scaled


class Weights(NamedTuple):
    """Those of one block."""

    table: Tensor
    """[1,6,d]."""
    norm: Tensor
    qkv: Matrix
    norm_qk: Tensor
    """[H+K,D]."""
    out: Matrix
    cross_norm: Tensor
    cross_q: Matrix
    cross_norm_q: Tensor
    cross_out: Matrix
    mlp_norm: Tensor
    gate_up: Matrix
    down: Matrix


class Sides(NamedTuple):
    """What all blocks attend to beside their input."""

    cos: Tensor
    """[S,D]."""
    sin: Tensor
    """[S,D], its first half negative: what turns `x` read from its middle on."""
    band: BlockMask | None
    """Of sliding layers; none while it would hide nothing."""
    bias: Tensor
    """[R,L] in fp32, added to the scores of the conditions."""
    seen: BlockMask
    """Which parts of the conditions are looked at, row by row."""


def scaled(matrix: Tensor) -> Scaled:
    """`matrix` [out,in] in fp8, scaled by its rows."""
    scale = matrix.abs().amax(1).float().clamp_min(1e-12) / _FP8_MOST
    return Scaled((matrix.float() / scale[:, None]).to(_FP8), scale[None])


def weights(block: Block, precision: Precision) -> Weights:
    """The weights of a block, its large matrices in `precision`."""
    matrix = scaled if precision == "fp8" else _same
    mine, cross = block.self_attn, block.cross_attn
    return Weights(
        table=block.scale_shift_table,
        norm=block.self_attn_norm.weight,
        qkv=matrix(mine.qkv.weight),
        norm_qk=torch.cat((mine.norm_q.weight.expand(mine.heads, -1), mine.norm_k.weight.expand(mine.kv_heads, -1))),
        out=matrix(mine.out.weight),
        cross_norm=block.cross_attn_norm.weight,
        cross_q=matrix(cross.q.weight),
        cross_norm_q=cross.norm_q.weight,
        cross_out=matrix(cross.out.weight),
        mlp_norm=block.mlp_norm.weight,
        gate_up=matrix(block.mlp.gate_up.weight),
        down=matrix(block.mlp.down.weight),
    )


def _same(matrix: Tensor) -> Tensor:
    return matrix


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """`x` [...,in] times the transpose of `matrix`; in fp8, `x` is scaled row by row on the way."""
    if isinstance(matrix, Tensor):
        return F.linear(x, matrix)
    flat = x.flatten(0, -2)
    scale = flat.abs().amax(-1, keepdim=True).float().clamp_min(1e-12) / _FP8_MOST
    rows = (flat.float() / scale).to(_FP8)
    out = torch._scaled_mm(
        rows, matrix.matrix.t(), scale_a=scale, scale_b=matrix.scale, out_dtype=x.dtype, use_fast_accum=True
    )
    return out.unflatten(0, x.shape[:-1])


def rotated(x: Tensor, weight: Tensor, sides: Sides, eps: float) -> Tensor:
    """`x` [R,S,heads,D], normalised and turned by the rotary angles; `weight` [heads,D]."""
    x = F.rms_norm(x, x.shape[-1:], None, eps) * weight
    turned = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)  # read backwards instead of put together: one kernel
    return torch.addcmul(x * sides.cos[:, None], turned, sides.sin[:, None])


def block(x: Tensor, rows: Tensor, kv: Tensor, sides: Sides, w: Weights, s: Sizes, sliding: bool) -> Tensor:
    """One block: `x` [R,S,d], `rows` [R,6,d] of the time, `kv` [2,R,K,L,D] of the conditions."""
    shift1, scale1, gate1, shift2, scale2, gate2 = (w.table + rows).chunk(6, dim=1)
    heads, kv_heads, width, eps = s.num_attention_heads, s.num_key_value_heads, s.head_dim, s.rms_norm_eps

    h = torch.addcmul(shift1, F.rms_norm(x, w.norm.shape, w.norm, eps), 1 + scale1)
    qk, v = product(h, w.qkv).unflatten(-1, (-1, width)).split((heads + kv_heads, kv_heads), dim=2)
    q, k = rotated(qk, w.norm_qk, sides, eps).transpose(1, 2).split((heads, kv_heads), dim=1)
    v = v.transpose(1, 2)
    if sliding and sides.band is not None:
        attended = _flex(q, k, v, block_mask=sides.band)
    else:
        attended = F.scaled_dot_product_attention(q, k, v, enable_gqa=heads != kv_heads)
    x = torch.addcmul(x, product(attended.transpose(1, 2).flatten(2), w.out), gate1)

    h = F.rms_norm(x, w.cross_norm.shape, w.cross_norm, eps)
    q = product(h, w.cross_q).unflatten(-1, (heads, width))
    q = F.rms_norm(q, w.cross_norm_q.shape, w.cross_norm_q, eps).transpose(1, 2)
    bias = sides.bias

    def biased(score: Tensor, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + bias[row, key]

    attended = _flex(q, kv[0], kv[1], score_mod=biased, block_mask=sides.seen)
    x = x + product(attended.transpose(1, 2).flatten(2), w.cross_out)

    h = torch.addcmul(shift2, F.rms_norm(x, w.mlp_norm.shape, w.mlp_norm, eps), 1 + scale2)
    gate, up = product(h, w.gate_up).chunk(2, dim=-1)
    return torch.addcmul(x, product(F.silu(gate) * up, w.down), gate2)


def _flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_mask: BlockMask,
    score_mod: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    # FlexAttention has another kernel for few queries, which takes no conditions of several lengths.
    options: Any = {"FORCE_USE_FLEX_ATTENTION": True}
    grouped = q.shape[1] != k.shape[1]
    out = flex_attention(q, k, v, score_mod, block_mask, enable_gqa=grouped, kernel_options=options)
    assert isinstance(out, Tensor)  # no log-sum-exp was asked for
    return out


def pair(
    x: Tensor, rows: Tensor, kv: Tensor, sides: Sides, first: Weights, second: Weights, s: Sizes
) -> Tensor:
    """Two blocks, the first with sliding attention; `kv` [2,2,R,K,L,D] of both."""
    x = block(x, rows, kv[0], sides, first, s, sliding=True)
    return block(x, rows, kv[1], sides, second, s, sliding=False)


class Ends(NamedTuple):
    """The weights before the first block and after the last."""

    into: Tensor
    into_bias: Tensor
    table: Tensor
    """[1,2,d]."""
    norm: Tensor
    out: Tensor
    out_bias: Tensor


def begin(x: Tensor, context: Tensor, w: Ends, s: Sizes) -> Tensor:
    """Latents [R,T,64] and their context [R,T,128] -> tokens [R,S,d]."""
    h = torch.cat((context, x.to(context.dtype)), dim=-1)
    h = F.pad(h, (0, 0, 0, -x.shape[1] % s.patch_size))
    return F.linear(h.reshape(len(x), -1, s.patch_size * s.in_channels), w.into, w.into_bias)


def end(h: Tensor, rows: Tensor, w: Ends, s: Sizes) -> Tensor:
    """Tokens [R,S,d] and the last row [R,1,d] of the time -> velocities [R,S*patch,64] in fp32."""
    shift, scale = (w.table + rows).chunk(2, dim=1)
    h = torch.addcmul(shift, F.rms_norm(h, w.norm.shape, w.norm, s.rms_norm_eps), 1 + scale)
    v = F.linear(h, w.out, w.out_bias)
    return v.reshape(len(h), -1, s.audio_acoustic_hidden_dim).float()


class Fused:
    """The network with its weights ready for :meth:`velocity`; what need not be converted is shared with the `DiT`."""

    def __init__(self, model: DiT, precision: Precision = "bf16", compiled: bool = True) -> None:
        """Of `model`, on its device; not `compiled`, its operators run one by one.

        Raises `ValueError` for an odd number of layers.
        """
        self.sizes = model.sizes
        if len(model.layers) % 2:
            raise ValueError(f"the layers are compiled two by two, and the network has {len(model.layers)}")
        self._weights = [weights(layer, precision) for layer in model.layers]  # type: ignore[arg-type]
        self._ends = Ends(
            model.proj_in.weight,
            model.proj_in.bias,
            model.scale_shift_table,
            model.norm_out.weight,
            model.proj_out.weight,
            model.proj_out.bias,
        )
        self._begin, self._pair, self._end = _COMPILED if compiled else (begin, pair, end)

    def velocity(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, sides: Sides) -> Tensor:
        """The velocity [R,T,64] in fp32 at `x` [R,T,64]; `rows` [R,7,d] of the times, the rest as in `DiT.forward`."""
        h = self._begin(x, context, self._ends, self.sizes)
        rows = rows.to(h.dtype)
        inner, outer = rows[:, :6], rows[:, 6:]
        for i in range(0, len(self._weights), 2):
            h = self._pair(h, inner, kv[i : i + 2], sides, self._weights[i], self._weights[i + 1], self.sizes)
        return self._end(h, outer, self._ends, self.sizes)[:, : x.shape[1]]


def angles(model: DiT, tokens: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`Sides.cos` and `Sides.sin`."""
    cos, sin, _ = model.tables(tokens, device, dtype)
    half = sin.shape[1] // 2
    return cos, torch.cat((-sin[:, :half], sin[:, half:]), dim=1)


def band(s: Sizes, tokens: int, device: torch.device) -> BlockMask | None:
    """What the sliding layers see; none while that is everything."""
    if tokens <= s.sliding_window + 1:
        return None

    def near(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= s.sliding_window

    return create_block_mask(near, None, None, tokens, tokens, device=device)


def seen(rows: int, tokens: int, counts: Tensor, indices: Tensor, length: int) -> BlockMask:
    """What the queries of `rows` see of conditions padded to `length`: `counts` [R,1,Q] blocks of those in `indices`.

    Both tensors are read when the network runs, so they may be written to between two runs.
    """
    return BlockMask.from_kv_blocks(
        counts[:rows], indices[:rows], BLOCK_SIZE=SPARSE, seq_lengths=(tokens, length)
    )


def _compiled() -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]:
    """Compiled for each shape that they meet; with `fullgraph` a limit that is reached is an error, not slow code."""
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False}
    return torch.compile(begin, **options), torch.compile(pair, **options), torch.compile(end, **options)


_COMPILED = _compiled()
