"""What the daemon and the processes that it starts do first."""

from __future__ import annotations

import ctypes
import os
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


PROMPT_PRIORITY = 10
"""Below JACK's own threads and clients (65 to 70), above everything that is not real-time."""
_NICE = -11


def be_prompt() -> str:
    """Lets the calling thread run as soon as it is woken, though the engine uses every core; returns how.

    For a thread that does little at a time, such as the event loop and the MIDI process: a message that arrives while
    the engine computes would otherwise wait for the end of its time slice, some milliseconds. Real-time where it is
    allowed, else a better niceness, else nothing. Threads and processes that it starts later do not inherit it.
    """
    try:
        parameter = os.sched_param(PROMPT_PRIORITY)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, parameter)
    except OSError:
        pass
    else:
        return "real-time"
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    except OSError:
        return "as everything else"
    return f"nice {_NICE}"
