"""Triton kernels for what lies between the matrix products of the transformer; symbols as in `engine.model.dit`.

Called by `engine.model.fused`; attention has a module of its own. Each reads its inputs once and writes its result
once: these steps cost the memory traffic that they make. Sums are in fp32. Where a product is to be in fp8 (e4m3),
its left factor is written in it at once, scaled row by row: `Rows`. Needs the `triton` that CUDA builds of torch
bring along.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

FP8 = torch.float8_e4m3fn
FP8_MOST = 448.0
"""The largest number of e4m3."""


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
    return (there + tl.load(time + row * stride + i, mask=inside, other=0).to(tl.float32))[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def _norm(  # type: ignore[no-untyped-def]
    x, y, gate, gate_time, weight, shift, shift_time, scale, scale_time, state, out, scales,
    tokens, stride, eps,
    D: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr, ADD: tl.constexpr, GATE: tl.constexpr,
    MODULATE: tl.constexpr, FP8_MOST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    token, i = row * tokens + place, tl.arange(0, BLOCK)
    present, inside = place < tokens, i < D
    at, there = token[:, None] * D + i[None, :], present[:, None] & inside[None, :]
    v = tl.load(x + at, mask=there, other=0).to(tl.float32)
    if ADD:
        added = tl.load(y + at, mask=there, other=0).to(tl.float32)
        if GATE:
            added *= _modulation(gate, gate_time, row, stride, i, inside)
        kept = (v + added).to(state.dtype.element_ty)
        tl.store(state + at, kept, mask=there)
        v = kept.to(tl.float32)
    v *= tl.rsqrt(tl.sum(v * v, 1) / D + eps)[:, None]
    v *= tl.load(weight + i, mask=inside, other=0).to(tl.float32)[None, :]
    if MODULATE:
        v = v * (1 + _modulation(scale, scale_time, row, stride, i, inside))
        v += _modulation(shift, shift_time, row, stride, i, inside)
    if FP8_MOST > 0:
        most = tl.maximum(tl.max(tl.abs(v), 1), 1e-12)
        tl.store(scales + token, most / FP8_MOST, mask=present)
        v *= (FP8_MOST / most)[:, None]
    tl.store(out + at, v.to(out.dtype.element_ty), mask=there)


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
    nothing, together = Modulation(x, x), TOGETHER[shift is not None, fp8]
    _norm[(triton.cdiv(tokens, together), rows)](
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
        TOKENS=together,
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
def _gated(x, token, i, D: tl.constexpr):  # type: ignore[no-untyped-def]
    gate = tl.load(x + token * 2 * D + i, mask=i < D, other=0).to(tl.float32)
    up = tl.load(x + (token * 2 + 1) * D + i, mask=i < D, other=0).to(tl.float32)
    return gate * tl.sigmoid(gate) * up


@triton.jit  # type: ignore[untyped-decorator]
def _swiglu(x, out, D: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + token * D + i, _gated(x, token, i, D).to(out.dtype.element_ty), mask=i < D)


@triton.jit  # type: ignore[untyped-decorator]
def _swiglu_scaled(  # type: ignore[no-untyped-def]
    x, out, scales, D: tl.constexpr, BLOCK: tl.constexpr, REST: tl.constexpr, FP8_MOST: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, BLOCK), BLOCK + tl.arange(0, REST)
    a, b = _gated(x, token, i, D), _gated(x, token, j, D)
    most = tl.maximum(tl.maximum(tl.max(tl.abs(a), 0), tl.max(tl.abs(b), 0)), 1e-12)
    tl.store(scales + token, most / FP8_MOST)
    tl.store(out + token * D + i, (a * (FP8_MOST / most)).to(out.dtype.element_ty), mask=i < D)
    tl.store(out + token * D + j, (b * (FP8_MOST / most)).to(out.dtype.element_ty), mask=j < D)


def swiglu(x: Tensor, fp8: bool = False) -> Tensor | Rows:
    """`silu(gate) * up` [R,S,I] of gate and up [R,S,2I]."""
    width, tokens = x.shape[-1] // 2, x.shape[0] * x.shape[1]
    out, scales = _room(x, width, fp8)
    if scales is None:
        _swiglu[(tokens, triton.cdiv(width, 1024))](x, out, D=width, BLOCK=1024, num_warps=WARPS["swiglu"])
        return out
    block = 1 << (width.bit_length() - 1)
    rest = triton.next_power_of_2(max(1, width - block))  # two powers of two: few threads lie beyond the row's end
    _swiglu_scaled[(tokens,)](
        x, out, scales, D=width, BLOCK=block, REST=rest, FP8_MOST=FP8_MOST, num_warps=WARPS["swiglu scaled"]
    )
    return Rows(out, scales)


@triton.jit  # type: ignore[untyped-decorator]
def _scale(x, out, scales, D: tl.constexpr, BLOCK: tl.constexpr, FP8_MOST: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    v = tl.load(x + token * D + i, mask=i < D, other=0).to(tl.float32)
    most = tl.maximum(tl.max(tl.abs(v), 0), 1e-12)
    tl.store(scales + token, most / FP8_MOST)
    tl.store(out + token * D + i, (v * (FP8_MOST / most)).to(out.dtype.element_ty), mask=i < D)


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


WARPS = {"norm": 8, "rotated": 4, "swiglu": 4, "swiglu scaled": 16}
"""Of one program of a kernel: the fastest of 1 to 16 on an H200."""

TOGETHER = {(False, False): 1, (False, True): 1, (True, False): 2, (True, True): 4}
"""Tokens that one program normalises, with a modulation or without, in fp8 or not: the fastest of 1 to 8."""
