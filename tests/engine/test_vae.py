"""Windows of a loop, and the two VAEs behind one interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch import Tensor, nn

from engine import CheckpointError, embedded
from engine.embedded.vae import limited
from engine.geometry import HOP
from engine.source import load_source
from engine.vae import OobleckVae, Vae, decode_window, encode_loop, load_vae
from tests.engine.parts import gaussian

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae() -> Vae:
    return load_vae(embedded.CHECKPOINT, CPU)


@pytest.fixture(scope="module")
def bar() -> Tensor:
    return torch.from_numpy(load_source(embedded.CLIP)[:, : 50 * HOP])


def small_oobleck(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = AutoencoderOobleck(  # type: ignore[no-untyped-call, assignment]
            encoder_hidden_size=128,
            downsampling_ratios=[2, 4, 4, 6, 10],
            channel_multiples=[1, 1, 1, 1, 1],
            decoder_channels=8,
            decoder_input_channels=64,
            audio_channels=2,
            sampling_rate=48_000,
        )
    return model.eval()


@pytest.fixture(scope="module")
def oobleck() -> OobleckVae:
    return OobleckVae(small_oobleck(3))


@pytest.mark.parametrize(("start", "count"), [(0, 9), (7, 3), (45, 9), (49, 1), (0, 50)])
@torch.inference_mode()
def test_a_window_is_bit_identical_to_the_whole_loop(vae: Vae, start: int, count: int) -> None:
    latents = gaussian(50, 64, seed=1)
    whole = decode_window(vae, latents, 0, 50).roll(-start * HOP, dims=1)
    assert torch.equal(decode_window(vae, latents, start, count), whole[:, : count * HOP])


@torch.inference_mode()
def test_a_loop_has_no_beginning(vae: Vae, bar: Tensor) -> None:
    latents = encode_loop(vae, bar)
    turned = encode_loop(vae, bar.roll(20 * HOP, dims=1))
    assert (turned.roll(-20, dims=0) - latents).abs().max() < 1e-4
    audio = decode_window(vae, latents, 0, 50)
    assert (decode_window(vae, latents.roll(20, dims=0), 20, 50) - audio).abs().max() < 1e-5


@torch.inference_mode()
def test_music_survives_the_embedded_vae_and_its_latents_are_normal(vae: Vae, bar: Tensor) -> None:
    latents = encode_loop(vae, bar)
    again = decode_window(vae, latents, 0, 50)
    error = (again - bar).square().mean() / bar.square().mean()
    assert -10 * error.log10() > 6  # dB
    assert 0.4 < latents.std() < 2


@torch.inference_mode()
def test_no_latent_is_decoded_into_clipping_and_ordinary_levels_are_untouched(vae: Vae) -> None:
    assert vae.decode(8 * gaussian(50, 64, seed=9)).abs().max() < 0.98
    ramp = torch.linspace(-0.9, 0.9, 101)
    assert (limited(ramp) - ramp).abs().max() < 1e-6
    steps = limited(torch.linspace(-3, 3, 601)).diff()
    assert (steps >= 0).all()


@torch.inference_mode()
def test_encoding_is_deterministic(vae: Vae, oobleck: OobleckVae, bar: Tensor) -> None:
    assert torch.equal(encode_loop(vae, bar), encode_loop(vae, bar))
    short = bar[:, : 4 * HOP]
    assert torch.equal(oobleck.encode(short), oobleck.encode(short))


@torch.inference_mode()
def test_oobleck_windows_equal_the_whole_loop(oobleck: OobleckVae) -> None:
    latents = gaussian(30, 64, seed=2)
    whole = decode_window(oobleck, latents, 0, 30).roll(-26 * HOP, dims=1)
    window = decode_window(oobleck, latents, 26, 9)
    assert window.shape == (2, 9 * HOP)
    assert (window - whole[:, : 9 * HOP]).abs().max() <= 1e-6


@torch.inference_mode()
def test_an_oobleck_checkpoint_loads_without_weight_norm_and_sounds_the_same(tmp_path: Path) -> None:
    model: Any = small_oobleck(4)
    model.save_pretrained(tmp_path / "vae")
    loaded = load_vae(tmp_path, CPU)
    latents = gaussian(6, 64, seed=5)
    assert (loaded.decode(latents) - model.decode(latents.T[None]).sample[0]).abs().max() < 1e-5
    assert isinstance(loaded, OobleckVae)
    assert not any("weight_g" in name for name, _ in loaded.named_parameters())


def test_an_unknown_vae_is_named(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(CheckpointError, match="AutoencoderKL"):
        load_vae(tmp_path, CPU)
