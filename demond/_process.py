"""What every process that the daemon starts does first."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def be_child(name: str, death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Takes the process name `name` (at most 15 bytes), and arranges to get `death_signal` if the daemon dies.

    Ctrl-C on a terminal reaches the whole process group; it is ignored here, because the daemon decides the order
    in which things end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
