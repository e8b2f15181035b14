"""Shared memory of daemons that were killed together with everything that could have tidied up after them.

A daemon that ends, or is killed alone, leaves nothing behind. systemd kills its whole control group when the watchdog
strikes, and then demond.service runs `python -m demond._orphans`, which removes what is left. The doctor only looks.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SHM = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives on Linux


def orphans() -> list[Path]:
    """This user's segments named `demond-PID-*` whose process is gone. Sees processes of this PID namespace only."""
    found = []
    for path in sorted(SHM.glob("demond-*")):
        pid = path.name.split("-")[1]
        with contextlib.suppress(FileNotFoundError):  # its owner may be tidying up at this moment
            if pid.isdecimal() and not _lives(int(pid)) and path.stat().st_uid == os.geteuid():
                found.append(path)
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it lives, and belongs to somebody else
    return True


if __name__ == "__main__":
    for orphan in orphans():
        orphan.unlink(missing_ok=True)
