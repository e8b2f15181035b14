"""Attention of the transformer on a GPU; symbols as in `engine.model.dit`.

Called by `engine.model.fused`. A kernel in Triton for what torch has none for: the band of a sliding layer, of which
nothing beyond the window is computed, and conditions of different lengths with a bias. Without a window torch's own
is asked where it is the fastest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

_LOG2_E = 1.4426950408889634


@triton.jit  # type: ignore[untyped-decorator]
def _leaning(bias, start, end, N: tl.constexpr, LOG2_E: tl.constexpr):  # type: ignore[no-untyped-def]
    """What is added to the scores of `N` keys from `start` on: those beyond the end are never seen."""
    key = start + tl.arange(0, N)
    return tl.where(key < end, tl.load(bias + key, mask=key < end, other=0) * LOG2_E, -1e30)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    q, k, v, out, bias, counts, weight,
    q_row, q_token, k_row, k_token, k_head, v_row, v_token, v_head, bias_row,
    tokens, keys, scale, eps,
    HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    PACK: tl.constexpr, WINDOW: tl.constexpr, CONDITION: tl.constexpr, LOG2_E: tl.constexpr,
):  # fmt: skip
    first, row = tl.program_id(0) * (M // PACK), tl.program_id(2).to(tl.int64)
    m, i = tl.arange(0, M), tl.arange(0, D)
    query, head = first + m % (M // PACK), tl.program_id(1) * PACK + m // (M // PACK)
    asked = query[:, None] < tokens
    at = tl.load(q + row * q_row + query[:, None] * q_token + head[:, None] * D + i[None, :], mask=asked, other=0)
    begin, end = 0, keys
    if CONDITION:
        end = tl.load(counts + row)
        bias += row * bias_row
        leaning = _leaning(bias, 0, end, N, LOG2_E)
        wide = at.to(tl.float32)
        wide *= tl.rsqrt(tl.sum(wide * wide, 1) / D + eps)[:, None] * tl.load(weight + i).to(tl.float32)[None, :]
        at = wide.to(q.dtype.element_ty)
    if WINDOW > 0:
        begin = tl.maximum(0, (first - WINDOW) // N * N)
        end = tl.minimum(keys, first + M // PACK + WINDOW)
    k += row * k_row + (tl.program_id(1) * PACK // GROUP) * k_head
    v += row * v_row + (tl.program_id(1) * PACK // GROUP) * v_head
    most = tl.full([M], -1e30, tl.float32)
    total = tl.zeros([M], tl.float32)
    mixed = tl.zeros([M, D], tl.float32)
    for start in range(begin, end, N):
        key = start + tl.arange(0, N)
        there = key < end
        looked = tl.load(k + key[None, :] * k_token + i[:, None], mask=there[None, :], other=0)
        score = tl.dot(at, looked) * scale
        if CONDITION:
            score += leaning[None, :]
            leaning = _leaning(bias, start + N, end, N, LOG2_E)  # ahead, so that nothing waits for it
        else:
            seen = there[None, :]
            if WINDOW > 0:
                seen = seen & (tl.abs(query[:, None] - key[None, :]) <= WINDOW)
            score = tl.where(seen, score, -1e30)
        more = tl.maximum(most, tl.max(score, 1))
        share = tl.math.exp2(score - more[:, None])
        fade = tl.math.exp2(most - more)
        total = total * fade + tl.sum(share, 1)
        value = tl.load(v + key[:, None] * v_token + i[None, :], mask=there[:, None], other=0)
        mixed = mixed * fade[:, None] + tl.dot(share.to(value.dtype), value)
        most = more
    mixed = mixed / total[:, None]
    place = out + ((row * tokens + query[:, None]) * HEADS + head[:, None]) * D + i[None, :]
    tl.store(place, mixed.to(out.dtype.element_ty), mask=asked)


class _Condition(NamedTuple):
    """What attention to a condition reads besides."""

    bias: Tensor
    counts: Tensor
    weight: Tensor
    eps: float


def attended(q: Tensor, k: Tensor, v: Tensor, window: int = 0) -> Tensor:
    """Attention [R,S,H D] of `q` [R,S,H,D] to `k` and `v` [R,S,K,D], at most `window` tokens away, or 0 for all."""
    if not window and q.shape[1] > SHORT:
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2)
    return _attended(q, k, v, window, None)


def conditioned(q: Tensor, weight: Tensor, kv: Tensor, bias: Tensor, counts: Tensor, eps: float) -> Tensor:
    """Attention [R,S,H D] of `q` [R,S,H,D], first normalised with `weight` [D], to conditions `kv` [2,R,K,L,D].

    `bias` [R,L] in fp32 is added to the scores; of row r the first `counts[r]` (int32) tokens are looked at.
    """
    k, v = kv.transpose(2, 3).unbind()
    return _attended(q, k, v, 0, _Condition(bias, counts, weight, eps))


def _attended(q: Tensor, k: Tensor, v: Tensor, window: int, condition: _Condition | None) -> Tensor:
    """Of `q` [R,S,H,D] to `k` and `v` [R,L,K,D], whose channels lie side by side."""
    rows, tokens, heads, width = q.shape
    bias, counts, weight, eps = condition or (q, q, q, 0.0)
    out = q.new_empty(rows, tokens, heads * width)
    group = heads // k.shape[2]
    tile = dict(TILES["condition" if condition else "band" if window else "full", tokens > SHORT])
    tile["PACK"] = pack = math.gcd(tile["PACK"], group)
    _attend[(triton.cdiv(tokens, tile["M"] // pack), heads // pack, rows)](
        q, k, v, out, bias, counts, weight,
        q.stride(0), q.stride(1), *k.stride()[:3], *v.stride()[:3], bias.stride(0) if condition else 0,
        tokens, k.shape[1], width**-0.5 * _LOG2_E, eps,
        HEADS=heads, GROUP=group, D=width, WINDOW=window, CONDITION=condition is not None,
        LOG2_E=_LOG2_E, **tile,
    )  # fmt: skip
    return out


SHORT = 256
"""Tokens up to which there are few tiles to share out, and the kernel here is the fastest for full attention too."""

TILES: dict[tuple[str, bool], dict[str, int]] = {
    ("full", False): {"PACK": 1, "M": 64, "N": 64, "num_warps": 4, "num_stages": 3},
    ("band", False): {"PACK": 2, "M": 64, "N": 64, "num_warps": 4, "num_stages": 3},
    ("band", True): {"PACK": 2, "M": 64, "N": 32, "num_warps": 4, "num_stages": 3},
    ("condition", False): {"PACK": 1, "M": 64, "N": 64, "num_warps": 4, "num_stages": 3},
    ("condition", True): {"PACK": 2, "M": 64, "N": 32, "num_warps": 4, "num_stages": 3},
}
"""Queries and keys of one step of attention, by its kind and for more tokens than :data:`SHORT`: the fastest of 30 on
an H200 at 125 and 750 tokens. `PACK` heads that share their keys are done together.
"""
