"""What a captured tick is told: numbers, switches, and the addresses of tensors, in one table on the device.

Filled by the graph backend once a tick and read by the kernels of `engine.backends.arithmetic`, so that one captured
graph plays whatever ring, curves and settings the table names, and a change of any of them captures nothing anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from engine.curves import Amount
from engine.geometry import CHANNELS


def _places(count: int) -> list[tl.constexpr]:
    return [tl.constexpr(place) for place in range(count)]


VELOCITY, LOCK, KEEP, SDE, ODE_NOISE, SCALE, RESCALE, LOW, HIGH, WEIGHT_A, WEIGHT_B = _amounts = _places(11)
"""Amounts: numbers or curves."""
X, BEFORE, V, SOURCE, NOISE, AVERAGE, UNWANTED, KEPT, TARGET, GAINS = _tensors = _places(10)
"""Tensors over [B,T,64]."""
IS_SDE, IS_NOISY, IS_RESCALED, WAVELET, IS_PLAIN, GAINS_STRIDE, LOOP = _switches = _places(7)
"""Whole numbers: the way through a step, the mode of DCW, how far apart the gains of two frames are, and the loop.
"""
SOFT, RATIO, MAGNITUDE, MOMENTUM = _numbers = _places(4)
USED, FIRST_ROW, SECOND_ROW, UNGUIDED_ROW, PUSHED, FRESH, FIRST = _slot = _places(7)
"""Of each row of the ring: whether there is a slot, its rows in the forward (-1: none), its mode of guidance, the
address of its fresh noise [loop,64] or 0, and the frame of the loop at which its region begins.
"""
T, T_NEXT, LOCKED = _slot_numbers = _places(3)

# Each amount and each tensor has an address (0: a number, or nothing) and how far its rows lie apart.
TENSORS = tl.constexpr(2 * len(_amounts))
SWITCHES = tl.constexpr(TENSORS.value + 2 * len(_tensors))
SLOTS = tl.constexpr(SWITCHES.value + len(_switches))
SLOT = tl.constexpr(len(_slot))
NUMBERS = tl.constexpr(len(_amounts))
SLOTS_NUMBERS = tl.constexpr(NUMBERS.value + len(_numbers))
SLOT_NUMBERS = tl.constexpr(len(_slot_numbers))
"""Where the parts of the table begin, and how much of it a slot has."""


class Table:
    """See the module."""

    def __init__(self, slots: int, rows: int, device: torch.device) -> None:
        """For up to `slots` slots, whose forwards have up to `rows` rows."""
        whole = SLOTS.value + slots * SLOT.value + rows
        numbers = SLOTS_NUMBERS.value + slots * SLOT_NUMBERS.value
        self._sent = torch.zeros(whole + -(-numbers // 2), dtype=torch.int64, device=device)
        self.whole, self.numbers = self._sent[:whole], self._sent[whole:].view(torch.float32)
        """On the device, for kernels: int64, and fp32."""
        self.times = self.whole[whole - rows :]
        """[rows] of which kept time each row of the forward is."""
        self._host = torch.zeros(len(self._sent), dtype=torch.int64)
        ints, floats = self._host[:whole].numpy(), self._host[whole:].view(torch.float32).numpy()
        self._amounts, self._tensors = ints[: TENSORS.value], ints[TENSORS.value : SWITCHES.value]
        self._switches = ints[SWITCHES.value : SLOTS.value]
        self._slots = ints[SLOTS.value : whole - rows].reshape(slots, SLOT.value)
        self._times = ints[whole - rows :]
        self._values, self._numbers = floats[: NUMBERS.value], floats[NUMBERS.value : SLOTS_NUMBERS.value]
        self._slot_numbers = floats[SLOTS_NUMBERS.value : numbers].reshape(slots, SLOT_NUMBERS.value)

    def send(self) -> None:
        """So small a transfer is taken up by the driver at once: nobody waits, and the table may be filled again."""
        self._sent.copy_(self._host, non_blocking=True)

    def clear(self) -> None:
        """No slots: there is nothing to do but the forward."""
        self._slots[:] = 0

    def go_to(self, times: Sequence[int]) -> None:
        """The kept times of the rows of a forward."""
        self._times[: len(times)] = times

    def slot(self, row: int, whole: Sequence[int], numbers: Sequence[float]) -> None:
        """A row of the ring: `USED` to `FIRST`, and `T` to `LOCKED`."""
        self._slots[row] = whole
        self._slot_numbers[row] = numbers

    def amount(self, name: tl.constexpr, value: Amount) -> None:
        """A number, or a curve [T,1] or [B,T,1]."""
        at = 2 * name.value
        if isinstance(value, Tensor):
            self._amounts[at : at + 2] = _address(value), value.shape[1] if value.dim() == 3 else 0
        else:
            self._amounts[at], self._values[name.value] = 0, value

    def tensor(self, name: tl.constexpr, value: Tensor | None) -> None:
        """[B,T,64], or what is the same for all rows: [1,T,64], [T,64] or [1,64]."""
        at = 2 * name.value
        several = value is not None and value.dim() == 3 and len(value) > 1
        self._tensors[at] = 0 if value is None else _address(value)
        self._tensors[at + 1] = value.stride(0) if several and value is not None else 0

    def switch(self, name: tl.constexpr, value: int) -> None:
        """One from `IS_SDE` to `LOOP`."""
        self._switches[name.value] = value

    def number(self, name: tl.constexpr, value: float) -> None:
        """One from `SOFT` to `MOMENTUM`."""
        self._numbers[name.value] = value

    def gains(self, value: Tensor | None) -> None:
        """Gains [1,64], [T,64] or [B,T,64] of what the network sees."""
        self.tensor(GAINS, value)
        self.switch(GAINS_STRIDE, CHANNELS if value is not None and value.shape[-2] > 1 else 0)


def _address(value: Tensor) -> int:
    if value.dtype != torch.float32 or not value.is_contiguous():
        raise ValueError(f"a captured tick reads fp32 without gaps, not {value.dtype} with strides {value.stride()}")
    return value.data_ptr()
