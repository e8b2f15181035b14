"""The daemon's settings as arguments of `engine.Session` and as requests to it.

Used in the engine process and by `demond render`: beside them the only place that knows both vocabularies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

import engine
from demond.messages import Backend
from demond.session import Session
from demond.setting import (
    Prompt,
    SetCheckpoint,
    SetContext,
    SetCurve,
    SetDepth,
    SetLora,
    SetPrompt,
    SetSource,
    SetSteps,
    SetStructure,
    SetTarget,
    SetTimbre,
    Setting,
)
from demond.shm import SharedMemoryError
from engine import embedded

REFUSALS = (
    ValueError,
    engine.CheckpointError,
    engine.DeviceError,
    engine.PromptError,
    engine.SourceError,
    engine.LoraError,
    engine.BackendError,
    SharedMemoryError,
)
"""What the engine, or the loop it plays into, raises for what a user can mend, with the reason in words."""

_ABOUT: dict[type[Exception], tuple[str, ...]] = {
    engine.CheckpointError: ("checkpoint",),
    engine.SourceError: ("source", "timbre", "structure", "target"),
    engine.PromptError: ("prompt",),
    engine.LoraError: ("lora",),
    engine.BackendRangeError: ("checkpoint", "source", "depth", "context", "prompt", "timbre", "lora"),
    ValueError: ("depth", "steps", "context", "curve"),
}


def about(error: Exception) -> tuple[str, ...]:
    """The beginnings of the keys of the settings that may be to blame for `error`."""
    return next((keys for kind, keys in _ABOUT.items() if isinstance(error, kind)), ())


def open_session(
    settings: Iterable[Setting],
    device: str,
    threads: int | None,
    cache: Path | None,
    progress: Callable[[str, float], None],
    backend: Backend = "auto",
    engines: Path | None = None,
    paces: Path | None = None,
    knob_ms: float = 250.0,
) -> engine.Session:
    """An `engine.Session` that begins as `settings` say. Raises one of :data:`REFUSALS`.

    `paces` and `knob_ms` are for the depth `auto`.
    """
    asked = Session(settings)
    session = engine.Session(
        checkpoint=_path(asked.path("checkpoint")),
        device=device,
        depth=asked.depth,
        steps=asked.steps,
        threads=threads,
        source=_source(asked.source),
        context_seconds=asked.context or None,
        prompt_a=_prompt(asked.prompt("a")),
        prompt_b=_prompt(asked.prompt("b")),
        negative=_prompt(asked.prompt("negative")),
        timbre=_clip(asked.path("timbre")),
        structure=_clip(asked.path("structure")),
        target=_clip(asked.path("target")),
        loras=[
            (Path(each.path), each.strength)
            for each in asked.loras.values()
            if each.path and each.strength is not None
        ],
        cache=cache,
        backend=backend,
        engines=engines,
        progress=progress,
        paces=paces,
        knob_ms=knob_ms,
    )
    for name, values in asked.curves.items():
        session.set_curve(name, values)
    return session


def request(session: engine.Session, setting: Setting) -> Future[str]:
    """Asks a session, from the tick's thread, for `setting`.

    The future will hold a remark for the user, or one of :data:`REFUSALS`.
    """
    done: Future[str] = Future()
    try:
        if not isinstance(setting, SetCurve):
            return _asked(session, setting)
        session.set_curve(setting.name, setting.values)
    except REFUSALS as error:
        done.set_exception(error)
    else:
        done.set_result("")
    return done


def _asked(session: engine.Session, setting: Setting) -> Future[str]:
    match setting:
        case SetPrompt():
            return session.request_prompt(setting.slot, _prompt(setting.prompt))
        case SetSource():
            return session.request_source(_source(setting))
        case SetTimbre():
            return session.request_timbre(_clip(setting.path))
        case SetStructure():
            return session.request_structure(_clip(setting.path))
        case SetTarget():
            return session.request_target(_clip(setting.path))
        case SetCheckpoint():
            return session.request_checkpoint(_path(setting.path))
        case SetSteps():
            return session.request_steps(setting.count)
        case SetDepth():
            return session.request_depth(setting.count)
        case SetContext():
            return session.request_context(setting.seconds or None)
        case SetLora(path=str() as path):
            return session.request_lora(Path(path), setting.strength)
    raise TypeError(f"the engine takes no {setting.type} like {setting}")


def _path(path: str | None) -> Path | None:
    return None if path is None else Path(path)


def _clip(path: str | None) -> Path | None:
    """The file of a clip; a loop inside may be named instead."""
    return embedded.CLIPS.get(path or "") or _path(path)


def _source(source: SetSource) -> Path | engine.Silence | None:
    return _clip(source.path) if source.silence is None else engine.Silence(source.silence)


def _prompt(prompt: Prompt) -> engine.Prompt:
    return engine.Prompt(**prompt.model_dump())
