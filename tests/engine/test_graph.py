"""The graph backend's own part: what it writes into its buffers and when. Kernels run in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.backends import BackendError, Side
from engine.backends.eager import EagerBackend
from engine.model.dit import DiT, Sizes
from tests.engine.parts import gaussian

pytest.importorskip("triton", reason="the kernels of a GPU are written in Triton, which the dev extra brings")

from engine.backends import graph
from engine.backends.graph import GraphBackend
from tests.engine.recorded import record

FRAMES = 12


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> DiT:
    record(monkeypatch)
    generator, model = torch.Generator().manual_seed(3), DiT(Sizes(32, 48, 2, 2, 1, 16, encoder_hidden_size=24))
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.detach().copy_(torch.ones(()) if "norm" in name else drawn / parameter.shape[-1] ** 0.5)
    return model.eval().requires_grad_(False)


def sides_of(backend: EagerBackend | GraphBackend, lengths: list[int], seed: int = 0) -> list[Side]:
    """Rows with conditions of these lengths; the second has a mask."""
    contexts = [gaussian(1, FRAMES, 128, seed=seed + row) for row in range(len(lengths))]
    states = [gaussian(1, length, 24, seed=50 + seed + row) for row, length in enumerate(lengths)]
    masks = [None if row != 1 else gaussian(1, length, seed=9) for row, length in enumerate(lengths)]
    return [Side(c, backend.keys_values(s), m) for c, s, m in zip(contexts, states, masks, strict=True)]


def near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-5)


def test_rows_are_those_of_the_eager_backend_whatever_was_asked_before(model: DiT) -> None:
    """Fewer rows and more, other times, conditions and contexts, in one life."""
    backend, eager = GraphBackend(model), EagerBackend(model)
    backend.prepare(2, FRAMES, 10)
    assert backend.most == 6
    asked = [([0.2, 1.0], [5, 9]), ([0.5], [3]), ([0.2, 0.9, 0.7], [9, 2, 7]), ([1.0, 0.2], [64, 1])]
    for turn, (times, lengths) in enumerate(asked):
        x = gaussian(len(times), FRAMES, 64, seed=turn)
        sides = sides_of(eager, lengths, seed=10 * turn)
        first = backend.velocity(x, times, sides)
        assert near(first, eager.velocity(x, times, sides))
        again = backend.velocity(x, times, sides)
        assert torch.equal(first, again)
        assert first.data_ptr() != again.data_ptr()


def test_a_rehearsal_in_another_thread_does_not_get_into_a_forward(model: DiT) -> None:
    backend, eager = GraphBackend(model), EagerBackend(model)
    backend.prepare(1, FRAMES, 10)
    sides = sides_of(eager, [3, 9, 5, 7])
    xs = [gaussian(1, FRAMES, 64, seed=seed) for seed in range(4)]

    def forward(i: int) -> Tensor:
        with torch.inference_mode():
            return backend.velocity(xs[i], [0.2 * i + 0.1], [sides[i]])

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(forward, range(4)))
    for i, velocity in enumerate(found):
        assert near(velocity, eager.velocity(xs[i], [0.2 * i + 0.1], [sides[i]]))


def test_neighbours_that_share_a_side_are_written_at_once_and_only_when_it_changes(
    model: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = GraphBackend(model)
    backend.prepare(2, FRAMES, 10)
    written: list[list[slice]] = []
    changed = graph._changed

    def noted(known: Any, sides: Any, now: Any) -> Any:
        found = changed(known, sides, now)
        written.append([rows for rows, _ in found])
        return found

    monkeypatch.setattr(graph, "_changed", noted)
    one, other = sides_of(backend, [5, 4])
    moved = Side(other.context, one.kv, one.mask)
    x = gaussian(4, FRAMES, 64, seed=1)
    for sides in ([one, one, other, other], [one, one, other, other], [one, other, other, other], [one, moved]):
        backend.velocity(x[: len(sides)], [0.1, 0.2, 0.3, 0.4][: len(sides)], sides)
    first, second, third = [slice(0, 2), slice(2, 4)], [], [slice(1, 2)]
    contexts, conditions, masks = (written[i::3] for i in range(3))
    assert contexts == [first, second, third, []]
    assert conditions == [first, second, third, third]
    assert masks == [[slice(2, 4)], [], [slice(1, 2)], [slice(1, 2)]]


def test_more_times_than_are_kept_find_their_rows(model: DiT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_TIMES_KEPT", 3)
    backend, eager = GraphBackend(model), EagerBackend(model)
    backend.prepare(1, FRAMES, 5)
    [side] = sides_of(eager, [4])
    x = gaussian(1, FRAMES, 64, seed=1)
    for time in (0.1, 0.2, 0.3, 0.4, 0.1):
        assert near(backend.velocity(x, [time], [side]), eager.velocity(x, [time], [side]))


def test_what_it_was_not_prepared_for_is_refused(model: DiT) -> None:
    backend = GraphBackend(model)
    [side] = sides_of(backend, [4])
    with pytest.raises(BackendError, match="prepared for"):
        backend.velocity(gaussian(1, FRAMES, 64, seed=1), [0.5], [side])
    backend.prepare(1, FRAMES, 5)
    with pytest.raises(BackendError, match="prepared for"):
        backend.velocity(gaussian(1, FRAMES + 2, 64, seed=1), [0.5], [side])
    [long] = sides_of(backend, [65])
    with pytest.raises(BackendError, match="conditions of 64 tokens, not of 65"):
        backend.velocity(gaussian(1, FRAMES, 64, seed=1), [0.5], [long])


def test_a_capture_that_fails_is_an_error_in_words(model: DiT, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Callable[[], None], pool: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graph, "captured", refuse)
    with pytest.raises(BackendError, match="cannot run the network as a graph: operation not permitted"):
        GraphBackend(model).prepare(1, FRAMES, 5)


def test_other_weights_are_prepared_for_the_same(model: DiT) -> None:
    backend = GraphBackend(model)
    backend.prepare(1, FRAMES, 5)
    weights = {"proj_out.weight": 2 * model.proj_out.weight, "proj_out.bias": 2 * model.proj_out.bias}
    twin = backend.retuned(weights)
    [side] = sides_of(backend, [4])
    x = gaussian(1, FRAMES, 64, seed=1)
    assert near(twin.velocity(x, [0.5], [side]), 2 * backend.velocity(x, [0.5], [side]))
