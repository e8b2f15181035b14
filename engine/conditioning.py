"""What a prompt becomes: encoder states for cross-attention, and structure hints from the source.

Called by the session: prompts are encoded on its worker thread, hints once per source. The conditioners themselves
live with their models; this page has their interface, and the blend between two conditions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from engine.model.checkpoint import CheckpointError, Progress, load_weights, read_config, read_tensors

TEXT_LIMIT = 2_000
"""The longest prompt in characters."""


class PromptError(ValueError):
    """The text is no prompt. What the user can do: send another one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One encoded prompt."""

    states: Tensor
    """Encoder states [1,L,E], unpadded."""
    remark: str = ""
    """What a user should know about how the text was read; empty when there is nothing to say."""


class Conditioner(Protocol):
    """Turns text and source latents into what the transformer attends to. Deterministic; safe on one other thread."""

    def silence(self, frames: int) -> Tensor:
        """The latents [frames,64] of silence."""

    def encode(
        self, text: str, bpm: float | None = None, key: str | None = None, seconds: float | None = None
    ) -> Condition:
        """`text` for a loop of `seconds`; tempo and key (`"a minor"`) given apart win over those in the text.

        Raises :class:`PromptError` for text that cannot be a prompt.
        """

    def hint(self, latents: Tensor) -> Tensor:
        """Structure hints [T,64] of the source latents [T,64]: its rhythm and harmony without its sound."""


def checked_text(text: str) -> str:
    """`text` if it can be a prompt. Raises :class:`PromptError` when it is too long or holds a NUL character."""
    if len(text) > TEXT_LIMIT:
        raise PromptError(f"the prompt has {len(text)} characters; {TEXT_LIMIT} is the most")
    if "\0" in text:
        raise PromptError("the prompt holds a NUL character")
    return text


def blend(a: Tensor, b: Tensor, w: float) -> tuple[Tensor, Tensor | None]:
    """States between `a` [1,La,E] at w = 0 and `b` [1,Lb,E] at w = 1, and their key mask [1,L].

    Tokens that both have are interpolated linearly. Of a longer condition the further tokens keep their states and
    fade by the weight of their side, as `log` weight added to the attention scores. The ends are exactly `a` and `b`.
    """
    if w <= 0:
        return a, None
    if w >= 1:
        return b, None
    both = min(a.shape[1], b.shape[1])
    states = torch.lerp(a[:, :both], b[:, :both], w)
    if a.shape[1] == b.shape[1]:
        return states, None
    longer, weight = (a, 1 - w) if a.shape[1] > both else (b, w)
    mask = torch.zeros(1, longer.shape[1], device=a.device, dtype=a.dtype)
    mask[:, both:] = math.log(weight)
    return torch.cat((states, longer[:, both:]), dim=1), mask


def load_conditioner(
    root: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Progress = lambda stage, share: None,
) -> Conditioner:
    """The conditioner of the checkpoint `root`, chosen by the `_class_name` of its config.

    `dtype` is that of the text encoder and the condition encoder of an ACE-Step checkpoint; the built-in model's
    front is too small for it to matter. Raises `CheckpointError`.
    """
    folder = root / "condition_encoder"
    config = read_config(folder)
    match config.get("_class_name"):
        case "DemondTagConditionEncoder":
            from engine.embedded.front import TagConditioner

            try:
                front = TagConditioner(config)
            except (TypeError, ValueError, KeyError) as error:
                raise CheckpointError(f"{folder / 'config.json'} cannot be used: {error}") from None
            load_weights(front, read_tensors(folder, lambda share: progress("conditioner", share)), folder)
            return front.to(device).eval().requires_grad_(False)
        case "AceStepConditionEncoder":
            from engine.ace_step import load_ace_step

            return load_ace_step(root, config, device, dtype, progress)
        case name:
            raise CheckpointError(
                f"{folder / 'config.json'} says {name}; demond knows AceStepConditionEncoder and "
                "DemondTagConditionEncoder"
            )
