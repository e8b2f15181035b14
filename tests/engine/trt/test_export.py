"""What is exported is what torch computes, under the names of the checkpoint."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from engine import embedded
from engine.trt.check import TOLERANCE, check
from engine.trt.export import export
from engine.trt.files import GRAPH, EngineFileError, Exported, Part, Precision
from engine.trt.graphs import Graph, GraphError, dit_graph, load_graph
from tests.engine.parts import random_backend
from tests.engine.trt.conftest import tiny_oobleck


def relative(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((made - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.BF16])
@torch.inference_mode()
def test_the_network_in_every_precision_is_the_engines_within_rounding(precision: Precision) -> None:
    graph = dit_graph(random_backend().model, precision)
    for batch, frames, length in ((1, 62, 5), (2, 300, 40)):
        given = graph.sample(batch, frames, length)
        error = relative(graph.module(*given), graph.reference(*given))
        print(f"{precision} B {batch} T {frames} L {length}: {error:.1e}")
        assert error <= TOLERANCE[precision]


@pytest.mark.parametrize("part", [Part.DECODER, Part.ENCODER])
@torch.inference_mode()
def test_batches_of_both_vaes_in_fp16_are_within_rounding(part: Part) -> None:
    for graph in (load_graph(embedded.CHECKPOINT, part, Precision.FP16), tiny_oobleck(part, Precision.FP16)):
        given = graph.sample(2, 3, 1)
        assert relative(graph.module(*given), graph.reference(*given)) <= TOLERANCE[Precision.FP16]


def test_an_exported_network_says_what_it_is(exported_dit: tuple[Path, Exported], dit: Graph) -> None:
    folder, record = exported_dit
    assert Exported.read(folder / "export.json") == record
    assert (record.part, record.precision, record.opset, record.frames_step) == ("dit", "fp16", 20, 2)
    assert record.weights == dit.weights
    assert record.inputs["kv"].shape == [2, 2, "batch", 1, "length", 32]
    assert {name: value.dtype for name, value in record.inputs.items()} == {
        "x": "float32",
        "rows": "float32",
        "context": "float32",
        "kv": "float16",
        "mask": "float32",
    }
    assert [(case.batch, case.frames, case.length) for case in record.checked] == [
        (1, 62, 5),
        (2, 250, 40),
        (3, 700, 17),
        (4, 2, 1),
    ]
    assert all(case.error <= TOLERANCE[Precision.FP16] for case in record.checked)


def test_weights_keep_their_names_their_layout_and_their_precision(
    exported_dit: tuple[Path, Exported], dit: Graph
) -> None:
    model = ir.load(exported_dit[0] / GRAPH)
    state = dit.module.state_dict()
    # The time embedding and what cross-attention makes of the condition are computed before, once.
    before = ("time_embed", "condition_embedder", "cross_attn.kv", "cross_attn.norm_k")
    wanted = {name for name in state if not any(part in name for part in before)}
    assert wanted <= set(model.graph.initializers)
    for name in wanted:
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        assert tuple(tensor.shape) == tuple(state[name].shape)
        assert torch.equal(torch.from_numpy(tensor.numpy().copy()), state[name])
        matrix = name.endswith("weight") and "norm" not in name
        assert tensor.dtype == (ir.DataType.FLOAT16 if matrix or "proj" in name else ir.DataType.FLOAT), name


def test_a_decoder_keeps_its_weights_names_too(exported_decoder: tuple[Path, Exported], decoder: Graph) -> None:
    model = ir.load(exported_decoder[0] / GRAPH)
    assert set(decoder.module.state_dict()) <= set(model.graph.initializers)


def test_a_graph_knows_that_frames_come_in_pairs(exported_dit: tuple[Path, Exported]) -> None:
    model = ir.load(exported_dit[0] / GRAPH)
    frames = [str(value.shape[1]) for value in model.graph.inputs if value.name in ("x", "context") and value.shape]
    assert frames == ["2*steps", "2*steps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "precision"),
    [(Part.DIT, Precision.BF16), (Part.DECODER, Precision.FP32), (Part.ENCODER, Precision.FP32)],
)
def test_the_built_in_model_is_exported_and_checked(part: Part, precision: Precision, tmp_path: Path) -> None:
    graph = load_graph(embedded.CHECKPOINT, part, precision)
    for case in export(graph, tmp_path / "graph", "built-in").checked:
        print(f"{part} {precision} B {case.batch} T {case.frames} L {case.length}: {case.error:.1e}")


def test_oobleck_encodes_as_torch_does(tmp_path: Path) -> None:
    record = export(tiny_oobleck(Part.ENCODER, Precision.FP32), tmp_path / "graph", "tiny")
    assert max(case.error for case in record.checked) < 5e-6


def test_a_graph_that_differs_does_not_pass_the_check(
    exported_decoder: tuple[Path, Exported], decoder: Graph
) -> None:
    louder = replace(decoder, reference=lambda given: 1.1 * decoder.reference(given))
    with pytest.raises(GraphError, match=r"differs from torch by 0\.09\d* of its size at batch 1, 28 frames"):
        check(louder, exported_decoder[0] / GRAPH)


def test_a_vae_in_bf16_is_refused() -> None:
    with pytest.raises(GraphError, match="fp32 or fp16"):
        tiny_oobleck(Part.DECODER, Precision.BF16)


def test_a_folder_that_cannot_be_written_is_named(dit: Graph, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineFileError, match=f"{tmp_path / 'file'}.* cannot be written: Not a directory"):
        export(dit, tmp_path / "file" / "graph", "tiny")
    assert os.listdir(tmp_path) == ["file"]
