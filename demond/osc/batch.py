"""What the messages of one bundle do, all together. Used by `demond.osc.server` in the daemon's event loop.

Every message is judged before anything changes. Then all knobs are set in one call, so that one tick of the engine
sees all of them or none, and only then are questions answered, so that an answer shows what the bundle did. It is
done in steps, since a bundle may hold a thousand questions and the event loop has others to serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from demond.control import Control, Origin, Outcome, RefusedError
from demond.knobs import Form, Knob, KnobValueError, UnknownKnobError
from demond.osc import settings
from demond.osc._clients import Client
from demond.osc.answers import answering, fires, whole64
from demond.osc.choices import Echo
from demond.osc.codec import Argument, Message, OscError
from demond.osc.entry import Use, Verb
from demond.osc.namespace import TARGETS, Target, number, target_of, unknown
from demond.osc.pattern import is_pattern
from demond.osc.turns import Work
from demond.session import Session
from demond.setting import Setting

ID_LIMIT = 64
"""Characters of the id of a message."""
STEPS_IN_RANGE = 127
"""Steps of a decimal knob over its whole range, as an encoder's detents are mapped."""

# A float32 argument holds 24 bits, so a clamped value that differs by less than that was not changed.
_FLOAT32 = 2.0**-23

Arguments = tuple[Argument, ...]


class OscMapping(Protocol):
    """The mapping, as OSC sees it: it takes addresses that surfaces send, outside of /demond."""

    @property
    def addresses(self) -> Collection[str]:
        """The addresses that are mapped."""

    def osc(
        self, address: str, arguments: Arguments, origin: Origin, changes: dict[str, float] | None = None
    ) -> bool:
        """True if a mapping takes `address`. With `changes` given, its knobs are added there and not set.

        Raises :class:`OscError` for arguments that the mapping cannot use.
        """

    def messages(self, number: int) -> dict[str, object]:
        """The control messages after message `number`, as plain JSON values."""

    def pickup(self, knob: str) -> int:
        """Which way a control that waits to pick `knob` up has to be turned: -1 down, 1 up; 0 when none waits."""

    def touch(self, knob: str, origin: Origin, address: str, fires: bool = False) -> bool:
        """Whether `origin` may move `knob`: the last touch wins, and what `fires` is a touch at once."""

    def finger(self, knob: str, origin: Origin, down: bool) -> None:
        """A finger was put on `knob` at `origin`, which has it until the finger is lifted."""

    def held(self, knob: str) -> bool:
        """Whether a finger lies on any control of `knob`."""

    def reload(self, done: Callable[[Outcome], None]) -> None:
        """Reads the mapping files again and calls `done` once."""


Act = Callable[..., Work | None]
Own = Mapping[Verb, Callable[[Client, Target, Arguments], Work | None]]
"""What the server answers itself, by verb."""


class Server(Protocol):
    """The server, as a batch sees it."""

    control: Control
    own: Own
    patterns_fire: bool
    """Whether a pattern may fire triggers."""

    @property
    def mapping(self) -> OscMapping:
        """What takes the addresses that surfaces send."""

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""

    def refuse(self, client: Client, error: OscError | Callable[[], OscError], asked_as: Arguments = ()) -> None:
        """Answers with an error, given as a function where it is dear to make and may not be sent."""

    def matching(self, pattern: str) -> tuple[tuple[Target, ...], tuple[str, ...]]:
        """The addresses that `pattern` stands for: demond's, and those of the mapping. Raises :class:`OscError`."""

    def by(self, client: Client, addresses: Collection[str]) -> AbstractContextManager[None]:
        """While it is open, changes are the client's doing, who knows the values of `addresses` by itself."""


class Batch:
    """One bundle, or one message that came alone, on its way into the daemon."""

    def __init__(self, server: Server, client: Client, origin: Origin) -> None:
        """`client` sent it; `origin` is what others are told of that."""
        self._server, self._client, self._origin = server, client, origin
        self._control, self._mapping = server.control, server.mapping
        self._changes: dict[str, float] = {}
        self._session: Session | None = None
        """What is asked for with this bundle."""
        self._first_address = ""
        self._asked_as: Arguments = ()
        """The id of the messages that are being judged or done; nothing while they have none."""
        self._first_asked_as: Arguments = ()
        self._set_here: dict[str, None] = {}
        """The addresses whose values the client knows, because it has set them."""
        self._pings = False
        # In order, and once each: a bundle that asks a thousand times for one value gets one answer.
        self._after: dict[tuple[Act, tuple[object, ...], Arguments], None] = {}

    @property
    def greets(self) -> bool:
        """Whether it sets something or pings, as surfaces do and those who only ask do not."""
        return bool(self._changes or self._set_here) or self._pings

    def steps(self, messages: tuple[Message, ...]) -> Iterator[object]:
        """Does what `messages` say and answers them, in steps."""
        for message in messages:
            try:
                self._take(*message)
            except OscError as error:
                self._refuse(error)
            yield None
        if self._changes:
            self._set()
        for act, arguments, asked_as in self._after:
            self._asked_as = asked_as
            yield from self._guarded(act, *arguments)

    # -- judging ------------------------------------------------------------------------------------------------

    def _take(self, address: str, arguments: Arguments) -> None:
        target = target_of(address)
        if target is not None:
            self._act(target, arguments)
        elif address in self._mapping.addresses or not is_pattern(address):
            if not self._mapped(address, arguments):
                self._refuse(lambda: unknown(address))
        else:
            self._take_pattern(address, arguments)

    def _take_pattern(self, pattern: str, arguments: Arguments) -> None:
        """What a pattern matches takes the message, all of it or nothing."""
        targets, mapped = self._server.matching(pattern)
        if not self._server.patterns_fire:
            trigger = next((target for target in targets if target.entry.use is Use.TRIGGER), None)
            if trigger is not None:
                words = f"{trigger.address} fires, which patterns may not do unless osc.allow_pattern_triggers is on"
                raise OscError(403, "denied", pattern[:128], words)
        session = self._session and Session(self._session.settings)
        before = dict(self._changes), dict(self._set_here), dict(self._after), session
        try:
            for target in targets:
                self._act(target, arguments)
            for address in mapped:
                self._mapped(address, arguments)
        except OscError as error:
            self._changes, self._set_here, self._after, self._session = before
            raise OscError(error.code, error.slug, pattern[:128], f"{error.address}: {error.message}") from None

    def _act(self, target: Target, arguments: Arguments) -> None:
        needed = target.needs(arguments)
        if not self._client.role.includes(needed):
            words = f"{self._client.host} may {self._client.role.value}, and this takes {needed.value}"
            raise OscError(403, "denied", target.address, words)
        if target.entry.use is Use.SHOWN and arguments and arguments[0] is not None:
            raise OscError(403, "read_only", target.address, "this value is only shown")
        self._pings |= target.verb is Verb.PING
        own = self._server.own.get(target.verb)
        if target.verb is Verb.ID:
            self._asked_as = _id(target, arguments)
        elif own is not None:
            self._later(own, self._client, target, arguments)
        elif target.entry.use is Use.SHOWN:
            self._later(self._tell, target)
        else:
            _TAKE[target.verb](self, target, arguments)

    def _mapped(self, address: str, arguments: Arguments) -> bool:
        found: dict[str, float] = dict(self._changes)
        if not self._mapping.osc(address, arguments, self._origin, found):
            return False
        self._changes_by(address)
        self._changes = found
        return True

    def _changes_by(self, address: str) -> None:
        if not self._first_address:
            self._first_address, self._first_asked_as = address, self._asked_as

    def _set(self) -> None:
        self._asked_as = self._first_asked_as
        try:
            with self._server.by(self._client, self._set_here):
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

    def _guarded(self, act: Act, *arguments: object) -> Iterator[object]:
        try:
            self._client.asks_as = self._asked_as
            try:
                work = act(*arguments)
            finally:
                self._client.asks_as = ()
            if work is not None:
                yield from work
        except RefusedError as error:
            self._refuse(OscError(error.code, error.slug, self._first_address, str(error)))
        except OscError as error:
            self._refuse(error)
        yield None

    def _refuse(self, error: OscError | Callable[[], OscError]) -> None:
        self._server.refuse(self._client, error, self._asked_as)

    def _later(self, act: Act, *arguments: object) -> None:
        """Calls `act` when the knobs are set, once, after all that came before."""
        self._after.pop((act, arguments, self._asked_as), None)
        self._after[act, arguments, self._asked_as] = None

    def _change(
        self, target: Target, knob: Knob, value: float, *, known: bool, corrected: bool, fires: bool = False
    ) -> None:
        """The knob is to have `value`. The client has `known` it, and is told it if it was `corrected`.

        If somebody else has the knob it stays, and the client is told what it has.
        """
        echo = self._client.choices.echo
        if not self._mapping.touch(knob.name, self._origin, target.address, fires):
            if echo is not Echo.NEVER and known:
                self._later(self._echo, target)
            return
        self._changes_by(target.address)
        self._changes[knob.name] = value
        if known:
            self._set_here[target.address] = None
        if echo is Echo.ALWAYS or (corrected and echo is Echo.CORRECTED):
            self._later(self._echo, target)

    # -- what each verb does ------------------------------------------------------------------------------------

    def _knob(self, target: Target, arguments: Arguments) -> None:
        knob = target.the_knob
        if not arguments or arguments[0] is None:
            self._later(self._tell, target)
        elif self._client.choices.norm:
            self._norm(target, arguments)
        else:
            value = _knob_value(target, knob, arguments)
            self._change(target, knob, value, known=True, corrected=not _same(knob.clamp(value), value))

    def _norm(self, target: Target, arguments: Arguments) -> None:
        knob = target.the_knob
        if not arguments or arguments[0] is None:
            self._later(self._tell, target)
            return
        norm = _one_number(target, arguments)
        # A whole-number knob moves in steps: the fader may stand anywhere on a step without being corrected.
        self._change(target, knob, knob.from_norm(norm), known=True, corrected=not 0 <= norm <= 1)

    def _delta(self, target: Target, arguments: Arguments) -> None:
        if not arguments or arguments[0] is None:
            raise OscError(400, "bad_args", target.address, "the number of steps, up or down, is wanted")
        knob, steps = target.the_knob, _one_number(target, arguments)
        step = (knob.maximum - knob.minimum) / STEPS_IN_RANGE if knob.form is Form.FLOAT else 1.0
        now = self._changes.get(knob.name)
        value = knob.clamp((self._control.value(knob.name) if now is None else now) + steps * step)
        self._change(target, knob, value, known=False, corrected=False)

    def _reset(self, target: Target, arguments: Arguments) -> None:
        knob = target.the_knob
        if fires(self._client, target, arguments):
            plain = TARGETS[f"/demond/knob/{knob.name}"]
            self._change(plain, knob, knob.default, known=True, corrected=True, fires=True)

    def _tell(self, target: Target) -> None:
        self._server.tell(self._client, target)

    def _echo(self, target: Target) -> None:
        self._server.tell(self._client, target)

    def _setting(self, target: Target, arguments: Arguments) -> None:
        if not arguments or arguments[0] is None:
            if not target.has_value:
                settings.told(target, self._control.session)
            self._later(self._tell, target)
        else:
            if self._session is None:
                self._session = Session(self._control.session.settings)
            # A field of a prompt is set beside those that this bundle has set before.
            setting = settings.setting_of(target, arguments, self._session)
            self._session.put(setting)
            self._set_here[target.address] = None
            self._later(self._change_setting, target, setting)

    def _change_setting(self, target: Target, setting: Setting) -> None:
        try:
            with self._server.by(self._client, (target.address,)):
                self._control.change(setting, self._done(target.address))
        except RefusedError as error:
            raise OscError(error.code, error.slug, target.address, str(error)) from None

    def _reload(self, target: Target, arguments: Arguments) -> None:
        if fires(self._client, target, arguments):
            self._later(self._mapping.reload, self._done(target.address))

    def _done(self, address: str) -> Callable[[Outcome], None]:
        return answering(self._server.send, self._client, address)


_TAKE: dict[Verb, Callable[[Batch, Target, Arguments], None]] = {
    Verb.KNOB: Batch._knob,
    Verb.KNOB_NORM: Batch._norm,
    Verb.KNOB_DELTA: Batch._delta,
    Verb.KNOB_RESET: Batch._reset,
    Verb.SETTING: Batch._setting,
    Verb.RELOAD: Batch._reload,
}


def _id(target: Target, arguments: Arguments) -> Arguments:
    """What the answers to the messages after this one end with."""
    if not arguments or arguments[0] is None:
        return ()
    if isinstance(arguments[0], str) and len(arguments[0]) > ID_LIMIT:
        raise OscError(
            400, "bad_args", target.address, f"an id is a number or a text of {ID_LIMIT} characters at most"
        )
    return (arguments[0] if isinstance(arguments[0], str) else whole64(target.address, arguments[0]),)


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
