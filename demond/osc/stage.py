"""The OSC addresses of scenes, LFOs, gestures and the beat: what they do on the stage, and what they show of it.

Called by a batch after its knobs are set, and by whatever shows values.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from demond.control import Outcome, RefusedError
from demond.knobs import did_you_mean
from demond.osc._clients import Client
from demond.osc.answers import JSON_LIMIT, answering, fires
from demond.osc.codec import Argument, OscError
from demond.osc.namespace import Target, number, whole
from demond.osc.publisher import Publisher
from demond.osc.stage_table import STAGE
from demond.scenes.modulate import Lfo, RateUnit, Shape
from demond.scenes.scene import read_grid, read_span, told_grid
from demond.scenes.stage import Stage
from demond.scenes.transport import METER_LIMIT, Sync

Arguments = tuple[Argument, ...]
Read = TypeVar("Read")
OFF = "off"
_LFO_DEFAULTS = (0.25, 0.0, 0.0)
_WORDS = [row.address.split("/")[3] for row in STAGE if row.address.startswith("/demond/scene/")]
FASTEST_HZ, LONGEST_BEATS = 20.0, 1_024.0


class Server(Protocol):
    """The server, as this module sees it."""

    publisher: Publisher

    def send(self, client: Client, address: str, *arguments: Argument) -> None:
        """Answers the client."""

    def tell(self, client: Client, target: Target) -> None:
        """Sends the client the value of `target`."""


class StageDesk:
    """Takes messages to the stage."""

    def __init__(self, server: Server, stage: Stage) -> None:
        """For the clients of `server`."""
        self._server, self._stage = server, stage

    # -- what is shown ------------------------------------------------------------------------------------------

    def read(self, target: Target) -> Arguments:
        """The value of an address that has one."""
        stage = self._stage
        match target.parts:
            case ("knob", name, "source"):
                return (stage.arbiter.source(name),)
            case ("lfo", name):
                lfo = stage.modulators.lfo(name)
                return (OFF,) if lfo is None else _told(lfo)
            case ("gesture", name):
                return (stage.modulators.gesture(name),)
            case ("scene", "index"):
                scene = stage.library.scenes.get(stage.current)
                return (-1 if scene is None or scene.program is None else scene.program,)
            case ("scene", "quantize"):
                return (told_grid(stage.grid),)
            case ("transport", word):
                return (self._of_transport(word),)
        return (self._of_scenes(target.address),)

    def _of_scenes(self, address: str) -> Argument:
        match address:
            case "/demond/scene/current":
                return self._stage.current
            case "/demond/scene/next":
                return self._stage.next
            case "/demond/scene/morph":
                return self._stage.position
        return int(self._stage.paused)

    def _of_transport(self, word: str) -> Argument:
        transport = self._stage.transport
        match word:
            case "bpm":
                return round(transport.bpm, 2)
            case "beat":
                return transport.beat_at(time.monotonic_ns())
            case "meter":
                return transport.beats_per_bar
            case "sync":
                return transport.sync.value
            case "start_stop":
                return int(transport.start_stop)
            case "lead":
                return int(self._stage.jack_lead.on)
        return int(transport.playing)

    # -- what is done -------------------------------------------------------------------------------------------

    def take(self, client: Client, target: Target, arguments: Arguments) -> None:
        """Does what a message says. Raises :class:`OscError`, and nothing has changed then."""
        if target.has_value and (not arguments or arguments[0] is None):
            self._server.tell(client, target)
            return
        try:
            with self._server.publisher.by(client, (target.address,) if target.has_value else ()):
                self._do(client, target, arguments)
        except RefusedError as error:
            raise OscError(error.code, error.slug, target.address, str(error)) from None

    def _do(self, client: Client, target: Target, arguments: Arguments) -> None:
        match target.parts:
            case ("lfo", name):
                self._lfo(target, name, arguments)
            case ("gesture", name):
                self._gesture(target, name, arguments)
            case ("transport", word):
                self._transport(client, target, word, arguments)
            case ("scene", "morph", "pause"):
                self._stage.pause(_number(target, arguments) >= 0.5)
            case ("scene", "morph", "keep"):
                if fires(client, target, arguments):
                    self._stage.keep()
            case ("scene", word):
                self._scene(client, target, word, arguments)

    def _scene(self, client: Client, target: Target, word: str, arguments: Arguments) -> None:
        stage, done = self._stage, answering(self._server.send, client, target.address)
        match word:
            case "current":
                stage.recall(_text(target, arguments), _seconds(target, arguments), done)
            case "index":
                scene = stage.library.with_program(whole(target.address, arguments[0]))
                stage.recall(scene.name, _seconds(target, arguments), done)
            case "quantize":
                stage.grid = _said(target, lambda: read_grid(_text(target, arguments)))
                self._server.publisher.told(("scene/quantize",))
            case "morph":
                stage.move_to(_number(target, arguments))
            case "undo":
                if fires(client, target, arguments):
                    stage.undo(done)
            case "store":
                name = _text(target, arguments)
                stage.library.store(name, whole(target.address, arguments[1]) if len(arguments) > 1 else None)
                done(Outcome(True, f"{name} is stored"))
            case "remove":
                stage.library.remove(_text(target, arguments))
                done(Outcome(True, ""))
            case "list":
                self._list(client, target)
            case _:
                self._known(target, word)
                if fires(client, target, arguments):
                    stage.recall(word, _seconds(target, arguments), done)

    def _known(self, target: Target, name: str) -> None:
        scenes = self._stage.library.scenes
        if name not in scenes:
            hint = did_you_mean(name, [*scenes, *_WORDS])
            raise OscError(404, "unknown_address", target.address, f"no scene is called {name!r}{hint}")

    def _list(self, client: Client, target: Target) -> None:
        rows = [
            {
                "name": scene.name,
                "program": scene.program,
                "knobs": len(scene.values),
                "settings": len(scene.settings),
                "morph": str(scene.time),
                "quantize": told_grid(scene.quantize),
                "stored": scene.stored,
            }
            for scene in self._stage.library.scenes.values()
        ]
        text = json.dumps(rows)
        if len(text) > JSON_LIMIT:
            raise OscError(413, "too_large", target.address, "the list of scenes does not fit into one packet")
        self._server.send(client, f"{target.address}.reply", text)

    def _lfo(self, target: Target, name: str, arguments: Arguments) -> None:
        if arguments == (OFF,):
            self._stage.start_lfo(name, None)
            return
        if not 3 <= len(arguments) <= 6:
            raise _bad(target, "a shape, a rate, hz or beats, and then depth, centre and phase are wanted; or off")
        shape = _said(target, lambda: Shape(str(arguments[0])), f"a shape is one of {', '.join(Shape)}")
        unit = _said(target, lambda: RateUnit(str(arguments[2])), "the unit of a rate is hz or beats")
        rate, most = number(target.address, arguments[1]), FASTEST_HZ if unit is RateUnit.HZ else LONGEST_BEATS
        given = [number(target.address, one) for one in arguments[3:]]
        depth, centre, phase = (*given, *_LFO_DEFAULTS[len(given) :])
        if not 0 < rate <= most:
            raise _bad(target, f"a rate is more than 0 and at most {most:g} {unit.value}")
        if not (0 <= depth <= 1 and 0 <= phase <= 1):
            raise _bad(target, "depth and phase are 0 to 1")
        middle = target.the_knob.clamp(centre) if len(arguments) > 4 else None
        self._stage.start_lfo(name, Lfo(shape, rate, unit, depth, middle, phase))

    def _gesture(self, target: Target, name: str, arguments: Arguments) -> None:
        if arguments == (OFF,):
            self._stage.start_lfo(name, None)
        elif len(arguments) == 2 and arguments[0] == "record":
            self._stage.record(name, _said(target, lambda: read_span(str(arguments[1]))))
        else:
            raise _bad(target, "record and a time such as 2 bars is wanted, or off")

    def _transport(self, client: Client, target: Target, word: str, arguments: Arguments) -> None:
        transport, now = self._stage.transport, time.monotonic_ns()
        if word in ("tap", "play", "stop"):
            if fires(client, target, arguments):
                self._stage.transport_cue(word)
            return
        if word == "bpm":
            transport.set_bpm(_number(target, arguments), now)
        elif word == "meter":
            beats = whole(target.address, arguments[0])
            if not 1 <= beats <= METER_LIMIT:
                raise _bad(target, f"a bar has 1 to {METER_LIMIT} beats, not {beats}")
            transport.beats_per_bar = beats
        elif word == "lead":
            self._stage.jack_lead.choose(_number(target, arguments) >= 0.5)
        elif word == "start_stop":
            transport.start_stop = _number(target, arguments) >= 0.5
        elif word == "sync":
            words = f"the tempo comes from one of {', '.join(Sync)}"
            self._stage.choose_sync(_said(target, lambda: Sync(_text(target, arguments)), words))
        self._stage.beat_changed()


def _told(lfo: Lfo) -> Arguments:
    told: Arguments = (lfo.shape.value, lfo.rate, lfo.unit.value, lfo.depth)
    return told if lfo.centre is None else (*told, lfo.centre, lfo.phase)


def _bad(target: Target, words: str) -> OscError:
    return OscError(400, "bad_args", target.address, words)


def _number(target: Target, arguments: Arguments) -> float:
    if len(arguments) != 1:
        raise _bad(target, f"one number is wanted, not {len(arguments)} arguments")
    return number(target.address, arguments[0])


def _text(target: Target, arguments: Arguments) -> str:
    if not arguments or not isinstance(arguments[0], str) or len(arguments) > 2:
        raise _bad(target, "a text (s) is wanted first")
    return arguments[0]


def _seconds(target: Target, arguments: Arguments) -> float | None:
    return number(target.address, arguments[1]) if len(arguments) > 1 else None


def _said(target: Target, read: Callable[[], Read], words: str = "") -> Read:
    try:
        return read()
    except ValueError as error:
        raise _bad(target, words or str(error)) from None
