"""What happened to a control on its way to the ear, as fixed-size records in shared memory.

Two rings, one writer each: the daemon writes a :class:`Change` when it stores a knob, the engine a :class:`Write`
when it has put new audio into the loop. A record is complete before the head counts it; a reader copies and then
drops what was overwritten meanwhile, so nobody waits. Joined by knob version they give the true knob-to-ear time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demond import native, shm
from demond.knob_table import attach_layout
from demond.knobs import KNOBS, Kind

MAGIC = 0x31454341_52544D44
"""`DMTRACE1` in little-endian ASCII. The digit is the layout's version."""
CAPACITY = 2048
"""Records that each ring holds."""

CHANGE = np.dtype(
    [
        ("version", "u8"),
        ("knob", "u8"),
        ("value", "f8"),
        ("received_ns", "u8"),
        ("stored_ns", "u8"),
        ("origin", "S24"),
    ]
)
WRITE = np.dtype(
    [
        ("result", "u8"),
        ("knob_version", "u8"),
        ("admitted_version", "u8"),
        ("tick", "u8"),
        ("tick_started_ns", "u8"),
        ("latent_ns", "u8"),
        ("decode_us", "u8"),
        ("written_ns", "u8"),
        ("heard_ns", "u8"),
        ("start_playhead", "u8"),
        ("frames", "u8"),
    ]
)
"""`start_playhead` is where the first new sample is consumed; `heard_ns` is when that is, plus the port's latency."""


class _Ring:
    """Records of one dtype with one writer. `head` counts the records ever written."""

    def __init__(self, buffer: memoryview, offset: int, dtype: np.dtype[Any]) -> None:
        head = np.ndarray(1, np.uint64, buffer, offset)
        self._head, self._head_address = head, head.ctypes.data
        self._records = np.ndarray(CAPACITY, dtype, buffer, offset + 64)

    @staticmethod
    def size(dtype: np.dtype[Any]) -> int:
        return 64 + -(-CAPACITY * dtype.itemsize // 64) * 64

    def append(self, *fields: object) -> None:
        head = int(self._head[0])
        self._records[head % CAPACITY] = fields
        native.store_u64(self._head_address, head + 1)

    def latest(self, count: int) -> NDArray[Any]:
        head = native.load_u64(self._head_address)
        first = max(0, head - min(count, CAPACITY - 1))
        copy = self._records[np.arange(first, head) % CAPACITY].copy()
        native.fence()
        overwritten = native.load_u64(self._head_address) + 1 - CAPACITY - first
        return copy[max(0, overwritten) :]


_SIZE = 64 + _Ring.size(CHANGE) + _Ring.size(WRITE)


class Trace:
    """Both rings. The daemon makes it and writes changes; the engine attaches and writes writes."""

    def __init__(self, memory: shm.SharedMemory) -> None:
        """Use :meth:`create` (daemon) or :meth:`attach` (engine)."""
        self._memory = memory
        self._magic = np.ndarray(1, np.uint64, memory.buf)
        self._changes = _Ring(memory.buf, 64, CHANGE)
        self._writes = _Ring(memory.buf, 64 + _Ring.size(CHANGE), WRITE)

    @classmethod
    def create(cls, name: str) -> Trace:
        """Daemon: two empty rings."""
        trace = cls(shm.create(name, _SIZE))
        trace._magic[0] = MAGIC
        return trace

    @classmethod
    def attach(cls, name: str) -> Trace:
        """Engine: the rings that the daemon made. Raises `LayoutError` when they are none of ours."""
        return cls(attach_layout(name, MAGIC, _SIZE))

    def changed(self, version: int, knob: int, value: float, received_ns: int, stored_ns: int, origin: str) -> None:
        """Daemon only: knob number `knob` was stored as part of table state `version`."""
        self._changes.append(version, knob, value, received_ns, stored_ns, origin.encode()[:24])

    def wrote(self, **fields: int) -> None:
        """Engine only: new audio is in the loop; `fields` are exactly those of :data:`WRITE`."""
        self._writes.append(*(fields[name] for name in WRITE.names or ()))

    def journeys(self, count: int) -> list[dict[str, object]]:
        """Daemon: the last `count` changes, oldest first, each with its way to the ear as far as it has got."""
        writes = self._writes.latest(CAPACITY)
        return [_journey(change, writes) for change in self._changes.latest(count)]

    def changes(self) -> NDArray[Any]:
        """Any process: the last changes, oldest first, as records of :data:`CHANGE`."""
        return self._changes.latest(CAPACITY)

    def writes(self) -> NDArray[Any]:
        """Any process: the last writes, oldest first, as records of :data:`WRITE`."""
        return self._writes.latest(CAPACITY)

    def close(self) -> None:
        """Lets go of the mapping; the memory lives on."""
        del self._magic, self._changes, self._writes
        self._memory.close()

    def unlink(self) -> None:
        """Daemon only, after :meth:`close`: removes the memory."""
        self._memory.unlink()


def _journey(change: Any, writes: NDArray[Any]) -> dict[str, object]:
    """One change as a flat dict: the knob, and the milliseconds from reception to each hop it has reached.

    A shared knob is heard in the first write whose result took its last step with the change; a slot knob in the
    first whose result was born with it. An output knob never meets the engine: its way ends where it is stored.
    """
    knob = KNOBS[int(change["knob"])]
    hops = {"stored": int(change["stored_ns"])}
    if knob.kind is not Kind.OUTPUT:
        seen = "knob_version" if knob.kind is Kind.SHARED else "admitted_version"
        for write in writes[(writes[seen] >= change["version"]) & (writes["written_ns"] >= change["stored_ns"])][:1]:
            hops["tick"] = int(write["tick_started_ns"])
            hops["latent"] = int(write["latent_ns"])
            hops["written"] = int(write["written_ns"])
            hops["heard"] = int(write["heard_ns"])
    received = int(change["received_ns"])
    return {
        "knob": knob.name,
        "kind": knob.kind.value,
        "value": float(change["value"]),
        "origin": change["origin"].decode(errors="replace"),
        "version": int(change["version"]),
        **{f"{hop}_ms": round((at_ns - received) / 1e6, 3) for hop, at_ns in hops.items()},
    }
