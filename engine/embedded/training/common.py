"""What both training programs share: the clock, the optimiser, averaged weights, and the folder they write."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = "diffusion_pytorch_model.safetensors"
STATE = "training.json"
"""Beside the parts of a checkpoint in training: steps done and seeds used, by program."""


class Clock:
    """The time that a command may take. One is made when it starts."""

    def __init__(self, minutes: float) -> None:
        """`minutes` from now on."""
        self._start, self.seconds = time.monotonic(), minutes * 60

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def share(self) -> float:
        """0 at the start, 1 at the end."""
        return self.elapsed / self.seconds

    def say(self, text: str) -> None:
        """Prints `text` behind the time."""
        print(f"[{self.elapsed:6.1f} s] {text}", flush=True)


def pick_device() -> torch.device:
    """The first GPU, or the CPU; sets the numeric modes that training wants."""
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", 0)


class Optimiser:
    """AdamW over `modules` with a warm-up and a cosine in elapsed time, and an average of the weights.

    A gradient that is not finite skips its step on the device, so that nothing waits for it.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        averages: Sequence[nn.Module] | None,
        rate: float,
        betas: tuple[float, float],
        clip: float,
        decay: float = 0.0,
    ) -> None:
        """`averages`, if any are wanted, are copies of `modules` in the same order; `decay` is theirs."""
        self.parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        self._averages: list[Tensor] = [
            a
            for copied, own in zip(averages or (), modules if averages else (), strict=True)
            for a, p in zip(copied.parameters(), own.parameters(), strict=True)
            if p.requires_grad
        ]
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": 1e-2},
            {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-9, fused=True)
        self._rate, self._clip, self._decay, self.steps = rate, clip, decay, 0

    def step(self, progress: float) -> Tensor:
        """One step with the gradients that are there; `progress` (0–1) places it on the cosine. Their norm."""
        warm = min(1.0, (self.steps + 1) / 200)
        rate = self._rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
        for group in self._adam.param_groups:
            group["lr"] = rate
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        finite = torch.isfinite(norm)
        scale = torch.where(finite, (self._clip / (norm + 1e-6)).clamp(max=1.0), torch.zeros_like(norm))
        torch._foreach_mul_(gradients, scale)
        self._adam.found_inf = (~finite).float()  # type: ignore[attr-defined]  # fused AdamW then leaves all as it is
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        if self._averages:
            keep = min(self._decay, (1 + self.steps) / (10 + self.steps))
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, [p.detach() for p in self.parameters], 1 - keep)
        return norm


def save_part(
    out: Path, part: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    """Writes one part of a checkpoint, whole or not at all."""
    folder = out / part
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / f"{WEIGHTS}.new")
    (folder / f"{WEIGHTS}.new").chmod(0o644)
    (folder / f"{WEIGHTS}.new").replace(folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_index(out: Path) -> None:
    """Writes the `model_index.json` that makes `out` a pipeline folder."""
    parts = {
        "_class_name": "AceStepPipeline",
        "transformer": ["diffusers", "AceStepTransformer1DModel"],
        "vae": ["engine", "DemondStftVae"],
        "condition_encoder": ["engine", "DemondTagConditionEncoder"],
    }
    (out / "model_index.json").write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")


def read_state(folder: Path | None) -> dict[str, int]:
    """Counts that an earlier command left in `folder`: none when it was not in training."""
    if folder is None or not (folder / STATE).is_file():
        return {}
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return {str(name): int(count) for name, count in state.items()}


def write_state(out: Path, state: Mapping[str, int]) -> None:
    """Adds to the counts in `out`."""
    (out / STATE).write_text(json.dumps({**read_state(out), **state}, indent=1) + "\n", encoding="utf-8")
