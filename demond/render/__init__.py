"""Music to a file, by the same engine without JACK: a new piece from text, another version of one, or a part anew.

>>> from pathlib import Path
>>> from demond import render
>>> piece = render.text_to_music("house, bright, 120 bpm", seconds=2)
>>> render.write(piece, Path("house.wav")).seconds
2.0

`demond render` is this as a command. It loads torch, and so is a process of its own, not a part of the daemon. The
same piece gives the same file on the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from demond.config import Engine, Silence
from demond.engine_process import knobs_of
from demond.engine_session import open_session
from demond.knob_table import KnobState
from demond.knobs import KNOBS, Kind, knob
from demond.paths import cache_dir, engines_dir
from demond.setting import LONGEST_SECONDS, Prompt

RATE = 48_000
FORMATS = {".wav": ("WAV", "PCM_24"), ".flac": ("FLAC", "PCM_24"), ".ogg": ("OGG", "VORBIS")}
"""What a file may be, by its suffix."""
_SHORTEST_SILENCE = 1.0


class RenderError(Exception):
    """The piece cannot be rendered. What the user can do is in the message."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What to render."""

    engine: Engine
    """The model, the source, the prompts, and all else that a settings file may say of the engine."""
    seconds: float | None = None
    """How much of the loop is played, round and round; None is once through."""
    knobs: Mapping[str, float] = field(default_factory=dict)
    """Knobs that are not at their default."""
    repaint: tuple[float, float] | None = None
    """Seconds between which the source is made anew, and kept elsewhere."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    seconds: float
    took: float
    """Seconds that the rendering took, loading left out."""


def text_to_music(
    prompt: str | Prompt,
    seconds: float = 30.0,
    engine: Engine | None = None,
    knobs: Mapping[str, float] | None = None,
) -> Piece:
    """A new piece from words alone. `engine` has what is not said here. Raises :class:`RenderError`."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise RenderError(f"a piece from text lasts up to {LONGEST_SECONDS:g} s, not {seconds:g}")
    silence = Silence(silence=max(seconds, _SHORTEST_SILENCE))
    made = _engine(engine, source=silence, prompt_a=_prompt(prompt))
    return Piece(made, seconds, {"denoise": 1.0, "hint_strength": 0.0, **(knobs or {})})


def cover(
    source: Path | None,
    prompt: str | Prompt,
    denoise: float = 0.7,
    seconds: float | None = None,
    engine: Engine | None = None,
    knobs: Mapping[str, float] | None = None,
) -> Piece:
    """Another version of `source` (None is the clip inside), `denoise` (0–1) away from it."""
    made = _engine(engine, source=source, prompt_a=_prompt(prompt))
    return Piece(made, seconds, {"denoise": denoise, **(knobs or {})})


def repaint(
    source: Path | None,
    prompt: str | Prompt,
    start: float,
    end: float,
    engine: Engine | None = None,
    knobs: Mapping[str, float] | None = None,
) -> Piece:
    """`source` as it is, but for what is between `start` and `end` in seconds. Raises :class:`RenderError`."""
    if not 0 <= start < end:
        raise RenderError(f"the part to repaint begins before it ends, unlike {start:g} to {end:g} s")
    made = _engine(engine, source=source, prompt_a=_prompt(prompt))
    return Piece(made, None, {"denoise": 1.0, **(knobs or {})}, (start, end))


def write(piece: Piece, out: Path, progress: Callable[[str, float], None] = lambda stage, share: None) -> Written:
    """Renders `piece` into `out`, whose suffix says the format; the file is there whole or not at all.

    `progress(stage, share)` is called on the way. Raises :class:`RenderError`, `UnknownKnobError` or
    `KnobValueError`, and what `engine.Session` raises for files that cannot be used.
    """
    container, subtype = _format(out)
    state = _state(piece.knobs)
    engine = piece.engine
    session = open_session(
        engine.session().settings,
        engine.device,
        engine.threads,
        engine.cache or cache_dir(),
        progress,
        engine.backend,
        engine.engine_folder or engines_dir(),
    )
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        if piece.repaint is not None:
            session.set_curve("protect", _kept(piece.repaint, session.frames, session.loop_seconds))
        seconds = session.loop_seconds if piece.seconds is None else piece.seconds
        began, frames = time.monotonic(), 0
        progress("rendering", 0.0)
        with soundfile.SoundFile(part, "w", RATE, 2, subtype, format=container) as file:
            for block in session.stream(seconds, knobs_of(state)):
                file.write(block)
                frames += len(block)
                progress("rendering", min(frames / RATE / seconds, 1.0))
        part.replace(out)
    except (soundfile.LibsndfileError, OSError) as error:
        raise RenderError(f"{out} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
        session.close()
    return Written(frames / RATE, time.monotonic() - began)


def _format(out: Path) -> tuple[str, str]:
    if out.suffix.lower() not in FORMATS:
        raise RenderError(f"{out}: the name must end in {', '.join(FORMATS)}")
    if not out.absolute().parent.is_dir():
        raise RenderError(f"{out}: there is no folder {out.parent}")
    return FORMATS[out.suffix.lower()]


def _state(settings: Mapping[str, float]) -> KnobState:
    values = {each.name: each.default for each in KNOBS}
    for name, value in settings.items():
        if knob(name).kind is Kind.OUTPUT:
            raise RenderError(f"{name} is a knob of the output; a file has those of the engine alone")
        values[name] = knob(name).clamp(value)
    return KnobState(0, tuple(values.values()))


def _kept(span: tuple[float, float], frames: int, seconds: float) -> list[float]:
    """1 for each of the loop's `frames` that keeps the source."""
    start, end = span
    if start >= seconds:
        raise RenderError(f"the part to repaint begins at {start:g} s, and the source lasts {seconds:g} s")
    return [0.0 if start <= (frame + 0.5) * seconds / frames < end else 1.0 for frame in range(frames)]


def _engine(engine: Engine | None, **said: object) -> Engine:
    return (engine or Engine()).model_copy(update=said)


def _prompt(prompt: str | Prompt) -> Prompt:
    return Prompt(text=prompt) if isinstance(prompt, str) else prompt
