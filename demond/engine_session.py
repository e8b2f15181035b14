"""The daemon's settings as arguments of `engine.Session` and as requests to it.

Used in the engine process and by `demond render`: beside them the only place that knows both vocabularies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import engine
from demond.session import (
    Prompt,
    Session,
    SetCheckpoint,
    SetContext,
    SetCurve,
    SetDepth,
    SetLora,
    SetPrompt,
    SetSource,
    SetSteps,
    SetStructure,
    SetTimbre,
    Setting,
)

REFUSALS: tuple[type[Exception], ...] = (
    ValueError,
    *(
        getattr(engine, name)
        for name in ("CheckpointError", "SourceError", "PromptError", "DeviceError", "LoraError")
        if hasattr(engine, name)
    ),
)
"""What the engine raises for what a user can mend, with the reason in words."""

_ABOUT = {
    "CheckpointError": ("checkpoint",),
    "SourceError": ("source", "timbre", "structure"),
    "PromptError": ("prompt",),
    "LoraError": ("lora",),
}


def about(error: Exception) -> tuple[str, ...]:
    """The beginnings of the keys of the settings that may be to blame for `error`."""
    return _ABOUT.get(type(error).__name__, ())


def open_session(
    settings: Iterable[Setting],
    device: str,
    threads: int | None,
    cache: Path | None,
    progress: Callable[[str, float], None],
) -> Any:
    """An `engine.Session` that begins as `settings` say. Raises one of :data:`REFUSALS`."""
    asked = Session(settings)
    arguments: dict[str, Any] = {
        "checkpoint": _path(asked.path("checkpoint")),
        "device": device,
        "threads": threads,
        "source": _source(asked.source),
        "timbre": _path(asked.path("timbre")),
        "structure": _path(asked.path("structure")),
        "context_seconds": asked.context or None,
        "prompt_a": _prompt(asked.prompt("a")),
        "prompt_b": _prompt(asked.prompt("b")),
        "negative": asked.prompt("negative").text,
        "loras": [(Path(lora.path), lora.strength) for lora in asked.loras.values() if lora.path],
        "cache": cache,
        "progress": progress,
    }
    if asked.depth is not None:
        arguments["depth"] = asked.depth
    if asked.steps is not None:
        arguments["steps"] = asked.steps
    known = inspect.signature(engine.Session).parameters
    session: Any = engine.Session(**{name: value for name, value in arguments.items() if name in known})
    for name, values in asked.curves.items():
        session.set_curve(name, values)
    return session


def request(session: Any, setting: Setting) -> Future[str]:
    """Asks a session, from the tick's thread, for `setting`.

    The future will hold a remark for the user, or one of :data:`REFUSALS`.
    """
    match setting:
        case SetCurve():
            return _at_once(session.set_curve, setting.name, setting.values)
        case SetPrompt():
            asked: Future[str] = session.request_prompt(setting.slot, _prompt(setting.prompt))
        case SetSource():
            asked = session.request_source(_source(setting))
        case SetTimbre():
            asked = session.request_timbre(_path(setting.path))
        case SetStructure():
            asked = session.request_structure(_path(setting.path))
        case SetCheckpoint():
            asked = session.request_checkpoint(_path(setting.path))
        case SetSteps():
            asked = session.request_steps(setting.count)
        case SetDepth():
            asked = session.request_depth(setting.count)
        case SetContext():
            asked = session.request_context(setting.seconds or None)
        case SetLora(path=str() as path):
            asked = session.request_lora(Path(path), setting.strength)
        case _:
            raise TypeError(f"the engine takes no {setting.type} like {setting}")
    return asked


def _at_once(act: Callable[..., None], *arguments: object) -> Future[str]:
    done: Future[str] = Future()
    try:
        act(*arguments)
    except ValueError as error:
        done.set_exception(error)
    else:
        done.set_result("")
    return done


def _path(path: str | None) -> Path | None:
    return None if path is None else Path(path)


def _source(source: SetSource) -> Any:
    return vars(engine)["Silence"](source.silence) if source.silence is not None else _path(source.path)


def _prompt(prompt: Prompt) -> Any:
    return engine.Prompt(**prompt.model_dump()) if hasattr(engine, "Prompt") else prompt.text
