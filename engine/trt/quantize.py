"""INT8 for a VAE's decoder: ranges measured on music, and explicit quantisation in its graph.

Called by `export`. Post-training static quantisation (Jacob et al., 2018; the ways to choose a range are those that
Wu et al. compare in "Integer Quantization for Deep Learning Inference", 2020): symmetric, one scale for the input of
a layer, one for each output channel of its weights. The graph says where: QuantizeLinear and DequantizeLinear before
the input, and DequantizeLinear after the weights, of every layer that is quantised, which TensorRT turns into an INT8
kernel and ONNX Runtime computes as it stands. All between the layers stays in fp32. So do the first and the last
layer, which touch latents and sound, and transposed convolutions: TensorRT computes them in fp32 whatever the graph
says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.trt.files import Method

LEVELS = 127
"""Of a symmetric INT8, on either side of 0."""
BINS = 2048
PERCENTILE = 99.99
_EPSILON = 1e-8

Layer = nn.Linear | nn.Conv1d


@dataclass(frozen=True, slots=True, eq=False)
class Music:
    """Latents to measure ranges with, and to judge the result by; each is [T,64], on the CPU in fp32."""

    prompts: tuple[str, ...]
    """What the measured ones were made of."""
    measured: tuple[Tensor, ...]
    judged: tuple[Tensor, ...]


class Histogram:
    """How often which magnitude was seen, from 0 to the largest; the range doubles when a larger one comes."""

    def __init__(self) -> None:
        """Empty."""
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.top = 0.0
        self.most = 0.0

    def add(self, values: Tensor) -> None:
        """Takes in all of `values`."""
        magnitudes = values.detach().abs().flatten().float()
        most = magnitudes.max().item()
        if most == 0:
            return
        self.most, self.top = max(self.most, most), self.top or most
        while self.top < most:
            self.counts = torch.cat((self.counts.view(-1, 2).sum(1), torch.zeros(BINS // 2, dtype=torch.float64)))
            self.top *= 2
        self.counts += torch.histc(magnitudes.cpu(), BINS, 0, self.top).double()

    def threshold(self, method: Method) -> float:
        """The largest magnitude that is not clipped."""
        match method:
            case Method.MAX:
                return self.most
            case Method.PERCENTILE:
                share = self.counts.cumsum(0) / self.counts.sum()
                return min(self.most, (int((share < PERCENTILE / 100).sum()) + 1) * self.top / BINS)
        return min(self.most, self._entropy())

    def _entropy(self) -> float:
        used = int(self.counts.nonzero().max()) + 1
        ends = range(min(LEVELS + 1, used), used + 1, max(1, used // 256))
        return min(ends, key=self._divergence) * self.top / BINS

    def _divergence(self, end: int) -> float:
        """Of the first `end` bins in :data:`LEVELS` + 1 levels, from the same with what is beyond in the last bin."""
        seen = self.counts[:end].clone()
        level = (torch.arange(end) * (LEVELS + 1) // end).clamp_max(LEVELS)
        there = (seen > 0).double()
        sums = torch.zeros(LEVELS + 1, dtype=torch.float64).index_add_(0, level, seen)
        bins = torch.zeros(LEVELS + 1, dtype=torch.float64).index_add_(0, level, there)
        spread = sums[level] / bins[level].clamp_min(1) * there
        seen[-1] += self.counts[end:].sum()
        p, q = seen / seen.sum(), spread / spread.sum().clamp_min(_EPSILON)
        return float((p * ((p + _EPSILON) / (q + _EPSILON)).log()).sum())


def layers_of(module: nn.Module) -> tuple[dict[str, Layer], list[str]]:
    """The layers of a decoder that are quantised, by the name of their weights, and the names of the others."""
    every = {
        f"{name}.weight": child
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear | nn.Conv1d | nn.ConvTranspose1d)
    }
    first, *_, last = every
    own = {
        name: child
        for name, child in every.items()
        if isinstance(child, nn.Linear | nn.Conv1d) and name not in (first, last)
    }
    return own, [name for name in every if name not in own]


def calibrate(
    module: nn.Module,
    latents: Sequence[Tensor],
    method: Method,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:
    """The scale of the input of every layer, by the name of its weights, over `latents`, each [T,64]."""
    layers, _ = layers_of(module)
    seen = {name: Histogram() for name in layers}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: seen[name].add(given[0]))
        for name, layer in layers.items()
    ]
    try:
        with torch.inference_mode():
            for number, piece in enumerate(latents):
                module(piece[None])
                progress((number + 1) / len(latents))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: max(each.threshold(method), _EPSILON) / LEVELS for name, each in seen.items() if each.most > 0}


def quantise(model: Any, scales: Mapping[str, float]) -> None:
    """Puts the input and the weights of every layer in `scales` of an ONNX graph, named by its weights, into INT8.

    Raises `ValueError` for a weight that no layer of the graph multiplies by.
    """
    import numpy as np
    import onnx_ir as ir

    def constant(name: str, values: Any) -> Any:
        tensor = ir.tensor(values, name=name)
        value = ir.Value(
            name=name, const_value=tensor, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype)
        )
        model.graph.register_initializer(value)
        return value

    def node(kind: str, name: str, inputs: list[Any], before: Any, axis: int | None = None) -> Any:
        made = ir.node(kind, inputs, {} if axis is None else {"axis": axis}, name=name)
        made.outputs[0].name = f"{name}.out"
        model.graph.insert_before(before, made)
        return made.outputs[0]

    for name, scale in scales.items():
        weight = model.graph.initializers.get(name)
        user = _product(weight)
        if user is None:
            raise ValueError(f"the graph multiplies by no weight {name}")
        values = weight.const_value.numpy()  # [out,in] or [out,in,kernel]
        steps = np.maximum(np.abs(values).reshape(len(values), -1).max(axis=1), _EPSILON).astype(np.float32) / LEVELS
        spread = steps.reshape(-1, *[1] * (values.ndim - 1))
        small = np.clip(np.rint(values / spread), -LEVELS, LEVELS).astype(np.int8)
        first, slot = next(iter(weight.uses()))
        rough = node(
            "DequantizeLinear",
            f"{name}.dequantised",
            [
                constant(f"{name}.int8", small),
                constant(f"{name}.scale", steps),
                constant(f"{name}.zero", np.zeros_like(steps, np.int8)),
            ],
            first,
            axis=0,
        )
        first.replace_input_with(slot, rough)
        del model.graph.initializers[name]
        step = constant(f"{name}.input_scale", np.float32(scale))
        zero = constant(f"{name}.input_zero", np.int8(0))
        whole = node("QuantizeLinear", f"{name}.quantise_input", [user.inputs[0], step, zero], user)
        user.replace_input_with(0, node("DequantizeLinear", f"{name}.dequantise_input", [whole, step, zero], user))


def _product(weight: Any) -> Any:
    """The node that multiplies by `weight`, perhaps after turning it over."""
    for user, _ in () if weight is None else weight.uses():
        found = user if user.op_type in ("Conv", "MatMul", "Gemm") else None
        if user.op_type == "Transpose":
            found = _product(user.outputs[0])
        if found is not None:
            return found
    return None


def signal_to_noise(made: Tensor, wanted: Tensor) -> float:
    """dB of `wanted` [2,N] over its difference from `made`."""
    power = wanted.square().mean() / (made - wanted).square().mean().clamp_min(1e-20)
    return 10 * float(power.log10())


def spectral_distance(made: Tensor, wanted: Tensor) -> float:
    """Log-spectral distance in dB of `made` [2,N] from `wanted` (Gray and Markel, 1976).

    The root of the mean square over frequencies of the difference of two power spectra in dB, meaned over frames of
    2,048 samples; what is 80 dB below the loudest counts as that.
    """
    window = torch.hann_window(2048)
    powers = [
        torch.stft(audio.float(), 2048, 512, window=window, return_complex=True).abs().square()
        for audio in (made, wanted)
    ]
    floor = powers[1].max() * 1e-8
    a, b = (10 * power.clamp_min(floor).log10() for power in powers)
    return float((a - b).square().mean(dim=1).sqrt().mean())
