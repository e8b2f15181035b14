"""Trains the transformer and the front: `python -m engine.embedded.training.dit --out run --init CHECKPOINT`.

Rectified flow on latents of the codec in `--vae` (by default that of `--init`), with the tasks of `latents`. Pairs
are composed, rendered and encoded while training runs. `--resume` goes on from what an earlier command wrote; with
`--init` the counts begin anew, and the matrices of the structure hints are fitted anew unless `--keep-hints`. Needs a
GPU with 40 GB for the default batch.
"""

from __future__ import annotations

import argparse
import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.conditioning import load_conditioner
from engine.embedded.front import TagConditioner
from engine.embedded.gate.measures import cover, generate, judge, own_music
from engine.embedded.gate.player import Player
from engine.embedded.gate.requests import requests
from engine.embedded.judge.style import Probe
from engine.embedded.training.common import (
    Clock,
    Optimiser,
    pick_device,
    read_state,
    save_index,
    save_part,
    write_state,
)
from engine.embedded.training.conditions import Vocabulary, fit_hints, states
from engine.embedded.training.export import diffusers_tensors
from engine.embedded.training.latents import Batch, Latents
from engine.embedded.training.workers import Composers
from engine.embedded.vae import StftVae
from engine.geometry import SAMPLE_RATE
from engine.model.checkpoint import load_transformer, read_config, read_transformer_sizes
from engine.model.dit import DiT
from engine.schedule import times
from engine.vae import load_vae

_SECONDS = 16.0


def initialise(model: DiT) -> None:
    """Weights for training from nothing: residual branches at half gain, no modulation yet, a quiet output."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "table" not in name:
            nn.init.trunc_normal_(parameter, std=parameter.shape[-1] ** -0.5)
        elif not name.endswith("norm.weight") and "norm_" not in name:
            nn.init.zeros_(parameter)
    nn.init.zeros_(model.time_embed.time_proj.weight)
    for parameter in model.time_embed_r.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        model.proj_out.weight.mul_(0.1)
        for layer in model.layers:
            layer.scale_shift_table[:, (2, 5)] = 0.5  # type: ignore[operator]
            layer.cross_attn.out.weight.mul_(0.5)  # type: ignore[union-attr, operator]


def initialise_front(front: TagConditioner) -> None:
    """Tokens of moderate size for training from nothing; the hints are fitted to the data."""
    for table, deviation in ((front.words.weight, 0.5), (front.bpm_rows.weight, 0.5), (front.slot, 0.3)):
        nn.init.normal_(table, std=deviation)
    front.bpm_1.reset_parameters()
    front.bpm_2.reset_parameters()


def tie_output_bias(model: DiT) -> None:
    """Keeps the output biases of all frames of a patch equal, as diffusers has one for all of them."""
    patch, bias = model.sizes.patch_size, model.proj_out.bias
    bias.register_hook(lambda g: g.view(patch, -1).mean(0).repeat(patch))  # type: ignore[no-untyped-call]


def noise_levels(count: int, device: torch.device) -> Tensor:
    """Times [count]: half logit-normal, a third on the eight-step schedule, the rest uniform."""
    bell = torch.sigmoid(torch.randn(count, device=device) + 0.5)
    grid = torch.tensor(times(8, 1.0, 3.0)[:-1], device=device)
    kind, uniform = torch.rand(count, device=device), torch.rand(count, device=device)
    on_grid = grid[torch.randint(0, len(grid), (count,), device=device)]
    return torch.where(kind < 0.5, bell, torch.where(kind < 0.85, on_grid, uniform)).clamp(1e-3, 1.0)


def flow_loss(model: DiT, front: TagConditioner, batch: Batch) -> Tensor:
    """Mean squared error of the velocity `noise - target`, at random times."""
    t = noise_levels(len(batch.target), batch.target.device)
    noise = torch.randn_like(batch.target)
    x = torch.lerp(batch.target, noise, t[:, None, None])
    rows = model.modulation(t)
    with torch.autocast(x.device.type, torch.bfloat16):
        kv = model.keys_values(states(front, batch.rows, batch.bpm))
        v = model(x, rows, batch.context, kv)
    loss: Tensor = (v.float() - (noise - batch.target)).square().mean()
    return loss


class Trainer:
    """The transformer and the front while they are trained; see :func:`main`."""

    def __init__(self, player: Player, bank: Latents, clock: Clock, asked: argparse.Namespace) -> None:
        """`player` holds the averaged weights; `asked` is the command line."""
        self.player, self.bank, self.clock, self.asked = player, bank, clock, asked
        self.dit, self.front = copy.deepcopy(player.dit), copy.deepcopy(player.front)
        for module in (self.dit, self.front):
            module.requires_grad_(True)
        tie_output_bias(self.dit)
        self.dit.time_embed_r.requires_grad_(False)  # of t - r, which is always 0: a constant, kept once
        self.steps = read_state(asked.resume).get("dit_steps", 0)
        self._probe = Probe.load()
        self._asked = requests(2 if asked.tiny else asked.requests)
        self._sources = own_music(self._asked[: 1 if asked.tiny else len(self._asked)], player.device)[1]

    def train(self) -> None:
        """Until the time is over, less what saving and the last evaluation take."""
        device = self.player.device
        optimiser = Optimiser(
            [self.dit, self.front], [self.player.dit, self.player.front], self.asked.rate, (0.9, 0.95), 1.0, 0.9995
        )
        if device.type == "cuda":
            for layer in self.dit.layers:
                layer.compile(dynamic=False)
        begin, evaluated = self.clock.share, self.clock.elapsed
        end = max(begin, 1 - (0 if self.asked.tiny else self.asked.reserve) / self.clock.seconds)
        short = self.bank.frames * 5 // 8
        shapes = ((self.bank.frames, self.asked.batch), (short, self.asked.batch * 3 // 2))
        while self.clock.share < end and optimiser.steps < self.asked.steps:
            frames, count = shapes[optimiser.steps % 5 in (1, 3)]
            loss = flow_loss(self.dit, self.front, self.bank.batch(self.front, count, frames))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step((self.clock.share - begin) / (end - begin))
            self.steps += 1
            if optimiser.steps % self.asked.renew_every == 0:
                self.bank.renew(1 if self.asked.tiny else 8)
            if optimiser.steps % 500 == 1:
                per_second = optimiser.steps / (self.clock.elapsed - begin * self.clock.seconds)
                self.clock.say(f"step {self.steps}: loss {float(loss.detach()):.4f}, {per_second:.1f} steps a second")
            if self.clock.elapsed - evaluated > self.asked.evaluate_every:
                self.evaluate()
                evaluated = self.clock.elapsed

    @torch.no_grad()
    def evaluate(self) -> None:
        """Prints measures of the gate over a few requests, of the averaged weights."""
        for steps in (8, 4):
            found = judge(self.player.decode(generate(self.player, self._asked, steps)), self._asked, self._probe)
            self.clock.say(
                f"step {self.steps}, text to music in {steps}: tempo {found.tempo:.2f} "
                f"({found.wrong_tempo:.2f} at 8 % off), root {found.root:.2f}, in scale {found.in_scale:.2f}, "
                f"style {found.style:.2f}, {found.quietest:.0f} to {found.loudest:.0f} dBFS, peak {found.peak:.2f}"
            )
        did = cover(self.player, self._sources, self._asked[: len(self._sources)], self._probe)[1]
        self.clock.say(
            f"step {self.steps}, covers: rhythm {did.rhythm:.2f} ({did.other_rhythm:.2f} of another), harmony "
            f"{did.harmony:.2f}, style {did.style:.2f} ({did.kept_style:.2f} still the source's), "
            f"tempo {did.tempo:.2f}"
        )

    def save(self) -> None:
        """Writes the averaged weights, with the codec that they go with, as a checkpoint."""
        out, vae = self.asked.out, self.asked.vae / "vae"
        save_part(
            out, "transformer", read_config(self.asked.init / "transformer"), diffusers_tensors(self.player.dit),
            torch.float16,
        )  # fmt: skip
        front = self.player.front.state_dict()
        save_part(out, "condition_encoder", read_config(self.asked.init / "condition_encoder"), front, torch.float32)
        if vae.resolve() != (out / "vae").resolve():
            shutil.copytree(vae, out / "vae", dirs_exist_ok=True)
        save_index(out)
        write_state(out, {"dit_steps": self.steps, "dit_seed": self.bank.next_seed})
        self.clock.say(f"written to {out}")


def prepared(asked: argparse.Namespace, device: torch.device) -> tuple[Player, StftVae]:
    """The model that training begins with, and its codec."""
    start: Path = asked.init
    vae = load_vae(asked.vae, device)
    front = load_conditioner(start, device)
    if not isinstance(vae, StftVae) or not isinstance(front, TagConditioner):
        raise SystemExit(f"{start} is not of the built-in model's kind")
    if asked.fresh:
        dit = DiT(read_transformer_sizes(start)).to(device)
        initialise(dit)
        initialise_front(front)
    else:
        dit = load_transformer(start, device, torch.float32)
    return Player(dit=dit.eval().requires_grad_(False), vae=vae, front=front, device=device), vae


@torch.no_grad()
def fit_front(player: Player, bank: Latents, clock: Clock) -> None:
    """The matrices of the hints from the pairs in the bank, and the latent of silence."""
    sample = bank.pairs[: min(bank.filled, 1_500)]
    clock.say(f"hints fitted; correlations {fit_hints(player.front, sample[:, 0], sample[:, 1])}")
    silent = torch.zeros(1, 2, 2 * SAMPLE_RATE, device=player.device)
    player.front.silence_latent.copy_(bank.encode(silent)[:, 25:26])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--init", type=Path, help="checkpoint to begin with")
    start.add_argument("--resume", type=Path, help="checkpoint that an earlier command wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint that is written")
    parser.add_argument("--vae", type=Path, help="checkpoint that holds the codec (default: the one begun with)")
    parser.add_argument("--fresh", action="store_true", help="keep the sizes of --init, not its weights")
    parser.add_argument("--keep-hints", action="store_true", help="keep the matrices of the structure hints")
    parser.add_argument("--minutes", type=float, default=9.0, help="time that the command takes (default 9)")
    parser.add_argument("--reserve", type=float, default=25.0, help="seconds kept for the end (default 25)")
    parser.add_argument("--steps", type=int, default=10**9, help="most steps (default: as the time allows)")
    parser.add_argument("--batch", type=int, default=256, help="clips a step (default 256)")
    parser.add_argument("--rate", type=float, default=9e-4, help="learning rate (default 9e-4)")
    parser.add_argument("--hours", type=float, default=40.0, help="latents in the bank (default 40)")
    parser.add_argument(
        "--fill", type=float, default=60.0, help="most seconds spent on filling the bank (default 60)"
    )
    parser.add_argument("--renew-every", type=int, default=64, help="steps between eight new pairs (default 64)")
    parser.add_argument("--evaluate-every", type=float, default=120.0, help="seconds (default 120)")
    parser.add_argument("--requests", type=int, default=24, help="requests of an evaluation (default 24)")
    parser.add_argument("--tiny", action="store_true", help="small steps on the CPU, to try the program")
    asked = parser.parse_args(arguments)
    asked.keep_hints = asked.keep_hints or asked.resume is not None
    asked.init = asked.init or asked.resume
    asked.vae = asked.vae or asked.init
    if asked.tiny:
        asked.batch, asked.hours, asked.renew_every = 2, 4 * 8 / 3600, 2
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains for `--minutes` and writes a checkpoint."""
    asked = parse(arguments)
    clock, device = Clock(asked.minutes), pick_device()
    asked.out.mkdir(parents=True, exist_ok=True)
    seconds, seed = (4.0 if asked.tiny else _SECONDS), read_state(asked.resume).get("dit_seed", 0)
    torch.manual_seed(1 + seed)
    player, vae = prepared(asked, device)
    vocabulary = Vocabulary(player.front.vocabulary, device)
    composers = Composers(seconds, seed, 0 if asked.tiny else None)
    try:
        pairs = max(2, int(asked.hours * 3600 / seconds / 2))
        bank = Latents(vae, vocabulary, composers, pairs, seconds, device)
        bank.fill(clock, asked.fill, 2 if asked.tiny else 16)
        if not asked.keep_hints:
            fit_front(player, bank, clock)
        trainer = Trainer(player, bank, clock, asked)
        trainer.train()
        trainer.save()
        trainer.evaluate()
    finally:
        composers.close()


if __name__ == "__main__":
    main()
