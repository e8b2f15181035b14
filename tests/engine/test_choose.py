"""Which backend runs the network: the one that is named or a sentence; with `auto`, one that works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

import demond.messages
from demond.engine_session import REFUSALS, about
from engine import BackendError, BackendRangeError, Session
from engine.backends import Name, choose
from engine.backends.eager import EagerBackend
from engine.model.dit import DiT

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Unworkable(EagerBackend):
    """Can be made, and not captured."""

    def prepare(self, batch: int, frames: int, length: int) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


def made_by(kind: type[EagerBackend]) -> Callable[[DiT, str], EagerBackend]:
    """What makes a backend of a `kind` in the place of one that captures."""
    return lambda model, precision: kind(model)


@pytest.mark.parametrize("name", ["auto", "eager"])
def test_a_cpu_runs_the_network_eagerly_on_the_threads_it_is_given(backend: EagerBackend, name: Name) -> None:
    chosen = choose.choose(name, backend.model, CPU, threads=3)
    assert isinstance(chosen, EagerBackend)
    assert (chosen.model, chosen._threads) == (backend.model, 3)


@pytest.mark.parametrize("name", ["graph", "graph-fp8", "tensorrt"])
def test_what_needs_a_gpu_is_refused_without_one(backend: EagerBackend, name: Name) -> None:
    with pytest.raises(BackendError, match=f"{name} .* the device is the CPU; choose auto or eager"):
        choose.choose(name, backend.model, CPU)


def test_a_name_that_is_none_is_answered_with_those_that_are(backend: EagerBackend, two_seconds: Path) -> None:
    with pytest.raises(ValueError, match="no backend 'turbo'; auto, eager, graph, graph-fp8, tensorrt are known"):
        choose.choose("turbo", backend.model, CPU)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="the device is the CPU"):
        Session(source=two_seconds, device="cpu", threads=1, backend="graph")


def test_on_a_gpu_auto_takes_graphs_that_have_been_captured_once(
    backend: EagerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        choose, "_module", lambda name: SimpleNamespace(GraphBackend=lambda model, precision: EagerBackend(model))
    )
    assert choose.choose("auto", backend.model, GPU).most == 2


def test_where_no_graph_is_captured_auto_goes_on_without_and_says_so(
    backend: EagerBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        choose, "_module", lambda name: SimpleNamespace(GraphBackend=lambda model, precision: Unworkable(model))
    )
    assert type(choose.choose("auto", backend.model, GPU)) is EagerBackend
    assert "without CUDA graphs, which is slower: operation not permitted when stream is capturing" in caplog.text


def test_a_library_that_is_missing_is_named(backend: EagerBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(BackendError, match=r"graph cannot be loaded .*triton.*; choose auto or eager"):
        choose.choose("graph", backend.model, GPU)


def test_the_daemon_knows_the_names_and_what_to_blame() -> None:
    assert get_args(demond.messages.Backend) == choose.NAMES
    assert issubclass(BackendError, REFUSALS)
    assert about(BackendError("no such card")) == ()
    assert {"checkpoint", "depth", "context"} <= set(about(BackendRangeError("too many rows")))
