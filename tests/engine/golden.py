"""The golden values: what each scenario sounds like on a small random transformer, bit for bit.

`python -m tests.engine.golden --because "..."` writes them anew into golden.json and keeps the reason there. A change
that is not meant to change the music leaves the file as it is.

Products of matrices round differently from processor to processor, so a hash belongs to the machine and the torch
it was made with. On any other machine a probe is held instead: the latent weighed by fixed numbers, to a part in a
thousand.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.backends.eager import EagerBackend
from engine.guide import Guides
from engine.stream import Result
from tests.engine import parts
from tests.engine.scenarios import SCENARIOS, Scenario, play

FILE = Path(__file__).with_suffix(".json")
TICKS = 24
TOLERANCE = 1e-3
_PROBES = 16


def machine() -> str:
    """What rounding depends on: torch, its vector instructions, and the processor that the libraries look at."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    processor = found[1] if found else platform.processor()
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {processor}"


def probe(latent: Tensor) -> list[float]:
    """A few numbers that depend on all of a latent."""
    weights = parts.gaussian(_PROBES, latent.numel(), seed=99) / latent.numel() ** 0.5
    return [round(value, 6) for value in (weights.double() @ latent.double().flatten()).tolist()]


def played(scenario: Scenario) -> Result:
    """The last result of a scenario played from its beginning."""
    backend: EagerBackend = parts.random_backend()
    source = parts.random_source()
    guides: Guides = parts.random_guides(backend, source)
    return play(backend, source, guides, scenario, TICKS)[-1]


def load() -> dict[str, Any]:
    """The file."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def main() -> None:
    """Writes the file anew."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.engine.golden", description="Writes the golden values anew."
    )
    parser.add_argument("--because", required=True, metavar="REASON", help="why the music is meant to change")
    parser.add_argument("--only", nargs="*", choices=sorted(SCENARIOS), help="these scenarios; all by default")
    arguments = parser.parse_args()
    parts.single_threaded()
    content = load() if FILE.exists() else {"reasons": [], "scenarios": {}}
    for name in arguments.only or SCENARIOS:
        result = played(SCENARIOS[name])
        content["scenarios"][name] = {"hashes": {machine(): result.digest()}, "probe": probe(result.latent)}
    content["reasons"].append(arguments.because)
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
