"""What a prompt becomes: encoder states for cross-attention, and structure hints from the source.

Called by the session: prompts are encoded on its worker thread, hints once per source. The conditioners themselves
live with their models; this page has their interface, and the blend between two conditions.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.model.checkpoint import CheckpointError, Progress, load_weights, read_config, read_tensors

TEXT_LIMIT, LYRICS_LIMIT = 2_000, 20_000
"""The longest text and lyrics of a prompt, in characters."""

Task = Literal["cover", "text2music", "repaint"]
"""What the network is told to do: follow the hints in its context, play freely, or fill in around what is kept."""

_LANGUAGE = re.compile("[a-z]{2,3}|unknown")


class PromptError(ValueError):
    """The text is no prompt. What the user can do: send another one."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of the model, in words. Fields that are given win over what the text says."""

    text: str
    lyrics: str = ""
    """Empty for music without a voice."""
    language: str = "en"
    """Of the lyrics, a code of ISO 639 such as `en`, or `unknown`."""
    bpm: float | None = None
    key: str | None = None
    """As `a minor` or `f# major`."""
    time_signature: str | None = None
    """As `4/4`."""


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One encoded prompt."""

    states: Tensor
    """Encoder states [1,L,E], unpadded: of a cover, which follows the hints in its context."""
    remark: str = ""
    """What a user should know about how the prompt was read; empty when there is nothing to say."""
    silent: Tensor | None = None
    """`states` with the timbre of silence [1,L,E], where they have that of a clip; all but the timbre is the same."""
    free: Tensor | None = None
    """States [1,L',E] of text-to-music. The prompt comes last in them, so the timbre is where it is in `states`.
    None where the model makes no difference."""
    repaint: Tensor | None = None
    """States of repainting, as those of `free`."""

    def at(self, task: Task = "cover", timbre: float = 1.0) -> Tensor:
        """The states for `task`, with `timbre` (0–1) of the clip's timbre against that of silence."""
        told = {"cover": self.states, "text2music": self.free, "repaint": self.repaint}[task]
        states = self.states if told is None else told
        if self.silent is None or timbre >= 1:
            return states
        both = min(states.shape[1], self.states.shape[1])
        clip, silent = self.states[:, :both], self.silent[:, :both]
        blended = torch.where(clip == silent, states[:, :both], torch.lerp(silent, clip, max(timbre, 0.0)))
        return torch.cat((blended, states[:, both:]), dim=1)


class Conditioner(Protocol):
    """Turns prompts, clips and source latents into what the transformer attends to.

    Deterministic. The same content is encoded once and kept for a while. Safe on two threads at a time.
    """

    takes_timbre: bool
    """Whether a reference clip changes anything."""
    takes_lyrics: bool
    """Whether lyrics change anything."""

    def silence(self, frames: int) -> Tensor:
        """The latents [frames,64] of silence."""

    def encode(self, prompt: Prompt, *, seconds: float | None = None, timbre: Tensor | None = None) -> Condition:
        """`prompt` for a loop of `seconds`, with the sound of the clip that has the latents `timbre` [N,64].

        Raises :class:`PromptError` for what cannot be a prompt. What the model does not take is said in the remark.
        """

    def null(self) -> Condition:
        """The condition of nothing asked, which guidance leads away from."""

    def hint(self, latents: Tensor) -> Tensor:
        """Structure hints [T,64] of the source latents [T,64]: its rhythm and harmony without its sound."""


def checked(prompt: Prompt) -> Prompt:
    """`prompt` if it can be one, with fields that hold nothing taken as not given. Raises :class:`PromptError`."""
    for what, text, limit in (("prompt", prompt.text, TEXT_LIMIT), ("lyrics", prompt.lyrics, LYRICS_LIMIT)):
        if len(text) > limit:
            raise PromptError(f"the {what} has {len(text)} characters; {limit} is the most")
        if "\0" in text:
            raise PromptError(f"the {what} holds a NUL character")
    if prompt.bpm is not None and not (math.isfinite(prompt.bpm) and prompt.bpm > 0):
        raise PromptError(f"{prompt.bpm} is no tempo; a number of beats a minute above 0 is wanted")
    if not _LANGUAGE.fullmatch(prompt.language):
        raise PromptError(f"{prompt.language!r} is no code of a language such as 'en' or 'ja'")
    return replace(prompt, key=prompt.key or None, time_signature=prompt.time_signature or None)


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
