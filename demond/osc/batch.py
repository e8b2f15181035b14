"""What the messages of one bundle do, all together. Used by `demond.osc.server` in the daemon's event loop.

Every message is judged before anything changes. Then all knobs are set in one call, so that one tick of the engine
sees all of them or none, and only then are questions answered, so that an answer shows what the bundle did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Protocol

from demond.control import Control, Origin, Outcome, RefusedError
from demond.knobs import KNOBS, Form, Knob, KnobValueError, UnknownKnobError
from demond.osc import settings
from demond.osc.codec import IMPULSE, Argument, Message, OscError
from demond.osc.namespace import TARGETS, Target, Verb, fires, number, target_of, unknown, whole
from demond.session import Session, Setting

JSON_LIMIT = 60_000
"""Bytes of a JSON text that fits into one datagram with its address."""
TRACE_DEFAULT, TRACE_LIMIT = 20, 1_000

# A float32 argument holds 24 bits, so a clamped value that differs by less than that was not changed.
_FLOAT32 = 2.0**-23


class OscMapping(Protocol):
    """The mapping, as OSC sees it: it takes addresses that surfaces send, outside of /demond."""

    def osc(
        self, address: str, arguments: tuple[Argument, ...], origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """True if a mapping takes `address`. With `changes` given, its knobs are added there and not set.

        Raises :class:`OscError` for arguments that the mapping cannot use.
        """

    def messages(self, number: int) -> dict[str, object]:
        """The control messages after message `number`, as plain JSON values."""

    def reload(self, done: Callable[[Outcome], None]) -> None:
        """Reads the mapping files again and calls `done` once."""


Send = Callable[..., None]
"""`send(address, *arguments)` answers the client."""
Refuse = Callable[[OscError | Callable[[], OscError]], None]
"""`refuse(error)` answers with an error, given as a function where it is dear to make and may not be sent."""


class Batch:
    """One bundle, or one message that came alone, on its way into the daemon."""

    def __init__(self, control: Control, mapping: OscMapping, origin: Origin, send: Send, refuse: Refuse) -> None:
        """`origin` names the sender; `send` and `refuse` answer it."""
        self._control, self._mapping, self._origin = control, mapping, origin
        self._send, self._refuse = send, refuse
        self._changes: dict[str, float] = {}
        self._session: Session | None = None
        self._first_address = ""
        # In order, and once each: a bundle that asks a thousand times for one value gets one answer.
        self._after: dict[tuple[Callable[..., None], tuple[object, ...]], None] = {}

    def run(self, messages: tuple[Message, ...], late: dict[Verb, Callable[[], None]]) -> None:
        """Does what `messages` say and answers them. `late` answers what only the server knows, by verb."""
        for message in messages:
            try:
                self._take(message, late)
            except OscError as error:
                self._refuse(error)
        if self._changes:
            self._set()
        for act, arguments in self._after:
            self._guarded(act, *arguments)

    def _take(self, message: Message, late: dict[Verb, Callable[[], None]]) -> None:
        address, arguments = message
        target = target_of(address)
        if target is None:
            if self._mapping.osc(address, arguments, self._origin, self._changes):
                self._first_address = self._first_address or address
            else:
                self._refuse(lambda: unknown(address))
            return
        act = late.get(target.verb)
        if act is not None:
            self._later(act)
        else:
            _TAKE[target.verb](self, target, arguments)

    def _set(self) -> None:
        try:
            self._control.set_knobs(self._changes, self._origin)
        except (UnknownKnobError, KnobValueError) as error:
            refused = OscError(400, "bad_args", self._first_address, str(error))
        except RefusedError as error:
            refused = OscError(error.code, error.slug, self._first_address, str(error))
        else:
            return
        self._refuse(refused)
        # An echo would tell of a change that was not made; questions are still answered, with what holds.
        self._after = {call: None for call in self._after if call[0] != self._echo}

    def _guarded(self, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except RefusedError as error:
            self._refuse(OscError(error.code, error.slug, self._first_address, str(error)))
        except OscError as error:
            self._refuse(error)

    def _later(self, act: Callable[..., None], *arguments: object) -> None:
        """Calls `act` when the knobs are set, once, after all that came before."""
        self._after.pop((act, arguments), None)
        self._after[act, arguments] = None

    def _change(self, target: Target, knob: Knob, value: float) -> None:
        self._first_address = self._first_address or target.address
        self._changes[knob.name] = value

    # -- what each verb does ------------------------------------------------------------------------------------

    def _knob(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        knob = _knob_of(target)
        if not arguments or arguments[0] is None:
            self._later(self._tell, target)
            return
        value = _knob_value(target, knob, arguments)
        self._change(target, knob, value)
        if not _same(knob.clamp(value), value):
            self._later(self._echo, target)

    def _norm(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        knob = _knob_of(target)
        if not arguments or arguments[0] is None:
            self._later(self._tell, target)
            return
        norm = _one_number(target, arguments)
        self._change(target, knob, knob.from_norm(norm))
        # A whole-number knob moves in steps: the fader may stand anywhere on a step without being corrected.
        if not 0 <= norm <= 1:
            self._later(self._echo, target)

    def _reset(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        knob = _knob_of(target)
        if fires(target.address, arguments):
            self._change(target, knob, knob.default)
            self._later(self._echo, TARGETS[f"/demond/knob/{knob.name}"])

    def _tell(self, target: Target) -> None:
        knob = _knob_of(target)
        value = self._control.value(knob.name)
        self._send(target.address, knob.to_norm(value) if target.verb is Verb.KNOB_NORM else as_argument(knob, value))

    def _echo(self, target: Target) -> None:
        self._tell(target)

    def _setting(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        if not arguments or arguments[0] is None:
            self._later(self._tell_setting, target)
        else:
            # A copy, so that a field of a prompt is set beside those that this bundle has set before.
            self._session = self._session or Session(self._control.session.settings)
            setting = settings.setting_of(target, arguments, self._session)
            self._session.put(setting)
            self._later(self._change_setting, target, setting)

    def _change_setting(self, target: Target, setting: Setting) -> None:
        try:
            self._control.change(setting, self._done(target.address))
        except RefusedError as error:
            raise OscError(error.code, error.slug, target.address, str(error)) from None

    def _tell_setting(self, target: Target) -> None:
        self._send(target.address, *settings.told(target, self._control.session))

    def _list_loras(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        for name in self._control.session.loras:
            self._later(self._tell_setting, Target(f"/demond/lora/{name}/strength", Verb.SETTING))

    def _reload(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        if fires(target.address, arguments):
            self._later(self._mapping.reload, self._done(target.address))

    def _done(self, address: str) -> Callable[[Outcome], None]:
        """Answers a slow request; it may be called long after this batch."""
        send = self._send

        def done(outcome: Outcome) -> None:
            message = outcome.message[: JSON_LIMIT // 8].replace("\0", " ")
            send("/demond/reply", address, "ok" if outcome.ok else "error", json.dumps({"message": message}))

        return done

    def _list(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        for knob in KNOBS:
            self._later(self._tell, TARGETS[f"/demond/knob/{knob.name}"])

    def _status(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        self._later(self._tell_status, target)

    def _tell_status(self, target: Target) -> None:
        text = json.dumps(self._control.status())
        if len(text) > JSON_LIMIT:
            raise OscError(413, "too_large", target.address, "the status does not fit into one packet")
        self._send(f"{target.address}.reply", text)

    def _messages(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        number = whole(target.address, arguments[0]) if arguments and arguments[0] is not None else 0
        self._later(self._tell_messages, target, number)

    def _tell_messages(self, target: Target, number: int) -> None:
        self._send(f"{target.address}.reply", json.dumps(self._mapping.messages(number)))

    def _trace(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        count = whole(target.address, arguments[0]) if arguments and arguments[0] is not None else TRACE_DEFAULT
        if not 1 <= count <= TRACE_LIMIT:
            raise OscError(400, "bad_args", target.address, f"the number of changes is 1 to {TRACE_LIMIT}")
        self._later(self._tell_trace, target, count)

    def _tell_trace(self, target: Target, count: int) -> None:
        changes = self._control.trace(count)
        while len(text := json.dumps(changes)) > JSON_LIMIT:
            changes = changes[-(len(changes) // 2) :] if len(changes) > 1 else []
        self._send(f"{target.address}.reply", text)

    def _sync(self, target: Target, arguments: tuple[Argument, ...]) -> None:
        if not arguments or arguments[0] is None or arguments[0] is IMPULSE:
            raise OscError(400, "bad_args", target.address, "a whole number (i) is wanted, to be sent back")
        self._later(self._send, "/demond/synced", _fitting(target, whole(target.address, arguments[0])))


_TAKE: dict[Verb, Callable[[Batch, Target, tuple[Argument, ...]], None]] = {
    Verb.KNOB: Batch._knob,
    Verb.KNOB_NORM: Batch._norm,
    Verb.KNOB_RESET: Batch._reset,
    Verb.SETTING: Batch._setting,
    Verb.LIST_LORAS: Batch._list_loras,
    Verb.LIST_KNOBS: Batch._list,
    Verb.STATUS: Batch._status,
    Verb.TRACE: Batch._trace,
    Verb.MESSAGES: Batch._messages,
    Verb.RELOAD: Batch._reload,
    Verb.SYNC: Batch._sync,
}


def as_argument(knob: Knob, value: float) -> float | int:
    """`value` as it is sent: `f` for decimal knobs, else a whole number, since a float32 would round a seed."""
    return float(value) if knob.form is Form.FLOAT else int(value)


def _knob_of(target: Target) -> Knob:
    if target.knob is None:
        raise LookupError(f"{target.address} stands for no knob")
    return target.knob


def _knob_value(target: Target, knob: Knob, arguments: tuple[Argument, ...]) -> float:
    if len(arguments) == 1 and isinstance(arguments[0], str):
        try:
            return knob.read(arguments[0])
        except KnobValueError as error:
            raise OscError(400, "bad_args", target.address, str(error)) from None
    return _one_number(target, arguments)


def _one_number(target: Target, arguments: tuple[Argument, ...]) -> float:
    if len(arguments) > 1:
        raise OscError(400, "bad_args", target.address, f"one number is wanted, not {len(arguments)} arguments")
    return number(target.address, arguments[0])


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_FLOAT32, abs_tol=1e-9)


def _fitting(target: Target, value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OscError(400, "bad_args", target.address, "the number is beyond 64 bits")
    return value
