"""INT8 for the decoder: ranges, explicit quantisation in the graph, real engines, and what it costs in sound."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from engine.trt.build import build
from engine.trt.export import export
from engine.trt.files import GRAPH, Exported, Method, Part, Precision, read_engine
from engine.trt.graphs import GraphError, dit_graph
from engine.trt.layers import Kind
from engine.trt.profile import profile
from engine.trt.quantize import (
    Histogram,
    Music,
    calibrate,
    layers_of,
    quantise,
    signal_to_noise,
    spectral_distance,
)
from tests.engine.parts import gaussian, random_backend
from tests.engine.trt.conftest import CAPABILITIES, engine_command, tiny_oobleck


@pytest.fixture(scope="module")
def music() -> Music:
    pieces = [gaussian(40, 64, seed=seed) for seed in range(6)]
    return Music(("noise",), tuple(pieces[:4]), tuple(pieces[4:]))


@pytest.fixture(scope="module")
def small(music: Music, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """A tiny Oobleck decoder in INT8."""
    folder = tmp_path_factory.mktemp("graphs") / "tiny" / "decoder-int8"
    return folder, export(tiny_oobleck(Part.DECODER, Precision.INT8), folder, "tiny", music=music)


def seen(*values: torch.Tensor) -> Histogram:
    histogram = Histogram()
    for each in values:
        histogram.add(each)
    return histogram


def test_a_histogram_keeps_what_it_saw_when_a_louder_piece_comes() -> None:
    histogram = seen(torch.linspace(-1, 1, 4096), torch.tensor([7.5]), torch.zeros(3))
    assert histogram.counts.sum() == 4096 + 1
    assert (histogram.most, histogram.top) == (7.5, 8.0)
    assert histogram.counts[:256].sum() == 4096
    assert histogram.threshold(Method.MAX) == 7.5


def test_a_rare_outlier_is_clipped_by_the_percentile_and_the_entropy_alone() -> None:
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    histogram = seen(normal, torch.tensor([40.0]))
    assert histogram.threshold(Method.MAX) == 40
    assert histogram.threshold(Method.PERCENTILE) == pytest.approx(3.89, abs=0.1)  # of a normal distribution
    assert 1.5 < histogram.threshold(Method.ENTROPY) < 12
    even = seen(torch.linspace(-2, 2, 100_001))
    assert all(even.threshold(method) == pytest.approx(2, rel=0.02) for method in Method)


def test_silence_has_no_range() -> None:
    module = tiny_oobleck(Part.DECODER, Precision.INT8).module
    own, _ = layers_of(module)
    with torch.no_grad():
        first = next(iter(own.values()))
    handle = first.register_forward_pre_hook(lambda layer, given: (torch.zeros_like(given[0]),), prepend=True)
    try:
        assert next(iter(own)) not in calibrate(module, [gaussian(8, 64, seed=1)], Method.MAX)
    finally:
        handle.remove()


def test_the_scale_of_a_layer_is_that_of_what_it_was_given(music: Music) -> None:
    module = tiny_oobleck(Part.DECODER, Precision.INT8).module
    name, layer = next(iter(layers_of(module)[0].items()))
    most = 0.0

    def look(layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal most
        most = max(most, given[0].abs().max().item())

    handle = layer.register_forward_pre_hook(look)
    scales = calibrate(module, music.measured, Method.MAX)
    handle.remove()
    assert scales[name] == pytest.approx(most / 127)
    assert scales.keys() == layers_of(module)[0].keys()


def test_the_graph_says_where_it_is_quantised_and_keeps_the_ends_in_fp32(small: tuple[Path, Exported]) -> None:
    folder, record = small
    graph = tiny_oobleck(Part.DECODER, Precision.FP32)
    own, kept = layers_of(graph.module)
    model = ir.load(folder / GRAPH)
    assert record.quantised is not None
    assert (record.quantised.layers, record.quantised.kept) == (len(own), kept)
    assert len([name for name in kept if "conv_t" in name]) == 2  # transposed
    assert len(kept) == 4
    kinds = [node.op_type for node in model.graph]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (len(own), 2 * len(own))
    for name, layer in own.items():
        values, steps = (model.graph.initializers[f"{name}.{end}"].const_value.numpy() for end in ("int8", "scale"))  # type: ignore[union-attr]
        assert (values.dtype, steps.shape) == (np.int8, (layer.weight.shape[0],))
        assert np.abs(values).reshape(len(values), -1).max(axis=1).tolist() == [127] * len(values)
        error = np.abs(values * steps[:, None, None] - layer.weight.detach().numpy())
        assert (error <= steps[:, None, None] / 2 * 1.001).all()
    assert all(name in model.graph.initializers for name in kept)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_engines_with_int8_kernels_are_built_for_each_generation(
    small: tuple[Path, Exported], capability: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has a wheel for Linux on x86-64 alone")
    path, _ = build(small[0], capability, {"frames": (1, 28, 64)})
    assert read_engine(path, capability=capability)[1].precision == Precision.INT8
    total, layers = profile(path)
    small_ones = [
        layer
        for layer in layers
        if layer.kind is Kind.CONVOLUTION and layer.inputs[0].dtype == layer.constants[0].dtype == "Int8"
    ]
    assert small[1].quantised is not None
    assert len(small_ones) == small[1].quantised.layers
    assert not [row for row in total.rows if row.kind is Kind.OPAQUE]
    assert total.unplaced == {}


def test_what_int8_costs_is_measured_on_what_no_range_was_measured_with(small: tuple[Path, Exported]) -> None:
    record = small[1]
    assert record.quantised is not None
    assert len(record.quantised.snr_db) == len(record.quantised.spectral_db) == 2
    assert all(20 < snr < 60 for snr in record.quantised.snr_db)
    assert all(0 < distance < 6 for distance in record.quantised.spectral_db)
    worst = min(record.quantised.snr_db)
    assert max(case.error for case in record.checked) < 4 * 10 ** (-worst / 20)


def test_ranges_that_clip_the_music_are_refused(music: Music, tmp_path: Path) -> None:
    louder = Music(music.prompts, music.measured, tuple(30 * piece for piece in music.judged))
    with pytest.raises(GraphError, match=r"decoder in int8 differs from torch by 0\.[3-9]"):
        export(tiny_oobleck(Part.DECODER, Precision.INT8), tmp_path / "graph", "tiny", music=louder)
    assert list(tmp_path.iterdir()) == []


def test_int8_without_music_and_of_other_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="needs music"):
        export(tiny_oobleck(Part.DECODER, Precision.INT8), tmp_path / "graph", "tiny")
    with pytest.raises(GraphError, match="for the decoder of a VAE; its encoder"):
        tiny_oobleck(Part.ENCODER, Precision.INT8)
    with pytest.raises(GraphError, match="for the decoder of a VAE; the network"):
        dit_graph(random_backend().model, Precision.INT8)
    with pytest.raises(ValueError, match="multiplies by no weight nothing"):
        quantise(ir.load(_empty(tmp_path)), {"nothing": 1.0})


def _empty(folder: Path) -> Path:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10)
    ir.save(model, folder / "empty.onnx")
    return folder / "empty.onnx"


def test_distances_in_sound_are_those_that_were_put_there() -> None:
    audio = gaussian(2, 48_000, seed=1)
    assert signal_to_noise(audio + 0.01 * gaussian(2, 48_000, seed=2), audio) == pytest.approx(40, abs=0.2)
    assert spectral_distance(audio, audio) == 0
    assert spectral_distance(0.5 * audio, audio) == pytest.approx(20 * math.log10(2), abs=0.01)


def test_a_device_that_is_not_there_and_a_prompt_that_is_none_end_the_command_in_words(tmp_path: Path) -> None:
    asked = ("export", "--folder", str(tmp_path), "--precision", "int8")
    assert "write cpu, cuda or cuda:N" in engine_command(*asked, "--device", "tpu", status=2)
    if not torch.cuda.is_available():
        assert "no CUDA device was found" in engine_command(*asked, "--device", "cuda", status=2)
    assert "3000" in engine_command(*asked, "--prompt", "x" * 3_000, status=1)


def test_the_decoder_inside_is_exported_in_int8_over_music_that_the_model_makes(tmp_path: Path) -> None:
    prompts = ("techno, driving, 130 bpm", "ambient, calm, 70 bpm")
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    (record,) = json.loads(
        engine_command("export", "--folder", str(tmp_path), "--precision", "int8", *asked, "--json")
    )
    assert (record["part"], record["quantised"]["prompts"]) == ("decoder", list(prompts))
    assert min(record["quantised"]["snr_db"]) > 18
    assert max(record["quantised"]["spectral_db"]) < 2
    assert record["quantised"]["layers"] == 25
    assert "25 layers in INT8, ranges by percentile over music of 2" in engine_command(
        "list", "--folder", str(tmp_path)
    )
