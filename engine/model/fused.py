"""The transformer of `engine.model.dit` arranged for a GPU: the same function of the same weights, fewer kernels.

Called by the graph backend, which captures it. Between two matrix products of a block lies one kernel of
`engine.model.kernels`. Sliding layers compute their band only; of a condition the padding is skipped. Matrices are
in bf16, or in fp8 (e4m3) with a scale for every row of both factors; everything else is as in `engine.model.dit`,
whose symbols are used here. Nothing depends on a shape that was seen before, so nothing is ever compiled anew.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from engine.model import attention, kernels
from engine.model.dit import Block, DiT
from engine.model.kernels import Modulation, Rows
from engine.model.products import Matrix, Products, scaled

Precision = Literal["bf16", "fp8"]
"""Of the matrix products of the blocks."""


class Weights(NamedTuple):
    """Those of one block."""

    table: Tensor
    """[6,d]."""
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
    sin: Tensor
    """[S,D], both from `DiT.tables`."""
    kv: Tensor
    """[layers,2,R,K,L,D] of the conditions, padded."""
    bias: Tensor
    """[R,L] in fp32, added to the scores of the conditions."""
    counts: Tensor
    """[R] in int32: tokens of the conditions."""


class Fused:
    """The network with its weights ready for :meth:`velocity`; those that are not converted are the `DiT`'s own."""

    def __init__(self, model: DiT, precision: Precision = "bf16") -> None:
        """Of `model`, on its device."""
        self._sizes, self._fp8 = model.sizes, precision == "fp8"
        self._weights = [_weights(layer, self._fp8) for layer in model.layers]  # type: ignore[arg-type]
        self._product = Products(
            [each for w in self._weights for each in (w.qkv, w.out, w.cross_q, w.cross_out, w.gate_up, w.down)]
        )
        self._into, self._norm, self._out = model.proj_in, model.norm_out.weight, model.proj_out
        self._table = model.scale_shift_table[0]

    def velocity(self, seen: Tensor, rows: Tensor, sides: Sides) -> Tensor:
        """The velocity [R,T,64] at `seen` [R,T,192], which is context and state, for T that are whole tokens, and
        `rows` [R,7,d] of the times in fp32.
        """
        s, (batch, frames, _) = self._sizes, seen.shape
        h = self._into(seen.reshape(batch, -1, s.patch_size * s.in_channels))
        added, gate = None, None
        for i, w in enumerate(self._weights):
            h, added, gate = self._block(h, added, gate, rows, sides, i, w)
        shift, scale = (Modulation(own, rows[:, 6]) for own in self._table)
        _, normed = kernels.norm(h, self._norm, s.rms_norm_eps, added, gate, shift, scale)
        v: Tensor = self._out(normed)
        return v.reshape(batch, frames, s.audio_acoustic_hidden_dim)

    def _block(
        self, h: Tensor, added: Tensor | None, gate: Modulation | None, rows: Tensor, sides: Sides, i: int, w: Weights
    ) -> tuple[Tensor, Tensor, Modulation]:
        """Block `i` of the state `h + gate * added` -> the next one, in the same three parts."""
        s, eps, fp8 = self._sizes, self._sizes.rms_norm_eps, self._fp8
        heads, width = s.num_attention_heads, s.head_dim
        shift1, scale1, gate1, shift2, scale2, gate2 = (Modulation(w.table[j], rows[:, j]) for j in range(6))

        h, seen = kernels.norm(h, w.norm, eps, added, gate, shift1, scale1, fp8)
        qkv = self._product(seen, w.qkv, h)
        qk = kernels.rotated(qkv, w.norm_qk, sides.cos, sides.sin, eps)
        q, k = qk[:, :, :heads], qk[:, :, heads:]
        v = qkv.view(*h.shape[:2], -1, width)[:, :, heads + s.num_key_value_heads :]
        sliding = i % 2 == 0 and h.shape[1] > s.sliding_window + 1
        added = self._product(self._rows(attention.attended(q, k, v, s.sliding_window if sliding else 0)), w.out, h)

        h, seen = kernels.norm(h, w.cross_norm, eps, added, gate1, fp8=fp8)
        q = self._product(seen, w.cross_q, h).view(*h.shape[:2], heads, width)
        heard = attention.conditioned(q, w.cross_norm_q, sides.kv[i], sides.bias, sides.counts, eps)
        added = self._product(self._rows(heard), w.cross_out, h)

        h, seen = kernels.norm(h, w.mlp_norm, eps, added, None, shift2, scale2, fp8)
        return h, self._product(kernels.swiglu(self._product(seen, w.gate_up, h), fp8), w.down, h), gate2

    def _rows(self, x: Tensor) -> Tensor | Rows:
        return kernels.scaled(x) if self._fp8 else x


def _weights(block: Block, fp8: bool) -> Weights:
    matrix = scaled if fp8 else _same
    mine, cross = block.self_attn, block.cross_attn
    return Weights(
        table=block.scale_shift_table[0],
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
