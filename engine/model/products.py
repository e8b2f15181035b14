"""The network's products of matrices, each by the fastest algorithm that cuBLASLt has for its shape.

Called by `engine.model.fused` for every product of a block; one :class:`Products` per network. Which algorithm is
the fastest is measured when a shape is first multiplied, which is while a graph warms up: a few tenths of a second
for all shapes of a network. What was found is kept beside Triton's compiled kernels, for this GPU and this version of
the library, so that the next start only looks it up.

Bits. A choice changes none of them. Every algorithm that may be chosen gives, for rows that are repeated over the
whole matrix, the bits of the library's first guess for those rows alone (:data:`_PROBE_ROWS` of them); the others are
left out, and so is what is read from the file and does not. So an element does not depend on the rows beside it, on
how many there are, on what was measured, or on whether anything was: a forward of one row, of all slots and of twice
as many give a slot the same products. That holds as far as random factors show it, for each shape before it is used.
Where torch multiplies it need not.

Where the library cannot be reached, or knows no such product, torch multiplies, and the log says so once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from triton.runtime.cache import get_cache_manager

from engine.graphs import captured
from engine.model.cublaslt import ALGORITHM_BYTES, CublasLtError, Library, Product, Shape
from engine.model.kernels import FP8, FP8_MOST, Rows
from engine.timing import timed

_FILE = "products.json"
_PROBE_ROWS = 256
_ASKED = 16
"""Algorithms that the library is asked for; it has eight for a usual shape."""
_WEIGHTS_BYTES, _LEAST, _MOST = 200e6, 3, 24
"""Different weights that a measurement goes through."""
_ROUNDS, _REPLAYS, _NEAR = 4, 3, 1.1
"""What took a tenth longer than the best in one round is not measured again."""
_CLEARLY = 0.03
"""By how much less time another algorithm than the library's first guess must take. The guess has large tiles, which
need less power; a GPU at its limit runs those faster that a short measurement finds a little slower.
"""

log = logging.getLogger("engine.model.products")


class Scaled(NamedTuple):
    """A matrix in fp8: `matrix * scale`."""

    matrix: Tensor
    """[out,in]."""
    scale: Tensor
    """[1,out] in fp32: each output's weights are scaled to use all of the format."""


Matrix = Tensor | Scaled


def scaled(matrix: Tensor) -> Scaled:
    """`matrix` [out,in] in fp8."""
    scale = matrix.abs().amax(1).float().clamp_min(1e-12) / FP8_MOST
    return Scaled((matrix.float() / scale[:, None]).to(FP8), scale[None])


class Choices:
    """What was chosen, by shape; kept in a file that Triton's cache holds."""

    def __init__(self, machine: str) -> None:
        """Of `machine`: the GPU and the library, by any words that differ where either does."""
        self._cache: Any = get_cache_manager(hashlib.sha256(machine.encode()).hexdigest())
        self._machine, self._lock = machine, threading.Lock()

    def read(self) -> dict[str, bytes]:
        """All of them; none where the file is missing or cannot be read, which the log says."""
        path = self._cache.get_file(_FILE)
        if path is None:
            return {}
        try:
            kept = json.loads(Path(path).read_text())["algorithms"]
            found = {str(shape): bytes.fromhex(algorithm) for shape, algorithm in kept.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read, so products are measured anew: %s", path, error)
            return {}
        return {shape: algorithm for shape, algorithm in found.items() if len(algorithm) == ALGORITHM_BYTES}

    def add(self, shape: str, algorithm: bytes) -> None:
        """Keeps one more; readers find the old file or the new one. Where nothing can be written the log says so."""
        with self._lock:
            kept = {each: way.hex() for each, way in (self.read() | {shape: algorithm}).items()}
            text = json.dumps({"machine": self._machine, "algorithms": kept}, indent=1)
            try:
                self._cache.put(text, _FILE, binary=False)
            except OSError as error:
                log.warning("what was measured of products cannot be kept: %s", error)


class Products:
    """Multiplies with the matrices of one network. Not for two threads at once."""

    def __init__(self, matrices: Sequence[Matrix]) -> None:
        """`matrices` are all that will be multiplied with, on their device."""
        self._matrices: dict[tuple[int, ...], list[Matrix]] = {}
        for matrix in matrices:
            self._matrices.setdefault(tuple(_values(matrix).shape), []).append(matrix)
        self._device = _values(matrices[0]).device
        self._known: dict[Shape, tuple[Product, bytes] | None] = {}
        self._library, self._choices = _reached(self._device) if self._device.type == "cuda" else (None, None)

    def __call__(self, x: Tensor | Rows, matrix: Matrix, like: Tensor) -> Tensor:
        """`x` times the transpose of `matrix` [out,in] -> [R,S,out], in the dtype of `like` [R,S,d]."""
        rows, weights = _paired(x, matrix)
        outputs, inputs = weights.shape
        shape = Shape(like.shape[0] * like.shape[1], outputs, inputs, fp8=isinstance(x, Rows))
        if shape not in self._known:
            self._known[shape] = self._found(shape) if like.dtype is torch.bfloat16 else None
        way = self._known[shape]
        if way is None:
            return by_torch(x, matrix, like)
        out = like.new_empty(*like.shape[:2], outputs)
        way[0].run(way[1], rows.contiguous(), weights, out, _scales(x, matrix))
        return out

    def _found(self, shape: Shape) -> tuple[Product, bytes] | None:
        if self._library is None or self._choices is None:
            return None
        try:
            product = self._library.product(shape)
            kept = self._choices.read().get(str(shape))
            if torch.cuda.is_current_stream_capturing():  # nothing can be tried now
                return product, product.algorithms(1)[0]
            trial = _Trial(self._library, product, self._matrices[shape.outputs, shape.inputs])
            if kept is not None and product.knows(kept) and trial.gives_the_bits(kept):
                return product, kept
            best = trial.fastest(product.algorithms(_ASKED))
        except CublasLtError as error:
            log.warning("torch chooses how to multiply by %s: %s", shape, error)
            return None
        self._choices.add(str(shape), best)
        return product, best


def by_torch(x: Tensor | Rows, matrix: Matrix, like: Tensor) -> Tensor:
    """The same as :class:`Products` gives, as torch multiplies."""
    rows, weights = _paired(x, matrix)
    scales = _scales(x, matrix)
    if scales is None:
        return F.linear(rows, weights)
    out = torch._scaled_mm(
        rows, weights.t(), scale_a=scales[0], scale_b=scales[1], out_dtype=like.dtype, use_fast_accum=True
    )
    return out.view(*like.shape[:2], -1)


@lru_cache(maxsize=8)
def _reached(device: torch.device) -> tuple[Library | None, Choices | None]:
    try:
        library = Library(device)
    except CublasLtError as error:
        log.warning("torch chooses how to multiply, which may be slower: %s", error)
        return None, None
    return library, Choices(f"{torch.cuda.get_device_name(device)}, cuBLASLt {library.version}")


class _Trial:
    """One product over and over, on a stream of its own."""

    def __init__(self, library: Library, product: Product, matrices: list[Matrix]) -> None:
        """With `matrices` in turn, so that the cache holds none of them: as in a forward."""
        self._product = product
        self._x, self._wanted = _probe(library, product.shape, matrices[0])
        self._out = torch.empty_like(self._wanted)
        count = int(min(max(_WEIGHTS_BYTES / _values(matrices[0]).nbytes, _LEAST), _MOST))
        self._matrices = (matrices * count)[:count]
        self._stream = torch.cuda.Stream(self._out.device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(self._out.device))

    def gives_the_bits(self, algorithm: bytes) -> bool:
        """Whether repeated rows become, wherever they lie, what the library's first guess makes of them alone."""
        with torch.cuda.stream(self._stream):
            self._out.fill_(torch.nan)
            try:
                self._run(algorithm, 1)
            except CublasLtError:
                return False
            return torch.equal(self._out, self._wanted)

    def fastest(self, algorithms: list[bytes]) -> bytes:
        """Of those that give the bits; the first of them if no other is clearly faster. Raises `CublasLtError`."""
        right = [algorithm for algorithm in algorithms if self.gives_the_bits(algorithm)]
        if not right:
            raise CublasLtError("no algorithm makes a row's sums as it makes them alone")
        with torch.cuda.stream(self._stream):
            pool = torch.cuda.graph_pool_handle()
            graphs = {each: captured(partial(self._run, each, len(self._matrices)), pool) for each in right}
            took = {each: self._milliseconds(graph) for each, graph in graphs.items()}
            for _ in range(_ROUNDS - 1):  # in turns, since the clock of a GPU wanders
                near = [each for each in took if took[each] < _NEAR * min(took.values())]
                took |= {each: min(took[each], self._milliseconds(graphs[each])) for each in near}
        took[right[0]] *= 1 - _CLEARLY
        return min(took, key=took.__getitem__)

    def _milliseconds(self, graph: torch.cuda.CUDAGraph) -> float:
        return min(timed(graph.replay, self._out.device, _REPLAYS).runs[1:])  # the first waits for its launch

    def _run(self, algorithm: bytes, count: int) -> None:
        for matrix in self._matrices[:count]:
            rows, weights = _paired(self._x, matrix)
            self._product.run(algorithm, rows, weights, self._out, _scales(self._x, matrix))


def _probe(library: Library, shape: Shape, matrix: Matrix) -> tuple[Tensor | Rows, Tensor]:
    """Random rows again and again, and what times `matrix` they are."""
    weights = _values(matrix)
    generator = torch.Generator(weights.device).manual_seed(0)
    few = torch.randn(_PROBE_ROWS, shape.inputs, generator=generator, device=weights.device)
    at = torch.arange(shape.rows, device=weights.device) % _PROBE_ROWS
    alone: Tensor | Rows
    x: Tensor | Rows
    if shape.fp8:
        in_fp8 = scaled(few)
        alone = Rows(in_fp8.matrix, in_fp8.scale.t().contiguous())
        x = Rows(alone.rows.view(torch.uint8)[at].view(FP8), alone.scale[at])
    else:
        alone = few.to(weights.dtype)
        x = alone[at]
    small = library.product(shape._replace(rows=_PROBE_ROWS))
    out = torch.empty(_PROBE_ROWS, shape.outputs, dtype=torch.bfloat16, device=weights.device)
    rows, _ = _paired(alone, matrix)
    small.run(small.algorithms(1)[0], rows, weights, out, _scales(alone, matrix))
    return x, out[at]


def _values(x: Tensor | Rows | Scaled) -> Tensor:
    return x if isinstance(x, Tensor) else x[0]


def _paired(x: Tensor | Rows, matrix: Matrix) -> tuple[Tensor, Tensor]:
    if isinstance(x, Rows) != isinstance(matrix, Scaled):
        raise TypeError("a factor in fp8 is multiplied with one in fp8")
    return _values(x), _values(matrix)


def _scales(x: Tensor | Rows, matrix: Matrix) -> tuple[Tensor, Tensor] | None:
    return (x.scale, matrix.scale) if isinstance(x, Rows) and isinstance(matrix, Scaled) else None
