"""NVIDIA's cuBLASLt by ctypes: one product of matrices, and each algorithm that the library knows for it.

Called by `engine.model.products`, which chooses among them. Torch multiplies by the library's own first guess and
lets nobody ask for another, so this is the library that torch has loaded already, and nothing is installed for it.
Constants and structures are those of `cublasLt.h` of CUDA 12 and 13. An algorithm that needs a workspace, or adds
parts of a sum that were made apart, is never asked for: so any number of streams may multiply at once, and an element
is the same sum in the same order wherever in the matrix it lies.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p, sizeof
from typing import Any, NamedTuple

import torch
from torch import Tensor

_FP32, _BF16, _E4M3 = 0, 14, 28
"""`cudaDataType_t`."""
_COMPUTE_FP32 = 68
"""`cublasComputeType_t`: sums are in fp32."""
_TRANSPOSED = 1
_DESC_TRANSA, _DESC_FAST_ACCUM = 3, 25
_DESC_A_SCALE, _DESC_B_SCALE, _DESC_A_SCALE_MODE, _DESC_B_SCALE_MODE = 17, 18, 31, 32
_SCALE_ONE, _SCALE_OUTER_VECTOR = 0, 3
"""A scale for a whole factor, and one for each row of it, which Hopper has since CUDA 12.9."""
_SOME_ADDRESS = 256
"""In the place of a scale while algorithms are asked for: the library knows none for a product without."""
_PREFERS_WORKSPACE, _PREFERS_REDUCTIONS = 1, 3
ALGORITHM_BYTES = 64


class CublasLtError(RuntimeError):
    """The library cannot be reached, or does not know such a product."""


class _Algorithm(ctypes.Structure):
    _fields_ = [("data", c_uint64 * (ALGORITHM_BYTES // 8))]


class _Result(ctypes.Structure):
    _fields_ = [
        ("algorithm", _Algorithm),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


class Shape(NamedTuple):
    """Of a product [rows,inputs] times [outputs,inputs] transposed, into bf16."""

    rows: int
    outputs: int
    inputs: int
    fp8: bool
    """Both factors are in e4m3 with a scale for each of their rows; else in bf16."""

    def __str__(self) -> str:
        """As a key among what is kept."""
        return f"{self.rows}x{self.outputs}x{self.inputs} {'e4m3' if self.fp8 else 'bf16'}"


class Library:
    """cuBLASLt on one device."""

    def __init__(self, device: torch.device) -> None:
        """Raises :class:`CublasLtError` where torch has none to share."""
        if device.type != "cuda" or not torch.cuda.is_available():
            raise CublasLtError("torch sees no GPU with CUDA")
        major = (torch.version.cuda or "").partition(".")[0]
        try:
            self._calls = ctypes.CDLL(f"libcublasLt.so.{major}")
        except OSError as error:
            raise CublasLtError(f"cuBLASLt cannot be loaded: {error}") from None
        self._calls.cublasLtGetVersion.restype = c_size_t
        self.version: int = self._calls.cublasLtGetVersion()
        self._handle = c_void_p()
        with torch.cuda.device(device):
            self.call("Create", byref(self._handle))

    def call(self, name: str, *arguments: Any) -> None:
        """`cublasLt<name>`. Raises :class:`CublasLtError`."""
        status = getattr(self._calls, f"cublasLt{name}")(*arguments)
        if status:
            raise CublasLtError(f"cublasLt{name} answers {status}")

    def product(self, shape: Shape) -> Product:
        """What multiplies by `shape`. Raises :class:`CublasLtError`."""
        return Product(self, self._handle, shape)


class Product:
    """One shape. Not for two threads at once.

    In the library's words, which stores columns: D [outputs,rows] = A^T B, where A is the weights and B the rows.
    """

    def __init__(self, library: Library, handle: c_void_p, shape: Shape) -> None:
        """Called by :meth:`Library.product`."""
        self.shape, self._library, self._handle = shape, library, handle
        self._description = c_void_p()
        library.call("MatmulDescCreate", byref(self._description), _COMPUTE_FP32, _FP32)
        self._describe(_DESC_TRANSA, c_int(_TRANSPOSED))
        factor = _E4M3 if shape.fp8 else _BF16
        if shape.fp8:
            self._describe(_DESC_FAST_ACCUM, ctypes.c_int8(1))
            self._scale_by(_SCALE_OUTER_VECTOR)
            for side in (_DESC_A_SCALE, _DESC_B_SCALE):  # none is read before `run`, which brings its own
                self._describe(side, c_void_p(_SOME_ADDRESS))
        self._layouts = [
            self._layout(factor, shape.inputs, shape.outputs),
            self._layout(factor, shape.inputs, shape.rows),
            self._layout(_BF16, shape.outputs, shape.rows),
        ]

    def algorithms(self, most: int) -> list[bytes]:
        """Up to `most` ways, the library's first guess first; each may be kept for this version of the library.

        For fp8 it proposes one or two, of large tiles. Those that it proposes for factors with one scale each are
        added where it knows them for this product too: half the time for few rows.
        """
        found = self._proposed(most)
        if self.shape.fp8:
            self._scale_by(_SCALE_ONE)
            others = self._proposed(most)
            self._scale_by(_SCALE_OUTER_VECTOR)
            found += [algorithm for algorithm in others if algorithm not in found and self.knows(algorithm)]
        return found

    def _proposed(self, most: int) -> list[bytes]:
        preference, results, count = c_void_p(), (_Result * most)(), c_int()
        self._library.call("MatmulPreferenceCreate", byref(preference))
        for attribute, value in ((_PREFERS_WORKSPACE, c_size_t(0)), (_PREFERS_REDUCTIONS, ctypes.c_uint32(0))):
            self._library.call(
                "MatmulPreferenceSetAttribute", preference, attribute, byref(value), c_size_t(sizeof(value))
            )
        a, b, d = self._layouts
        self._library.call(
            "MatmulAlgoGetHeuristic",
            *(self._handle, self._description, a, b, d, d, preference, most, results, byref(count)),
        )
        self._library.call("MatmulPreferenceDestroy", preference)
        return [bytes(result.algorithm) for result in results[: count.value] if not result.state]

    def knows(self, algorithm: bytes) -> bool:
        """Whether it is a way for this product; one that insists on a workspace is refused by :meth:`run` only."""
        if len(algorithm) != ALGORITHM_BYTES:
            return False
        way, result = _Algorithm.from_buffer_copy(algorithm), _Result()
        a, b, d = self._layouts
        try:
            self._library.call(
                "MatmulAlgoCheck", self._handle, self._description, a, b, d, d, byref(way), byref(result)
            )
        except CublasLtError:
            return False
        return not result.state

    def run(
        self, algorithm: bytes, x: Tensor, weights: Tensor, out: Tensor, scales: tuple[Tensor, Tensor] | None
    ) -> None:
        """`out` [rows,outputs] = `x` [rows,inputs] times `weights` [outputs,inputs] transposed.

        On the current stream; all are contiguous. `scales` in fp32: of the rows of `x` and of those of `weights`,
        for fp8. Raises :class:`CublasLtError`.
        """
        if scales is not None:
            of_x, of_weights = scales
            self._describe(_DESC_A_SCALE, c_void_p(of_weights.data_ptr()))
            self._describe(_DESC_B_SCALE, c_void_p(of_x.data_ptr()))
        way, one, zero = _Algorithm.from_buffer_copy(algorithm), c_float(1), c_float(0)
        a, b, d = self._layouts
        result = c_void_p(out.data_ptr())
        self._library.call(
            "Matmul",
            *(self._handle, self._description),
            *(byref(one), c_void_p(weights.data_ptr()), a, c_void_p(x.data_ptr()), b),
            *(byref(zero), result, d, result, d),
            *(byref(way), None, c_size_t(0), c_void_p(torch.cuda.current_stream(x.device).cuda_stream)),
        )

    def _scale_by(self, mode: int) -> None:
        for side in (_DESC_A_SCALE_MODE, _DESC_B_SCALE_MODE):
            self._describe(side, c_int(mode))

    def _describe(self, attribute: int, value: Any) -> None:
        self._library.call(
            "MatmulDescSetAttribute", self._description, attribute, byref(value), c_size_t(sizeof(value))
        )

    def _layout(self, kind: int, rows: int, columns: int) -> c_void_p:
        layout = c_void_p()
        self._library.call(
            "MatrixLayoutCreate", byref(layout), kind, c_uint64(rows), c_uint64(columns), c_int64(rows)
        )
        return layout

    def __del__(self) -> None:
        """Gives back what the library keeps for it."""
        for layout in getattr(self, "_layouts", ()):
            self._library.call("MatrixLayoutDestroy", layout)
        if self._description:
            self._library.call("MatmulDescDestroy", self._description)
