"""The front in batches: labels to condition tokens with gradients, latents to structure hints with noise.

The engine's `TagConditioner` does one text and one loop at a time; the functions here compute the same over batches
of labels (the tests hold the two together), and fit the matrices of the hints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.embedded.front import TagConditioner
from engine.embedded.music import STYLES, Piece
from engine.embedded.music.compose import BRIGHTNESS, DENSITY, ENERGY, SPACE
from engine.embedded.music.theory import ROOTS

_POOL = 5
_DIRECTIONS = 16


class Vocabulary:
    """Row numbers of what pieces are labelled with, in the order of the front's groups."""

    def __init__(self, words: Sequence[str], device: torch.device) -> None:
        """`words` of the front; the synonyms of a style are rows of their own."""
        self._rows = {word: row for row, word in enumerate(words)}
        self.styles = torch.tensor([[self._rows[w] for w in style.words] for style in STYLES.values()], device=device)
        """[styles, synonyms]"""

    def label(self, piece: Piece) -> list[int]:
        """The number of the style, then rows of root, mode, brightness, density, energy and space."""
        words = (
            f"root {ROOTS[piece.root]}",
            f"mode {piece.mode}",
            BRIGHTNESS[piece.brightness],
            DENSITY[piece.density],
            ENERGY[piece.energy],
            SPACE[piece.space],
        )
        return [tuple(STYLES).index(piece.style), *(self._rows[word] for word in words)]

    def rows(self, labels: Tensor, drop: Tensor) -> Tensor:
        """Labels [B,7] -> rows [B,7]: a synonym in one of three, each group null with its probability `drop` [7]."""
        batch, device = len(labels), labels.device
        synonym = torch.randint(0, self.styles.shape[1], (batch,), device=device)
        synonym = synonym * (torch.rand(batch, device=device) < 0.35)
        rows = torch.cat((self.styles[labels[:, 0], synonym][:, None], labels[:, 1:]), 1)
        return rows * (torch.rand(rows.shape, device=device) >= drop)


def states(front: TagConditioner, rows: Tensor, bpm: Tensor) -> Tensor:
    """Condition tokens [B,9,E] for word rows [B,7] and tempos [B]; 0 stands for none in both."""
    words = front.words(rows)
    null = front.words.weight[0]
    asked = (bpm > 0)[:, None]
    clamped = bpm.clamp(front.bpm_floor, front.bpm_ceiling)
    place = (clamped - front.bpm_floor) / front.bpm_step
    row = place.floor().long()
    bucket = torch.lerp(front.bpm_rows(row), front.bpm_rows(row + 1), (place - row)[:, None])
    waves = front.bpm_2(F.silu(front.bpm_1(tempo_waves(clamped)))).float()
    tempo = (torch.where(asked, token, null)[:, None] for token in (bucket, waves))
    return torch.cat((words[:, :1], *tempo, words[:, 1:]), 1) + front.slot


def tempo_waves(bpm: Tensor) -> Tensor:
    """The Fourier series of tempos [B] -> [B,64]."""
    k = torch.arange(1, 17, device=bpm.device)
    slow, beats = torch.log2(bpm / 60)[:, None] * math.pi * k, (bpm / 60)[:, None] * (2 * math.pi / 4) * k
    return torch.cat((slow.sin(), slow.cos(), beats.sin(), beats.cos()), 1)


def hints(front: TagConditioner, latents: Tensor, drop: float = 0.0, noise: float = 0.0) -> Tensor:
    """Structure hints [B,T,64] of latents [B,T,64], with frames dropped and noise added in training."""
    frames = latents.shape[1]
    y = ((latents - latents.mean(1, keepdim=True)) @ front.hint_down.T).transpose(1, 2)
    y = F.avg_pool1d(F.pad(y, (0, -frames % _POOL), mode="replicate"), _POOL)
    if drop:
        y = y * (torch.rand(len(y), 1, y.shape[2], device=y.device) >= drop)
    if noise:
        y = y + torch.randn_like(y) * torch.rand(len(y), 1, 1, device=y.device) * noise
    y = F.interpolate(y, scale_factor=float(_POOL), mode="linear", align_corners=False)
    return y[..., :frames].transpose(1, 2) @ front.hint_up.T


def fit_hints(front: TagConditioner, a: Tensor, b: Tensor) -> list[float]:
    """Sets the matrices of the hints from paired latents [n,T,64] of the same music in two sounds.

    The sixteen directions are those in which the two renderings agree most (canonical correlation with one matrix for
    both sides). They go back up through a random orthogonal matrix of gain 2. Returns the correlations.
    """

    def pooled(latents: Tensor) -> Tensor:
        centred = (latents - latents.mean(1, keepdim=True)).transpose(1, 2)
        return F.avg_pool1d(centred, _POOL).transpose(1, 2).flatten(0, 1).double().cpu()

    x, y = pooled(a.float()), pooled(b.float())
    own = (x.T @ x + y.T @ y) / (2 * len(x)) + 1e-3 * torch.eye(x.shape[1], dtype=torch.float64)
    shared = (x.T @ y + y.T @ x) / (2 * len(x))
    whitening = torch.linalg.inv(torch.linalg.cholesky(own))
    correlations, directions = torch.linalg.eigh(whitening @ shared @ whitening.T)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(x.shape[1], _DIRECTIONS, generator=generator, dtype=torch.float64)
    front.hint_down.copy_((whitening.T @ directions[:, -_DIRECTIONS:]).T.flip(0).float())
    front.hint_up.copy_((torch.linalg.qr(random)[0] * 2).float())
    return [round(float(c), 2) for c in correlations.flip(0)[:_DIRECTIONS]]
