"""Engines taken apart: every layer has a kind, and every product of the graph is counted once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.trt import runtime
from engine.trt.build import build
from engine.trt.files import GRAPH, Built, EngineFileError, Exported
from engine.trt.layers import Kind, Layer, Listing, Rollup, listing_of, parse, rollup
from engine.trt.profile import profile
from tests.engine.trt.conftest import engine_command

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has a wheel for Linux on x86-64 alone")

from tests.engine.trt.stand_in import StandIn

CPU = torch.device("cpu")


def by_kind(total: Rollup) -> dict[Kind, int]:
    return {row.kind: row.flops for row in total.rows if row.flops}


def layer(name: str, kind: str = "kgen", *nodes: str) -> Layer:
    return Layer(name=name, type=kind, inputs=[], constants=[], outputs=[], nodes=list(nodes))


def test_the_networks_work_is_what_its_sizes_say_and_is_done_by_products_and_attention(
    one_shape: tuple[Path, Built],
) -> None:
    total, layers = profile(one_shape[0])
    batch, tokens, length, width, inner, blocks = 4, 125, 300, 64, 96, 2
    attention = blocks * 2 * 2 * batch * tokens * (tokens + length) * 64  # scores and sums, two heads of 32
    each = width * 128 + width * width + 2 * width * width + 3 * width * inner  # qkv, out, crossing, feed-forward
    products = 2 * batch * tokens * (blocks * each + 2 * 192 * width + width * 128)
    assert by_kind(total) == {Kind.ATTENTION: attention, Kind.GEMM: products}
    assert total.flops == attention + products
    assert (total.unplaced, total.unlisted) == ({}, {})
    assert {row.kind for row in total.rows} >= {Kind.NORM, Kind.POINTWISE, Kind.MOVEMENT}
    assert not [row for row in total.rows if row.kind is Kind.OPAQUE]
    assert sum(len(row.layers) for row in total.rows) == len(layers)
    assert sum(1 for each in layers if each.kind is Kind.ATTENTION) == 2 * blocks


def test_an_engine_of_one_shape_says_what_it_moves(one_shape: tuple[Path, Built]) -> None:
    total, layers = profile(one_shape[0])
    moved = [row.bytes for row in total.rows]
    assert all(size is not None and size > 0 for size in moved)
    (first,) = [each for each in layers if "context" in {buffer.name for buffer in each.inputs}]
    assert first.traffic == 4 * 250 * (128 + 64) * (4 + 2)  # read in fp32, written in fp16


def test_of_an_open_size_the_bytes_are_not_guessed(engines: dict[str, tuple[Path, Built]]) -> None:
    total, _ = profile(engines["12.0"][0])
    assert {row.bytes for row in total.rows if row.kind is not Kind.SHAPES} == {None}
    assert total.flops == sum(by_kind(total).values())


def test_a_decoder_is_convolutions(exported_decoder: tuple[Path, Exported]) -> None:
    path, _ = build(exported_decoder[0], "8.9", {"frames": (28, 28, 28)})
    total, _ = profile(path)
    assert list(by_kind(total)) == [Kind.CONVOLUTION]
    kernels = 28 * 8 * (64 * 7 + 8 * 96)  # the first convolution, and its transposed one, which reads 28 samples
    kernels += 1344 * 8 * 8 * (3 * (7 + 1) + 80) + 53_760 * 8 * (8 * 3 * (7 + 1) + 2 * 7)
    assert total.flops == 2 * kernels
    assert not [row for row in total.rows if row.kind is Kind.OPAQUE]


@pytest.mark.parametrize(
    ("name", "of_type", "kind"),
    [
        ("_gemm_mha_v2_myl0_8", "kgen", Kind.ATTENTION),
        ("__myl_CorrCastAdd_myl0_8", "runtime_fusion", Kind.CONVOLUTION),
        ("__myl_FcMulMeanAddSqrt_myl0_8", "runtime_fusion", Kind.GEMM),
        ("node_linear_1_myl0_4", "gemm", Kind.GEMM),
        ("__myl_MaxSubExpSumDiv_myl0_1", "kgen", Kind.SOFTMAX),
        ("__myl_SlicAddSlicMulMeanAddSqrtDivMulEtc_myl0_3", "kgen", Kind.NORM),
        ("__myl_SlicSlicSiluMul_myl0_21", "kgen", Kind.POINTWISE),
        ("__myl_ReshTranCast_myl0_3", "kgen", Kind.MOVEMENT),
        ("__myl_WarpDriv_myl0_3", "kgen", Kind.OPAQUE),
        ("{ForeignNode[node_slice_8...node__to_copy_19]}", "Myelin", Kind.OPAQUE),
    ],
)
def test_a_layer_is_what_costs_most_in_it_and_what_nobody_knows_is_opaque(
    name: str, of_type: str, kind: Kind
) -> None:
    assert layer(name, of_type).kind is kind


def test_work_is_counted_once_and_an_opaque_layer_is_given_only_what_no_other_does() -> None:
    layers = [
        layer("__myl_MoveConc_myl0_1", "kgen", "product"),
        layer("{ForeignNode[a...b]}", "Myelin", "product", "hidden"),
        layer("product_myl0_2", "gemm", "product"),
    ]
    total = rollup(layers, {"product": 100, "hidden": 10, "lost": 1}, {"product_myl0_2": 0.5, "Reformatting 7": 0.25})
    assert by_kind(total) == {Kind.GEMM: 100, Kind.OPAQUE: 10}
    assert (total.flops, total.unplaced, total.unlisted) == (111, {"lost": 1}, {"Reformatting 7": 0.25})
    assert [row.layers for row in total.rows if row.kind is Kind.OPAQUE] == [["{ForeignNode[a...b]}"]]


@given(st.text())
def test_words_that_are_no_layer_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not known here|lists no layers"):
        parse(text)


def test_an_engine_with_another_graph_or_list_beside_it_is_refused(
    one_shape: tuple[Path, Built], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(one_shape[0].parent, tmp_path / "graph"))
    path = folder / one_shape[0].name
    with (folder / GRAPH).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(EngineFileError, match="is not of the graph or the list of layers beside it"):
        profile(path)
    Listing(engine="0", layers=[]).write(listing_of(path))
    with pytest.raises(EngineFileError, match="is not of the graph or the list of layers beside it"):
        profile(path)
    listing_of(path).unlink()
    with pytest.raises(EngineFileError, match="is missing"):
        profile(path)


def test_layers_are_timed_by_tensorrts_profiler_over_many_runs(
    one_shape: tuple[Path, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, built = one_shape
    stand_in = StandIn(path.parent, built, tmp_path)
    attention = [each.name for each in Listing.read(listing_of(path)).layers if each.kind is Kind.ATTENTION]
    stand_in.layer_times = {**dict.fromkeys(attention, 0.25), "a copy": 0.125}
    monkeypatch.setattr(runtime, "library", lambda named: stand_in)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "device", lambda *name: CPU)
    total, _ = profile(path, timed=True)
    assert {row.kind: row.milliseconds for row in total.rows if row.milliseconds} == {Kind.ATTENTION: 4 * 0.25}
    assert total.unlisted == {"a copy": 0.125}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(EngineFileError, match=r"compute capability 8\.9, and here is 9\.0"):
        profile(path, timed=True)


def test_the_command_tells_kinds_layers_and_what_cannot_be_timed_here(one_shape: tuple[Path, Built]) -> None:
    path = str(one_shape[0])
    (known,) = json.loads(engine_command("profile", path, "--layers", "--json"))
    assert known["flops"] == sum(row["flops"] for row in known["rows"])
    assert len(known["list"]) == sum(len(row["layers"]) for row in known["rows"])
    text = engine_command("profile", path)
    assert "attention" in text
    assert "GFLOP at its usual shapes" in text
    assert "here is none" in engine_command("profile", path, "--times", status=1)
