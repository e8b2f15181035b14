"""What every address shows now, as OSC arguments. Used for answers, dumps, subscriptions and OSCQuery alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from demond.control import Control
from demond.knobs import Form, Knob
from demond.osc import settings
from demond.osc.codec import Argument, OscError
from demond.osc.entry import Verb
from demond.osc.log_tail import LogTail
from demond.osc.namespace import Target, target_of, targets_matching, unknown
from demond.osc.pattern import AddressTree, is_pattern

Arguments = tuple[Argument, ...]


class Hands(Protocol):
    """Whoever knows what hands do to knobs."""

    def pickup(self, knob: str) -> int:
        """Which way a waiting control has to be turned: -1 down, 1 up; 0 when none waits."""

    def held(self, knob: str) -> bool:
        """Whether a finger lies on any control of `knob`."""


class Values:
    """Reads what is to be shown; it keeps nothing."""

    def __init__(self, control: Control, hands: Hands, log_tail: LogTail) -> None:
        """The owners of what is shown."""
        self._control, self._hands, self.log_tail = control, hands, log_tail
        self.readers: dict[Verb, Callable[[Target], Arguments]] = {
            Verb.KNOB: self._knob,
            Verb.KNOB_NORM: self._norm,
            Verb.KNOB_TOUCH: lambda target: (int(self._hands.held(target.the_knob.name)),),
            Verb.KNOB_PICKUP: lambda target: (self._hands.pickup(target.the_knob.name),),
            Verb.KNOB_TEXT: self._text,
            Verb.SETTING: lambda target: settings.told(target, self._control.session),
            Verb.LOG_LEVEL: lambda _: (self.log_tail.chosen_level,),
            Verb.LOG_LINE: lambda _: (self.log_tail.last(1) or ("",))[-1:],
        }
        """What reads the value of an address, by its verb."""
        self.named: Callable[[], list[str]] = list
        """The addresses that a pattern may match besides those that are always there, and those of LoRAs."""
        self.judge: Callable[[Target], None] = lambda target: None
        """Raises :class:`OscError` 404 for an address of a kind that is known, where there is none of its name."""

    def read(self, target: Target, norm: bool = False) -> Arguments:
        """The value of `target`, which has one. `norm` shows a knob's plain address as travel 0–1."""
        if norm and target.verb is Verb.KNOB:
            return self._norm(target)
        found = self.readers[target.verb](target)
        return tuple(each.replace("\0", " ") if isinstance(each, str) else each for each in found)

    def matching(self, pattern: str) -> tuple[Target, ...]:
        """All that `pattern` or an address stands for now. Raises :class:`OscError` 400, and 404 for nothing."""
        if is_pattern(pattern):
            found = targets_matching(pattern)
            if present := self.present():
                names = AddressTree(present).matching(pattern)
                found = (*found, *(target for name in names if (target := target_of(name)) is not None))
        else:
            target = target_of(pattern)
            if target is not None:
                self.judge(target)
            found = () if target is None else (target,)
        if not found:
            raise unknown(pattern)
        return found

    def present(self) -> list[str]:
        """The addresses that are there now besides those that always are."""
        return [*(f"/demond/lora/{name}/strength" for name in self._control.session.loras), *self.named()]

    def showing(self, pattern: str, texts: bool = False) -> tuple[Target, ...]:
        """What `pattern` matches and can be subscribed to. Raises :class:`OscError` as :meth:`matching`, and 400."""
        matched = self.matching(pattern)
        spelled_out = not is_pattern(f"/{pattern.rpartition('/')[2]}")
        found = {
            target.address: target
            for target in matched
            if target.has_value and (spelled_out or not target.entry.on_request)
        }
        if texts:
            for target in matched:
                if target.verb in (Verb.KNOB, Verb.KNOB_NORM) and (text := text_of(target)) is not None:
                    found[text.address] = text
        if not found:
            raise OscError(400, "bad_args", pattern[:128], "nothing that this matches has a value")
        return tuple(found.values())

    def _knob(self, target: Target) -> Arguments:
        knob = target.the_knob
        return (as_argument(knob, self._control.value(knob.name)),)

    def _norm(self, target: Target) -> Arguments:
        knob = target.the_knob
        return (knob.to_norm(self._control.value(knob.name)),)

    def _text(self, target: Target) -> Arguments:
        knob = target.the_knob
        return (knob.format(self._control.value(knob.name)),)


def as_argument(knob: Knob, value: float) -> float | int:
    """`value` as it is sent: `f` for decimal knobs, else a whole number, since a float32 would round a seed."""
    return float(value) if knob.form is Form.FLOAT else int(value)


def narrow(arguments: Arguments) -> Arguments:
    """`arguments` for a client that reads no 64-bit numbers: a whole number beyond 32 bits is sent as a text.

    A float would round it, and a text is taken back.
    """
    return tuple(str(each) if isinstance(each, int) and not -(2**31) <= each < 2**31 else each for each in arguments)


def text_of(target: Target) -> Target | None:
    """The address that shows the knob of `target` as a text."""
    return target_of(f"/demond/knob/{target.knob.name}/text") if target.knob is not None else None
