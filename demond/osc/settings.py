"""The addresses of settings (prompts, curves, clips, LoRAs, ...): what they take, and what they answer when asked.

Called by `demond.osc.batch`. Nothing here changes anything: arguments become a `demond.setting.Setting`, which the
daemon then asks the engine for, and what the session holds becomes arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from demond import _validation_words as words
from demond.built_in import UnknownNameError, prompt_name, prompt_text
from demond.knobs import KnobValueError
from demond.osc.codec import Argument, OscError
from demond.osc.namespace import NAMED, Target, number, whole
from demond.session import Session
from demond.setting import (
    AUTO,
    CURVE_LIMIT,
    TEXT_LIMIT,
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
    curve,
    lora_name,
)

OFF = "off"
"""Sent and answered where a number would stand, for a curve that is not drawn and a LoRA that is not applied."""

Arguments = tuple[Argument, ...]
_PATHS: dict[str, type[SetTimbre | SetStructure | SetTarget | SetCheckpoint]] = {
    "timbre": SetTimbre,
    "structure": SetStructure,
    "target": SetTarget,
    "checkpoint": SetCheckpoint,
}


def told(target: Target, session: Session) -> Arguments:
    """What `target` answers when it is asked."""
    match target.parts:
        case ("prompt", slot, field):
            if field == NAMED:
                return (prompt_name(session.prompt(slot).text),)
            value = getattr(session.prompt(slot), field)
            return ((0.0 if field == "bpm" else "") if value is None else value,)
        case ("curve", name):
            return session.curve(name) or (OFF,)
        case ("source",):
            return (session.source.path or "",)
        case ("source", "silence"):
            return (session.source.silence or 0.0,)
        case ("steps",):
            return (session.steps,)
        case ("depth",):
            return (session.depth,)
        case ("context",):
            return (session.context,)
        case ("lora", "load"):
            raise OscError(400, "bad_args", target.address, "the path of a LoRA file (s) is wanted")
        case ("lora", name, "strength"):
            lora = session.loras.get(name)
            return (OFF if lora is None or lora.strength is None else lora.strength,)
        case (key,):
            return (session.path(key) or "",)
    raise LookupError(f"{target.address} stands for no setting")


def setting_of(target: Target, arguments: Arguments, session: Session) -> Setting:
    """What `arguments`, of which there is at least one, ask for. Raises :class:`OscError`."""
    address = target.address
    with _in_words(address):
        match target.parts:
            case ("prompt", slot, field):
                return _prompt(target, slot, field, arguments, session)
            case ("curve", name):
                return _curve(target, name, arguments)
            case ("lora", "load"):
                path = _text(address, arguments[0], "the path of a LoRA file")
                strength = number(address, arguments[1]) if len(arguments) > 1 else 1.0
                _at_most(address, arguments, 2)
                return SetLora(name=lora_name(path), path=path, strength=strength)
            case ("lora", name, "strength"):
                value = _one(address, arguments)
                return SetLora(name=name, strength=None if value == OFF else number(address, value))
            case ("source",):
                return SetSource(path=_path(address, arguments))
            case ("source", "silence"):
                return SetSource(silence=number(address, _one(address, arguments)) or None)
            case ("steps",):
                return SetSteps(count=whole(address, _one(address, arguments)))
            case ("depth",):
                value = _one(address, arguments)
                return SetDepth(count=AUTO if value == AUTO else whole(address, value))
            case ("context",):
                return SetContext(seconds=number(address, _one(address, arguments)))
            case (key,) if key in _PATHS:
                return _PATHS[key](path=_path(address, arguments))
    raise LookupError(f"{address} stands for no setting")


def _prompt(target: Target, slot: str, field: str, arguments: Arguments, session: Session) -> Setting:
    value: object = _one(target.address, arguments)
    if field == "bpm" and value != "":
        value = number(target.address, arguments[0]) or None
    elif field == NAMED:
        field, value = "text", prompt_text(_text(target.address, arguments[0], "the name of a prompt"))
    else:
        value = _text(target.address, arguments[0], "a text")
        if field not in ("text", "lyrics") and not value:
            value = Prompt.model_fields[field].default
    prompt = {**session.prompt(slot).model_dump(), field: value}
    return SetPrompt.model_validate({"slot": slot, "prompt": prompt})


def _curve(target: Target, name: str, arguments: Arguments) -> SetCurve:
    if arguments == (OFF,):
        return curve(name, None)
    if len(arguments) > CURVE_LIMIT:
        raise OscError(413, "too_large", target.address, f"a curve may have {CURVE_LIMIT} numbers")
    return curve(name, [number(target.address, argument) for argument in arguments])


@contextmanager
def _in_words(address: str) -> Iterator[None]:
    """Says what is wrong with a value as an error of OSC's."""
    try:
        yield
    except ValidationError as error:
        said = words.explain(error, SetPrompt, {})
        raise OscError(400, "bad_args", address, "; ".join(each.message for each in said)) from None
    except UnknownNameError as error:
        raise OscError(404, "unknown_prompt", address, str(error)) from None
    except KnobValueError as error:
        raise OscError(400, "bad_args", address, str(error)) from None


def _one(address: str, arguments: Arguments) -> Argument:
    _at_most(address, arguments, 1)
    return arguments[0]


def _at_most(address: str, arguments: Arguments, count: int) -> None:
    if len(arguments) > count:
        said = "one argument is" if count == 1 else f"{count} arguments are"
        raise OscError(400, "bad_args", address, f"{said} wanted, not {len(arguments)}")


def _text(address: str, argument: Argument, what: str) -> str:
    if not isinstance(argument, str):
        raise OscError(400, "bad_args", address, f"{what} (s) is wanted")
    if len(argument) > TEXT_LIMIT:
        raise OscError(413, "too_large", address, f"a text may have {TEXT_LIMIT} characters")
    return argument


def _path(address: str, arguments: Arguments) -> str | None:
    return _text(address, _one(address, arguments), "a path") or None
