"""Products by the best algorithm: what is kept of a measurement, and what happens where nothing can be measured.

The measurement itself needs a GPU; the last test is for a machine that has one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.parts import gaussian

pytest.importorskip("triton", reason="the kernels of a GPU are written in Triton, which the dev extra brings")

from engine.model import products
from engine.model.cublaslt import ALGORITHM_BYTES, CublasLtError, Library, Shape
from engine.model.kernels import Rows
from engine.model.products import Choices, Products, by_torch, scaled

ONE, OTHER = bytes(range(ALGORITHM_BYTES)), bytes(ALGORITHM_BYTES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Triton keeps what it compiles."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    products._reached.cache_clear()
    yield tmp_path
    products._reached.cache_clear()


def the_file(cache: Path) -> Path:
    [found] = cache.rglob("products.json")
    return found


def test_what_was_chosen_is_found_again_and_a_file_that_is_replaced_loses_nothing() -> None:
    shapes = [str(Shape(rows, 64, 32, fp8)) for rows in (3, 500) for fp8 in (False, True)]
    assert len(set(shapes)) == 4
    for shape in shapes:
        Choices("a").add(shape, ONE)
    Choices("a").add(shapes[0], OTHER)
    assert Choices("a").read() == {shapes[0]: OTHER, **dict.fromkeys(shapes[1:], ONE)}


def test_another_gpu_or_library_has_its_own() -> None:
    Choices("H200, 13.1").add("3x4x5 bf16", ONE)
    assert Choices("H200, 13.2").read() == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=9), st.just("ab" * ALGORITHM_BYTES)),
            lambda inner: st.dictionaries(st.sampled_from(["algorithms", "machine", "1x2x3 bf16"]), inner),
            max_leaves=6,
        ).map(lambda document: json.dumps(document).encode()),
    )
)
def test_whatever_the_file_holds_is_an_algorithm_or_is_not_taken(cache: Path, content: bytes) -> None:
    Choices("a").add("3x4x5 bf16", ONE)
    the_file(cache).write_bytes(content)
    assert all(len(algorithm) == ALGORITHM_BYTES for algorithm in Choices("a").read().values())
    Choices("a").add("3x4x5 bf16", OTHER)
    assert Choices("a").read()["3x4x5 bf16"] == OTHER


def test_a_file_that_cannot_be_read_is_said(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    Choices("a").add("3x4x5 bf16", ONE)
    the_file(cache).write_text('{"algorithms": {"3x4x5 bf16": "not hexadecimal"}}')
    assert Choices("a").read() == {}
    [line] = caplog.messages
    assert str(the_file(cache)) in line
    assert "measured anew" in line


def test_where_nothing_can_be_written_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    choices = Choices("a")
    for folder in cache.iterdir():
        folder.rmdir()
        folder.write_text("in the way")
    choices.add("3x4x5 bf16", ONE)
    assert caplog.messages[-1].startswith("what was measured of products cannot be kept")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the library can be reached")
def test_without_the_library_torch_multiplies_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CublasLtError, match="no GPU"):
        Library(torch.device("cuda", 0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert products._reached(torch.device("cuda", 0)) == (None, None)
    [line] = caplog.messages
    assert line.startswith("torch chooses how to multiply")


def test_a_product_is_of_rows_and_outputs() -> None:
    x, weights = gaussian(2, 5, 16, seed=1), gaussian(24, 16, seed=2)
    found = Products([weights])(x, weights, x)
    assert found.shape == (2, 5, 24)
    assert torch.allclose(found, x @ weights.t(), atol=1e-5)


def test_weights_in_fp8_keep_each_outputs_size() -> None:
    weights = gaussian(24, 16, seed=2) * torch.logspace(-4, 4, 24)[:, None]
    inside = scaled(weights)
    assert inside.scale.shape == (1, 24)
    error = (inside.matrix.float() * inside.scale.t() - weights).abs().amax(1) / weights.abs().amax(1)
    assert error.max() <= 2**-4  # three bits of mantissa


def test_a_factor_in_fp8_is_multiplied_with_one_in_fp8_only() -> None:
    x, weights = gaussian(1, 5, 16, seed=1), gaussian(24, 16, seed=2)
    rows = Rows(x[0].to(torch.float8_e4m3fn), torch.ones(5, 1))
    for one, other in ((x, scaled(weights)), (rows, weights)):
        with pytest.raises(TypeError, match="fp8"):
            Products([weights])(one, other, x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to measure on")
@pytest.mark.parametrize("fp8", [False, True])
@torch.inference_mode()
def test_on_a_gpu_a_row_is_the_same_in_any_company_and_after_any_start(fp8: bool, cache: Path) -> None:
    device = torch.device("cuda", 0)
    x, weights = gaussian(1, 700, 256, seed=1).to(device).bfloat16(), gaussian(512, 256, seed=2).to(device).bfloat16()
    matrix = scaled(weights) if fp8 else weights

    def times(rows: torch.Tensor) -> torch.Tensor:
        in_fp8 = scaled(rows[0])
        factor = Rows(in_fp8.matrix, in_fp8.scale.t().contiguous()) if fp8 else rows
        return Products([matrix])(factor, matrix, rows)

    found = times(x)
    kept = the_file(cache).read_bytes()
    assert torch.equal(times(x), found)
    assert the_file(cache).read_bytes() == kept
    assert torch.equal(times(x[:, 100:350]), found[:, 100:350])
    in_fp8 = scaled(x[0])
    factor = Rows(in_fp8.matrix, in_fp8.scale.t().contiguous()) if fp8 else x
    assert (found - by_torch(factor, matrix, x)).norm() < 1e-2 * found.norm()
