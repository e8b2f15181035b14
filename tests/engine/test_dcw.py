"""Wavelet-domain correction, against the coefficients of the wavelet laid out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.dcw import Dcw, Mode, slow
from tests.engine.parts import gaussian

ROOT = 2**0.5


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """The halves [B,T/2,C] of a one-level Haar wavelet over an even T."""
    return (x[:, ::2] + x[:, 1::2]) / ROOT, (x[:, ::2] - x[:, 1::2]) / ROOT


def inverse(low: Tensor, high: Tensor) -> Tensor:
    return torch.stack(((low + high) / ROOT, (low - high) / ROOT), dim=2).flatten(1, 2)


def by_the_book(x: Tensor, y: Tensor, t: Tensor, low: float, high: float) -> Tensor:
    (x_low, x_high), (y_low, y_high) = haar(x), haar(y)
    return inverse(x_low + t * low * (x_low - y_low), x_high + (1 - t) * high * (x_high - y_high))


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor]:
    return gaussian(3, 10, 64, seed=1), gaussian(3, 10, 64, seed=2), torch.tensor([0.9, 0.5, 0.0])[:, None, None]


@pytest.mark.parametrize(
    ("mode", "low", "high"), [(Mode.LOW, 0.05, 0.0), (Mode.HIGH, 0.0, 0.02), (Mode.DOUBLE, 0.05, 0.02)]
)
def test_each_mode_is_the_published_formula(
    given: tuple[Tensor, Tensor, Tensor], mode: Mode, low: float, high: float
) -> None:
    assert torch.allclose(Dcw(mode, 0.05, 0.02).corrected(*given), by_the_book(*given, low, high), atol=1e-6)


def test_pix_is_without_a_wavelet(given: tuple[Tensor, Tensor, Tensor]) -> None:
    x, y, _ = given
    assert torch.equal(Dcw(Mode.PIX, 0.1, 0.9).corrected(*given), x + 0.1 * (x - y))


def test_a_curve_corrects_frame_by_frame(given: tuple[Tensor, Tensor, Tensor]) -> None:
    x, *_ = given
    half = torch.tensor([0.0] * 4 + [0.1] * 6)[:, None]
    corrected = Dcw(Mode.DOUBLE, half, half).corrected(*given)
    assert torch.equal(corrected[:, :4], x[:, :4])
    assert torch.allclose(corrected[:, 4:], by_the_book(*given, 0.1, 0.1)[:, 4:], atol=1e-6)


def test_a_frame_without_a_partner_is_all_slow() -> None:
    x = gaussian(1, 7, 64, seed=1)
    assert torch.equal(slow(x)[:, 6], x[:, 6])
    assert torch.allclose(slow(x)[:, 4], (x[:, 4] + x[:, 5]) / 2)


@pytest.mark.parametrize("fader", ["soft", "ratio", "magnitude"])
def test_an_advanced_fader_at_nothing_is_the_plain_form_and_moves_away_smoothly(
    given: tuple[Tensor, Tensor, Tensor], fader: str
) -> None:
    plain = Dcw(Mode.DOUBLE, 0.1, 0.1).corrected(*given)
    walk = [
        (Dcw(Mode.DOUBLE, 0.1, 0.1, **{fader: value}).corrected(*given) - plain).norm().item()
        for value in (0.0, 1e-4, 0.3, 1.0)
    ]
    assert walk[0] == 0
    assert 0 < walk[1] < 0.01 < walk[2] < walk[3]


def test_a_soft_threshold_leaves_small_differences_alone(given: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, t = given
    assert torch.equal(Dcw(Mode.PIX, 0.1, 0.0, soft=0.5).corrected(x, x + 0.4, t), x)


def test_magnitude_alone_keeps_every_sign(given: tuple[Tensor, Tensor, Tensor]) -> None:
    x, y, t = given
    corrected = Dcw(Mode.PIX, 0.4, 0.0, magnitude=1.0).corrected(x, y, t)
    louder = x.abs() > y.abs()
    assert torch.equal(corrected.sign()[louder], x.sign()[louder])
    assert (corrected.abs()[louder] > x.abs()[louder]).all()
