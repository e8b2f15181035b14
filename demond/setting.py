"""One thing that a performer sets besides knobs: a prompt, a curve, the source or another clip, a LoRA, a size.

Each setting is a frozen model. It travels to the engine inside a `demond.messages.Request`, it is what the daemon
remembers for the next engine and in its state file, and a settings file of the user's begins with some. Two settings
with the same `key` are about the same thing, and the newer one holds: `demond.session` keeps those that do.

Values in a model are in range: curves are clamped before, by :func:`curve`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from demond import built_in
from demond.knobs import CURVES, INDEX, KNOBS, KnobValueError, UnknownKnobError, did_you_mean

TEXT_LIMIT = 4_096
"""Characters of a prompt or of lyrics."""
CURVE_LIMIT = 4_096
"""Points of a curve."""
DEPTH, STEPS = 4, 8
DEPTH_LIMIT, STEPS_LIMIT = 8, 64
AUTO: Literal["auto"] = "auto"
LONGEST_SECONDS = 240.0
"""The longest loop."""
LORA_LIMIT = 16
LORA_STRENGTH = 4.0
"""The strongest that a LoRA is applied, either way."""

Slot = Literal["a", "b", "negative"]
SLOTS: tuple[Slot, ...] = ("a", "b", "negative")
Seconds = Annotated[float, Field(ge=1, le=LONGEST_SECONDS)]


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


def _language(code: str) -> str:
    if not re.fullmatch(r"[a-z]{2,8}", code):
        raise ValueError("must be a language code, such as en or ja")
    return code


def _depth(value: object) -> object:
    if value == AUTO or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= DEPTH_LIMIT):
        return value
    shown = repr(value) if isinstance(value, str | int | float) else "that"
    raise ValueError(f"must be 1 to {DEPTH_LIMIT}, or {AUTO}, not {shown[:60]}")


Depth = Annotated[
    int | Literal["auto"],
    BeforeValidator(_depth, json_schema_input_type=Annotated[int, Field(ge=1, le=DEPTH_LIMIT)] | Literal["auto"]),
]


def _time_signature(text: str) -> str:
    if not re.fullmatch(r"\d{1,2}(/\d{1,2})?", text):
        raise ValueError("must be a time signature, such as 4/4")
    return text


def _known_prompt(name: str) -> str:
    built_in.prompt_text(name)
    return name


def _curve_name(name: str) -> str:
    try:
        curve_range(name)
    except UnknownKnobError as error:
        raise ValueError(str(error)) from None
    return name


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Setting(_Model):
    """One thing that is set. Subclasses say what."""

    type: str
    paths: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are paths of files or folders."""
    names: ClassVar[Collection[str]] = ()
    """What may stand for a path: loops inside."""

    @property
    def key(self) -> str:
        """What this setting is about: `prompt/a`, `curve/protect`, `source`."""
        return self.type

    @property
    def files(self) -> tuple[str, ...]:
        """The files and folders that it needs."""
        given = (getattr(self, name) for name in self.paths)
        return tuple(path for path in given if path is not None and path not in self.names)

    @property
    def is_default(self) -> bool:
        """Whether this is what holds where nothing is set, so that it need not be remembered."""
        return False


Text = Annotated[str, Field(max_length=TEXT_LIMIT), AfterValidator(_no_nul)]


class Prompt(_Model):
    """What the music should be. Fields that are given win over what the text says."""

    text: Text = ""
    lyrics: Text = ""
    """Empty is instrumental."""
    language: Annotated[str, AfterValidator(_language)] = "en"
    """Of the lyrics: `en`, `de`, `ja`."""
    bpm: Annotated[float, Field(ge=20, le=400)] | None = None
    key: Annotated[str, Field(max_length=64), AfterValidator(_no_nul)] | None = None
    """Such as `a minor`."""
    time_signature: Annotated[str, AfterValidator(_time_signature)] | None = None
    """Such as `4/4`."""


class NamedPrompt(Prompt):
    """A prompt whose text is one of those inside, as files write it: `{named: neon}`. Beside it stands what else a
    prompt has.
    """

    named: Annotated[str, AfterValidator(_known_prompt), Field(json_schema_extra={"enum": list(built_in.PROMPTS)})]

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if self.text:
            raise ValueError("a prompt has a text or the name of one, not both")
        return self

    @property
    def prompt(self) -> Prompt:
        """With the text instead of its name."""
        text = built_in.prompt_text(self.named)
        return Prompt.model_validate({**self.model_dump(exclude={"named"}), "text": text})


class SetPrompt(_Setting):
    """Prompt `a`, `b`, or `negative`, which is what guidance steers away from."""

    type: Literal["prompt"] = "prompt"
    slot: Slot
    prompt: Prompt

    @property
    def key(self) -> str:
        """One for each slot."""
        return f"prompt/{self.slot}"

    @property
    def is_default(self) -> bool:
        """Nothing is said. Prompts a and b begin as the settings file says, so that is a wish of the user's there."""
        return self.slot == "negative" and self.prompt == Prompt()


class SetCurve(_Setting):
    """A knob drawn over the loop, in its unit; no values hand it back to the knob's number."""

    type: Literal["curve"] = "curve"
    name: Annotated[str, AfterValidator(_curve_name)]
    values: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=CURVE_LIMIT)] | None

    @property
    def key(self) -> str:
        """One for each knob."""
        return f"curve/{self.name}"

    @property
    def is_default(self) -> bool:
        """Not drawn."""
        return self.values is None


class SetSource(_Setting):
    """The loop that the music starts from: a file or the name of a clip inside, silence (the music is made from the
    prompt alone), or neither for the first clip inside.
    """

    type: Literal["source"] = "source"
    paths: ClassVar[tuple[str, ...]] = ("path",)
    names: ClassVar[Collection[str]] = built_in.CLIPS
    path: str | None = None
    silence: Seconds | None = None
    """Seconds; wins over `path`."""

    @property
    def is_default(self) -> bool:
        """The clip inside."""
        return self.path is None and self.silence is None


class SetPath(_Setting):
    """A file or a folder, or none."""

    paths: ClassVar[tuple[str, ...]] = ("path",)
    path: str | None

    @property
    def is_default(self) -> bool:
        """No file."""
        return self.path is None


class _SetClip(SetPath):
    names: ClassVar[Collection[str]] = built_in.CLIPS


class SetTimbre(_SetClip):
    """A clip whose sound the music takes, a file or one inside; none takes nobody's."""

    type: Literal["timbre"] = "timbre"


class SetStructure(_SetClip):
    """A clip whose rhythm and harmony the music follows; none follows the source."""

    type: Literal["structure"] = "structure"


class SetTarget(_SetClip):
    """A clip that `source_lock` draws to; none draws to the source."""

    type: Literal["target"] = "target"


class SetCheckpoint(SetPath):
    """The folder of the model; none is the one inside."""

    type: Literal["checkpoint"] = "checkpoint"


class SetSteps(_Setting):
    """Denoising steps of each result."""

    type: Literal["steps"] = "steps"
    count: Annotated[int, Field(ge=1, le=STEPS_LIMIT)]


class SetDepth(_Setting):
    """Slots in flight: more is a higher rate of results, fewer a faster tick. `auto` is what suits the machine."""

    type: Literal["depth"] = "depth"
    count: Depth


class SetContext(_Setting):
    """Seconds of the loop that a slot covers; 0 is the whole loop."""

    type: Literal["context"] = "context"
    seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]

    @property
    def is_default(self) -> bool:
        """The whole loop."""
        return self.seconds == 0


class SetLora(_Setting):
    """A LoRA file and how strongly it is applied; no strength takes it off."""

    type: Literal["lora"] = "lora"
    paths: ClassVar[tuple[str, ...]] = ("path",)
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00\s#*,/?\[\]{}]+$")]
    path: str | None = None
    """None stands for the file called `name` that is loaded already, or lies in the folder of LoRAs."""
    strength: Annotated[float, Field(ge=-LORA_STRENGTH, le=LORA_STRENGTH)] | None

    @property
    def key(self) -> str:
        """One for each name."""
        return f"lora/{self.name}"

    @property
    def is_default(self) -> bool:
        """Taken off."""
        return self.strength is None


Setting = Annotated[
    SetPrompt
    | SetCurve
    | SetSource
    | SetTimbre
    | SetStructure
    | SetTarget
    | SetCheckpoint
    | SetSteps
    | SetDepth
    | SetContext
    | SetLora,
    Field(discriminator="type"),
]
"""Every setting there is, as pydantic tells them apart."""


def curve_range(name: str) -> tuple[float, float]:
    """The least and the greatest value of a curve. Raises `UnknownKnobError` with a suggestion."""
    if name not in CURVES:
        raise UnknownKnobError(f"no curve is called {name!r}{did_you_mean(name, CURVES)}")
    if name not in INDEX:
        return 0.0, 1.0
    return KNOBS[INDEX[name]].minimum, KNOBS[INDEX[name]].maximum


def curve(name: str, values: Sequence[float] | None) -> SetCurve:
    """The curve `name` with `values` moved into the knob's range; None hands it back.

    Raises `UnknownKnobError`; `KnobValueError` for a value that is no finite number; `ValueError` for too many or
    none.
    """
    least, most = curve_range(name)
    if values is None:
        return SetCurve(name=name, values=None)
    if not 1 <= len(values) <= CURVE_LIMIT:
        raise ValueError(f"a curve has 1 to {CURVE_LIMIT} numbers, not {len(values)}")
    for position, value in enumerate(values, 1):
        if not math.isfinite(value):
            raise KnobValueError(f"number {position} of the curve {name} must be finite, not {value}")
    return SetCurve(name=name, values=tuple(min(max(float(value), least), most) for value in values))


def lora_name(path: str) -> str:
    """What the LoRA in the file `path` is called: its stem, with what an address cannot hold as `_`."""
    return re.sub(r"[\x00\s#*,/?\[\]{}]", "_", Path(path).stem)[:128] or "_"
