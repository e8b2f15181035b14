"""Triton kernels for what lies between the matrix products of the transformer; symbols as in `engine.model.dit`.

Called by `engine.model.fused`. Each reads its inputs once and writes its result once: these steps cost the memory
traffic that they make. Sums are in fp32. Where a product is to be in fp8 (e4m3), its left factor is written in it
at once, scaled row by row: `Rows`. Needs the `triton` that CUDA builds of torch bring along.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

FP8 = torch.float8_e4m3fn
FP8_MOST = 448.0
"""The largest number of e4m3."""

_LOG2_E = 1.4426950408889634


class Rows(NamedTuple):
    """Rows in fp8: `rows * scale`."""

    rows: Tensor
    """[M,in]."""
    scale: Tensor
    """[M,1] in fp32."""


class Modulation(NamedTuple):
    """A number for every channel: what a block has of its own, plus what the time gives."""

    own: Tensor
    """[d]."""
    time: Tensor
    """[R,d] in fp32, a view of rows that lie 7 d apart."""


@triton.jit
def _modulation(own, time, row, stride, i, inside):  # type: ignore[no-untyped-def]
    there = tl.load(own + i, mask=inside, other=0).to(tl.float32)
    return there + tl.load(time + row * stride + i, mask=inside, other=0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _put(out, scales, values, token, i, inside, D: tl.constexpr, FP8_MOST: tl.constexpr):  # type: ignore[no-untyped-def]
    if FP8_MOST > 0:
        most = tl.maximum(tl.max(tl.abs(values), 0), 1e-12)
        tl.store(scales + token, most / FP8_MOST)
        values *= FP8_MOST / most
    tl.store(out + token * D + i, values.to(out.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _norm(  # type: ignore[no-untyped-def]
    x, y, gate, gate_time, weight, shift, shift_time, scale, scale_time, state, out, scales,
    tokens, stride, eps,
    D: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, GATE: tl.constexpr, MODULATE: tl.constexpr,
    FP8_MOST: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    row = token // tokens
    i = tl.arange(0, BLOCK)
    inside = i < D
    v = tl.load(x + token * D + i, mask=inside, other=0).to(tl.float32)
    if ADD:
        added = tl.load(y + token * D + i, mask=inside, other=0).to(tl.float32)
        if GATE:
            added *= _modulation(gate, gate_time, row, stride, i, inside)
        kept = (v + added).to(state.dtype.element_ty)
        tl.store(state + token * D + i, kept, mask=inside)
        v = kept.to(tl.float32)
    v *= tl.rsqrt(tl.sum(v * v, 0) / D + eps) * tl.load(weight + i, mask=inside, other=0).to(tl.float32)
    if MODULATE:
        v = v * (1 + _modulation(scale, scale_time, row, stride, i, inside))
        v += _modulation(shift, shift_time, row, stride, i, inside)
    _put(out, scales, v, token, i, inside, D, FP8_MOST)


def norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    added: Tensor | None = None,
    gate: Modulation | None = None,
    shift: Modulation | None = None,
    scale: Modulation | None = None,
    fp8: bool = False,
) -> tuple[Tensor, Tensor | Rows]:
    """The state `x + gate * added` [R,S,d], and `rms_norm(state) * weight * (1 + scale) + shift` of it."""
    rows, tokens, width = x.shape
    state = x if added is None else torch.empty_like(x)
    out, scales = _room(x, width, fp8)
    time = next((m.time for m in (gate, shift) if m is not None), None)
    nothing = Modulation(x, x)
    _norm[(rows * tokens,)](
        x,
        x if added is None else added,
        *(gate or nothing),
        weight,
        *(shift or nothing),
        *(scale or nothing),
        state,
        out,
        out if scales is None else scales,
        tokens,
        0 if time is None else time.stride(0),
        eps,
        D=width,
        BLOCK=triton.next_power_of_2(width),
        ADD=added is not None,
        GATE=gate is not None,
        MODULATE=shift is not None,
        FP8_MOST=FP8_MOST if fp8 else 0.0,
        num_warps=WARPS["norm"],
    )
    return state, out if scales is None else Rows(out, scales)


@triton.jit  # type: ignore[untyped-decorator]
def _rotate(  # type: ignore[no-untyped-def]
    qkv, weight, cos, sin, out, tokens, stride, eps, HEADS: tl.constexpr, BLOCK: tl.constexpr, D: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    place = token % tokens
    head, i = tl.arange(0, BLOCK)[:, None], tl.arange(0, D // 2)[None, :]
    inside, half = head < HEADS, D // 2
    at = head * D + i
    a = tl.load(qkv + token * stride + at, mask=inside, other=0).to(tl.float32)
    b = tl.load(qkv + token * stride + at + half, mask=inside, other=0).to(tl.float32)
    size = tl.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / D + eps)[:, None]
    a *= size * tl.load(weight + at, mask=inside, other=0).to(tl.float32)
    b *= size * tl.load(weight + at + half, mask=inside, other=0).to(tl.float32)
    c, s = tl.load(cos + place * D + i).to(tl.float32), tl.load(sin + place * D + i).to(tl.float32)
    to = out + token * HEADS * D + at
    tl.store(to, (a * c - b * s).to(out.dtype.element_ty), mask=inside)
    tl.store(to + half, (b * c + a * s).to(out.dtype.element_ty), mask=inside)


def rotated(qkv: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """Queries and keys [R,S,H+K,D] of `qkv` [R,S,(H+2K) D], normalised with `weight` [H+K,D] and turned.

    `cos` and `sin` [S,D] hold the same in both halves (`DiT.tables`).
    """
    rows, tokens, stride = qkv.shape
    heads, width = weight.shape
    out = qkv.new_empty(rows, tokens, heads, width)
    _rotate[(rows * tokens,)](
        qkv, weight, cos, sin, out, tokens, stride, eps,
        HEADS=heads, BLOCK=triton.next_power_of_2(heads), D=width, num_warps=WARPS["rotated"],
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _swiglu(x, out, scales, D: tl.constexpr, BLOCK: tl.constexpr, FP8_MOST: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < D
    gate = tl.load(x + token * 2 * D + i, mask=inside, other=0).to(tl.float32)
    up = tl.load(x + (token * 2 + 1) * D + i, mask=inside, other=0).to(tl.float32)
    _put(out, scales, gate * tl.sigmoid(gate) * up, token, i, inside, D, FP8_MOST)


def swiglu(x: Tensor, fp8: bool = False) -> Tensor | Rows:
    """`silu(gate) * up` [R,S,I] of gate and up [R,S,2I]."""
    width = x.shape[-1] // 2
    out, scales = _room(x, width, fp8)
    tokens, block = x.shape[0] * x.shape[1], triton.next_power_of_2(width) if fp8 else 1024
    _swiglu[(tokens, triton.cdiv(width, block))](
        x,
        out,
        out if scales is None else scales,
        D=width,
        BLOCK=block,
        FP8_MOST=FP8_MOST if fp8 else 0.0,
        num_warps=WARPS["swiglu"],
    )
    return out if scales is None else Rows(out, scales)


@triton.jit  # type: ignore[untyped-decorator]
def _scale(x, out, scales, D: tl.constexpr, BLOCK: tl.constexpr, FP8_MOST: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < D
    v = tl.load(x + token * D + i, mask=inside, other=0).to(tl.float32)
    _put(out, scales, v, token, i, inside, D, FP8_MOST)


def scaled(x: Tensor) -> Rows:
    """`x` [R,S,d] in fp8."""
    width = x.shape[-1]
    tokens = x.shape[0] * x.shape[1]
    out, scales = x.new_empty(tokens, width, dtype=FP8), x.new_empty(tokens, 1, dtype=torch.float32)
    _scale[(tokens,)](x, out, scales, D=width, BLOCK=triton.next_power_of_2(width), FP8_MOST=FP8_MOST)
    return Rows(out, scales)


@triton.jit  # type: ignore[untyped-decorator]
def _snake(x, alpha, share, out, channels, frames, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < frames
    v = tl.load(x + row * frames + i, mask=inside, other=0).to(tl.float32)
    bend = tl.sin(v * tl.load(alpha + row % channels))
    v += bend * bend * tl.load(share + row % channels)
    tl.store(out + row * frames + i, v.to(out.dtype.element_ty), mask=inside)


def snake(x: Tensor, alpha: Tensor, share: Tensor) -> Tensor:
    """`x + share sin(alpha x)^2` of `x` [B,C,N]; `alpha` and `share` [C] in fp32."""
    x = x.contiguous()
    out = torch.empty_like(x)
    batch, channels, frames = x.shape
    block = min(1024, triton.next_power_of_2(frames))
    _snake[(batch * channels, triton.cdiv(frames, block))](x, alpha, share, out, channels, frames, BLOCK=block)
    return out


def _room(x: Tensor, width: int, fp8: bool) -> tuple[Tensor, Tensor | None]:
    """Room for `width` channels of every token of `x`, and for their scales in fp8."""
    if not fp8:
        return x.new_empty(*x.shape[:-1], width), None
    tokens = x.shape[0] * x.shape[1]
    return x.new_empty(tokens, width, dtype=FP8), x.new_empty(tokens, 1, dtype=torch.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    q, k, v, out, bias, counts, weight,
    q_row, q_token, k_row, k_token, k_head, v_row, v_token, v_head, bias_row,
    tokens, keys, scale, eps,
    HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    WINDOW: tl.constexpr, CONDITION: tl.constexpr, LOG2_E: tl.constexpr,
):  # fmt: skip
    first, head, row = tl.program_id(0) * M, tl.program_id(1), tl.program_id(2).to(tl.int64)
    query, i = first + tl.arange(0, M), tl.arange(0, D)
    asked = query[:, None] < tokens
    at = tl.load(q + row * q_row + query[:, None] * q_token + head * D + i[None, :], mask=asked, other=0)
    if CONDITION:
        wide = at.to(tl.float32)
        wide *= tl.rsqrt(tl.sum(wide * wide, 1) / D + eps)[:, None] * tl.load(weight + i).to(tl.float32)[None, :]
        at = wide.to(q.dtype.element_ty)
    begin, end = 0, keys
    if CONDITION:
        end = tl.load(counts + row)
    if WINDOW > 0:
        begin = tl.maximum(0, (first - WINDOW) // N * N)
        end = tl.minimum(keys, first + M + WINDOW)
    k += row * k_row + (head // GROUP) * k_head
    v += row * v_row + (head // GROUP) * v_head
    most = tl.full([M], -1e30, tl.float32)
    total = tl.zeros([M], tl.float32)
    mixed = tl.zeros([M, D], tl.float32)
    for start in range(begin, end, N):
        key = start + tl.arange(0, N)
        there = key < end
        looked = tl.load(k + key[None, :] * k_token + i[:, None], mask=there[None, :], other=0)
        score = tl.dot(at, looked) * scale
        if CONDITION:
            score += (tl.load(bias + row * bias_row + key, mask=there, other=0) * LOG2_E)[None, :]
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
    place = out + ((row * tokens + query[:, None]) * HEADS + head) * D + i[None, :]
    tl.store(place, mixed.to(out.dtype.element_ty), mask=asked)


def attended(q: Tensor, k: Tensor, v: Tensor, window: int = 0) -> Tensor:
    """Attention [R,S,H D] of `q` [R,S,H,D] to `k` and `v` [R,S,K,D], at most `window` tokens away, or 0 for all."""
    if not window and q.shape[1] > SHORT:
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2)
    strides = (k.stride(0), k.stride(1), k.stride(2), v.stride(0), v.stride(1), v.stride(2))
    return _attended(q, k, v, strides, (q, q, q, 0), 0.0, window=window, condition=False)


def conditioned(q: Tensor, weight: Tensor, kv: Tensor, bias: Tensor, counts: Tensor, eps: float) -> Tensor:
    """Attention [R,S,H D] of `q` [R,S,H,D], first normalised with `weight` [D], to conditions `kv` [2,R,K,L,D].

    `bias` [R,L] in fp32 is added to the scores; of row r the first `counts[r]` (int32) tokens are looked at.
    """
    k, v = kv.unbind()
    strides = (k.stride(0), k.stride(2), k.stride(1), v.stride(0), v.stride(2), v.stride(1))
    return _attended(
        q, k.transpose(1, 2), v.transpose(1, 2), strides, (bias, counts, weight, bias.stride(0)), eps, 0, True
    )


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    strides: tuple[int, ...],
    condition_of: tuple[Tensor, Tensor, Tensor, int],
    eps: float,
    window: int,
    condition: bool,
) -> Tensor:
    rows, tokens, heads, width = q.shape
    bias, counts, weight, bias_row = condition_of
    out = q.new_empty(rows, tokens, heads * width)
    tile = TILES[("condition" if condition else "self", tokens > SHORT)]
    _attend[(triton.cdiv(tokens, tile["M"]), heads, rows)](
        q, k, v, out, bias, counts, weight,
        q.stride(0), q.stride(1), *strides, bias_row,
        tokens, k.shape[1], width**-0.5 * _LOG2_E, eps,
        HEADS=heads, GROUP=heads // k.shape[2], D=width, WINDOW=window, CONDITION=condition, LOG2_E=_LOG2_E,
        **tile,
    )  # fmt: skip
    return out


WARPS = {"norm": 8, "rotated": 4, "swiglu": 4}
"""Of one program of a kernel: the fastest of 1 to 16 on an H200."""

SHORT = 256
"""Tokens up to which there are few tiles to share out, and these kernels are the fastest for full attention too."""

TILES: dict[tuple[str, bool], dict[str, int]] = {
    ("self", False): {"M": 64, "N": 64, "num_warps": 4, "num_stages": 3},
    ("self", True): {"M": 64, "N": 64, "num_warps": 4, "num_stages": 3},
    ("condition", False): {"M": 64, "N": 128, "num_warps": 4, "num_stages": 2},
    ("condition", True): {"M": 64, "N": 64, "num_warps": 4, "num_stages": 2},
}
"""Queries and keys of one step of attention, by its kind and for more tokens than :data:`SHORT`: the fastest of ten
on an H200 at 125 and 750 tokens.
"""
