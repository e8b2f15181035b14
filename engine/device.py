"""Which device a session computes on."""

from __future__ import annotations

import re

import torch


class DeviceError(RuntimeError):
    """The device is not there. What the user can do: name another, or `auto`."""


def find(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:N`, or the best that is there for `auto`. Raises :class:`DeviceError`."""
    found = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name)
    if not found:
        raise DeviceError(f"there is no device {name!r}; auto, cpu, cuda and cuda:N are known")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(f"no CUDA device was found for {name!r}; choose cpu or auto")
    number, count = int(found[1] or 0), torch.cuda.device_count()
    if number >= count:
        raise DeviceError(f"there is no {name}; the CUDA devices are cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", number)


def described(device: torch.device, threads: int) -> str:
    """As a performer calls it, with the `threads` that a CPU runs."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
