"""Audio to latents and back: what the engine asks of a VAE, windows of a loop, and the VAEs there are.

Called by the session (encoding the source once) and by playback (decoding the frames that will be heard next). A loop
has no ends: windows are taken modulo its length, so that no sample knows where the loop was cut.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.geometry import CHANNELS, HOP
from engine.model.checkpoint import (
    CheckpointError,
    Progress,
    load_weights,
    needed_libraries,
    read_config,
    read_tensors,
)


class Vae(Protocol):
    """A pair of deterministic maps between 48 kHz stereo audio and latents of 64 channels at 25 Hz.

    Latents outside are in the units that the transformer works in; a VAE that needs another scale keeps it inside.
    """

    reach: int
    """Latent frames on either side of a frame that its decoded audio depends on."""
    encoder_reach: int
    """Frames of audio on either side that a latent frame depends on."""

    def state_dict(self) -> dict[str, Any]:
        """All weights by name, on the device where it runs."""

    def encode(self, audio: Tensor) -> Tensor:
        """Audio [2, T*1920] -> latents [T,64] (the mean of the posterior, never a sample)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [T,64] -> audio [2, T*1920] in fp32."""


@runtime_checkable
class Behind(Protocol):
    """A VAE that decodes in a stream of its own."""

    def begin_window(self, latents: Tensor, start: int, count: int) -> Callable[[], NDArray[np.float32]]:
        """See :func:`begin_window`."""


def decode_window(vae: Vae, latents: Tensor, start: int, count: int) -> Tensor:
    """`count` frames of the loop `latents` [T,64] from frame `start`, taken modulo T -> audio [2, count*1920].

    Decodes `vae.reach` frames more on either side, so that the result is that of decoding the whole loop.
    """
    around = torch.arange(start - vae.reach, start + count + vae.reach, device=latents.device) % latents.shape[0]
    return vae.decode(latents[around])[:, vae.reach * HOP : (vae.reach + count) * HOP]


def begin_window(vae: Vae, latents: Tensor, start: int, count: int) -> Callable[[], NDArray[np.float32]]:
    """Begins :func:`decode_window`; what is returned waits for its audio [count*1920, 2].

    On the CPU that is there at once. A `engine.captured.CapturedVae` decodes while the device goes on ticking.
    """
    if isinstance(vae, Behind):
        return vae.begin_window(latents, start, count)
    audio = decode_window(vae, latents, start, count).T.cpu().numpy()
    return lambda: audio


def encode_loop(vae: Vae, audio: Tensor) -> Tensor:
    """The loop `audio` [2, T*1920] -> latents [T,64], its first and last frames hearing each other."""
    frames = audio.shape[1] // HOP
    margin = vae.encoder_reach
    around = torch.arange(-margin * HOP, (frames + margin) * HOP, device=audio.device) % (frames * HOP)
    return vae.encode(audio[:, around])[margin : margin + frames].clone()


class OobleckVae(nn.Module):
    """ACE-Step's own VAE (diffusers' `AutoencoderOobleck`), with weight normalisation folded into the weights.

    The decoder reaches 8.33 latent frames, so 9 are exact; one sample touches six frames of the encoder's.
    """

    reach = 9
    encoder_reach = 7

    def __init__(self, model: nn.Module) -> None:
        """`model` as diffusers made it, with its weights."""
        super().__init__()
        for module in model.modules():
            if hasattr(module, "weight_g") and hasattr(module, "weight_v"):
                nn.utils.remove_weight_norm(module)
        self.model: Any = model

    def encode(self, audio: Tensor) -> Tensor:
        """See :class:`Vae`."""
        latents: Tensor = self.model.encode(audio[None]).latent_dist.mode()[0].T
        return latents.float()

    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Vae`."""
        dtype = self.model.decoder.conv1.bias.dtype  # that of the decoder may be another than the encoder's
        audio: Tensor = self.model.decode(latents.T[None].to(dtype)).sample[0]
        return audio.float()


def load_vae(root: Path, device: torch.device, progress: Progress = lambda stage, share: None) -> Vae:
    """The VAE of the checkpoint `root`, chosen by the `_class_name` of its config. Raises `CheckpointError`."""
    folder = root / "vae"
    config = read_config(folder)
    match config.get("_class_name"):
        case "DemondStftVae":
            from engine.embedded.vae import StftVae

            try:
                vae = StftVae.from_config(config)
            except (TypeError, ValueError, KeyError) as error:
                raise CheckpointError(f"{folder / 'config.json'} cannot be used: {error}") from None
            load_weights(vae, read_tensors(folder, lambda share: progress("vae", share)), folder)
            return vae.to(device).eval().requires_grad_(False)
        case "AutoencoderOobleck":
            with needed_libraries(folder):
                from diffusers import AutoencoderOobleck
            if config.get("decoder_input_channels", CHANNELS) != CHANNELS:
                raise CheckpointError(f"{folder / 'config.json'} does not describe {CHANNELS} latent channels")
            with warnings.catch_warnings():  # diffusers normalises weights in a way that torch is about to leave
                warnings.filterwarnings("ignore", r".*weight_norm. is deprecated", FutureWarning)
                model: nn.Module = AutoencoderOobleck.from_config(config)  # type: ignore[no-untyped-call]
            load_weights(model, read_tensors(folder, lambda share: progress("vae", share)), folder)
            return OobleckVae(model).to(device).eval().requires_grad_(False)
        case name:
            raise CheckpointError(
                f"{folder / 'config.json'} says {name}; demond knows AutoencoderOobleck and DemondStftVae"
            )
