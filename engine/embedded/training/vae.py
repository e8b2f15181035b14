"""Trains the codec: `python -m engine.embedded.training.vae --minutes 5 --out run --init engine/embedded/checkpoint`.

First stage: encoder and decoder together, on spectra and a divergence steered to a rate. Second stage, from
`--critic-from` of the time on: the encoder frozen, a critic beside the spectra. Two thirds of the clips are the
generator's music, one third is from outside its world. Needs a GPU with 20 GB for the default batch.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.embedded.judge.fidelity import Fidelity, fidelity
from engine.embedded.music import STYLES, Request, compose, render
from engine.embedded.music.foreign import HELD_OUT, TRAINING, foreign
from engine.embedded.training.common import (
    Clock,
    Optimiser,
    pick_device,
    read_state,
    save_index,
    save_part,
    write_state,
)
from engine.embedded.training.critic import Critic, codec_loss, critic_loss
from engine.embedded.training.losses import Reconstruction, divergence
from engine.embedded.training.workers import Composers
from engine.embedded.vae import StftVae
from engine.geometry import CHANNELS, HOP, SAMPLE_RATE
from engine.model.checkpoint import load_weights, read_config, read_tensors

_SECONDS = 16.0
_HELD_OUT_SEED = 2_000_000_000
_FOREIGN_SHARE = 0.35


class Bank:
    """Clips on the device, renewed one after the other."""

    def __init__(self, clips: int, seconds: float, seed: int, device: torch.device, tiny: bool) -> None:
        """Room for `clips` of `seconds`, made from `seed` on."""
        self._device, self._seconds, self._tiny = device, seconds, tiny
        self._composers = Composers(seconds, seed, 0 if tiny else None)
        self._clips = torch.zeros(clips, 2, round(seconds * SAMPLE_RATE), dtype=torch.float16, device=device)
        self._at, self._filled, self._foreign = 0, 0, seed

    @property
    def next_seed(self) -> int:
        """The first seed that nothing was made from."""
        return max(self._composers.next_seed, self._foreign)

    @torch.no_grad()
    def renew(self, count: int) -> None:
        """Replaces the oldest `count` clips, even in number, by new ones."""
        strange = round(count * _FOREIGN_SHARE)
        music = [piece for pair in self._composers.take((count - strange + 1) // 2) for piece in pair]
        new = [render(music, self._seconds, self._device)[: count - strange]]
        families = tuple(TRAINING)
        for _ in range(strange):
            family = families[self._foreign % len(families)]
            new.append(foreign(family, self._foreign, self._seconds, self._device)[None])
            self._foreign += 1
        place = torch.arange(self._at, self._at + count) % len(self._clips)
        self._clips[place.to(self._device)] = torch.nan_to_num(torch.cat(new)).half()
        self._at = (self._at + count) % len(self._clips)
        self._filled = min(self._filled + count, len(self._clips))

    def fill(self, clock: Clock, seconds: float) -> None:
        """Renews until the bank is full, or for `seconds`."""
        start = clock.elapsed
        while self._filled < len(self._clips) and clock.elapsed - start < seconds:
            self.renew(2 if self._tiny else 24)
        hours = self._filled * self._seconds / 3600
        clock.say(f"{hours:.2f} hours of audio in {clock.elapsed - start:.1f} s")

    def crops(self, count: int, frames: int) -> Tensor:
        """Audio [count, 2, frames*1920] from random places, sides swapped at random, at random gain and sign."""
        length, total = frames * HOP, self._clips.shape[2]
        d = self._device
        clip = torch.randint(0, self._filled, (count,), device=d)
        start = torch.randint(0, total - length + 1, (count,), device=d)
        left = torch.rand(count, 1, device=d).lt(0.5).long()
        side = torch.cat((left, 1 - left), 1)
        base = (clip[:, None] * 2 + side) * total + start[:, None]
        x = self._clips.view(-1)[base[..., None] + torch.arange(length, device=d)].float()
        gain = 10 ** (torch.empty(count, 1, 1, device=d).uniform_(-9, 3) / 20)
        return x * gain * (torch.rand(count, 1, 1, device=d).lt(0.5) * 2 - 1)

    def close(self) -> None:
        """Ends the composers."""
        self._composers.close()


def initialise(vae: StftVae) -> None:
    """Small residual branches, a narrow posterior and a quiet head for training from nothing."""
    for name, parameter in vae.named_parameters():
        if name.endswith(".gain"):
            nn.init.constant_(parameter, 0.2)
    nn.init.constant_(vae.encoder.output.bias[CHANNELS:], -3.0)
    with torch.no_grad():
        vae.decoder.head.weight.mul_(0.6)
        vae.decoder.head.bias.zero_()
        vae.decoder.head.bias.view(2, 3, -1)[:, 0] = -5.0


class Trainer:
    """The codec while it is trained; see :func:`main`."""

    def __init__(
        self, vae: StftVae, bank: Bank, clock: Clock, device: torch.device, asked: argparse.Namespace
    ) -> None:
        """`asked` is the command line."""
        self.vae, self.bank, self.clock, self.device, self.asked = vae, bank, clock, device, asked
        self.average = copy.deepcopy(vae).eval().requires_grad_(False)
        self.loss = Reconstruction(compiled=device.type == "cuda")
        self.log_rate = torch.tensor(math.log(3e-4), device=device)
        self.steps = 0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def _encode(self, vae: StftVae, audio: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            features = vae.encoder.features(audio)
        with self._autocast():
            means, log_variances = vae.encoder.posterior(features)
        return means.float(), log_variances.float().clamp(-9, 3)

    def _decode(self, latents: Tensor) -> Tensor:
        with self._autocast():
            h = self.vae.decoder.trunk(latents)
            spectrum = self.vae.decoder.head(self.vae.decoder.norm(h))
        return self.vae.decoder.synthesised(spectrum.float())

    @staticmethod
    def _sampled(means: Tensor, log_variances: Tensor) -> Tensor:
        """A sample of the posterior, half of the time with more noise, as a generated latent is never exact."""
        z = means + (0.5 * log_variances).exp() * torch.randn_like(means)
        amount = torch.rand(len(z), 1, 1, device=z.device)
        amount = amount * 0.12 * torch.rand(len(z), 1, 1, device=z.device).lt(0.5)
        return z + amount * torch.randn_like(z)

    def first_stage(self, until: float) -> None:
        """Encoder and decoder, until that share of the time is over."""
        optimiser = Optimiser([self.vae], [self.average], self.asked.rate, (0.9, 0.98), clip=3.0, decay=0.999)
        begin = self.clock.share
        for _ in self._steps(until):
            x = self.bank.crops(self.asked.batch, self.asked.frames)
            means, log_variances = self._encode(self.vae, x)
            kl = divergence(means, log_variances)
            reconstruction = self.loss(self._decode(self._sampled(means, log_variances)), x)
            (reconstruction + self.log_rate.exp() * kl).backward()  # type: ignore[no-untyped-call]
            self.log_rate += 0.004 * (kl.detach() / self.asked.nats - 1).clamp(-1, 1)
            self.log_rate.clamp_(math.log(1e-6), math.log(1e-2))
            optimiser.step((self.clock.share - begin) / (until - begin))
            self._report(optimiser.steps, loss=reconstruction, nats=kl)
        self.vae.load_state_dict(self.average.state_dict())
        self._measure_latents()

    def second_stage(self) -> None:
        """The decoder against the critic, to the end. Their gradients are brought to one size at the audio."""
        self.vae.encoder.requires_grad_(False)
        critic = Critic().to(self.device)
        optimiser = Optimiser([self.vae.decoder], [self.average.decoder], 2e-4, (0.8, 0.99), clip=3.0, decay=0.999)
        judge = Optimiser([critic], None, 2e-4, (0.8, 0.99), clip=5.0)
        begin, ratio = self.clock.share, torch.ones((), device=self.device)
        for _ in self._steps(1.0):
            progress = (self.clock.share - begin) / (1 - begin)
            x = self.bank.crops(max(2, self.asked.batch // 2), self.asked.frames)
            with torch.no_grad():
                z = self._sampled(*self._encode(self.average, x))
            y = self._decode(z)
            heard = y.detach().requires_grad_()
            with self._autocast():
                critic_loss(critic(x), critic(heard.detach())).backward()  # type: ignore[no-untyped-call]
            judge.step(progress)
            (wanted,) = torch.autograd.grad(self.loss(heard, x, complex_weight=0.6), heard)
            critic.requires_grad_(False)
            with self._autocast():
                with torch.no_grad():
                    real = critic(x)
                told = codec_loss(real, critic(heard))
            (adversarial,) = torch.autograd.grad(told, heard)
            critic.requires_grad_(True)
            ratio = ratio.lerp(wanted.norm() / (adversarial.norm() + 1e-9), 0.02 if optimiser.steps else 1.0)
            y.backward(wanted + min(1.0, optimiser.steps / 300) * ratio * adversarial)  # type: ignore[no-untyped-call]
            optimiser.step(progress)
            self._report(optimiser.steps, critic=told)

    def _steps(self, until: float) -> Iterator[None]:
        while self.clock.share < until and self.steps < self.asked.steps:
            yield
            self.steps += 1
            if self.steps % 24 == 0:
                self.bank.renew(2)

    def _report(self, step: int, **numbers: Tensor) -> None:
        if step % 200 == 1:  # reading a number waits for the device
            found = ", ".join(f"{name} {float(number.detach()):.3f}" for name, number in numbers.items())
            self.clock.say(f"step {self.steps}: {found}")

    @torch.no_grad()
    def _measure_latents(self) -> None:
        """Mean and deviation of every channel, over music alone: it is what the transformer works on."""
        seeds = range(_HELD_OUT_SEED + 5_000, _HELD_OUT_SEED + 5_000 + (2 if self.asked.tiny else 128))
        pieces = [compose(Request(), seed, 8.0) for seed in seeds]
        frames = [
            self._encode(self.average, render(pieces[i : i + 16], 8.0, self.device))[0].flatten(0, 1)
            for i in range(0, len(pieces), 16)
        ]
        z = torch.cat(frames)
        for vae in (self.vae, self.average):
            vae.latent_mean.copy_(z.mean(0))
            vae.latent_deviation.copy_(z.std(0).clamp(min=1e-3))

    @torch.inference_mode()
    def evaluate(self, title: str) -> None:
        """Prints the gate's table of reconstruction."""
        clips, seconds = (1, 2.0) if self.asked.tiny else (2, 6.0)
        self.clock.say(f"{title}\n{table(self.average, self.device, clips, seconds)}")

    def save(self) -> None:
        """Writes the averaged weights as a part of the checkpoint."""
        config = read_config(self.asked.init / "vae")
        save_part(self.asked.out, "vae", config, self.average.state_dict(), torch.float16)
        save_index(self.asked.out)
        write_state(self.asked.out, {"vae_seed": self.bank.next_seed})
        self.clock.say(f"written to {self.asked.out / 'vae'}")


def table(vae: StftVae, device: torch.device, clips: int, seconds: float) -> str:
    """Means over `clips` held-out clips of every style and family of outside sounds, `seconds` each, as text."""
    rows: dict[str, list[Fidelity]] = {}
    for name in STYLES:
        pieces = [compose(Request(style=name), _HELD_OUT_SEED + i, seconds) for i in range(clips)]
        rows[name] = [_survival(vae, audio) for audio in render(pieces, seconds, device)]
    for family in TRAINING | HELD_OUT:
        label = f"outside: {family}{' (never met)' if family in HELD_OUT else ''}"
        seeds = range(_HELD_OUT_SEED, _HELD_OUT_SEED + 2 * clips)
        rows[label] = [_survival(vae, foreign(family, seed, seconds, device)) for seed in seeds]
    rows = {"all styles": [r for name in STYLES for r in rows[name]], **rows}
    names = tuple(asdict(rows["all styles"][0]))
    lines = [f"{'':32}" + "".join(f"{name:>8}" for name in names)]
    for label, found in rows.items():
        means = [sum(getattr(r, name) for r in found) / len(found) for name in names]
        lines.append(f"{label:32}" + "".join(f"{mean:8.2f}" for mean in means))
    return "\n".join(lines)


def _survival(vae: StftVae, audio: Tensor) -> Fidelity:
    return fidelity(vae.decode(vae.encode(audio)), audio)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint that is written")
    parser.add_argument("--init", type=Path, required=True, help="checkpoint to begin with; its sizes are kept")
    parser.add_argument("--fresh", action="store_true", help="keep the sizes of --init, not its weights")
    parser.add_argument("--minutes", type=float, default=9.0, help="time that the command takes (default 9)")
    parser.add_argument("--critic-from", type=float, default=0.6, help="share of the time before the critic")
    parser.add_argument("--steps", type=int, default=10**9, help="most steps (default: as the time allows)")
    parser.add_argument("--batch", type=int, default=48, help="clips a step (default 48)")
    parser.add_argument("--frames", type=int, default=40, help="latent frames a clip (default 40)")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate (default 5e-4; 1e-3 when fresh)")
    parser.add_argument("--nats", type=float, default=170.0, help="divergence a frame (default 170)")
    parser.add_argument("--hours", type=float, default=6.0, help="audio in the bank (default 6)")
    parser.add_argument("--tiny", action="store_true", help="small steps on the CPU, to try the program")
    asked = parser.parse_args(arguments)
    if asked.tiny:
        asked.batch, asked.frames, asked.hours = 2, 12, 4 * 6 / 3600
    return asked


def main(arguments: list[str] | None = None) -> None:
    """Trains for `--minutes` and writes the codec; a folder of an earlier command may be `--init`."""
    asked = parse(arguments)
    clock, device = Clock(asked.minutes), pick_device()
    torch.manual_seed(1 + read_state(asked.init).get("vae_seed", 0))
    vae = StftVae.from_config(read_config(asked.init / "vae"))
    if asked.fresh:
        initialise(vae)
    else:
        load_weights(vae, read_tensors(asked.init / "vae"), asked.init / "vae")
    vae = vae.to(device)
    asked.out.mkdir(parents=True, exist_ok=True)
    clock.say(f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters on {device}")
    seconds = 4.0 if asked.tiny else _SECONDS
    bank = Bank(
        int(asked.hours * 3600 / seconds), seconds, read_state(asked.init).get("vae_seed", 0), device, asked.tiny
    )
    try:
        bank.fill(clock, min(60.0, 0.2 * clock.seconds))
        trainer = Trainer(vae, bank, clock, device, asked)
        if asked.critic_from > 0:
            trainer.first_stage(asked.critic_from)
            trainer.evaluate("after the first stage")
            trainer.save()
        if asked.critic_from < 1:
            trainer.second_stage()
            trainer.evaluate("after the second stage")
            trainer.save()
    finally:
        bank.close()


if __name__ == "__main__":
    main()
