"""The engine as one object: a checkpoint, a source and two prompts, played into a loop.

Driven by the engine process from one thread: :meth:`Session.attach` once, then :meth:`Session.step` for ever. Prompts
may be requested from any thread; they are encoded on a worker thread and take effect between two steps.
"""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine import embedded
from engine.backends import Backend
from engine.backends.eager import EagerBackend
from engine.conditioning import Condition, Prompt, load_conditioner
from engine.curves import Curves
from engine.geometry import LATENT_RATE, SAMPLE_RATE
from engine.guide import Guides, PromptSlot
from engine.knobs import Knobs
from engine.lead import Lead
from engine.model.checkpoint import Progress, check_checkpoint, load_transformer
from engine.offline import VirtualPort
from engine.performance import Performance, Step
from engine.playback import KEEP, LoopPort
from engine.source import load_source
from engine.stream import Ring
from engine.vae import decode_window, encode_loop, load_vae

RENDER_STEP = 0.08
"""Seconds of music that one step of a render stands for."""


class DeviceError(RuntimeError):
    """The device is not there. What the user can do: name another, or `auto`."""


class Session:
    """A loaded model and its loop."""

    def __init__(
        self,
        checkpoint: Path | None = None,
        device: str = "auto",
        depth: int = 4,
        steps: int = 8,
        threads: int | None = None,
        source: Path | None = None,
        prompt_a: str = embedded.PROMPT_A,
        prompt_b: str = embedded.PROMPT_B,
        progress: Progress = lambda stage, share: None,
    ) -> None:
        """Loads everything and warms up; `progress(stage, share)` is called on the way.

        `checkpoint` and `source` default to what ships inside. `device` is `cpu`, `cuda`, `cuda:N` or `auto`.
        `threads` run slots beside each other on the CPU; by default on both cores of two, on all but one of more.
        Raises `CheckpointError`, `SourceError`, `PromptError` or :class:`DeviceError`.
        """
        root = checkpoint or embedded.CHECKPOINT
        check_checkpoint(root)
        target = _device(device)
        torch.set_flush_denormal(True)
        torch.set_num_threads(1)  # rows are shared among threads, not the products inside them
        cores = os.cpu_count() or 1
        # The audio process runs in real time and takes its few microseconds from whichever core it likes; leaving it
        # one of two would cost half the speed.
        threads = threads or min(depth, cores if cores <= 2 else cores - 1)
        dtype = torch.bfloat16 if target.type == "cuda" else torch.float32

        self._audio = torch.from_numpy(load_source(source or embedded.CLIP))
        self.model_name = "built-in" if checkpoint is None else _model_name(root)
        self._backend: Backend = EagerBackend(load_transformer(root, target, dtype, progress), threads)
        self._vae = load_vae(root, target, progress)
        self._conditioner = load_conditioner(root, target, dtype, progress)
        self.backend_name, self.device_name = self._backend.name, _device_name(target, threads)
        self.depth, self.steps = depth, steps

        with torch.inference_mode():
            progress("source", 0.0)
            self._latents = encode_loop(self._vae, self._audio.to(target))
            self.frames = self._latents.shape[0]
            self.loop_seconds = self.frames / LATENT_RATE
            self._conditions: dict[PromptSlot, Condition] = {
                "negative": self._conditioner.null(),
                "a": self._conditioner.encode(Prompt(prompt_a), seconds=self.loop_seconds),
                "b": self._conditioner.encode(Prompt(prompt_b), seconds=self.loop_seconds),
            }
            self._hint = self._conditioner.hint(self._latents)
            progress("warm-up", 0.0)
            length = max(condition.states.shape[1] for condition in self._conditions.values())
            self._backend.prepare(depth, self.frames, length)
            decode_window(self._vae, self._latents, 0, KEEP)
            progress("warm-up", 1.0)
        self._guides = self._new_guides()
        self._performance: Performance | None = None
        self._worker = ThreadPoolExecutor(1, "conditioning", torch.set_flush_denormal, (True,))
        self._encoded: queue.SimpleQueue[tuple[PromptSlot, Condition, Future[str]]] = queue.SimpleQueue()

    def attach(self, port: LoopPort, keep: bool = False) -> None:
        """Fills `port` with the source at its rate and plays into it from now on.

        With `keep`, a loop of the source's length at the port's rate stays as it is: an engine that takes another's
        place is not heard. Raises `RateError`.
        """
        self._performance = self._new_performance(port, self._guides, time.monotonic_ns, keep)

    def step(self, knobs: Knobs) -> Step:
        """Commits prompts that are ready, then one tick and its writes, or the idle top-up. Never waits.

        A step that is idle and wrote nothing returns at once: sleep a little before the next. Raises `RuntimeError`
        before :meth:`attach`, and `RateError` when the port has changed to a rate that cannot be served.
        """
        if self._performance is None:
            raise RuntimeError("Session.step was called before Session.attach")
        while not self._encoded.empty():
            slot, condition, done = self._encoded.get()
            self._conditions[slot] = condition
            self._guides.replace(slot, condition)
            done.set_result(condition.remark)
        return self._performance.step(knobs)

    @property
    def lead(self) -> Lead:
        """How far ahead is written, and what it is made of. Raises `RuntimeError` before :meth:`attach`."""
        if self._performance is None:
            raise RuntimeError("Session.lead was read before Session.attach")
        return self._performance.playback.lead.read()

    def request_prompt(self, slot: PromptSlot, text: str) -> Future[str]:
        """Encodes `text` on the worker thread and makes it prompt `slot` at the top of the next step.

        The future then holds a remark for the user, often empty; or the `PromptError` of a text that was refused.
        """
        if slot not in ("a", "b"):
            raise ValueError(f"there are prompts a and b, not {slot!r}")
        done: Future[str] = Future()
        self._worker.submit(self._encode, slot, text, done)
        return done

    def _encode(self, slot: PromptSlot, text: str, done: Future[str]) -> None:
        """On the worker thread."""
        if not done.set_running_or_notify_cancel():
            return
        try:
            with torch.inference_mode():
                condition = self._conditioner.encode(Prompt(text), seconds=self.loop_seconds)
        except Exception as error:  # whatever it is belongs to whoever asked, not to this thread
            done.set_exception(error)
        else:
            self._encoded.put((slot, condition, done))

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
        performance = self._new_performance(port, self._new_guides(), port.clock)
        total, stride = int(seconds * rate), int(RENDER_STEP * rate)
        for unheard in range(0, port.frames, stride):
            performance.step(knobs(0.0) if callable(knobs) else knobs)
            port.play(min(stride, port.frames - unheard))
        for at in range(0, total, stride):
            performance.step(knobs(at / rate) if callable(knobs) else knobs)
            yield port.play(min(stride, total - at))

    def close(self) -> None:
        """Ends the worker thread. May be called twice."""
        self._worker.shutdown(cancel_futures=True)

    def _new_guides(self) -> Guides:
        with torch.inference_mode():
            silence = self._conditioner.silence(self.frames)
            return Guides(self._backend, self._latents, self._hint, silence, self._conditions)

    def _new_performance(
        self, port: LoopPort, guides: Guides, clock: Callable[[], int], keep: bool = False
    ) -> Performance:
        ring = Ring(self._backend, self._latents, self.depth, self.steps)
        curves = Curves(self.frames, self._backend.device)
        return Performance(ring, guides, curves, self._vae, port, self._audio, clock, keep)


def _device(name: str) -> torch.device:
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


def _model_name(root: Path) -> str:
    """What a performer calls the checkpoint: its folder's name, or the model's where a download cache holds it.

    There the folder is `models--OWNER--NAME/snapshots/REVISION`.
    """
    folder = Path(os.path.abspath(root))  # a link keeps the name that the user gave it
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def _device_name(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
