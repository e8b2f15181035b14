"""The knob values in shared memory: written by the daemon, read by the engine at the top of every tick.

A seqlock: the daemon makes the version odd, writes, makes it even again; a reader that saw an odd or a changed
version reads once more. So all changes of one write are seen together or not at all, and nobody waits for a lock.
The even version numbers every state the table has had, and is what results and traces carry as "knob version".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from demond import native, shm
from demond.knobs import INDEX, KNOBS

MAGIC = 0x31424F4E4B444D44
"""`DMDKNOB1` in little-endian ASCII. The digit is the layout's version."""
_CAPACITY = 256
_WORDS = 8 + 2 * _CAPACITY
_MAGIC, _COUNT, _VERSION = 0, 1, 2


class LayoutError(RuntimeError):
    """The shared memory was laid out by another version of demond; stop that one first."""


def attach_layout(name: str, magic: int, size: int) -> shm.SharedMemory:
    """Any process but the daemon: shared memory that begins with the word `magic` and has `size` bytes.

    Raises :class:`LayoutError` when it is something else.
    """
    memory = shm.attach(name)
    if memory.size < size or int.from_bytes(memory.buf[:8], "little") != magic:
        memory.close()
        raise LayoutError(f"shared memory {name} was laid out by another version of demond; stop that one first")
    return memory


@dataclass(frozen=True, slots=True)
class KnobState:
    """One consistent state of all knobs."""

    version: int
    values: tuple[float, ...]

    def __getitem__(self, name: str) -> float:
        """The value of knob `name`."""
        return self.values[INDEX[name]]


class KnobTable:
    """float64 values with a sequence number each, in the order of :data:`demond.knobs.KNOBS`."""

    def __init__(self, memory: shm.SharedMemory) -> None:
        """Use :meth:`create` (daemon) or :meth:`attach` (engine)."""
        self._memory = memory
        self._words = np.ndarray(_WORDS, np.uint64, memory.buf)
        self._values = np.ndarray(_CAPACITY, np.float64, memory.buf, 64)
        self._sequences = np.ndarray(_CAPACITY, np.uint64, memory.buf, 64 + 8 * _CAPACITY)
        self._version_address = self._words.ctypes.data + 8 * _VERSION

    @classmethod
    def create(cls, name: str) -> KnobTable:
        """Daemon: a new table in which every knob has its default."""
        table = cls(shm.create(name, _WORDS * 8))
        table._words[_COUNT] = len(KNOBS)
        table._values[: len(KNOBS)] = [knob.default for knob in KNOBS]
        native.store_u64(table._version_address, 2)
        table._words[_MAGIC] = MAGIC
        return table

    @classmethod
    def attach(cls, name: str) -> KnobTable:
        """Engine: the table that the daemon made. Raises :class:`LayoutError` when it is none of ours."""
        table = cls(attach_layout(name, MAGIC, _WORDS * 8))
        if int(table._words[_COUNT]) != len(KNOBS):
            table.close()
            raise LayoutError(
                f"shared memory {name} holds the knobs of another version of demond; stop that one first"
            )
        return table

    @property
    def version(self) -> int:
        """Any process: the version of the newest complete state, or an odd number while one is written."""
        return native.load_u64(self._version_address)

    def write(self, changes: Mapping[str, float]) -> int:
        """Daemon only: stores clamped `changes` as one state and returns its version."""
        version = int(self._words[_VERSION])
        native.store_u64(self._version_address, version + 1)
        native.fence()
        for name, value in changes.items():
            self._values[INDEX[name]] = value
            self._sequences[INDEX[name]] += np.uint64(1)
        native.store_u64(self._version_address, version + 2)
        return version + 2

    def read(self) -> KnobState:
        """Any process: a consistent state. Waits only while a write of some microseconds is under way."""
        while True:
            before = native.load_u64(self._version_address)
            values = tuple(self._values[: len(KNOBS)].tolist())
            native.fence()
            if before % 2 == 0 and native.load_u64(self._version_address) == before:
                return KnobState(before, values)

    def value(self, name: str) -> float:
        """Daemon only (it is the writer, so nothing can change meanwhile): the value of one knob."""
        return float(self._values[INDEX[name]])

    def sequence(self, name: str) -> int:
        """Any process: how often the knob has been set."""
        return int(self._sequences[INDEX[name]])

    def close(self) -> None:
        """Lets go of the mapping; the memory lives on."""
        del self._words, self._values, self._sequences
        self._memory.close()

    def unlink(self) -> None:
        """Daemon only, after :meth:`close`: removes the memory."""
        self._memory.unlink()
