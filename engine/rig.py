"""Everything that a performance plays from, as one value: what was asked for, and what was made of it.

Built by the session when it starts and by its workers when something is to change, never on the tick thread. A rig is
not changed once it is built; what is different in the next one is made anew and all the rest is shared. A build that
fails has touched nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from engine import embedded
from engine.backends import Backend, Name
from engine.backends.choose import choose, choose_vae, home
from engine.clips import Clips
from engine.conditioning import Condition, Conditioner, Prompt, load_conditioner
from engine.geometry import GRID, HOP, LATENT_RATE, SAMPLE_RATE
from engine.guide import Guides, PromptSlot
from engine.lora import Lora, merged, read_lora
from engine.model.checkpoint import Progress, check_checkpoint, load_transformer
from engine.model.dit import DiT
from engine.source import LONGEST, SHORTEST, SourceError, load_source, remark_on
from engine.vae import Vae, load_vae
from engine.windows import SHORTEST as SHORTEST_WINDOW

PROMPT_SLOTS: tuple[PromptSlot, ...] = get_args(PromptSlot)
DEPTH_MOST, STEPS_MOST = 8, 64
"""The most slots in flight, and the most steps of a schedule."""

CONTEXT_LEAST = SHORTEST_WINDOW / LATENT_RATE
"""The shortest window in seconds."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A silent source of `seconds`: asks for music from text alone."""

    seconds: float

    def __post_init__(self) -> None:
        """Raises `SourceError` for a length that no loop may have."""
        if not SHORTEST <= self.seconds <= LONGEST:
            raise SourceError(f"a loop of {self.seconds} s cannot be played; {SHORTEST:.0f} to {LONGEST:.0f} s can")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a performer asks for beside the knobs. A path that is given again is read again."""

    checkpoint: Path | None = None
    """None is the model that ships inside."""
    source: Path | Silence | None = None
    """None is the clip that ships inside."""
    context_seconds: float | None = None
    """Seconds that a slot covers; none is the whole loop."""
    prompts: Mapping[PromptSlot, Prompt | None] = field(default_factory=dict)
    """A slot without one asks for nothing; `negative` is what guidance leads away from."""
    timbre: Path | None = None
    """A clip whose sound is to be taken on."""
    structure: Path | None = None
    """A clip whose rhythm and harmony are to be followed instead of the source's."""
    target: Path | None = None
    """A clip that the knob `source_lock` draws to instead of the source."""
    loras: tuple[tuple[Path, float], ...] = ()
    """Files or folders, each once, and their strengths."""
    depth: int = 4
    steps: int = 8

    def __post_init__(self) -> None:
        """Raises `ValueError` for a number that cannot be played."""
        if not 1 <= self.depth <= DEPTH_MOST:
            raise ValueError(f"a depth of {self.depth} cannot be played; 1 to {DEPTH_MOST} can")
        if not 1 <= self.steps <= STEPS_MOST:
            raise ValueError(f"{self.steps} steps cannot be played; 1 to {STEPS_MOST} can")
        seconds = self.context_seconds
        if seconds is not None and not CONTEXT_LEAST <= seconds < math.inf:
            raise ValueError(f"a context of {seconds} s cannot be played; at least {CONTEXT_LEAST:.0f} s can")

    @property
    def from_text(self) -> bool:
        """Whether there is nothing to follow but words."""
        return isinstance(self.source, Silence) and self.structure is None

    def with_prompt(self, slot: PromptSlot, prompt: Prompt | None) -> Setup:
        """The same with another prompt in `slot`."""
        return replace(self, prompts={**self.prompts, slot: prompt})


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded checkpoint."""

    name: str
    """What a performer calls it."""
    transformer: DiT
    backend: Backend
    vae: Vae
    conditioner: Conditioner


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """See the module. Tensors are on the device, but for the audio."""

    setup: Setup
    model: Model
    audio: Tensor
    """[2,N] at 48 kHz: the source."""
    remark: str
    """What is odd about the sound of the source."""
    latents: Tensor
    """[T,64] of the source."""
    hint: Tensor
    """[T,64]: the source's structure."""
    structure: Tensor | None
    """[T,64]: the structure of a clip, over and over."""
    target: Tensor
    """[T,64]: what `source_lock` draws to."""
    conditions: Mapping[PromptSlot, Condition]
    loras: Mapping[Path, Lora]
    tuned: Backend
    """The network with the LoRAs in it; no ring plays it."""
    backend: Backend
    """The same, made ready for this setup, for one ring."""
    condition_length: int
    """Tokens of the longest condition that it is ready for."""
    guides: Guides
    """The tick thread's as soon as the rig is committed."""
    parts: Mapping[str, tuple[tuple[object, ...], Any]]
    """Everything above by name, with what it was made from."""

    @property
    def frames(self) -> int:
        """Latent frames of the loop."""
        return self.latents.shape[0]

    @property
    def window(self) -> int | None:
        """Latent frames that a slot covers, or none for the whole loop."""
        seconds = self.setup.context_seconds
        return None if seconds is None or seconds * LATENT_RATE >= self.frames else round(seconds * LATENT_RATE)

    def new_guides(self) -> Guides:
        """Guides of one's own, for another performance from this rig."""
        return _guides(self.model, self.tuned, self.latents, self.hint, self.conditions, self.structure)

    def shares_ring(self, other: Rig) -> bool:
        """Whether slots in flight in a ring over `other` can be finished from this rig."""
        return (
            self.model is other.model
            and self.latents is other.latents
            and self.setup.steps == other.setup.steps
            and self.window == other.window
        )


Made = TypeVar("Made")


class _Parts:
    """The parts of a rig in the making. One whose inputs are those of the old rig's is not made again."""

    def __init__(self, old: Rig | None) -> None:
        """Takes from `old` what it can."""
        self._old = old.parts if old else {}
        self.made: dict[str, tuple[tuple[object, ...], Any]] = {}

    def take(self, name: str, inputs: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """The part `name` as it was made from `inputs`, or else what `make()` gives."""
        before = self._old.get(name)
        if before is None or len(before[0]) != len(inputs) or not all(map(_same, before[0], inputs)):
            before = (inputs, make())
        self.made[name] = before
        made: Made = before[1]
        return made


def _same(a: object, b: object) -> bool:
    """Plain values by value; a file is another one when it is named again, as what it holds may have changed."""
    return a is b or (not isinstance(a, Path | Tensor) and a == b)


class Builder:
    """Builds rigs for one device. Any thread may build, and two may at once."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
        cache: Path | None = None,
        backend: Name = "auto",
        engines: Path | None = None,
    ) -> None:
        """`dtype` is that of the network; `threads` run slots beside each other on the CPU.

        Latents of clips are kept in the folder `cache`, TensorRT engines are found in `engines`.
        """
        self._device, self._dtype, self._threads = device, dtype, threads
        self._backend, self._engines = backend, engines
        self._clips = Clips(cache)

    @torch.inference_mode()
    def build(self, setup: Setup, old: Rig | None = None, progress: Progress = lambda stage, share: None) -> Rig:
        """The rig for `setup`; what `old` has of it is taken from there.

        Calls `progress` often on the way; what that raises ends the build. Raises `CheckpointError`, `SourceError`,
        `PromptError`, `LoraError`, `BackendError` or `ValueError`.
        """
        parts = _Parts(old)
        take = parts.take
        audio = take("audio", (setup.source,), lambda: _source(setup.source, old))
        silent = isinstance(setup.source, Silence)
        remark = take("remark", (audio, silent), lambda: "" if silent else remark_on(audio.numpy()))
        model = take("model", (setup.checkpoint,), lambda: self._model(setup.checkpoint, progress))
        progress("source", 0.0)
        latents = take("latents", (model, audio, silent), lambda: self._latents(model, audio, setup.source))
        plain = setup.from_text
        hint = take("hint", (model, latents, plain), lambda: latents if plain else model.conditioner.hint(latents))
        structure = take(
            "structure", (model, latents, setup.structure), lambda: self._structure(model, latents, setup.structure)
        )
        target = take("target", (model, latents, setup.target), lambda: self._target(model, latents, setup.target))
        timbre = take("timbre", (model, setup.timbre), lambda: self._timbre(model, setup.timbre))
        frames = latents.shape[0]

        def condition(slot: PromptSlot) -> Condition:
            prompt = setup.prompts.get(slot)
            asked = (model, prompt, frames, timbre, setup.from_text)
            return take(slot, asked, lambda: _condition(model, prompt, frames, timbre, setup.from_text))

        def lora(path: Path) -> Lora:
            return take(f"lora {path}", (path,), lambda: read_lora(path))

        progress("prompts", 0.0)
        conditions: dict[PromptSlot, Condition] = {slot: condition(slot) for slot in PROMPT_SLOTS}
        loras = {path: lora(path) for path, _ in setup.loras}
        strengths = [(loras[path], strength) for path, strength in setup.loras]
        tuned = take("tuned", (model, *strengths), lambda: _tuned(model, strengths))

        progress("warm-up", 0.0)
        longest = max(condition.states.shape[1] for condition in conditions.values())
        length = max(longest, old.condition_length if old and old.model is model else 0)
        covered = min(frames, round((setup.context_seconds or LONGEST) * LATENT_RATE))
        shape = (setup.depth, covered, length)
        backend = take("backend", (tuned, *shape), lambda: _prepared(tuned, *shape))
        guides = take(
            "guides",
            (tuned, latents, hint, structure, *conditions.values()),
            lambda: _guides(model, tuned, latents, hint, conditions, structure),
        )
        progress("warm-up", 1.0)
        return Rig(
            setup=setup,
            model=model,
            audio=audio,
            remark=remark,
            latents=latents,
            hint=hint,
            structure=structure,
            target=target,
            conditions=conditions,
            loras=loras,
            tuned=tuned,
            backend=backend,
            condition_length=length,
            guides=guides,
            parts=parts.made,
        )

    def _model(self, checkpoint: Path | None, progress: Progress) -> Model:
        root = checkpoint or embedded.CHECKPOINT
        check_checkpoint(root)
        place, dtype = home(self._backend, self._device, self._dtype)
        transformer = load_transformer(root, place, dtype, progress)
        return Model(
            "built-in" if checkpoint is None else model_name(root),
            transformer,
            choose(self._backend, transformer, self._device, self._threads, self._engines),
            choose_vae(self._backend, lambda: load_vae(root, self._device, progress), self._device, self._engines),
            load_conditioner(root, self._device, self._dtype, progress),
        )

    def _latents(self, model: Model, audio: Tensor, source: Path | Silence | None) -> Tensor:
        """Of the source. Silence is what the model knows as silence, not what its VAE makes of zeros."""
        if isinstance(source, Silence):
            return model.conditioner.silence(audio.shape[1] // HOP).to(self._device).clone()
        return self._clips.latents(audio.numpy(), model.vae, str(source or "built-in"))

    def _clip(self, model: Model, path: Path) -> Tensor:
        """The latents [N,64] of a clip beside the source."""
        return self._clips.latents(load_source(path), model.vae, str(path))

    def _around(self, model: Model, path: Path, frames: int) -> Tensor:
        """The latents [T,64] of a clip that is repeated over `frames`, and cut."""
        clip = self._clip(model, path)
        return clip[torch.arange(frames, device=clip.device) % clip.shape[0]]

    def _structure(self, model: Model, latents: Tensor, clip: Path | None) -> Tensor | None:
        """The structure [T,64] of the clip, if there is one."""
        return model.conditioner.hint(self._around(model, clip, latents.shape[0])) if clip else None

    def _target(self, model: Model, latents: Tensor, clip: Path | None) -> Tensor:
        """The latents [T,64] of the clip, or those of the source."""
        return self._around(model, clip, latents.shape[0]) if clip else latents

    def _timbre(self, model: Model, clip: Path | None) -> Tensor | None:
        """Latents [N,64] of the clip, if there is one."""
        return self._clip(model, clip) if clip else None


def model_name(root: Path) -> str:
    """What a performer calls the checkpoint: its folder's name, or the model's where a download cache holds it.

    There the folder is `models--OWNER--NAME/snapshots/REVISION`.
    """
    folder = Path(os.path.abspath(root))  # a link keeps the name that the user gave it
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def _source(source: Path | Silence | None, old: Rig | None) -> Tensor:
    """[2,N] at 48 kHz, N in whole frames of hints. What holds the same music as before is the same source."""
    if isinstance(source, Silence):
        audio = torch.zeros(2, int(source.seconds * SAMPLE_RATE) // GRID * GRID)
    else:
        audio = torch.from_numpy(load_source(source or embedded.CLIP))
    return old.audio if old and torch.equal(audio, old.audio) else audio


def _condition(model: Model, prompt: Prompt | None, frames: int, timbre: Tensor | None, from_text: bool) -> Condition:
    """The condition of `prompt` for a loop of `frames`, with the sound of `timbre`; of nothing asked for none.

    Music `from_text` alone is asked for as such, however strong the hints are to be.
    """
    if prompt is None:
        return model.conditioner.null()
    condition = model.conditioner.encode(prompt, seconds=frames / LATENT_RATE, timbre=timbre)
    if not from_text:
        return condition
    unlike = None if condition.silent is None else condition.at("text2music", 0.0)
    return Condition(condition.at("text2music"), condition.remark, unlike, repaint=condition.repaint)


def _tuned(model: Model, loras: Sequence[tuple[Lora, float]]) -> Backend:
    """The network with `loras` in it."""
    if not loras:
        return model.backend
    return model.backend.retuned(merged(model.transformer.state_dict(), model.transformer.sizes, loras))


def _prepared(tuned: Backend, depth: int, frames: int, length: int) -> Backend:
    """A backend of one's own over the same weights: one that plays is not prepared for something else."""
    backend = tuned.retuned({})
    backend.prepare(depth, frames, length)
    return backend


def _guides(
    model: Model,
    tuned: Backend,
    latents: Tensor,
    hint: Tensor,
    conditions: Mapping[PromptSlot, Condition],
    structure: Tensor | None,
) -> Guides:
    return Guides(tuned, latents, hint, model.conditioner.silence(latents.shape[0]), conditions, structure)
