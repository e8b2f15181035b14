"""The arithmetic of a tick as three Triton kernels around the network, for the graph that captures all of it.

Called by the graph backend: :func:`enter` before the forward, :func:`leave` after it. The formulas are those of
`engine.steps`, `engine.guidance` and `engine.dcw`, in their symbols, and `engine.advance` is the same in torch. All
that differs from tick to tick stands in the :class:`~engine.backends.table.Table`; a row never sees another one, and
sums are taken in the same order every time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.backends.table import (
    AVERAGE,
    BEFORE,
    FIRST,
    FIRST_ROW,
    FRESH,
    GAINS,
    GAINS_STRIDE,
    HIGH,
    IS_NOISY,
    IS_PLAIN,
    IS_RESCALED,
    IS_SDE,
    KEEP,
    KEPT,
    LOCK,
    LOCKED,
    LOOP,
    LOW,
    MAGNITUDE,
    MOMENTUM,
    NOISE,
    NUMBERS,
    ODE_NOISE,
    PUSHED,
    RATIO,
    RESCALE,
    SCALE,
    SDE,
    SECOND_ROW,
    SLOT,
    SLOT_NUMBERS,
    SLOTS,
    SLOTS_NUMBERS,
    SOFT,
    SOURCE,
    SWITCHES,
    T_NEXT,
    TARGET,
    TENSORS,
    UNGUIDED_ROW,
    UNWANTED,
    USED,
    VELOCITY,
    WAVELET,
    WEIGHT_A,
    WEIGHT_B,
    T,
    Table,
    V,
    X,
)  # fmt: skip
from engine.dcw import Mode as Wavelet
from engine.geometry import CHANNELS
from engine.guidance import NORM_FRAMES, NORM_LIMIT
from engine.guidance import Mode as Guidance

_C = tl.constexpr(CHANNELS)
_SELF = tl.constexpr(int(Guidance.SELF))
_LOW, _HIGH, _PIX = (tl.constexpr(int(mode)) for mode in (Wavelet.LOW, Wavelet.HIGH, Wavelet.PIX))

FRAMES, WIDE, NARROW = 32, 128, 8
"""Latent frames of a program of :func:`enter` and of a pair's half in :func:`leave`; frames at a time and channels of
one that sums over time: 8 channels are the 32 bytes that a GPU fetches at least.
"""


@triton.jit  # type: ignore[untyped-decorator]
def _switch(table, name: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(table + SWITCHES + name)


@triton.jit  # type: ignore[untyped-decorator]
def _number(numbers, name: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(numbers + NUMBERS + name)


@triton.jit  # type: ignore[untyped-decorator]
def _slot(table, row, name: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(table + SLOTS + row * SLOT + name)


@triton.jit  # type: ignore[untyped-decorator]
def _time(numbers, row, name: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(numbers + SLOTS_NUMBERS + row * SLOT_NUMBERS + name)


@triton.jit  # type: ignore[untyped-decorator]
def _tensor(table, row, name: tl.constexpr):  # type: ignore[no-untyped-def]
    begin = tl.load(table + TENSORS + 2 * name).to(tl.pointer_type(tl.float32))
    return begin + row * tl.load(table + TENSORS + 2 * name + 1)


@triton.jit  # type: ignore[untyped-decorator]
def _is_there(table, name: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(table + TENSORS + 2 * name) != 0


@triton.jit  # type: ignore[untyped-decorator]
def _amount(table, numbers, row, f, inside, name: tl.constexpr):  # type: ignore[no-untyped-def]
    """[F,1] at the frames `f` [F,1]."""
    begin = tl.load(table + 2 * name)
    value = tl.zeros_like(f).to(tl.float32) + tl.load(numbers + name)
    if begin != 0:
        curve = begin.to(tl.pointer_type(tl.float32)) + row * tl.load(table + 2 * name + 1)
        value = tl.load(curve + f, mask=inside, other=0)
    return value


@triton.jit
def _noised(n, clean, t):  # type: ignore[no-untyped-def]
    return t * n + (1 - t) * clean


@triton.jit
def _lerp(a, b, share):  # type: ignore[no-untyped-def]
    return a + share * (b - a)


@triton.jit  # type: ignore[untyped-decorator]
def _enter(table, numbers, seen, frames, width, room, C: tl.constexpr, F: tl.constexpr):  # type: ignore[no-untyped-def]
    """What is kept comes into the state; the network sees the state with its gains, once for each condition."""
    row = tl.program_id(0).to(tl.int64)
    if _slot(table, row, USED) != 0:
        f, c = (tl.program_id(1) * F + tl.arange(0, F))[:, None], tl.arange(0, C)[None, :]
        inside = f < frames
        at = f * C + c
        state = _tensor(table, row, X) + at
        x = tl.load(state, mask=inside, other=0)
        if _is_there(table, KEPT):
            kept = tl.load(_tensor(table, row, KEPT) + at, mask=inside, other=0)
            n = tl.load(_tensor(table, row, NOISE) + at, mask=inside, other=0)
            share = _amount(table, numbers, row, f, inside, KEEP)
            x = _lerp(x, _noised(n, kept, _time(numbers, row, T)), share)
            tl.store(state, x, mask=inside)
        if _is_there(table, GAINS):
            gains = _tensor(table, row, GAINS) + f * _switch(table, GAINS_STRIDE) + c
            x *= tl.load(gains, mask=inside, other=0)
        to = seen + f * width + (width - C) + c
        for name in tl.static_range(FIRST_ROW, UNGUIDED_ROW + 1):
            into = _slot(table, row, name)
            if into >= 0:
                tl.store(to + into * room * width, x.to(seen.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _mixed(table, numbers, out, row, f, c, inside, room, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """The velocity of a slot that has one: of its condition, or the mean of both by their weights."""
    first, second = _slot(table, row, FIRST_ROW), _slot(table, row, SECOND_ROW)
    v = tl.load(out + (first * room + f) * C + c, mask=inside, other=0).to(tl.float32)
    if second >= 0:
        other = tl.load(out + (second * room + f) * C + c, mask=inside, other=0).to(tl.float32)
        place = (_slot(table, row, FIRST) + f) % _switch(table, LOOP)
        a = _amount(table, numbers, row, place, inside, WEIGHT_A) + 1e-12
        b = _amount(table, numbers, row, place, inside, WEIGHT_B) + 1e-12
        v = (v * a + other * b) / (a + b)
    return v


@triton.jit  # type: ignore[untyped-decorator]
def _unwanted(table, out, row, f, c, at, inside, room, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """The unguided velocity: the network's, that of the slot's first step, or the way back to where it was born."""
    given = _slot(table, row, UNGUIDED_ROW)
    if given >= 0:
        v = tl.load(out + (given * room + f) * C + c, mask=inside, other=0).to(tl.float32)
    elif _slot(table, row, PUSHED) == _SELF:
        v = tl.load(_tensor(table, row, NOISE) + at, mask=inside, other=0)
        v -= tl.load(_tensor(table, row, SOURCE) + at, mask=inside, other=0)
    else:
        v = tl.load(_tensor(table, row, UNWANTED) + at, mask=inside, other=0)
    return v


@triton.jit  # type: ignore[untyped-decorator]
def _push(  # type: ignore[no-untyped-def]
    table, numbers, out, sums, frames, room, limit, C: tl.constexpr, F: tl.constexpr, W: tl.constexpr
):
    """Adaptive projected guidance of some channels of a row: two passes over time."""
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if _slot(table, row, PUSHED) != 0:
        c = (part * W + tl.arange(0, W))[None, :]
        momentum = _number(numbers, MOMENTUM)
        average = _tensor(table, row, AVERAGE)
        squares, along, whole = tl.zeros([W], tl.float32), tl.zeros([W], tl.float64), tl.zeros([W], tl.float64)
        for begin in range(0, frames, F):
            f = (begin + tl.arange(0, F))[:, None]
            inside = f < frames
            at = f * C + c
            vc = _mixed(table, numbers, out, row, f, c, inside, room, C)
            d = vc - _unwanted(table, out, row, f, c, at, inside, room, C)
            d += momentum * tl.load(average + at, mask=inside, other=0)
            squares += tl.sum(d * d, 0)
            along += tl.sum(d.to(tl.float64) * vc.to(tl.float64), 0)
            whole += tl.sum(vc.to(tl.float64) * vc.to(tl.float64), 0)
        short = tl.minimum(limit / tl.maximum(tl.sqrt(squares), 1e-12), 1.0).to(tl.float64)[None, :]
        share = (along / tl.maximum(whole, 1e-24))[None, :]
        before, after = tl.zeros([W], tl.float32), tl.zeros([W], tl.float32)
        for begin in range(0, frames, F):
            f = (begin + tl.arange(0, F))[:, None]
            inside = f < frames
            at = f * C + c
            vc = _mixed(table, numbers, out, row, f, c, inside, room, C)
            vu = _unwanted(table, out, row, f, c, at, inside, room, C)
            d = (vc - vu) + momentum * tl.load(average + at, mask=inside, other=0)
            across = (short * (d.to(tl.float64) - share * vc.to(tl.float64))).to(tl.float32)
            v = vc + (_amount(table, numbers, row, f, inside, SCALE) - 1) * across
            tl.store(average + at, d, mask=inside)
            if _slot(table, row, UNGUIDED_ROW) >= 0:
                tl.store(_tensor(table, row, UNWANTED) + at, vu, mask=inside)
            tl.store(_tensor(table, row, V) + at, v, mask=inside)
            before += tl.sum(vc * vc, 0)
            after += tl.sum(v * v, 0)
        to = sums + (row * tl.num_programs(1) + part) * 2
        tl.store(to, tl.sum(before, 0))
        tl.store(to + 1, tl.sum(after, 0))


@triton.jit  # type: ignore[untyped-decorator]
def _steered(  # type: ignore[no-untyped-def]
    table, numbers, out, sums, row, f, c, inside, room, C: tl.constexpr, PARTS: tl.constexpr
):
    """The velocity of a slot: as the network and the guidance give it, or that of before where neither does."""
    at = f * C + c
    kept = _tensor(table, row, V) + at
    if _slot(table, row, PUSHED) != 0:
        v = tl.load(kept, mask=inside, other=0)
        if _switch(table, IS_RESCALED) != 0:
            part = sums + (row * PARTS + tl.arange(0, PARTS)) * 2
            ratio = tl.sqrt(tl.sum(tl.load(part), 0)) / tl.maximum(tl.sqrt(tl.sum(tl.load(part + 1), 0)), 1e-12)
            v = _lerp(v, v * ratio, _amount(table, numbers, row, f, inside, RESCALE))
            tl.store(kept, v, mask=inside)
    elif _slot(table, row, FIRST_ROW) >= 0:
        v = _mixed(table, numbers, out, row, f, c, inside, room, C)
        tl.store(kept, v, mask=inside)
    else:
        v = tl.load(kept, mask=inside, other=0)
    return v


@triton.jit
def _locked(v, x, t, target, a):  # type: ignore[no-untyped-def]
    return v + a * ((x - target) / tl.maximum(t, 1e-6) - v)


@triton.jit  # type: ignore[untyped-decorator]
def _stepped(  # type: ignore[no-untyped-def]
    table, numbers, out, sums, row, f, c, inside, room, C: tl.constexpr, PARTS: tl.constexpr
):
    """The state after the step, and the clean latent that was predicted, at the frames `f`."""
    t, t_next, at = _time(numbers, row, T), _time(numbers, row, T_NEXT), f * C + c
    v = _steered(table, numbers, out, sums, row, f, c, inside, room, C, PARTS)
    x = tl.load(_tensor(table, row, X) + at, mask=inside, other=0)
    tl.store(_tensor(table, row, BEFORE) + at, x, mask=inside)
    if _is_there(table, TARGET):
        target = tl.load(_tensor(table, row, TARGET) + at, mask=inside, other=0)
        v = _locked(v, x, t, target, _amount(table, numbers, row, f, inside, LOCK) * _time(numbers, row, LOCKED))
    if _is_there(table, KEPT):
        kept = tl.load(_tensor(table, row, KEPT) + at, mask=inside, other=0)
        v = _locked(v, x, t, kept, _amount(table, numbers, row, f, inside, KEEP))
    pace, fresh = _amount(table, numbers, row, f, inside, VELOCITY), _slot(table, row, FRESH)
    n = tl.zeros_like(x)
    if fresh != 0:
        place = (_slot(table, row, FIRST) + f) % _switch(table, LOOP)
        n = tl.load(fresh.to(tl.pointer_type(tl.float32)) + place * C + c, mask=inside, other=0)
    if _switch(table, IS_SDE) != 0:
        source = tl.load(_tensor(table, row, SOURCE) + at, mask=inside, other=0)
        found = _lerp(source, x - t * pace * v, _amount(table, numbers, row, f, inside, SDE))
        after = _noised(n, found, t_next)
    else:
        after = x + (t_next - t) * pace * v
        if _switch(table, IS_NOISY) != 0:
            after += n * t_next * _amount(table, numbers, row, f, inside, ODE_NOISE)
    return after, x - t * v


@triton.jit
def _sign(x):  # type: ignore[no-untyped-def]
    return (x > 0).to(tl.float32) - (x < 0).to(tl.float32)


@triton.jit
def _difference(table, numbers, x, y):  # type: ignore[no-untyped-def]
    """What DCW moves x by, before its strength."""
    d = x - y
    if _switch(table, IS_PLAIN) == 0:
        louder = tl.abs(x) - tl.abs(y)
        d = _lerp(d, _sign(x) * louder, _number(numbers, MAGNITUDE))
        d = _sign(d) * tl.maximum(tl.abs(d) - _number(numbers, SOFT), 0)
        d = _lerp(d, x * louder / tl.maximum(tl.abs(x) + tl.abs(y), 1e-6), _number(numbers, RATIO))
    return d


@triton.jit
def _corrected(table, numbers, row, f, inside, x, y, x_slow, y_slow):  # type: ignore[no-untyped-def]
    """The state x corrected by the prediction y; both with the slow halves of their wavelets."""
    mode, t = _switch(table, WAVELET), _time(numbers, row, T)
    low = _amount(table, numbers, row, f, inside, LOW)
    high = _amount(table, numbers, row, f, inside, HIGH)
    if mode == _PIX:
        x += low * _difference(table, numbers, x, y)
    else:
        slow = _difference(table, numbers, x_slow, y_slow)
        fast = _difference(table, numbers, x - x_slow, y - y_slow)
        moved = x
        if mode != _HIGH:
            moved += t * low * slow
        if mode != _LOW:
            moved += (1 - t) * high * fast
        x = moved
    return x


@triton.jit  # type: ignore[untyped-decorator]
def _leave(  # type: ignore[no-untyped-def]
    table, numbers, out, sums, frames, room, C: tl.constexpr, F: tl.constexpr, PARTS: tl.constexpr
):
    """The step and its correction, for pairs of frames: what a wavelet of one level looks at together."""
    row = tl.program_id(0).to(tl.int64)
    if _slot(table, row, USED) != 0:
        f, c = (2 * (tl.program_id(1) * F + tl.arange(0, F)))[:, None], tl.arange(0, C)[None, :]
        there, paired = f < frames, f + 1 < frames
        x, y = _stepped(table, numbers, out, sums, row, f, c, there, room, C, PARTS)
        x_next, y_next = _stepped(table, numbers, out, sums, row, f + 1, c, paired, room, C, PARTS)
        if _switch(table, WAVELET) != 0:
            x_slow, y_slow = tl.where(paired, (x + x_next) / 2, x), tl.where(paired, (y + y_next) / 2, y)
            x = _corrected(table, numbers, row, f, there, x, y, x_slow, y_slow)
            x_next = _corrected(table, numbers, row, f + 1, paired, x_next, y_next, x_slow, y_slow)
        state = _tensor(table, row, X) + f * C + c
        tl.store(state, x, mask=there)
        tl.store(state + C, x_next, mask=paired)


def enter(table: Table, seen: Tensor, slots: int, frames: int) -> None:
    """Writes the state, with what is kept, and what the network is to see into the last 64 of `seen` [R,F,192].

    `frames` of the F are those of the loop or the window; the rest makes whole tokens.
    """
    _, room, width = seen.shape
    grid = (slots, triton.cdiv(frames, FRAMES))
    _enter[grid](table.whole, table.numbers, seen, frames, width, room, C=CHANNELS, F=FRAMES)


def leave(table: Table, out: Tensor, sums: Tensor, slots: int, frames: int) -> None:
    """Guidance, step and correction of all slots, by the velocities `out` [R,F,64]; `sums` [slots,8,2] is room."""
    room, parts = out.shape[1], CHANNELS // NARROW
    limit = NORM_LIMIT * (frames / NORM_FRAMES) ** 0.5
    told = table.whole, table.numbers, out, sums, frames, room
    _push[(slots, parts)](*told, limit, C=CHANNELS, F=WIDE, W=NARROW)
    pairs = -(-frames // 2)
    _leave[(slots, triton.cdiv(pairs, FRAMES // 2))](*told, C=CHANNELS, F=FRAMES // 2, PARTS=parts)


def sums(slots: int, device: torch.device) -> Tensor:
    """Room for :func:`leave`."""
    return torch.zeros(slots, CHANNELS // NARROW, 2, device=device)
