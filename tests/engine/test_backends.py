"""What every backend promises of its rows, on the eager one and a small random transformer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.backends import Side
from engine.backends.eager import EagerBackend
from tests.engine.parts import gaussian

TIMES = [0.2, 0.5, 0.9, 1.0]


@pytest.fixture
def sides(backend: EagerBackend) -> list[Side]:
    """Four rows with conditions of four lengths and contexts of their own."""
    return [
        Side(gaussian(1, 50, 128, seed=10 + row), backend.keys_values(gaussian(1, 3 + 2 * row, 24, seed=row)), None)
        for row in range(4)
    ]


@pytest.fixture
def x() -> Tensor:
    return gaussian(4, 50, 64, seed=1)


def test_rows_on_many_threads_are_the_rows_of_one(backend: EagerBackend, x: Tensor, sides: list[Side]) -> None:
    threaded = EagerBackend(backend.model, threads=3)
    together = backend.velocity(x, TIMES, sides)
    assert torch.equal(threaded.velocity(x, TIMES, sides), together)
    alone = [backend.velocity(x[i : i + 1], TIMES[i : i + 1], sides[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.cat(alone), together)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_rows_at_once_padded_to_the_prepared_batch_are_the_rows_one_by_one(
    backend: EagerBackend, x: Tensor, sides: list[Side], batch: int
) -> None:
    """What a GPU does, within rounding: conditions of other lengths beside a row do not change it."""
    at_once = EagerBackend(backend.model)
    at_once.prepare(4, 50, 5)
    at_once._row_by_row = at_once._at_once  # type: ignore[method-assign]
    given = x[:batch], TIMES[:batch], sides[:batch]
    difference = at_once.velocity(*given) - backend.velocity(*given)
    assert difference.shape == (batch, 50, 64)
    assert difference.abs().max() < 1e-5


def test_a_masked_token_is_not_heard(backend: EagerBackend, x: Tensor) -> None:
    states, context = gaussian(1, 5, 24, seed=3), gaussian(1, 50, 128, seed=2)
    hidden = Side(context, backend.keys_values(states), torch.tensor([[0.0, 0.0, 0.0, 0.0, -torch.inf]]))
    absent = Side(context, backend.keys_values(states[:, :4]), None)
    a, b = (backend.velocity(x[:1], [0.5], [side]) for side in (hidden, absent))
    assert (a - b).abs().max() < 1e-5


def test_a_velocity_is_owned_by_its_caller(backend: EagerBackend, x: Tensor, sides: list[Side]) -> None:
    first = backend.velocity(x[:1], [0.5], sides[:1])
    kept = first.clone()
    backend.velocity(2 * x[:1], [0.9], sides[:1])
    assert torch.equal(first, kept)
