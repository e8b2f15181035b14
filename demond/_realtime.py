"""Tries what the audio process will need from the kernel: a real-time thread and memory that stays in RAM.

Called by :mod:`demond.doctor` in a process of its own; nothing stays changed after a call. It promises to have really
tried: limits and capabilities are looked at only to explain a refusal.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import threading
from dataclasses import dataclass
from pathlib import Path

_LOCKED_BYTES = 128 << 20
"""About what a JACK client locks: the server's shared memory, libjack and its own loop."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a try: `why` explains a refusal, `fix` is what the user can do about it."""

    granted: bool
    why: str = ""
    fix: str = ""


_GROUP_FIX = (
    r"as root: printf '@audio - rtprio 95\n@audio - memlock unlimited\n' > /etc/security/limits.d/95-demond.conf; "
    "usermod -aG audio YOU; log in again"
)


def try_realtime(priority: int = 10) -> Trial:
    """Makes a thread that lives for a moment SCHED_FIFO, as libjack does with its own."""
    refusal: list[OSError] = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            refusal.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    if not refusal:
        return Trial(True)
    group = _starved_group()
    if group is not None:
        return Trial(
            False,
            f"the kernel gives the control group {group} no real-time share (RT_GROUP_SCHED)",
            f"as root: echo 950000 > {group}/cpu.rt_runtime_us",
        )
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if limit != resource.RLIM_INFINITY and limit < priority and os.geteuid() != 0:
        return Trial(False, f"the limit for real-time priorities is {limit}", _GROUP_FIX)
    return Trial(
        False,
        f"the kernel refused ({refusal[0].strerror})",
        "in a container add --cap-add=SYS_NICE; under systemd use the unit in systemd/",
    )


def _starved_group() -> Path | None:
    """The cgroup v1 folder that keeps this process from real time, if there is one."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct"):
                folder = Path("/sys/fs/cgroup") / mount / path.lstrip("/")
                share = folder / "cpu.rt_runtime_us"
                if share.exists() and share.read_text(encoding="ascii").strip() == "0":
                    return folder
    return None


def try_memlock(size: int = _LOCKED_BYTES) -> Trial:
    """Locks `size` bytes that are given back at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, size) as memory:
        anchor = ctypes.c_char.from_buffer(memory)
        address = ctypes.c_void_p(ctypes.addressof(anchor))
        granted = libc.mlock(address, ctypes.c_size_t(size)) == 0
        error = ctypes.get_errno()
        if granted:
            libc.munlock(address, ctypes.c_size_t(size))
        del anchor
    if granted:
        return Trial(True)
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY and limit < size:
        return Trial(False, f"only {limit >> 20} MiB may be locked, {size >> 20} are wanted", _GROUP_FIX)
    return Trial(False, f"the kernel refused to lock {size >> 20} MiB ({os.strerror(error)})", "free some memory")
