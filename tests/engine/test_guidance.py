"""Guidance, against diffusers' adaptive projected guidance and by its properties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.guidance import guided, push
from tests.engine.parts import gaussian


def velocities(frames: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return gaussian(2, frames, 64, seed=seed + 1), gaussian(2, frames, 64, seed=seed + 2)


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_three_steps_are_those_of_diffusers_at_60_seconds(size: float) -> None:
    """Small differences stay under the limit of the norm, large ones do not."""
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

    buffer, average = MomentumBuffer(-0.75), torch.zeros(2, 1500, 64)
    for step in range(3):
        vc, vu = velocities(1500, seed=10 * step)
        vu = vc + size * vu
        expected = normalized_guidance(
            vc, vu, 6.0, buffer, eta=0.0, norm_threshold=2.5, use_original_formulation=True, norm_dim=(1,)
        )
        across, average = push(vc, vu, average, -0.75)
        assert torch.allclose(guided(vc, across, 7.0, 0.0), expected, atol=1e-5)


def test_a_push_is_across_the_guided_velocity() -> None:
    vc, vu = velocities(50)
    across, _ = push(vc, vu, torch.zeros_like(vc), 0.0)
    assert ((across * vc).sum(1) / vc.square().sum(1)).abs().max() < 1e-6


def test_the_limit_does_not_depend_on_the_length_of_the_window() -> None:
    """The same music twice as long is pushed by as much a frame."""
    vc, vu = velocities(50)
    once, _ = push(vc, vu, torch.zeros_like(vc), 0.0)
    twice, _ = push(vc.repeat(1, 2, 1), vu.repeat(1, 2, 1), torch.zeros(2, 100, 64), 0.0)
    assert torch.allclose(twice, once.repeat(1, 2, 1), atol=1e-6)


def test_scale_1_is_no_guidance() -> None:
    vc, vu = velocities(50)
    across, _ = push(vc, vu, torch.zeros_like(vc), 0.0)
    assert torch.equal(guided(vc, across, 1.0, 0.0), vc)


def test_rescale_gives_the_norm_back() -> None:
    vc, vu = velocities(50)
    across, _ = push(vc, vu, torch.zeros_like(vc), 0.0)
    whole, half = (guided(vc, across * 30, 7.0, rescale) for rescale in (1.0, 0.5))
    norm = vc.norm(dim=(1, 2))
    assert torch.allclose(whole.norm(dim=(1, 2)), norm, rtol=1e-5)
    assert (half.norm(dim=(1, 2)) > norm * 1.1).all()


def test_a_curve_pushes_frame_by_frame() -> None:
    vc, vu = velocities(50)
    across, _ = push(vc, vu, torch.zeros_like(vc), 0.0)
    scale = torch.ones(50, 1)
    scale[25:] = 7
    v = guided(vc, across, scale, 0.0)
    assert torch.equal(v[:, :25], vc[:, :25])
    assert torch.allclose(v[:, 25:], guided(vc, across, 7.0, 0.0)[:, 25:])
