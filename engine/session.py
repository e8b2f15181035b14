"""The engine as one object: a checkpoint, a source and prompts, played into a loop and changed while they play.

Driven by the engine process from one thread: :meth:`Session.attach` once, then :meth:`Session.step` for ever. The
`request_` methods may be called from any thread. What they ask for is prepared on worker threads and takes effect
between two steps (`engine.changes`); a request that fails changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine import embedded, pace
from engine.backends import Name
from engine.changes import Changes
from engine.conditioning import Prompt
from engine.curves import Curves
from engine.device import described, find
from engine.geometry import LATENT_RATE, SAMPLE_RATE
from engine.guide import PromptSlot
from engine.knobs import Knobs
from engine.lead import Lead
from engine.model.checkpoint import Progress
from engine.offline import VirtualPort
from engine.pace import Pace
from engine.performance import Performance, Rehearsal, Step, rehearse
from engine.playback import KEEP
from engine.port import LoopPort
from engine.rig import DEPTH_MOST, Builder, Rig, Setup, Silence
from engine.stream import Result
from engine.threads import settle
from engine.vae import decode_window

RENDER_STEP = 0.08
"""Seconds of music that one step of a render stands for."""


class Session:
    """A rig and its loop."""

    def __init__(
        self,
        checkpoint: Path | None = None,
        device: str = "auto",
        depth: int | Literal["auto"] = 4,
        steps: int = 8,
        threads: int | None = None,
        source: Path | Silence | None = None,
        context_seconds: float | None = None,
        prompt_a: str | Prompt = embedded.PROMPT_A,
        prompt_b: str | Prompt = embedded.PROMPT_B,
        negative: str | Prompt = "",
        timbre: Path | None = None,
        structure: Path | None = None,
        target: Path | None = None,
        loras: Sequence[tuple[Path, float]] = (),
        cache: Path | None = None,
        backend: Name = "auto",
        engines: Path | None = None,
        progress: Progress = lambda stage, share: None,
        paces: Path | None = None,
        knob_ms: float = pace.TARGET,
    ) -> None:
        """Loads everything and warms up; `progress(stage, share)` is called on the way.

        `checkpoint` and `source` default to what ships inside; :class:`Silence` asks for music from text alone.
        `device` is `cpu`, `cuda`, `cuda:N` or `auto`. `threads` run slots beside each other on the CPU; by default on
        both cores of two, on all but one of more. A slot covers `context_seconds` of a longer source. Latents of
        clips are kept in the folder `cache`. `backend` runs the network; `tensorrt` finds its engine in the folder
        `engines`. The depth `auto` is the one that suits this machine when a knob is to be heard within `knob_ms`
        (`engine.pace`): ticks are measured, unless the file `paces` has them from an earlier time. See `Setup` for
        the rest. Raises `CheckpointError`, `SourceError`, `PromptError`, `LoraError`, `BackendError`, `ValueError`
        or `DeviceError`.
        """
        setup = Setup(
            checkpoint=checkpoint,
            source=source,
            context_seconds=context_seconds,
            prompts={
                "a": _prompt("a", prompt_a),
                "b": _prompt("b", prompt_b),
                "negative": _prompt("negative", negative),
            },
            timbre=timbre,
            structure=structure,
            target=target,
            loras=tuple(dict(loras).items()),
            depth=1 if depth == "auto" else depth,
            steps=steps,
        )
        place = find(device)
        settle()
        cores = os.cpu_count() or 1
        # The audio process runs in real time and takes its few microseconds from whichever core it likes; leaving it
        # one of two would cost half the speed.
        threads = threads or min(DEPTH_MOST, cores if cores <= 2 else cores - 1)
        dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        self.device_name = described(place, threads)
        self._builder = Builder(place, dtype, threads, cache, backend, engines)
        rig = self._builder.build(setup, progress=progress)
        self._paces, self._knob_ms = paces, knob_ms
        self._advice = ""
        if depth == "auto":
            rig = self._suited(rig, progress)
        with torch.inference_mode():
            decode_window(rig.model.vae, rig.latents, 0, KEEP)
        self._curves = Curves(rig.frames, place)
        self._resampled = lru_cache(maxsize=2)(Curves.at)
        self._knobs = Knobs()
        self._performance: Performance | None = None
        self._changes = Changes(rig, self._build, self._rehearse)

    @property
    def model_name(self) -> str:
        """What a performer calls the checkpoint that plays."""
        return self._changes.rig.model.name

    @property
    def backend_name(self) -> str:
        """What runs the network."""
        return self._changes.rig.backend.name

    @property
    def frames(self) -> int:
        """Latent frames of the loop that plays."""
        return self._changes.rig.frames

    @property
    def loop_seconds(self) -> float:
        """Seconds of the loop that plays."""
        return self.frames / LATENT_RATE

    @property
    def setup(self) -> Setup:
        """What plays, as it was asked for."""
        return self._changes.rig.setup

    @property
    def advice(self) -> str:
        """Why the depth is what it is, in a sentence; empty when it was asked for as a number."""
        return self._advice

    def survey(self, contexts: Sequence[float | None], progress: Progress = lambda stage, share: None) -> list[Pace]:
        """Measures what ticks take with each of these contexts, in seconds or None for the whole loop, and keeps it.

        Takes seconds to minutes. Raises `ValueError` for a context that cannot be played, `OSError` when the file of
        paces cannot be written, and `RuntimeError` once the session plays: music and measurement would disturb each
        other.
        """
        if self._performance is not None:
            raise RuntimeError("what ticks take is measured before a Session is attached to a port")
        rig, found = self._changes.rig, []
        for seconds in contexts:
            other = self._builder.build(replace(rig.setup, context_seconds=seconds), rig, progress)
            found.append(pace.measure(other, self.device_name, progress))
            if self._paces is not None:
                pace.keep(self._paces, found[-1])
        return found

    def attach(self, port: LoopPort, keep: bool = False) -> None:
        """Fills `port` with the source at its rate and plays into it from now on.

        With `keep`, a loop of the source's length at the port's rate stays as it is: an engine that takes another's
        place is not heard. Raises `RateError`.
        """
        rig = self._changes.rig
        self._performance = Performance(rig, rig.guides, port, time.monotonic_ns, keep, behind=True)

    def step(self, knobs: Knobs) -> Step:
        """Commits what is ready, then one tick and its writes, or the idle top-up. Never waits.

        A step that is idle and wrote nothing returns at once: sleep a little before the next. Raises `RuntimeError`
        before :meth:`attach`, and `RateError` when the port has changed to a rate that cannot be served.
        """
        performance = self._attached()
        self._knobs = knobs
        if self._changes.loading:
            performance.playback.lead.brace()
        self._changes.commit(self._commit)
        return performance.step(knobs, self._curves)

    @property
    def lead(self) -> Lead:
        """How far ahead is written, and what it is made of. Raises `RuntimeError` before :meth:`attach`."""
        return self._attached().playback.lead.read()

    @property
    def result(self) -> Result | None:
        """The last latent that was finished, and its story. Raises `RuntimeError` before :meth:`attach`."""
        return self._attached().result

    def set_curve(self, name: str, values: Sequence[float] | None) -> None:
        """Draws `values` over the loop in the place of the knob `name`, or hands it back to the knob for None.

        From the thread that steps; acts with the next step. Raises `ValueError` (see `Curves.drawn`).
        """
        self._curves = self._curves.drawn(name, values)

    def request_prompt(self, slot: PromptSlot, prompt: str | Prompt) -> Future[str]:
        """Makes `prompt` that of `slot`. An empty negative prompt leads away from nothing in particular.

        The future holds a remark for the user, often empty, once it plays; or a `PromptError`.
        """
        if slot not in ("a", "b", "negative"):
            raise ValueError(f"there are the prompts a, b and negative, not {slot!r}")
        asked = _prompt(slot, prompt)
        return self._changes.request(
            lambda setup: setup.with_prompt(slot, asked),
            remark=lambda rig: rig.conditions[slot].remark,
        )

    def request_timbre(self, clip: Path | None) -> Future[str]:
        """Takes on the sound of `clip`. The future may hold a `SourceError`."""
        return self._changes.request(
            lambda setup: replace(setup, timbre=clip), kind="timbre", remark=lambda rig: rig.conditions["a"].remark
        )

    def request_structure(self, clip: Path | None) -> Future[str]:
        """Follows the structure of `clip`, as far as `structure_blend` says, or of the source alone for None.

        The future may hold a `SourceError`.
        """
        return self._changes.request(lambda setup: replace(setup, structure=clip), kind="structure")

    def request_target(self, clip: Path | None) -> Future[str]:
        """Locks to `clip`, or to the source again for None. The future may hold a `SourceError`."""
        return self._changes.request(lambda setup: replace(setup, target=clip), kind="target")

    def request_lora(self, path: Path, strength: float | None) -> Future[str]:
        """Plays with the LoRA in `path` at `strength`, or without it for None. The future may hold a `LoraError`.

        The file is read when it is asked for first. Of moves that come faster than weights are made, the newest
        counts.
        """

        def edit(setup: Setup) -> Setup:
            loras = dict(setup.loras)
            if strength is None:
                loras.pop(path, None)
            else:
                loras[path] = strength
            return replace(setup, loras=tuple(loras.items()))

        def remark(rig: Rig) -> str:
            return rig.loras[path].remark if path in rig.loras else ""

        return self._changes.request(edit, kind=f"lora {path}", remark=remark)

    def request_source(self, source: Path | Silence | None) -> Future[str]:
        """Plays from another loop, of whatever length. The future may hold a `SourceError`."""
        return self._changes.request(
            lambda setup: replace(setup, source=source),
            kind="source",
            loading=True,
            remark=lambda rig: rig.remark,
        )

    def request_checkpoint(self, checkpoint: Path | None) -> Future[str]:
        """Plays with another model. The future may hold a `CheckpointError`, or a `RoomError`."""
        return self._changes.request(
            lambda setup: replace(setup, checkpoint=checkpoint), kind="checkpoint", loading=True
        )

    def request_steps(self, steps: int) -> Future[str]:
        """Another number of steps of the schedule. The future may hold a `ValueError`."""
        return self._changes.request(lambda setup: replace(setup, steps=steps), kind="steps", loading=True)

    def request_depth(self, depth: int | Literal["auto"]) -> Future[str]:
        """Another number of slots in flight. The future may hold a `ValueError`.

        `auto` is decided by what ticks took when they were measured last; while music plays nothing is measured, so
        it raises a `ValueError` when this model and this length of the loop never were.
        """
        if depth != "auto":
            self._advice = ""
            return self._changes.request(lambda setup: replace(setup, depth=depth), kind="depth", loading=True)
        rig = self._changes.rig
        known = {} if self._paces is None else pace.read(self._paces)
        found = known.get(pace.key_of(rig, self.device_name))
        if found is None:
            raise ValueError(
                "the ticks of this model over this length were never measured here, and are not while music plays; "
                "start with the depth auto, or run `demond bench advise`"
            )
        advice = pace.advise(found, rig.setup.steps, rig.frames / LATENT_RATE, self._knob_ms)
        self._advice = advice.why
        return self._changes.request(
            lambda setup: replace(setup, depth=advice.depth),
            kind="depth",
            loading=True,
            remark=lambda rig: advice.why,
        )

    def request_context(self, seconds: float | None) -> Future[str]:
        """Another length that a slot covers, or the whole loop for None. The future may hold a `ValueError`."""
        return self._changes.request(
            lambda setup: replace(setup, context_seconds=seconds), kind="context", loading=True
        )

    def render(
        self, seconds: float, knobs: Knobs | Callable[[float], Knobs], rate: int = SAMPLE_RATE
    ) -> NDArray[np.float32]:
        """`seconds` of what would be heard, [frames,2] at `rate`, without JACK. See :meth:`stream`."""
        blocks = list(self.stream(seconds, knobs, rate))
        return np.concatenate(blocks) if blocks else np.zeros((0, 2), np.float32)

    def stream(
        self, seconds: float, knobs: Knobs | Callable[[float], Knobs], rate: int = SAMPLE_RATE
    ) -> Iterator[NDArray[np.float32]]:
        """`seconds` of what would be heard, in blocks [frames,2] of 80 ms at `rate`, without JACK.

        One pass of the loop is played unheard first, so that the music is the model's from the first sample on.
        `knobs` are constant, or a function of the seconds heard. The same seed and knobs give the same bits.
        """
        port = VirtualPort(rate)
        rig = self._changes.rig
        performance = Performance(rig, rig.new_guides(), port, port.clock)
        total, stride = int(seconds * rate), int(RENDER_STEP * rate)
        for unheard in range(0, port.frames, stride):
            performance.step(knobs(0.0) if callable(knobs) else knobs, self._curves)
            port.play(min(stride, port.frames - unheard))
        for at in range(0, total, stride):
            performance.step(knobs(at / rate) if callable(knobs) else knobs, self._curves)
            yield port.play(min(stride, total - at))

    def close(self) -> None:
        """Ends the worker threads, whatever they are at. May be called twice."""
        self._changes.close()

    def _suited(self, rig: Rig, progress: Progress) -> Rig:
        """`rig` with the depth that suits the machine."""
        found, remark = pace.known_or_measured(rig, self.device_name, self._paces, progress)
        advice = pace.advise(found, rig.setup.steps, rig.frames / LATENT_RATE, self._knob_ms)
        self._advice = advice.why + remark
        return self._builder.build(replace(rig.setup, depth=advice.depth), rig, progress)

    def _attached(self) -> Performance:
        if self._performance is None:
            raise RuntimeError("a Session is attached to a port before anything else: call Session.attach")
        return self._performance

    def _commit(self, rig: Rig, rehearsal: Rehearsal | None) -> None:
        """On the tick thread."""
        self._attached().change(rig, rehearsal)
        self._curves = self._curves_over(rig)

    def _build(self, setup: Setup, old: Rig, progress: Progress) -> Rig:
        """On a worker: a rig whose guides have what the next tick will ask of them."""
        rig = self._builder.build(setup, old, progress)
        if rig.guides is not old.guides:
            rig.guides.at(self._knobs, self._curves_over(rig))
        return rig

    def _rehearse(self, rig: Rig, before: Rig, progress: Progress) -> Rehearsal:
        """On the loading thread."""
        place = self._performance.place if self._performance else 0.0
        whole = rig.audio is not before.audio
        return rehearse(rig, self._knobs, self._curves_over(rig), place, whole, progress)

    def _curves_over(self, rig: Rig) -> Curves:
        """The same object for the tick thread as for the rehearsal, so that nothing seems to have changed."""
        curves = self._curves
        return curves if curves.frames == rig.frames else self._resampled(curves, rig.frames)


def _prompt(slot: PromptSlot, prompt: str | Prompt) -> Prompt | None:
    """None for a negative prompt that asks for nothing."""
    asked = Prompt(prompt) if isinstance(prompt, str) else prompt
    return None if slot == "negative" and asked == Prompt("") else asked
