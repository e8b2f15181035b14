"""One latent in the making: where it is on its schedule, and how it is born and moved to another strength.

Owned by the ring; its tensors are a row of `engine.rows.Rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import steps as step
from engine.knobs import Knobs
from engine.rows import Rows
from engine.schedule import times
from engine.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Frames of a window that go on from what was there before."""

    share: Tensor
    """[T,1] in 0–1: 1 keeps."""
    latent: Tensor
    """[T,64]: what is kept."""


@dataclass(slots=True, eq=False)
class Slot:
    """See the module."""

    id: int
    row: int
    tick: int
    """The tick that admitted it."""
    knobs: Knobs
    """Those at its birth."""
    settings: Settings
    """Those at its birth."""
    first: int
    """Frame of the loop at which its region begins."""
    steps: int
    """Steps from admission to finish."""
    times: tuple[float, ...] = ()
    """`steps + 1` of them."""
    denoise: float = 0.0
    hold: Hold | None = None
    step: int = 0
    skipped: int = 0
    """The step at which it was born anew: the schedule since then has the others only."""
    unguided: bool = False
    """Whether the unguided velocity of its first step was kept."""
    steady: bool = True
    """Whether settings have been the same all its life."""

    @property
    def left(self) -> int:
        """Steps until it finishes."""
        return self.steps - self.step

    def plan(self, denoise: float) -> tuple[float, ...]:
        """Its times at another strength; those of skipped steps are the first."""
        plan = times(self.steps - self.skipped, denoise, self.knobs.shift)
        return plan[:1] * self.skipped + plan

    @property
    def time(self) -> float:
        """Where it is: 1 is noise, 0 is music."""
        return self.times[self.step]

    @property
    def after(self) -> float:
        """Where its next step takes it."""
        return self.times[self.step + 1]


def columns(rows: Rows, values: Sequence[tuple[int, Sequence[float]]]) -> tuple[Tensor, ...]:
    """One number a row as tensors [B,1,1] on the device, in a single transfer that nobody waits for.

    `values` are rows and their numbers, equally many for each; the other rows get zeros.
    """
    numbers = dict(values)
    none = (0.0,) * len(values[0][1])
    table = torch.tensor([numbers.get(row, none) for row in range(rows.count)]).T.contiguous()
    # So small a table is taken up by the driver at once: no pinned memory is needed for nobody to wait.
    return table.to(rows.x.device, non_blocking=True)[:, :, None, None].unbind()


def birth(rows: Rows, slot: Slot, source: Tensor, noise: Tensor, share: Tensor | None) -> None:
    """Fills the row of a slot that is born, or born anew, from `source` and `noise`, both [T,64].

    `share` [T,1] is the share of noise at each frame, or none for the first time of the schedule.
    """
    slot.denoise, slot.skipped, slot.unguided = slot.knobs.denoise, slot.step, False
    slot.times = slot.plan(slot.denoise)
    t = slot.time
    if t <= 0:
        x = source
    elif share is None:
        x = step.birth(noise, source, t)
    else:
        x = torch.lerp(source, noise, share)
    rows.born(slot.row, x, source, noise)


def replan(rows: Rows, slots: Sequence[Slot], denoise: float) -> None:
    """Moves slots in flight to the schedule of another strength a little away, each at the step where it is.

    Farther away they are born anew (`engine.renewal`).

    Down: the noise that is left is mixed anew at the lower level (`steps.reproject`), with a clean prediction that is
    drawn towards the source by the square of the ratio of the two first times. A slot born at the lower strength
    would have kept that much more of the source, at strength 0 all of it; without this the slot keeps what it has
    already invented. Up: the prediction gets the slot's own noise again, as much as the higher level has; with the
    noise that is left it would only be led back to where it was.
    """
    moves = []
    for slot in slots:
        plan = slot.plan(denoise)
        s, s_new = slot.time, plan[slot.step]
        before = slot.times[slot.step - 1] if slot.step else 0.0
        ended, down, up = plan[0] <= 0, 0 < s_new < s, s_new > s
        share = (plan[0] / slot.times[0]) ** 2 if slot.times[0] > 0 else 1.0
        moves.append((slot.row, (before, s, s_new, share, ended, down, up)))
        slot.times, slot.denoise = plan, denoise
    t_before, t, t_new, kept, is_over, is_down, is_up = columns(rows, moves)
    x0 = step.clean(rows.before, rows.v, t_before)
    lower = step.reproject(rows.x, x0, t.clamp_min(1e-6), t_new, torch.lerp(rows.source, x0, kept))
    higher = step.birth(rows.noise, x0, t_new)
    x = torch.where(is_down > 0, lower, torch.where(is_up > 0, higher, rows.x))
    rows.x = torch.where(is_over > 0, rows.source, x)
    rows.before = torch.where(is_over > 0, rows.source, rows.before)
    rows.v = torch.where(is_over > 0, torch.zeros_like(rows.v), rows.v)
