"""Clips for the codec's training, on the device: the generator's music and sounds from outside its world.

Called by `training.vae`. Pieces are composed in other processes; everything is rendered on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.embedded.music import render
from engine.embedded.music.foreign import TRAINING, foreign
from engine.embedded.training.common import Clock
from engine.embedded.training.workers import Composers
from engine.geometry import HOP, SAMPLE_RATE


class Crops(NamedTuple):
    """A step's examples."""

    audio: Tensor
    """[B,2,N]"""
    music: Tensor
    """[B] of bool: the generator's music, no sound from outside."""


class Bank:
    """Clips on the device, renewed one after the other."""

    def __init__(
        self, clips: int, seconds: float, seed: int, device: torch.device, outside: float, tiny: bool = False
    ) -> None:
        """Room for `clips` of `seconds`, made from `seed` on; `outside` is the share of sounds from outside."""
        self._device, self._seconds, self._tiny, self._outside = device, seconds, tiny, outside
        self._composers = Composers(seconds, seed, 0 if tiny else None)
        self._clips = torch.zeros(clips, 2, round(seconds * SAMPLE_RATE), dtype=torch.float16, device=device)
        self._music = torch.zeros(clips, dtype=torch.bool, device=device)
        self._at, self._filled, self._foreign = 0, 0, seed

    @property
    def next_seed(self) -> int:
        """The first seed that nothing was made from."""
        return max(self._composers.next_seed, self._foreign)

    @torch.no_grad()
    def renew(self, count: int) -> None:
        """Replaces the oldest `count` clips, even in number, by new ones."""
        strange = round(count * self._outside)
        music = [piece for pair in self._composers.take((count - strange + 1) // 2) for piece in pair]
        new = [render(music, self._seconds, self._device)[: count - strange]]
        families = tuple(TRAINING)
        for _ in range(strange):
            family = families[self._foreign % len(families)]
            new.append(foreign(family, self._foreign, self._seconds, self._device)[None])
            self._foreign += 1
        place = (torch.arange(self._at, self._at + count) % len(self._clips)).to(self._device)
        self._clips[place] = torch.nan_to_num(torch.cat(new)).half()
        self._music[place] = torch.arange(count, device=self._device) < count - strange
        self._at = (self._at + count) % len(self._clips)
        self._filled = min(self._filled + count, len(self._clips))

    def fill(self, clock: Clock, seconds: float) -> None:
        """Renews until the bank is full, or for `seconds`."""
        start = clock.elapsed
        while self._filled < len(self._clips) and clock.elapsed - start < seconds:
            self.renew(2 if self._tiny else 24)
        hours = self._filled * self._seconds / 3600
        clock.say(f"{hours:.2f} hours of audio in {clock.elapsed - start:.1f} s")

    def crops(self, count: int, frames: int) -> Crops:
        """`count` of `frames*1920` samples from random places, sides swapped at random, at random gain and sign."""
        length, total = frames * HOP, self._clips.shape[2]
        d = self._device
        clip = torch.randint(0, self._filled, (count,), device=d)
        start = torch.randint(0, total - length + 1, (count,), device=d)
        left = torch.rand(count, 1, device=d).lt(0.5).long()
        side = torch.cat((left, 1 - left), 1)
        base = (clip[:, None] * 2 + side) * total + start[:, None]
        x = self._clips.view(-1)[base[..., None] + torch.arange(length, device=d)].float()
        gain = 10 ** (torch.empty(count, 1, 1, device=d).uniform_(-9, 3) / 20)
        return Crops(x * gain * (torch.rand(count, 1, 1, device=d).lt(0.5) * 2 - 1), self._music[clip])

    def close(self) -> None:
        """Ends the composers."""
        self._composers.close()
