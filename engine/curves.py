"""Curves drawn over the loop, each in the place of one knob's number.

Made by the session when a performer draws one, read by the guides and the ring when something changes. A set of
curves never changes: drawing gives another set, so "has anything changed" is a question of identity, and whoever drew
from a list may go on using that list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from engine.knobs import Knobs
from engine.uploads import uploaded

LONGEST = 65_536
"""The most values that a curve may be drawn with."""

DRAWN = frozenset(
    {
        "velocity_scale",
        "source_lock",
        "protect",
        "sde_amp",
        "ode_noise",
        "guidance_scale",
        "guidance_rescale",
        "dcw_low",
        "dcw_high",
        "prompt_blend",
        "hint_strength",
        "structure_blend",
        "initial_noise",
        *(f.name for f in fields(Knobs) if f.name.startswith("ch")),
    }
)
"""What can be drawn: knobs that act frame by frame, and `initial_noise`, the share of noise at birth."""


class Curves:
    """Up to one curve a name, each [T,1] in fp32 on the device."""

    def __init__(
        self, frames: int, device: torch.device, drawn: Mapping[str, tuple[float, ...]] | None = None
    ) -> None:
        """`drawn` holds the values as they were given; see :meth:`drawn` for how they lie over the loop."""
        self.frames, self.device = frames, device
        self._drawn = dict(drawn or {})
        self._sampled = {name: self._over_the_loop(values) for name, values in self._drawn.items()}

    def drawn(self, name: str, values: Sequence[float] | None) -> Curves:
        """These curves with `name` drawn anew, or handed back to its knob for None.

        Of n values the i-th stands for the middle of the i-th of n equal parts of the loop, with straight lines
        between them and over the seam; T values are the frames' own. Raises `ValueError` for a name that cannot be
        drawn and for values that are none, too many or not finite.
        """
        if name not in DRAWN:
            raise ValueError(f"{name} cannot be drawn as a curve; these can: {', '.join(sorted(DRAWN))}")
        rest = {other: kept for other, kept in self._drawn.items() if other != name}
        if values is None:
            return self if name not in self._drawn else Curves(self.frames, self.device, rest)
        given = tuple(float(value) for value in values)
        if not 1 <= len(given) <= LONGEST:
            raise ValueError(f"a curve has 1 to {LONGEST} values; {name} was given {len(given)}")
        if not all(map(math.isfinite, given)):
            raise ValueError(f"the curve of {name} holds values that are no numbers (NaN or infinity)")
        if self._drawn.get(name) == given:
            return self
        return Curves(self.frames, self.device, {**rest, name: given})

    def at(self, frames: int, device: torch.device | None = None) -> Curves:
        """The same curves over a loop of another length, or on another device."""
        return Curves(frames, device or self.device, self._drawn)

    def same(self, other: Curves, name: str) -> bool:
        """Whether `name` is drawn alike in both, or in neither."""
        return self._drawn.get(name) == other._drawn.get(name)

    def get(self, name: str) -> Tensor | None:
        """The curve [T,1], or none where the knob's number holds. Shared: never write to it."""
        return self._sampled.get(name)

    def _over_the_loop(self, values: tuple[float, ...]) -> Tensor:
        places = (np.arange(self.frames) + 0.5) / self.frames
        middles = (np.arange(len(values)) + 0.5) / len(values)
        curve = np.interp(places, middles, values, period=1.0).astype(np.float32)
        return uploaded(curve, self.device)[:, None]


Amount = float | Tensor
"""A number, or a tensor that broadcasts to [B,T,64]: [T,1] over the loop, [B,T,1] over the regions of slots."""


def amount(knobs: Knobs, curves: Curves, name: str) -> Amount:
    """The curve of `name` where one is drawn, else the knob's number."""
    curve = curves.get(name)
    if curve is not None:
        return curve
    number: float = getattr(knobs, name)
    return number
