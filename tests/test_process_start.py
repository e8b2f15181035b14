"""How the daemon's own threads are scheduled."""

from __future__ import annotations

import os
import subprocess
import sys

AS_THE_TESTS = f"0 {os.getpriority(os.PRIO_PROCESS, 0)}"
"""Policy and niceness of whoever runs the tests."""

PROGRAM = """
import os, subprocess, sys, threading
from demond._process import be_prompt
print(be_prompt())
def policy(): return f"{os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK} {os.getpriority(os.PRIO_PROCESS, 0)}"
print(policy())
threading.Thread(target=lambda: print(policy())).start()
code = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
subprocess.run([sys.executable, "-c", code])
"""


NOBODY = """
import os, resource
from demond._process import be_prompt
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(be_prompt())
print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, 0))
"""


def run(program: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-u", "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_the_thread_that_carries_messages_is_prompt_and_what_it_starts_is_not() -> None:
    how, own, thread, child = run(PROGRAM)
    niceness = AS_THE_TESTS.split()[1]
    assert own == {"real-time": f"2 {niceness}", "nice -11": "0 -11", "as everything else": AS_THE_TESTS}[how]
    assert {thread, child} <= {"0 0", AS_THE_TESTS}


def test_without_any_right_it_runs_as_everything_else() -> None:
    assert run(NOBODY) == ["as everything else", AS_THE_TESTS]
