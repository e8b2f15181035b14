"""Compiles the small C programs of `tests/native` once, and says where they are."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).parent / "native"


@functools.cache
def program(name: str) -> Path:
    """The compiled `tests/native/NAME.c`, linked with libjack. Needs gcc and JACK's headers (libjack-jackd2-dev)."""
    source = _SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"demond-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{name}-{digest}"
    if not target.exists():
        fresh = folder / f"{name}-{os.getpid()}"
        subprocess.run(
            ["gcc", "-O2", "-std=c11", "-Wall", "-Wextra", "-o", str(fresh), str(source), "-ljack", "-lm"],
            check=True,
        )
        fresh.rename(target)
    return target
