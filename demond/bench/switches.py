"""What a bench plays with: the option that says it, else the environment, else what `demond run` would take.

Every `demond bench` takes its depth, steps, GPU and backend from here, so that `DEMOND_BENCH_DEPTH=2` means the same
to each of them. Typer reads the environment where an option is not given. Benches that hand the rest of their command
line to `demond run` put :func:`for_daemon` before it: of an option that is given twice, the last one counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from demond.bench import machine
from demond.messages import Backend as Name
from demond.setting import DEPTH_LIMIT, STEPS_LIMIT

DEPTH_VARIABLE, STEPS_VARIABLE = "DEMOND_BENCH_DEPTH", "DEMOND_BENCH_STEPS"
GPU_VARIABLE, BACKEND_VARIABLE = "DEMOND_BENCH_GPU", "DEMOND_BENCH_BACKEND"

Depth = Annotated[int, typer.Option(min=1, max=DEPTH_LIMIT, help="Slots in flight.", envvar=DEPTH_VARIABLE)]
Steps = Annotated[int, typer.Option(min=1, max=STEPS_LIMIT, help="Denoising steps.", envvar=STEPS_VARIABLE)]
Device = Annotated[
    str, typer.Option(help="auto (the GPU with most free memory), cpu, or cuda:N.", envvar=GPU_VARIABLE)
]
Backend = Annotated[
    Name,
    typer.Option(help="What runs the network; auto is graph on a GPU where it works.", envvar=BACKEND_VARIABLE),
]

_OPTIONS = {DEPTH_VARIABLE: "--depth", STEPS_VARIABLE: "--steps", BACKEND_VARIABLE: "--backend"}


def for_daemon(environment: Mapping[str, str] | None = None) -> list[str]:
    """What the environment says, as options of `demond run`; the device is said in any case."""
    said = os.environ if environment is None else environment
    options = ["--device", machine.device(said.get(GPU_VARIABLE) or "auto")]
    for variable, option in _OPTIONS.items():
        if said.get(variable):
            options += [option, said[variable]]
    return options
