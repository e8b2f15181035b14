"""The YAML of scenes and LFOs, as pydantic models, and what they become. Used by mapping files and by the store.

Shapes are judged by the models; what needs the knob table is judged by :func:`scene_of` and :func:`lfo_of`, which
note each mistake at its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from demond.knobs import CURVES, Knob, KnobValueError, UnknownKnobError, did_you_mean, knob
from demond.scenes.modulate import Lfo, RateUnit, Shape
from demond.scenes.scene import (
    IMMEDIATE,
    NAME_WORDS,
    PROGRAM_LIMIT,
    RESERVED,
    Curve,
    Discrete,
    Scene,
    is_name,
    read_grid,
    read_span,
    told_grid,
)
from demond.setting import (
    CURVE_LIMIT,
    LONGEST_SECONDS,
    STEPS_LIMIT,
    NamedPrompt,
    Prompt,
    SetCurve,
    SetPrompt,
    SetSource,
    SetSteps,
    Setting,
    Text,
    curve,
)

SCENE_LIMIT = 512
Note = Callable[[tuple[str | int, ...], str], None]
"""`note(path, message)` reports a mistake at `path` inside the entry."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def _switch(value: Any) -> Any:
    """`true` and `false` are how some write `on` and `off`."""
    return float(value) if isinstance(value, bool) else value


def _time(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a time such as 4 bars, 2 beats, 1.5 s or 500 ms, not {str(value)[:60]!r}")
    return str(read_span(value))


def _grid(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be immediate, beat, bar, or a number of them such as 4 bars")
    return told_grid(read_grid(value))


Value = Annotated[float | str, BeforeValidator(_switch)]
Time = Annotated[str, BeforeValidator(_time, json_schema_input_type=str | float)]
GridText = Annotated[str, BeforeValidator(_grid)]
Points = Annotated[list[FiniteFloat], Field(min_length=1, max_length=CURVE_LIMIT)]


class MorphEntry(_Strict):
    """How the knobs get to where the scene has them."""

    time: Time = "0 s"
    """How long it takes: `4 bars`, `2 beats`, `1.5 s`, `500 ms`."""
    curve: Literal["smooth", "linear"] = "smooth"
    """`smooth` sets out and arrives gently."""
    skip: list[str] = []
    """Knobs that a recall of this scene leaves alone."""


class PromptsEntry(_Strict):
    """The prompts of a scene: a text, or a text with lyrics, language, bpm, key and time_signature;
    `{named: neon}` is a text inside.
    """

    a: Text | NamedPrompt | Prompt | None = None
    b: Text | NamedPrompt | Prompt | None = None
    negative: Text | Prompt | None = None


class SceneEntry(_Strict):
    """A scene: what its recall sets. Whatever is not here is left alone."""

    program: Annotated[int, Field(ge=0, le=PROGRAM_LIMIT)] | None = None
    """The program number that recalls it, from 0."""
    set: dict[str, Value] = {}
    """Knobs and what they get: a number in the knob's unit, or the name of a choice."""
    prompts: PromptsEntry = PromptsEntry()
    source: str | None = None
    """Another loop, below the roots of the settings, or one inside by name; an empty text is the first of these."""
    silence: Annotated[float, Field(ge=1, le=LONGEST_SECONDS)] | None = None
    """Instead of a source: seconds of silence."""
    steps: Annotated[int, Field(ge=1, le=STEPS_LIMIT)] | None = None
    """Denoising steps."""
    curves: dict[str, Points | Literal["off"]] = {}
    """Knobs drawn over the loop, first number to last; `off` hands one back to its number."""
    morph: MorphEntry = MorphEntry()
    discrete: Literal["at_start", "half", "at_end"] = "at_start"
    """When choices, switches, whole numbers, prompts, source, steps and curves change."""
    quantize: GridText = IMMEDIATE
    """When it begins: `immediate`, at the next `beat` or `bar`, or on a grid such as `4 bars`."""


class LfoEntry(_Strict):
    """An LFO on a knob."""

    shape: Literal["sine", "triangle", "square", "saw", "random"] = "sine"
    hz: Annotated[float, Field(gt=0, le=20)] | None = None
    """Cycles a second."""
    every: Time | None = None
    """Instead of `hz`: the beats or bars of one cycle, in step with the beat, such as `2 bars`."""
    depth: Annotated[float, Field(ge=0, le=1)] = 0.25
    """How far it swings to either side, as a share of the knob's travel."""
    centre: Value | None = None
    """What it swings around, in the knob's unit; without it, where the knob stands."""
    phase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Cycles that it is ahead."""


def scene_of(name: str, entry: SceneEntry, note: Note, stored: bool = False) -> Scene | None:
    """The scene that `entry` describes; None after a mistake was noted."""
    wrong: list[str] = []

    def noted(path: tuple[str | int, ...], message: str) -> None:
        wrong.append(message)
        note(path, message)

    if not is_name(name):
        words = f"{name} means something else" if name in RESERVED else f"a scene's name has {NAME_WORDS}"
        noted((), f"{words}; not {name[:70]!r}")
    values = {one: _value(one, value, ("set", one), noted) for one, value in entry.set.items()}
    for i, one in enumerate(entry.morph.skip):
        _knob(one, ("morph", "skip", i), noted)
    settings = _settings(entry, noted)
    if wrong:
        return None
    return Scene(
        name,
        values,
        tuple(settings),
        entry.program,
        read_span(entry.morph.time),
        Curve(entry.morph.curve),
        Discrete(entry.discrete),
        frozenset(entry.morph.skip),
        read_grid(entry.quantize),
        stored,
    )


def _settings(entry: SceneEntry, note: Note) -> list[Setting]:
    found: list[Setting] = []
    for slot in ("a", "b", "negative"):
        given = getattr(entry.prompts, slot)
        if given is not None:
            said = Prompt(text=given) if isinstance(given, str) else given
            found.append(SetPrompt(slot=slot, prompt=said.prompt if isinstance(said, NamedPrompt) else said))
    if entry.silence is not None and entry.source is not None:
        note(("silence",), "a scene has a source or silence, not both")
    elif entry.silence is not None or entry.source is not None:
        found.append(SetSource(path=entry.source or None, silence=entry.silence))
    if entry.steps is not None:
        found.append(SetSteps(count=entry.steps))
    for name, points in entry.curves.items():
        if name not in CURVES:
            note(("curves", name), f"no curve is called {name[:60]!r}{did_you_mean(name[:60], CURVES)}")
        else:
            found.append(curve(name, None if isinstance(points, str) else points))
    return found


def lfo_of(name: str, entry: LfoEntry, note: Note) -> Lfo | None:
    """The LFO that `entry` describes for the knob `name`; None after a mistake was noted."""
    turned = _knob(name, (), note)
    if turned is None:
        return None
    if (entry.hz is None) == (entry.every is None):
        note((), "an LFO has hz, or every: a number of beats or bars")
        return None
    centre = None if entry.centre is None else _value(name, entry.centre, ("centre",), note)
    if entry.hz is not None:
        return Lfo(Shape(entry.shape), entry.hz, RateUnit.HZ, entry.depth, centre, entry.phase)
    span = read_span(entry.every or "")
    if span.unit == "s" or span.amount <= 0:
        note(("every",), "must be a number of beats or bars, such as 2 bars; hz says cycles a second")
        return None
    return Lfo(Shape(entry.shape), span.beats(4), RateUnit.BEATS, entry.depth, centre, entry.phase)


def _knob(name: str, path: tuple[str | int, ...], note: Note) -> Knob | None:
    try:
        return knob(name[:60])
    except UnknownKnobError as error:
        note(path, str(error))
        return None


def _value(name: str, value: float | str, path: tuple[str | int, ...], note: Note) -> float:
    """`value` as the knob `name` has it; 0 after a mistake was noted."""
    turned = _knob(name, path, note)
    if turned is None:
        return 0.0
    try:
        number = turned.read(value) if isinstance(value, str) else float(value)
        clamped = turned.clamp(number)
    except KnobValueError as error:
        note(path, str(error))
        return 0.0
    if not turned.minimum <= number <= turned.maximum:
        note(path, f"{name} goes from {turned.minimum:g} to {turned.maximum:g}; {number:g} is outside")
    return clamped


def entry_of(scene: Scene) -> dict[str, object]:
    """What `scene` is in YAML: :func:`scene_of` makes the same of it."""
    entry: dict[str, object] = {}
    if scene.program is not None:
        entry["program"] = scene.program
    entry["set"] = dict(scene.values)
    prompts = {each.slot: each.prompt for each in scene.settings if isinstance(each, SetPrompt)}
    if prompts:
        entry["prompts"] = {slot: prompt.model_dump(exclude_defaults=True) for slot, prompt in prompts.items()}
    curves: dict[str, object] = {}
    for setting in scene.settings:
        match setting:
            case SetSource(silence=None):
                entry["source"] = setting.path or ""
            case SetSource():
                entry["silence"] = setting.silence
            case SetSteps():
                entry["steps"] = setting.count
            case SetCurve():
                curves[setting.name] = "off" if setting.values is None else list(setting.values)
    if curves:
        entry["curves"] = curves
    morph: dict[str, object] = {"time": str(scene.time), "curve": scene.curve.value, "skip": sorted(scene.skip)}
    entry["morph"] = morph
    entry["discrete"] = scene.discrete.value
    entry["quantize"] = told_grid(scene.quantize)
    return entry
