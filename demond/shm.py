"""POSIX shared memory that outlives the crash of whoever attached to it, and never the daemon that made it.

The daemon calls :func:`create`, every other process :func:`attach`. The creator's segment stays registered with
Python's resource tracker, so a daemon that is killed leaves none behind. Attaching goes past the tracker: before
Python 3.13 it would register the attacher too and unlink the segment when that process ends. Linux only: `shm_open`
is a file in `/dev/shm` there.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import secrets
from multiprocessing import shared_memory
from pathlib import Path

_ROOT = Path("/dev/shm")  # noqa: S108  the place that shm_open(3) itself uses on Linux


class SharedMemoryError(RuntimeError):
    """The segment cannot be had. What the user can do is in the message."""


class SharedMemory:
    """One mapped segment. `buf` is its memory; views of it must be gone before :meth:`close`."""

    def __init__(self, name: str, buf: memoryview, owner: shared_memory.SharedMemory | mmap.mmap) -> None:
        """For :func:`create` and :func:`attach` only."""
        self.name, self.buf, self.size = name, buf, buf.nbytes
        self._owner = owner
        self._anchor: ctypes.c_char | None = ctypes.c_char.from_buffer(buf)
        self.address = ctypes.addressof(self._anchor)
        """Where the segment begins in this process, on a page boundary."""

    def close(self) -> None:
        """Unmaps the segment in this process. May be called twice. `address` is invalid from then on."""
        if self._anchor is None:
            return
        self._anchor = None
        self.address = 0
        self.buf.release()
        self._owner.close()

    def reserve(self, offset: int, size: int) -> None:
        """Gives bytes `offset` to `offset + size` their memory now; they keep what they hold.

        A full `/dev/shm` is an error here; without this it would be a bus error at the first touch, in whichever
        process that happens. Raises :class:`SharedMemoryError`.
        """
        descriptor = os.open(_ROOT / self.name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, offset, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            raise _full(size) from None
        finally:
            os.close(descriptor)

    def unlink(self) -> None:
        """Removes the name; memory goes when the last process unmaps it. For the creator alone."""
        if not isinstance(self._owner, shared_memory.SharedMemory):
            raise SharedMemoryError(f"shared memory {self.name}: only the process that created it may unlink it")
        self._owner.unlink()


def unique_name(purpose: str) -> str:
    """A name nobody has: `demond-PID-PURPOSE-RANDOM`."""
    return f"demond-{os.getpid()}-{purpose}-{secrets.token_hex(4)}"


def create(name: str, size: int, reserve: int | None = None) -> SharedMemory:
    """Makes a zeroed segment of `size` bytes, readable and writable for this user alone.

    Its first `reserve` bytes (all by default) get their memory at once; see :meth:`SharedMemory.reserve` for the
    rest. Raises :class:`SharedMemoryError`.
    """
    _check_name(name)
    try:
        owner = shared_memory.SharedMemory(name, create=True, size=size)
    except FileExistsError:
        raise SharedMemoryError(f"shared memory {name} exists already; another daemon uses it") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOMEM):
            raise _full(size) from None
        raise SharedMemoryError(f"shared memory {name} cannot be created: {error.strerror}") from None
    memory = SharedMemory(name, memoryview(owner.buf), owner)  # type: ignore[arg-type]  # None only once closed
    try:
        memory.reserve(0, size if reserve is None else reserve)
    except SharedMemoryError:
        memory.close()
        memory.unlink()
        raise
    return memory


def attach(name: str) -> SharedMemory:
    """Maps the segment that another process created. Raises :class:`SharedMemoryError` when there is none."""
    _check_name(name)
    try:
        descriptor = os.open(_ROOT / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise SharedMemoryError(f"shared memory {name} cannot be attached: {error.strerror}") from None
    try:
        mapping = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    except (OSError, ValueError) as error:
        raise SharedMemoryError(f"shared memory {name} cannot be mapped: {error}") from None
    finally:
        os.close(descriptor)
    return SharedMemory(name, memoryview(mapping), mapping)


def _full(size: int) -> SharedMemoryError:
    room = os.statvfs(_ROOT)
    return SharedMemoryError(
        f"{_ROOT} has {room.f_bavail * room.f_frsize >> 20} MiB left and {-(-size >> 20)} MiB are needed; "
        f"enlarge it (mount -o remount,size=1G {_ROOT}; for a container --shm-size) or use a shorter loop"
    )


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith(".") or len(name) > 200:
        raise SharedMemoryError(f"{name!r} is no name for shared memory: letters, digits, - and _ please")
