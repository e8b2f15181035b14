"""Pairs of renderings as latents on the device, and the tasks that are cut out of them.

Tasks, as ACE-Step knows them: a cover (hints of the other rendering), a cover of itself, text to music (silence for
hints) and repainting a span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.embedded.front import TagConditioner
from engine.embedded.music import render
from engine.embedded.training.conditions import Vocabulary, hints
from engine.geometry import CHANNELS, HOP, LATENT_RATE

if TYPE_CHECKING:
    from engine.embedded.training.common import Clock
    from engine.embedded.training.workers import Composers
    from engine.embedded.vae import StftVae

_DROP = (0.05, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3)
"""How often style, root, mode, brightness, density, energy and space are left out of a prompt."""
_UNCONDITIONAL = 0.08
_COVER, _SELF, _TEXT = 0.5, 0.62, 0.92
"""Cumulated shares of covers, self-covers and text to music; the rest repaints."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples."""

    target: Tensor
    """[B,T,64]"""
    context: Tensor
    """[B,T,128]"""
    rows: Tensor
    """[B,7]"""
    bpm: Tensor
    """[B]"""


class Latents:
    """The bank. Filled once, renewed for ever."""

    def __init__(
        self, vae: StftVae, vocabulary: Vocabulary, composers: Composers, pairs: int, seconds: float,
        device: torch.device,
    ) -> None:  # fmt: skip
        """Room for `pairs` pairs of `seconds`."""
        self._vae, self._vocabulary, self._composers, self._device = vae, vocabulary, composers, device
        self._seconds, self.frames = seconds, round(seconds * LATENT_RATE)
        self.pairs = torch.zeros(pairs, 2, self.frames, CHANNELS, dtype=torch.float16, device=device)
        self._labels = torch.zeros(pairs, 2, 7, dtype=torch.long, device=device)
        self._bpm = torch.zeros(pairs, device=device)
        self._loops = torch.zeros(pairs, dtype=torch.bool, device=device)
        self._at, self.filled = 0, 0

    @property
    def next_seed(self) -> int:
        """The first seed that no pair was made from."""
        return self._composers.next_seed

    @torch.no_grad()
    def renew(self, count: int) -> None:
        """Replaces the oldest `count` pairs."""
        made = self._composers.take(count)
        pieces = [piece for pair in made for piece in pair]
        latents = self.encode(torch.nan_to_num(render(pieces, self._seconds, self._device)))
        place = (torch.arange(self._at, self._at + count) % len(self.pairs)).to(self._device)
        self.pairs[place] = latents.view(count, 2, *latents.shape[1:]).half()
        labels = [[self._vocabulary.label(piece) for piece in pair] for pair in made]
        self._labels[place] = torch.tensor(labels, device=self._device)
        self._bpm[place] = torch.tensor([pair[0].bpm for pair in made], device=self._device)
        self._loops[place] = torch.tensor([pair[0].loops for pair in made], device=self._device)
        self._at = (self._at + count) % len(self.pairs)
        self.filled = min(self.filled + count, len(self.pairs))

    def encode(self, audio: Tensor) -> Tensor:
        """Audio [B,2,N] as loops -> normalised latents [B,T,64], as the engine encodes a source."""
        margin = self._vae.encoder_reach
        around = torch.cat((audio[..., -margin * HOP :], audio, audio[..., : margin * HOP]), -1)
        means: Tensor = self._vae.encoder(around)[0][:, margin:-margin]
        return (means - self._vae.latent_mean) / self._vae.latent_deviation

    def fill(self, clock: Clock, seconds: float, at_once: int) -> None:
        """Renews until the bank is full, or for `seconds`."""
        start = clock.elapsed
        while self.filled < len(self.pairs) and clock.elapsed - start < seconds:
            self.renew(at_once)
        hours = self.filled * 2 * self._seconds / 3600
        clock.say(f"{hours:.2f} hours of latents in {clock.elapsed - start:.1f} s")

    @torch.no_grad()
    def batch(self, front: TagConditioner, count: int, frames: int) -> Batch:
        """`count` examples of `frames`: pairs, sides, crops and tasks at random."""
        d = self._device

        def chance() -> Tensor:
            return torch.rand(count, device=d)

        pair = torch.randint(0, self.filled, (count,), device=d)
        side = (chance() < 0.5).long()
        bpm, task = self._bpm[pair], chance()
        text, repaint = (task >= _SELF) & (task < _TEXT), task >= _TEXT
        place = (self._start(pair, bpm, text, frames)[:, None] + torch.arange(frames, device=d)) % self.frames
        target = self.pairs[pair[:, None], side[:, None], place].float()
        other = self.pairs[pair[:, None], (1 - side)[:, None], place].float()
        structure = hints(front, torch.where((task < _COVER)[:, None, None], other, target), drop=0.1, noise=0.35)
        silence = front.silence(frames).expand(count, -1, -1)
        begin, length = chance() * frames * 0.8, (0.1 + 0.6 * chance()) * frames
        clock = torch.arange(frames, device=d)
        span = ((clock >= begin[:, None]) & (clock < (begin + length)[:, None]))[..., None]
        repainted = torch.where(span, silence, target)
        source = torch.where(text[:, None, None], silence, torch.where(repaint[:, None, None], repainted, structure))
        mask = torch.where(repaint[:, None, None], span.float(), torch.ones_like(source[..., :1]))
        rows = self._vocabulary.rows(self._labels[pair, side], torch.tensor(_DROP, device=d))
        free = chance() < _UNCONDITIONAL
        bpm = bpm * (chance() >= 0.06) * ~free
        return Batch(target, torch.cat((source, mask.expand(-1, -1, CHANNELS)), -1), rows * ~free[:, None], bpm)

    def _start(self, pair: Tensor, bpm: Tensor, text: Tensor, frames: int) -> Tensor:
        """The first frame of each crop: text to music begins on a bar, the rest anywhere; whole loops are turned."""
        d, room = bpm.device, self.frames - frames
        if room == 0:
            turned = self._loops[pair] & (torch.rand(len(bpm), device=d) < 0.35) & ~text
            return torch.randint(0, self.frames, bpm.shape, device=d) * turned
        bar = 60 * 4 * LATENT_RATE / bpm
        on_bar = (torch.rand(len(bpm), device=d) * (torch.floor(room / bar) + 1)).floor() * bar
        anywhere = torch.randint(0, room + 1, bpm.shape, device=d)
        aligned = text | (torch.rand(len(bpm), device=d) < 0.5)
        return torch.where(aligned, on_bar.round().long().clamp(max=room), anywhere)
