"""Pieces to audio, many at once, on the CPU or a GPU.

Called wherever the generator's music is heard: by training, the gate and the maker of the clips. Every sample looks
up the last event of each track, so a piece that loops is exactly periodic: events, echoes and reverberation of its
end sound on into its beginning. A piece sounds the same alone and in any batch, and on one kind of device it is the
same to the bit as long as the batch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.embedded.music import effects, synth
from engine.embedded.music.compose import Piece
from engine.embedded.music.score import TRACKS
from engine.embedded.music.sound import Kit, Room, Voice
from engine.embedded.music.synth import Events, Numbers
from engine.geometry import SAMPLE_RATE

_NEVER = -1e9
"""The onset, in samples, of an event before the first."""


def render(pieces: Sequence[Piece], seconds: float, device: torch.device | None = None) -> Tensor:
    """Audio [B,2,N] at 48 kHz, `N = seconds * 48000`, peaks under one, about -16 dBFS.

    `seconds` is what the pieces were composed for.
    """
    device = device or torch.device("cpu")
    samples = round(seconds * SAMPLE_RATE)
    mixer = _Mixer(pieces, samples, device)
    return effects.finished(mixer.dry, mixer.wet, mixer.echoed, mixer.room, mixer.loops, mixer.noise)


class _Mixer:
    """One batch while it is rendered: sums of what goes to the mix, the reverberation and the echo [2,B,N]."""

    def __init__(self, pieces: Sequence[Piece], samples: int, device: torch.device) -> None:
        self.device, self.samples = device, samples
        self.loops = torch.tensor([[p.loops] for p in pieces], device=device)
        self.room = _columns([p.sound.room for p in pieces], device)
        steps = torch.tensor([[15.0 / p.bpm * SAMPLE_RATE] for p in pieces], device=device)
        self.room["echo_samples"] = (self.room["echo_steps"] * steps).round()
        grids = [_table(p, samples) for p in pieces]
        width = max(len(edges) for edges, _ in grids)
        edges = torch.full((len(pieces), width), samples, dtype=torch.long)
        tables = torch.zeros(len(pieces), len(TRACKS), 6, width)
        for row, (own_edges, table) in enumerate(grids):
            edges[row, : len(own_edges)] = torch.from_numpy(own_edges)
            tables[row, :, :, : len(own_edges)] = torch.from_numpy(table)
        self._tables = tables.to(device)
        self._clock = torch.arange(samples, device=device)
        clock = self._clock.expand(len(pieces), -1).contiguous()
        self._step = torch.searchsorted(edges.to(device), clock, right=True) - 1
        self.noise = torch.stack([_noise(p.seed, samples, device) for p in pieces])
        cycles = 0.7 * samples / SAMPLE_RATE
        turns = self._clock.float() * (synth.TAU * round(cycles) / samples)
        rate = synth.TAU * max(round(cycles), 1) * SAMPLE_RATE / samples
        self._sway = self.room["wow"] * (np.log(2) / 1200 / rate) * torch.sin(turns)
        self._used = {track: any(p.score.on[i].any() for p in pieces) for i, track in enumerate(TRACKS)}
        self.dry, self.wet, self.echoed = (torch.zeros(2, len(pieces), samples, device=device) for _ in range(3))
        self._drums(_columns([p.sound.kit for p in pieces], device))
        for name, tracks, level in (
            ("bass", ("bass",), 1.0),
            ("chord", ("chord1", "chord2", "chord3", "chord4"), 0.5),
            ("arp", ("arp",), 1.0),
            ("lead", ("lead",), 1.0),
        ):
            numbers = _columns([getattr(p.sound, name) for p in pieces], device)
            for i, track in enumerate(t for t in tracks if self._used[t]):
                spread = {**numbers, "pan": numbers["pan"] + (0.15, -0.4, 0.4, -0.15)[i] * (name == "chord")}
                sound = synth.voice(self._events(track), spread, self._sway) * (level * self._duck)
                self.dry += sound
                self.wet += sound * numbers["reverb"]
                self.echoed += sound * numbers["echo"]

    def _drums(self, kit: Numbers) -> None:
        self._duck = torch.ones_like(self._sway)
        if self._used["kick"]:
            events = self._events("kick")
            self.dry += synth.kick(events, kit) * 0.85
            self._duck = 1 - self.room["duck"] * torch.exp(-events.age / 0.11) * (events.velocity > 0)
        if self._used["snare"]:
            noise = effects.band(self.noise, kit["snare_low"], kit["snare_high"])
            sound = synth.snare(self._events("snare"), kit, noise)
            self.dry += sound * 0.8
            self.wet += sound * kit["snare_reverb"]
        if self._used["hat"] or self._used["open_hat"]:
            noise = effects.band(self.noise.roll(self.samples // 3, -1), kit["hat_low"], kit["hat_high"])
            for track, decay, level, pan in (
                ("hat", "hat_decay", "hat", 0.12),
                ("open_hat", "open_decay", "open_hat", -0.1),
            ):
                if self._used[track]:
                    sound = synth.hat(self._events(track), kit[decay], kit[level], noise)
                    self.dry += _panned(sound, pan)
        if self._used["perc"]:
            sound = _panned(synth.perc(self._events("perc"), kit), 0.4)
            self.dry += sound
            self.wet += sound * 0.3

    def _events(self, track: str) -> Events:
        table = self._tables[:, TRACKS.index(track)]
        onset, following, velocity, pitch, gate, repeat = (
            table[:, field].gather(1, self._step) for field in range(table.shape[1])
        )
        age = (self._clock - onset).clamp(max=60 * SAMPLE_RATE) / SAMPLE_RATE
        if track == "hat":
            age = torch.where((repeat > 0) & (age < gate), torch.remainder(age, repeat.clamp(min=1e-3)), age)
        fade = ((following - self._clock) / (0.004 * SAMPLE_RATE)).clamp(0, 1)
        return Events(age, velocity * fade, pitch, gate)


def _table(piece: Piece, samples: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first sample of every sixteenth, and [tracks, fields, sixteenths] of the last event at each.

    The fields: its onset and the next one in samples, velocity, pitch, gate and time between repeats in seconds.
    """
    score, steps = piece.score, piece.score.on.shape[1]
    step = 15.0 / piece.bpm * SAMPLE_RATE
    edges = np.arange(steps) * step
    edges[1::2] += piece.swing * step
    edges = np.minimum(np.round(edges), samples - 1)
    table = np.zeros((len(TRACKS), 6, steps), np.float32)
    for track in range(len(TRACKS)):
        hits = np.flatnonzero(score.on[track])
        if not len(hits):
            table[track, 0] = _NEVER
            continue
        count = np.searchsorted(hits, np.arange(steps), side="right")
        last, then = hits[count - 1], hits[count % len(hits)]
        early, late = count == 0, count == len(hits)
        wrap = samples if piece.loops else -_NEVER
        table[track, 0] = edges[last] - early * wrap
        table[track, 1] = edges[then] + late * wrap
        table[track, 2] = score.velocity[track, last] * (~early | piece.loops)
        table[track, 3] = score.pitch[track, last]
        table[track, 4] = score.length[track, last] * step / SAMPLE_RATE
        repeats = score.repeats[track, last]
        table[track, 5] = np.where(repeats > 1, step / SAMPLE_RATE / repeats, 0)
    return edges.astype(np.int64), table


def _noise(seed: int, samples: int, device: torch.device) -> Tensor:
    return torch.randn(samples, generator=torch.Generator(device).manual_seed(seed), device=device)


def _panned(sound: Tensor, pan: float) -> Tensor:
    return torch.stack((sound * (1 - pan), sound * (1 + pan)))


def _columns(parts: Sequence[Voice] | Sequence[Kit] | Sequence[Room], device: torch.device) -> dict[str, Tensor]:
    """Every field of the parts as [B,1]."""
    names = [field.name for field in fields(parts[0])]
    rows = torch.tensor([[float(getattr(part, name)) for name in names] for part in parts], device=device)
    return {name: rows[:, i : i + 1] for i, name in enumerate(names)}
