"""The C library `_native`: atomic words for shared memory, and the JACK callback's address.

Used by every process for the words it shares with others (:func:`load_u64`, :func:`store_u64`, :func:`fence`), and by
the audio process for the callback. Where the library is missing (no compiler at install time) the words fall back on
plain loads and stores, which are ordered enough on x86-64 only; the caller announces that, see :func:`available`.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
from pathlib import Path

_U64 = ctypes.c_uint64


def _load() -> ctypes.CDLL | None:
    here = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = here / f"_native{suffix}"
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


library = _load()
"""The loaded library, or None."""


def available() -> bool:
    """Whether the C library was built; if not, say so to the user once, with :data:`MISSING`."""
    return library is not None


MISSING = (
    "demond's C library was not built (pip found no C compiler): the JACK callback runs in Python, which is good "
    "from about 256 frames a period on; install gcc and reinstall demond to have the fast one"
)
"""What to tell the user when :func:`available` is false."""


def _plain_load(address: int) -> int:
    return _U64.from_address(address).value


def _plain_store(address: int, value: int) -> None:
    _U64.from_address(address).value = value


def _no_fence() -> None:
    """CPython executes no two of our loads and stores out of order; on x86-64 the processor keeps their order too."""


if library is None:
    load_u64, store_u64, fence = _plain_load, _plain_store, _no_fence
else:
    library.demond_load_u64.argtypes = [ctypes.c_void_p]
    library.demond_load_u64.restype = _U64
    library.demond_store_u64.argtypes = [ctypes.c_void_p, _U64]
    library.demond_store_u64.restype = None
    library.demond_fence.restype = None
    _load_u64, _store_u64, _fence = library.demond_load_u64, library.demond_store_u64, library.demond_fence

    def load_u64(address: int) -> int:
        """The word at `address` (a multiple of 8) with acquire order: what was written before it is visible."""
        return int(_load_u64(address))

    def store_u64(address: int, value: int) -> None:
        """Writes the word at `address` with release order: whoever sees it sees all that was written before."""
        _store_u64(address, value)

    def fence() -> None:
        """A full barrier: no load or store moves across it."""
        _fence()


def process_callback() -> int:
    """The address of JACK's process callback in C. Raises :class:`RuntimeError` where the library is missing."""
    if library is None:
        raise RuntimeError(MISSING)
    return ctypes.cast(library.demond_process, ctypes.c_void_p).value or 0


def layout() -> tuple[int, dict[str, int]]:
    """The shared loop's layout version and field offsets in bytes, as the C library was compiled with them."""
    if library is None:
        raise RuntimeError(MISSING)
    library.demond_layout_version.restype = _U64
    library.demond_layout_fields.restype = _U64
    library.demond_layout_name.argtypes = [_U64]
    library.demond_layout_name.restype = ctypes.c_char_p
    library.demond_layout_offset.argtypes = [_U64]
    library.demond_layout_offset.restype = _U64
    offsets = {
        library.demond_layout_name(i).decode(): int(library.demond_layout_offset(i))
        for i in range(library.demond_layout_fields())
    }
    return int(library.demond_layout_version()), offsets
