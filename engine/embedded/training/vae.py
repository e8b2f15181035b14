"""Trains the codec: `python -m engine.embedded.training.vae --minutes 5 --out run --init engine/embedded/checkpoint`.

First stage: encoder and decoder together, on spectra and a divergence steered to a rate. Second stage, from
`--critic-from` of the time on: the encoder frozen, a critic beside the spectra. A part of the clips (`--outside`) is
from outside the generator's world.

With `--anchor FOLDER` the critic learns alone until `--critic-from`, and from then on both halves with it. Latents of
the generator's music stay what the codec in FOLDER makes of them, so a transformer that was trained on them goes with
the new codec. With `--keep-decoder` the encoder alone learns, from sounds from outside, to say what the decoder can
make of them: music generated from text stays what it was to the last bit. The rows of the gate are printed before and
then every `--evaluate-every` seconds; OUT keeps the best by them, OUT/last has the end. To go on, give OUT as
`--init`, with the same anchor.

Needs a GPU with 20 GB for the default batch.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.embedded.gate.player import Codec
from engine.embedded.gate.rows import Row
from engine.embedded.music import Request, compose, render
from engine.embedded.training.anchor import Anchor
from engine.embedded.training.bank import Bank
from engine.embedded.training.common import (
    Clock,
    Optimiser,
    pick_device,
    read_state,
    save_index,
    save_part,
    write_state,
)
from engine.embedded.training.critic import Adversary
from engine.embedded.training.held_out import SEED, HeldOut, better
from engine.embedded.training.losses import FINE, Reconstruction, divergence
from engine.embedded.vae import StftVae
from engine.geometry import CHANNELS
from engine.model.checkpoint import load_weights, read_config, read_tensors

_SECONDS = 16.0
_CRITIC = "critic.safetensors"


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
        self.held_out = HeldOut.make(device, *((1, 1.0) if asked.tiny else (2, 6.0)))
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
            x = self.bank.crops(self.asked.batch, self.asked.frames).audio
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
        adversary = self._adversary()
        optimiser = Optimiser([self.vae.decoder], [self.average.decoder], 2e-4, (0.8, 0.99), clip=3.0, decay=0.999)
        begin = self.clock.share
        for _ in self._steps(1.0):
            progress = (self.clock.share - begin) / (1 - begin)
            x = self.bank.crops(max(2, self.asked.batch // 2), self.asked.frames).audio
            with torch.no_grad():
                z = self._sampled(*self._encode(self.average, x))
            y = self._decode(z)
            heard = y.detach().requires_grad_()
            adversary.learn(x, heard, progress)
            (wanted,) = torch.autograd.grad(self.loss(heard, x, complex_weight=0.6), heard)
            adversarial, told = adversary.pull(x, heard, wanted)
            y.backward(wanted + adversarial)  # type: ignore[no-untyped-call]
            optimiser.step(progress)
            self._report(optimiser.steps, critic=told)
        self._keep(adversary)

    def tune(self, anchor: Anchor) -> None:
        """Both halves to the end, the latents of music held by `anchor`; OUT keeps the best."""
        self.loss = Reconstruction(compiled=self.device.type == "cuda", sizes=FINE, energy=self.asked.energy)
        adversary = self._adversary(ramp=50)
        if self.asked.keep_decoder:
            self.vae.decoder.requires_grad_(False)
        optimiser = Optimiser([self.vae], [self.average], self.asked.rate, (0.8, 0.99), clip=3.0, decay=0.999)
        start = best = self.evaluate("before", anchor)
        self.save()
        begin, evaluated = self.clock.share, self.clock.elapsed
        for _ in self._steps(1.0):
            progress = (self.clock.share - begin) / (1 - begin)
            told = self._tuning_step(anchor, adversary, optimiser, progress)
            self._report(optimiser.steps, critic=told, moved=anchor.moved)
            if optimiser.steps and self.clock.elapsed - evaluated > self.asked.evaluate_every:
                best = self._better(anchor, best, start)
                evaluated = self.clock.elapsed
        if self._better(anchor, best, start) is start:
            self.clock.say("nothing was better than the start, which is kept")
        self.save(self.asked.out / "last")
        self._keep(adversary)

    def _tuning_step(self, anchor: Anchor, adversary: Adversary, optimiser: Optimiser, progress: float) -> Tensor:
        """One step, of the critic alone at first; what it told, or 0."""
        x, music = self.bank.crops(self.asked.batch, self.asked.frames)
        if progress < self.asked.critic_from:
            with torch.no_grad():
                heard = self._decode(self._sampled(*self._encode(self.vae, x)))
            adversary.learn(x, heard, progress)
            return x.new_zeros(())
        with torch.no_grad():
            kept, log_variances = self._encode(anchor.vae, x)
        means, _ = self._encode(self.vae, x)
        held = anchor.loss(means, kept, music)
        if self.asked.keep_decoder:  # music has nothing to learn then: its latents are held, and what they become
            outside = ~music
            outside[0] = True  # so that there is one
            x, means, log_variances = x[outside], means[outside], log_variances[outside]
        y = self._decode(self._sampled(means, log_variances))
        heard = y.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(heard, x, complex_weight=0.6), heard)
        told = gradient.new_zeros(())
        if self.asked.critic_weight > 0:
            adversary.learn(x, heard, progress)
            adversarial, told = adversary.pull(x, heard, gradient)
            gradient = gradient + self.asked.critic_weight * adversarial
        torch.autograd.backward([y, held], [gradient, torch.ones_like(held)])
        optimiser.step((progress - self.asked.critic_from) / (1 - self.asked.critic_from))
        return told

    def _better(self, anchor: Anchor, best: list[Row], start: list[Row]) -> list[Row]:
        """The rows of the better one: what is kept already, or what training has now, which is then written."""
        rows = self.evaluate(f"step {self.steps}", anchor)
        if not better(rows, best, start):
            return best
        self.save()
        return rows

    def _adversary(self, ramp: int = 300) -> Adversary:
        """With the critic of the command that this one goes on from, if there was one."""
        adversary, file = Adversary(self.device, ramp), self.asked.init / _CRITIC
        if file.is_file():
            adversary.critic.load_state_dict(load_file(file, device=str(self.device)))
            self.clock.say(f"with the critic of {self.asked.init}")
        return adversary

    def _keep(self, adversary: Adversary) -> None:
        save_file(
            {name: t.contiguous() for name, t in adversary.critic.state_dict().items()}, self.asked.out / _CRITIC
        )

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
        seeds = range(SEED + 5_000, SEED + 5_000 + (2 if self.asked.tiny else 128))
        pieces = [compose(Request(), seed, 8.0) for seed in seeds]
        frames = [
            self._encode(self.average, render(pieces[i : i + 16], 8.0, self.device))[0].flatten(0, 1)
            for i in range(0, len(pieces), 16)
        ]
        z = torch.cat(frames)
        for vae in (self.vae, self.average):
            vae.latent_mean.copy_(z.mean(0))
            vae.latent_deviation.copy_(z.std(0).clamp(min=1e-3))

    @torch.no_grad()
    def evaluate(self, title: str, anchor: Anchor | None = None) -> list[Row]:
        """Prints and returns the gate's rows of the codec; with an anchor, also says how far latents have moved."""
        rows = self.held_out.rows(Codec(vae=self.average, device=self.device))
        self.clock.say("\n".join((title, *map(str, rows))))
        if anchor is not None:
            moved = anchor.compare(self.average, torch.cat(list(self.held_out.music.values())))
            self.clock.say(
                f"latents of music moved by {moved.rms:.4f} deviations (rms), {moved.worst_channel:.4f} in a channel"
            )
        return rows

    def save(self, out: Path | None = None) -> None:
        """Writes the averaged weights as a part of the checkpoint `--out`, or into another folder."""
        out = out or self.asked.out
        save_part(out, "vae", read_config(self.asked.init / "vae"), self.average.state_dict(), torch.float16)
        save_index(out)
        write_state(out, {"vae_seed": self.bank.next_seed})
        self.clock.say(f"written to {out / 'vae'}")


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
    parser.add_argument("--outside", type=float, default=0.35, help="share of sounds from outside (default 0.35)")
    parser.add_argument("--anchor", type=Path, help="checkpoint whose latents of music are kept")
    parser.add_argument(
        "--drift", type=float, default=0.03, help="how far they may move, in deviations (default 0.03)"
    )
    parser.add_argument(
        "--critic-weight", type=float, default=1.0, help="with an anchor: 1 (default) is as much as spectra, 0 none"
    )
    parser.add_argument("--keep-decoder", action="store_true", help="with an anchor: the encoder alone learns")
    parser.add_argument("--energy", type=float, default=1.0, help="with an anchor: weight of the energy of bands")
    parser.add_argument("--evaluate-every", type=float, default=60.0, help="seconds, with an anchor (default 60)")
    parser.add_argument("--tiny", action="store_true", help="small steps on the CPU, to try the program")
    asked = parser.parse_args(arguments)
    if asked.tiny:
        asked.batch, asked.frames, asked.hours = 2, 12, 6 * 1 / 3600
    return asked


def loaded(folder: Path, device: torch.device, fresh: bool = False) -> StftVae:
    """The codec of a checkpoint, or one of its sizes that has learnt nothing. Raises `CheckpointError`."""
    vae = StftVae.from_config(read_config(folder / "vae"))
    if fresh:
        initialise(vae)
    else:
        load_weights(vae, read_tensors(folder / "vae"), folder / "vae")
    return vae.to(device)


def main(arguments: list[str] | None = None) -> None:
    """Trains for `--minutes` and writes the codec; a folder of an earlier command may be `--init`."""
    asked = parse(arguments)
    clock, device = Clock(asked.minutes), pick_device()
    torch.manual_seed(1 + read_state(asked.init).get("vae_seed", 0))
    vae = loaded(asked.init, device, asked.fresh)
    asked.out.mkdir(parents=True, exist_ok=True)
    clock.say(f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters on {device}")
    seconds = 1.0 if asked.tiny else _SECONDS
    first, room = read_state(asked.init).get("vae_seed", 0), int(asked.hours * 3600 / seconds)
    bank = Bank(room, seconds, first, device, asked.outside, asked.tiny)
    try:
        bank.fill(clock, min(60.0, 0.2 * clock.seconds))
        trainer = Trainer(vae, bank, clock, device, asked)
        if asked.anchor is not None:
            trainer.tune(Anchor(loaded(asked.anchor, device), asked.drift))
            return
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
