"""What a reader of figures needs to know of the machine and of the sources that they come from.

Called by the benches when they write a report. Nothing here loads torch or asks the network.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat

_QUERY = "name,driver_version,memory.total,memory.free"
_ROOT = Path(__file__).parents[2]


class Gpu(BaseModel):
    """A GPU as its driver describes it. Memory in MiB, at the time of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    driver: str
    memory_mib: int
    free_mib: int


class Machine(BaseModel):
    """One computer, as it was when a report was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    cores: int
    """Processor cores that this process may use."""
    load_1min: FiniteFloat
    kernel: str
    python: str
    gpus: tuple[Gpu, ...] = ()

    def told(self) -> str:
        """In one line."""
        gpus = [f"{gpu.name} (driver {gpu.driver}, {gpu.free_mib} of {gpu.memory_mib} MiB free)" for gpu in self.gpus]
        return ", ".join(
            (
                self.cpu,
                f"{self.cores} cores",
                *gpus,
                f"load {self.load_1min:g}",
                f"kernel {self.kernel}",
                f"Python {self.python}",
            )
        )


def here() -> Machine:
    """This one, now."""
    return Machine(
        cpu=_processor(Path("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        load_1min=round(os.getloadavg()[0], 2),
        kernel=platform.release(),
        python=platform.python_version(),
        gpus=gpus(),
    )


def _processor(cpuinfo: Path) -> str:
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def gpus() -> tuple[Gpu, ...]:
    """All GPUs of NVIDIA's, in the driver's order; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        asked = subprocess.run(
            [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ()
    return () if asked.returncode else read_gpus(asked.stdout)


def read_gpus(text: str) -> tuple[Gpu, ...]:
    """The GPUs in what nvidia-smi prints; a line that says something else names none."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 3)]
        if len(cells) == 4 and cells[2].isdecimal() and cells[3].isdecimal():
            found.append(Gpu(name=cells[0], driver=cells[1], memory_mib=int(cells[2]), free_mib=int(cells[3])))
    return tuple(found)


def device(asked: str, found: Sequence[Gpu] | None = None) -> str:
    """The device that a bench takes: `asked`, where a number stands for that GPU, or for `auto` the GPU with the most
    free memory, and the CPU where there is none.

    What CUDA_VISIBLE_DEVICES hides is CUDA's own affair, so `auto` stays `auto` there.
    """
    if asked.isdecimal():
        return f"cuda:{asked}"
    if asked != "auto" or "CUDA_VISIBLE_DEVICES" in os.environ:
        return asked
    seen = gpus() if found is None else found
    return f"cuda:{max(range(len(seen)), key=lambda i: seen[i].free_mib)}" if seen else "cpu"


def commit() -> str | None:
    """The revision of the checkout that runs, with `+` when files differ from it; None outside of a checkout."""
    program = shutil.which("git")
    if program is None or not (_ROOT / ".git").exists():
        return None

    def git(*arguments: str) -> str | None:
        done = subprocess.run([program, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
        return None if done.returncode else done.stdout.strip()

    revision = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return revision if revision is None else revision + ("+" if changed else "")
