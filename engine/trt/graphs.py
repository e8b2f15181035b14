"""What is exported: the network and the halves of the VAE, with batch, frames and length free.

Called by `export` and `check`. A graph computes what the engine's own modules compute (the check holds the two
together), with three differences that make it fit for a compiler: the VAE takes batches, tables that torch keeps by
length are computed inside, and a discrete Fourier transform is a product with its matrix.

In `fp16` and `bf16` only matrix products, convolutions and attention are in that type. Modulation, norms, the
residual stream and all else between stay in fp32: a pure fp16 trunk overflows in large checkpoints.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine.embedded.vae import _LOG, _RAW, StftVae, limited, mid_side
from engine.geometry import CHANNELS, HOP
from engine.model.checkpoint import Progress, load_transformer, weights_of
from engine.model.dit import DiT
from engine.trt.files import Part, Precision
from engine.vae import OobleckVae, Vae, load_vae

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
    Precision.INT8: torch.float32,
}
"""Of matrix products and convolutions as torch traces them; INT8 is put into the graph afterwards."""

Dimension = int | str
"""A number, or `batch`, `frames` or `length`, or a multiple of one such as `1920*frames`."""


class GraphError(Exception):
    """There is no such graph. What the user can do is in the message."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A function to export."""

    part: Part
    precision: Precision
    module: nn.Module
    inputs: Mapping[str, tuple[Dimension, ...]]
    """In the order of the function's arguments."""
    outputs: Mapping[str, tuple[Dimension, ...]]
    step: int
    """`frames` must be a multiple of it."""
    sample: Callable[[int, int, int], tuple[Tensor, ...]]
    """Inputs for a batch, a number of frames and a length, in fp32 where torch would have them so."""
    reference: Callable[..., Tensor]
    """What the engine computes of such inputs, in fp32."""
    weights: str
    """SHA-256 of names, shapes and values of the weights that the checkpoint holds for it."""


def load_graph(root: Path, part: Part, precision: Precision, progress: Progress = lambda stage, share: None) -> Graph:
    """The graph of `part` of the checkpoint `root`, on the CPU. Raises `CheckpointError` or :class:`GraphError`."""
    cpu = torch.device("cpu")
    if part == Part.DIT:
        return dit_graph(load_transformer(root, cpu, torch.float32, progress), precision)
    return vae_graph(load_vae(root, cpu, progress), part, precision)


def dit_graph(model: DiT, precision: Precision) -> Graph:
    """The forward of `model`, which is in fp32: what `DiT.forward` computes, mask included.

    Raises :class:`GraphError`.
    """
    if precision == Precision.INT8:
        raise GraphError("INT8 is for the decoder of a VAE; the network is exported in fp32, fp16 or bf16")
    s = model.sizes
    grid = (
        precision == Precision.BF16
    )  # published bf16 runs round rotary frequencies, and an engine in bf16 should too
    reference = model if model.bf16_grid == grid else _twin(model, DiT, grid)
    module = _twin(model, ExportedDiT, grid)
    module.set_precision(DTYPES[precision])

    @torch.inference_mode()
    def sample(batch: int, frames: int, length: int) -> tuple[Tensor, ...]:
        x, context = _gaussian(1, batch, frames, CHANNELS), _gaussian(2, batch, frames, s.in_channels - CHANNELS)
        kv = reference.keys_values(_gaussian(3, batch, length, s.encoder_hidden_size))
        mask = torch.zeros(batch, length)
        if length > 1:
            mask[0, -1] = -torch.inf
        return x, reference.modulation(torch.linspace(0.1, 0.9, batch)), context, kv.to(DTYPES[precision]), mask

    @torch.inference_mode()
    def run(x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor) -> Tensor:
        velocity: Tensor = reference(x, rows, context, kv.float(), mask)
        return velocity

    kv = (s.num_hidden_layers, 2, "batch", s.num_key_value_heads, "length", s.head_dim)
    return Graph(
        Part.DIT,
        precision,
        module,
        {
            "x": ("batch", "frames", CHANNELS),
            "rows": ("batch", 7, s.hidden_size),
            "context": ("batch", "frames", s.in_channels - CHANNELS),
            "kv": kv,
            "mask": ("batch", "length"),
        },
        {"velocity": ("batch", "frames", CHANNELS)},
        s.patch_size,
        sample,
        run,
        weights_of(model),
    )


def vae_graph(vae: Vae, part: Part, precision: Precision) -> Graph:
    """A half of `vae`, which is in fp32: `decoder` or `encoder`. Raises :class:`GraphError`."""
    if precision == Precision.BF16:
        raise GraphError("TensorRT has no transposed convolution in bf16; a VAE is exported in fp32 or fp16")
    if precision == Precision.INT8 and part != Part.DECODER:
        raise GraphError("INT8 is for the decoder of a VAE; its encoder is exported in fp32 or fp16")
    kinds: dict[tuple[type, Part], Callable[[Any], nn.Module]] = {
        (StftVae, Part.DECODER): StftDecoder,
        (StftVae, Part.ENCODER): StftEncoder,
        (OobleckVae, Part.DECODER): OobleckDecoder,
        (OobleckVae, Part.ENCODER): OobleckEncoder,
    }
    if not isinstance(vae, StftVae | OobleckVae):
        raise GraphError(f"there is no graph of the {part} of a {type(vae).__name__}")
    module = kinds[type(vae), part](copy.deepcopy(vae)).eval().requires_grad_(False)
    _convert(module, DTYPES[precision])
    latents: tuple[Dimension, ...] = ("batch", "frames", CHANNELS)
    audio: tuple[Dimension, ...] = ("batch", 2, f"{HOP}*frames")
    decodes = part == Part.DECODER

    def sample(batch: int, frames: int, length: int) -> tuple[Tensor, ...]:
        if decodes:
            return (_gaussian(1, batch, frames, CHANNELS),)
        return (0.3 * _gaussian(1, batch, 2, HOP * frames),)

    @torch.inference_mode()
    def run(given: Tensor) -> Tensor:
        return torch.stack([(vae.decode if decodes else vae.encode)(row) for row in given])

    return Graph(
        part,
        precision,
        module,
        {"latents": latents} if decodes else {"audio": audio},
        {"audio": audio} if decodes else {"latents": latents},
        1,
        sample,
        run,
        weights_of(vae),
    )


class ExportedDiT(DiT):
    """`DiT` with its tables computed in the graph, so that one graph serves every number of tokens."""

    precision = torch.float32

    def set_precision(self, dtype: torch.dtype) -> None:
        """Once, after the weights are there."""
        self.precision = dtype
        _convert(self, dtype, keep=True)
        # The residual stream, and with it the modulation rows, begin in fp32.
        self.proj_in.register_forward_hook(lambda module, given, made: made.float())

    def tables(self, tokens: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        """As in `DiT`, in the precision of attention; the band is added to the scores and always there."""
        s = self.sizes
        f = s.rope_theta ** -(torch.arange(0, s.head_dim, 2, dtype=torch.float32) / s.head_dim)
        if self.bf16_grid:
            f = f.bfloat16().float()
        place = torch.arange(tokens, dtype=torch.float32)
        angle = torch.outer(place, f).repeat(1, 2)
        band = torch.where((place[:, None] - place).abs() <= s.sliding_window, 0.0, -torch.inf)
        return angle.cos().to(self.precision), angle.sin().to(self.precision), band.to(self.precision)

    def forward(self, x: Tensor, rows: Tensor, context: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
        """As in `DiT`; the mask is added to the scores."""
        added = None if mask is None else mask.to(self.precision)
        return super().forward(x, rows, context, kv, added).float()


class StftDecoder(nn.Module):
    """The embedded VAE's decoder over batches: latents [B,T,64] -> audio [B, 2, T*1920]."""

    latent_mean: Tensor
    latent_deviation: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, vae: StftVae) -> None:
        """Takes the decoder and the scale of `vae`."""
        super().__init__()
        self.decoder = vae.decoder
        self.register_buffer("latent_mean", vae.latent_mean)
        self.register_buffer("latent_deviation", vae.latent_deviation)
        one = torch.eye(vae.decoder.bins, dtype=torch.float64)
        for name, unit in (("real", 1), ("imaginary", 1j)):
            frames = torch.fft.irfft(one * unit, vae.decoder.n_fft) * vae.decoder.window.double()
            self.register_buffer(name, frames.float())

    def forward(self, latents: Tensor) -> Tensor:
        """See the class."""
        d = self.decoder
        spectrum = d.head(d.norm(d.trunk(latents * self.latent_deviation + self.latent_mean)))
        parts = spectrum.view(*spectrum.shape[:2], 2, 3, d.bins).permute(3, 0, 2, 1, 4)
        log_magnitude, a, b = parts.unbind()
        magnitude = log_magnitude.clamp(-14, 4).exp() * d.gain * torch.rsqrt(a * a + b * b + 0.1)
        frames = (magnitude * a) @ self.real + (magnitude * b) @ self.imaginary
        envelope = d._overlap_add(d.window.square().expand(1, 1, frames.shape[2], -1))
        return limited(mid_side(d._overlap_add(frames) / envelope))


class StftEncoder(nn.Module):
    """The embedded VAE's encoder over batches: audio [B, 2, T*1920] -> latents [B,T,64]."""

    latent_mean: Tensor
    latent_deviation: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, vae: StftVae) -> None:
        """Takes the encoder and the scale of `vae`."""
        super().__init__()
        self.encoder = vae.encoder
        self.register_buffer("latent_mean", vae.latent_mean)
        self.register_buffer("latent_deviation", vae.latent_deviation)
        one = torch.eye(vae.encoder.n_fft, dtype=torch.float64) * vae.encoder.window.double()
        spectra = torch.fft.rfft(one)
        self.register_buffer("real", spectra.real.float())
        self.register_buffer("imaginary", spectra.imag.float())

    def forward(self, audio: Tensor) -> Tensor:
        """See the class."""
        e = self.encoder
        margin = (e.n_fft - e.hop) // 2
        padded = nn.functional.pad(mid_side(audio), (margin, margin))
        hops = padded.view(*padded.shape[:2], -1, e.hop)
        overlap = e.n_fft // e.hop
        count = hops.shape[2] - overlap + 1
        frames = torch.cat([hops[:, :, i : i + count] for i in range(overlap)], dim=-1)
        a, b = frames @ self.real, frames @ self.imaginary
        power = a * a + b * b
        gain = 1.5 * (power + 1e-7) ** -_RAW
        features = torch.stack((a * gain, b * gain, 0.25 * (0.5 * (power + 1e-8).log() + _LOG)), dim=3)
        means, _ = e.posterior(features.permute(0, 2, 1, 3, 4).flatten(2))
        return (means - self.latent_mean) / self.latent_deviation


class OobleckDecoder(nn.Module):
    """Oobleck's decoder over batches: latents [B,T,64] -> audio [B, 2, T*1920]."""

    def __init__(self, vae: OobleckVae) -> None:
        """Takes the decoder of `vae`."""
        super().__init__()
        self.model = nn.ModuleDict({"decoder": vae.model.decoder})
        _replace_snakes(self)

    def forward(self, latents: Tensor) -> Tensor:
        """See the class."""
        audio: Tensor = self.model["decoder"](latents.transpose(1, 2))
        return audio


class OobleckEncoder(nn.Module):
    """Oobleck's encoder over batches: audio [B, 2, T*1920] -> the mean of the latents [B,T,64]."""

    def __init__(self, vae: OobleckVae) -> None:
        """Takes the encoder of `vae`."""
        super().__init__()
        self.model = nn.ModuleDict({"encoder": vae.model.encoder})
        _replace_snakes(self)

    def forward(self, audio: Tensor) -> Tensor:
        """See the class."""
        means: Tensor = self.model["encoder"](audio)[:, :CHANNELS]
        return means.transpose(1, 2)


class Snake(nn.Module):
    """`x + sin(a x)^2 / b` on [B,C,T], with `a` and `1/b` as constants and no reshapes."""

    frequency: Tensor
    amplitude: Tensor

    def __init__(self, snake: nn.Module) -> None:
        """Takes the two parameters of diffusers' `Snake1d`, which are logarithms."""
        super().__init__()
        self.register_buffer("frequency", snake.alpha.detach().exp())  # type: ignore[operator]
        self.register_buffer("amplitude", 1 / (snake.beta.detach().exp() + 1e-9))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.amplitude * torch.sin(self.frequency * x).square()


def _replace_snakes(module: nn.Module) -> None:
    from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d

    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Snake1d):
                parent.register_module(name, Snake(child))


def _convert(module: nn.Module, dtype: torch.dtype, *, keep: bool = False) -> None:
    """Matrix products and convolutions take `dtype`; what they give goes on in fp32 unless it is to `keep` it."""
    if dtype == torch.float32:
        return
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            child.to(dtype)
            child.register_forward_pre_hook(lambda child, given: (given[0].to(child.weight.dtype),))
            if not keep:
                child.register_forward_hook(lambda child, given, made: made.float())


Kind = TypeVar("Kind", bound=DiT)


def _twin(model: DiT, kind: type[Kind], bf16_grid: bool) -> Kind:
    """The same network as another class, which shares the weights."""
    with torch.device("meta"):
        twin = kind(model.sizes, bf16_grid=bf16_grid)
    twin.load_state_dict(model.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)


def _gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
