"""The stage: it recalls scenes, morphs, and undoes; it moves what moves by itself; and it knows the beat.

It lives in the daemon's event loop. It has no clock and no timer of its own: whoever owns it says what time it is and
calls :meth:`Stage.advance` when :attr:`Stage.due_ns` has come. All knobs of one step are set in one call, so that one
tick of the engine sees all of them or none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from demond.control import Control, Origin, Outcome, RefusedError
from demond.knobs import knob
from demond.messages import TransportPlace
from demond.scenes.arbiter import BY_ITSELF, OWN, Arbiter
from demond.scenes.jack_lead import JackLead
from demond.scenes.library import Library
from demond.scenes.modulate import Lfo
from demond.scenes.modulators import Modulators
from demond.scenes.requests import Done, Requests, nobody
from demond.scenes.running import STEP_SECONDS, Back, Running, Waiting
from demond.scenes.scene import Scene, Span, setting_of, told_grid
from demond.scenes.transport import Sync, Transport

STEP_NS = round(STEP_SECONDS * 1e9)
JUMP_BEATS = 0.5
"""A beat that moves by more was put elsewhere, and what waits for a beat there waits for the next one of its grid."""


class Stage:
    """All that moves knobs besides hands."""

    def __init__(
        self,
        control: Control,
        clock: Callable[[], int],
        latency: Callable[[], float] = lambda: 0.0,
        held: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """`clock` tells nanoseconds, `latency` the seconds from a knob to the ear, `held` what a hand lies upon."""
        self._control, self._clock, self._latency, self._held = control, clock, latency, held
        self.transport = Transport(clock())
        self.arbiter = Arbiter()
        self.modulators = Modulators(self.transport, self.arbiter, control.value, held)
        self.follow_jack: Callable[[bool], None] = lambda on: None
        """Called with whether to tell :meth:`jack_transport` where JACK's transport is."""
        self.jack_lead = JackLead(self.transport, clock)
        """JACK's transport behind this beat."""
        self.wake: Callable[[], None] = lambda: None
        """Called whenever :attr:`due_ns` may be earlier than it was."""
        self.current = ""
        """The scene that was recalled last; empty for none."""
        self.grid: Span | None = None
        """The grid of scenes that say none of their own."""
        self._requests = Requests(control)
        self.library = Library(control)
        self._file_lfos: dict[str, Lfo] = {}
        self._running: Running | None = None
        self._back: Back | None = None
        self._waiting: Waiting | None = None
        self._stepped_ns: int | None = None
        self._beat_told = math.floor(self.transport.beat_at(clock()))
        self._bpm_told = 0.0

    def define(self, scenes: Iterable[Scene], safe: Iterable[str], lfos: Mapping[str, Lfo]) -> None:
        """What the user's files say from now on. LFOs of the files that are new or others begin; those gone end."""
        self.library.define(scenes, safe)
        before, self._file_lfos = self._file_lfos, dict(lfos)
        for name in before.keys() - lfos.keys():
            if self.modulators.lfo(name) == before[name]:
                self.start_lfo(name, None)
        for name, lfo in lfos.items():
            if before.get(name) != lfo:
                self.start_lfo(name, lfo)

    # -- recall -------------------------------------------------------------------------------------------------

    def recall(self, name: str, seconds: float | None = None, done: Done = nobody, grid: Span | None = None) -> None:
        """Recalls a scene, on `grid` or its own, in its time or in `seconds`. `done` is told once it plays or waits.

        Raises :class:`RefusedError`, and nothing has changed then.
        """
        scene = self.library.scene(name)
        span = scene.time if seconds is None else Span(min(max(seconds, 0.0), 3600.0))
        self._withdraw()
        grid = grid or scene.quantize or self.grid
        if grid is not None and self.transport.playing:
            self._waiting = Waiting(scene, span, grid, self._next_heard(grid))
            self._tell("scene/next")
        if self._waiting is None or self._due_ns(self._waiting) <= self._clock():
            self._begin(scene, span, done)
        else:
            done(Outcome(True, f"{name} comes with the next {told_grid(grid)}"))
        self.wake()

    def _next_heard(self, grid: Span) -> float:
        """The first beat of `grid` on which a scene that began now could be heard."""
        return self.transport.next_on(grid, self._clock() + self._latency() * 1e9)

    def _begin(self, scene: Scene, span: Span, done: Done) -> None:
        self._withdraw()
        session, value = self._control.session, self._control.value
        names = [name for name in scene.values if name not in scene.skip | self.library.safe and not self._held(name)]
        start = {name: value(name) for name in names}
        before = tuple(setting_of(session, each.key) for each in scene.settings)
        self._back = Back(self.current, dict(start), before)
        self.current = scene.name
        self._running = Running(scene, start, before, span, self.transport.beats_per_bar)
        at_once = self._running.switched or scene.discrete == "at_start"
        if self._running.moving:
            self._stepped_ns = None
            self._step()
        else:
            self._set("scene", scene.name, self._running.values())
        if at_once:
            self._requests.make(self.current, scene.settings, done)
        else:
            done(Outcome(True, ""))
        self._tell("scene/current", "scene/index", "scene/morph", "scene/morph/pause")

    def undo(self, done: Done = nobody) -> None:
        """Brings back, at once, what the last recall changed and nobody has touched since; and again, redoes it.

        Raises :class:`RefusedError` if nothing was recalled.
        """
        back = self._back
        if back is None:
            raise RefusedError(409, "busy", "no scene was recalled yet, so there is nothing to undo")
        self._withdraw()
        session, value = self._control.session, self._control.value
        present = {name: value(name) for name in back.values}
        settings = tuple(setting_of(session, each.key) for each in back.settings)
        self._back = Back(self.current, present, settings)
        self._running, self.current = None, back.name
        self._set("scene", "undo", back.values)
        self._requests.make(self.current, back.settings, done)
        self._tell("scene/current", "scene/index", "scene/morph", "scene/morph/pause")
        self.wake()

    def _withdraw(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._tell("scene/next")

    # -- morph --------------------------------------------------------------------------------------------------

    @property
    def position(self) -> float:
        """Where between the last two scenes it is, 0–1; 1 when no morph is there."""
        return self._running.position if self._running is not None else 1.0

    @property
    def paused(self) -> bool:
        """Whether a morph waits half-way."""
        return self._running is not None and self._running.paused

    @property
    def next(self) -> str:
        """The scene that waits for its beat; empty for none."""
        return self._waiting.scene.name if self._waiting is not None else ""

    def move_to(self, position: float) -> None:
        """A fader is at `position` between what was before the last recall and its scene. Raises RefusedError."""
        if self._running is None:
            raise RefusedError(409, "busy", "no scene was recalled yet, or its morph was kept; recall one first")
        if not self._running.moving:
            self._stepped_ns = None
        self._running.aim(position)
        self._step()
        self.wake()

    def pause(self, paused: bool) -> None:
        """Holds the morph where it is, or lets it go on."""
        if self._running is not None and self._running.paused != paused:
            self._running.paused = paused
            self._stepped_ns = None
            self._tell("scene/morph/pause")
            self.wake()

    def keep(self) -> None:
        """Ends the morph: everything stays where it is now."""
        self._running = None
        self._tell("scene/morph", "scene/morph/pause")

    # -- what moves by itself -----------------------------------------------------------------------------------

    def start_lfo(self, name: str, lfo: Lfo | None) -> None:
        """Puts an LFO on a knob, or takes away what moves it."""
        if lfo is None:
            self.modulators.stop(name)
        else:
            self._take_out(name)
            self.modulators.start(name, lfo, self._clock())
        self._tell(f"lfo/{name}", f"gesture/{name}")
        self.wake()

    def record(self, name: str, length: Span) -> None:
        """Records what a knob is moved to for so long, and repeats it then. Raises :class:`RefusedError`."""
        self.modulators.record(name, length, self._clock())
        self._tell(f"lfo/{name}", f"gesture/{name}")
        self.wake()

    def _take_out(self, name: str) -> None:
        if self._running is not None:
            self._running.morph.leave(name)

    # -- who touched what ---------------------------------------------------------------------------------------

    def touched(self, changes: Mapping[str, float], origin: Origin) -> None:
        """Knobs were set by `origin`, which may be this stage. What moved them gives way."""
        now = self._clock()
        news = [f"knob/{name}/source" for name in changes if self.arbiter.touch(name, origin, now)]
        if origin.kind not in OWN:
            for name in changes:
                self._take_out(name)
                if self._back is not None:
                    self._back.values.pop(name, None)
        if origin.kind not in BY_ITSELF:
            self.modulators.moved(changes, now)
        self._control.feed.tell(news)

    def finger(self, name: str, origin: Origin, down: bool) -> None:
        """A finger was put upon a knob, which is a touch though nothing moves, or lifted from it."""
        if down:
            self.touched({name: self._control.value(name)}, origin)
        else:
            self.arbiter.rest(name, self._clock())

    # -- the beat -----------------------------------------------------------------------------------------------

    def midi_clock(self, port: str, kind: str, sixteenths: int, time_ns: int) -> None:
        """MIDI clock, start, stop and song position, as :meth:`Transport.clock`."""
        self._hear(lambda: self.transport.clock(port, kind, sixteenths, time_ns))

    def jack_transport(self, place: TransportPlace) -> None:
        """Where JACK's transport is, as :meth:`Transport.jack`."""
        self._hear(lambda: self.transport.jack(place))

    def _hear(self, say: Callable[[], bool]) -> None:
        transport, now = self.transport, self._clock()
        before, beat = (transport.playing, transport.beats_per_bar), transport.beat_at(now)
        if say() and before != (transport.playing, transport.beats_per_bar):
            self._tell("transport/playing", "transport/beat", "transport/meter")
        if self._waiting is not None and abs(transport.beat_at(now) - beat) > JUMP_BEATS:
            self._waiting = replace(self._waiting, beat=self._next_heard(self._waiting.grid))
        self.jack_lead.beat_changed()
        self.wake()

    def choose_sync(self, sync: Sync) -> None:
        """Who may say the tempo from now on."""
        if sync is Sync.JACK:
            self.jack_lead.choose(False)
        self.transport.choose(sync, self._clock())
        self.follow_jack(sync is Sync.JACK)
        self.beat_changed()

    def transport_cue(self, cue: str) -> None:
        """`tap`, `play` or `stop`, which are JACK's transport's while it leads. Raises :class:`RefusedError`."""
        transport, now = self.transport, self._clock()
        if cue != "tap" and transport.start_stop and transport.hears_jack(now):
            self.jack_lead.roll(cue == "play")
            return
        {"tap": transport.tap, "play": transport.play, "stop": transport.stop}[cue](now)
        self.beat_changed()

    def beat_changed(self) -> None:
        """The owner has told the transport something."""
        self._beat_told = math.floor(self.transport.beat_at(self._clock()))
        self._tell(
            *(f"transport/{word}" for word in ("bpm", "beat", "playing", "sync", "meter", "start_stop", "lead"))
        )
        self.jack_lead.beat_changed()
        self.wake()

    @property
    def heard_ns(self) -> float:
        """When what begins now is heard."""
        return self._clock() + self._latency() * 1e9

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def due_ns(self) -> int | None:
        """When :meth:`advance` is wanted next; None while nothing waits for time to pass."""
        times = [self.transport.time_of(math.floor(self.transport.beat_at(self._clock())) + 1)]
        if self._moves:
            times.append(self._clock() if self._stepped_ns is None else self._stepped_ns + STEP_NS)
        if self._waiting is not None:
            times.append(self._due_ns(self._waiting))
        first = min(times)
        return None if math.isinf(first) else math.ceil(first)

    @property
    def _moves(self) -> bool:
        return self.modulators.busy or (self._running is not None and self._running.moving)

    def _due_ns(self, waiting: Waiting) -> float:
        if not self.transport.playing:
            return 0.0  # a beat that never comes is not waited for
        return self.transport.time_of(waiting.beat) - self._latency() * 1e9

    def advance(self) -> None:
        """Does what is due."""
        now = self._clock()
        waiting = self._waiting
        if waiting is not None and self._due_ns(waiting) <= now:
            self._begin(waiting.scene, waiting.span, nobody)
        if self._moves and (self._stepped_ns is None or now >= self._stepped_ns + STEP_NS):
            self._step()
        self.jack_lead.beat_changed()
        beat = math.floor(self.transport.beat_at(now))
        if beat > self._beat_told or beat < self._beat_told - 1:  # a clock's jitter may take a beat back for a moment
            self._beat_told = beat
            told = round(self.transport.bpm, 2)
            self._tell("transport/beat", *(["transport/bpm"] if told != self._bpm_told else []))
            self._bpm_told = told
        self.wake()

    def _step(self) -> None:
        now = self._clock()
        seconds = 0.0 if self._stepped_ns is None else (now - self._stepped_ns) / 1e9
        self._stepped_ns = now
        running = self._running
        if running is not None and running.moving:
            for name in [name for name in running.morph.knobs if self._held(name)]:
                running.morph.leave(name)
            switched = running.switched
            running.step(seconds, self.transport.bpm)
            self._set("scene", running.scene.name, running.values())
            if running.switched != switched and (running.by_fader or running.scene.discrete != "at_start"):
                wanted = running.scene.settings if running.switched else running.before
                self._requests.make(self.current, wanted, nobody)
            self._tell("scene/morph")
        moved, ended = self.modulators.step(now)
        for kind, changes in moved.items():
            self._set(kind, "", changes)
        if ended:
            self._tell(*(f"gesture/{name}" for name in ended))

    def _set(self, kind: str, detail: str, values: Mapping[str, float]) -> None:
        changes = {
            name: value for name, value in values.items() if knob(name).clamp(value) != self._control.value(name)
        }
        if changes:
            self._control.set_knobs(changes, Origin(kind, detail, self._clock()))

    def _tell(self, *keys: str) -> None:
        self._control.feed.tell(keys)

    def status(self) -> dict[str, object]:
        """Its section of the status, as plain values."""
        now = self._clock()
        return {
            "current": self.current,
            "next": self.next,
            "morph": round(self.position, 4),
            "paused": self.paused,
            "scenes": len(self.library.scenes),
            "problem": self._requests.problem,
            "bpm": round(self.transport.bpm, 2),
            "beat": round(self.transport.beat_at(now), 2),
            "playing": self.transport.playing,
            "tempo_from": self.transport.follows(now) or "demond",
            "moving": self.modulators.status(),
            "touched": self.arbiter.sources,
        }
