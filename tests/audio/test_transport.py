"""JACK's transport through the real audio process, with another client as timebase master, up to what moves to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from demond import native
from demond.audio.loop import SharedLoop
from demond.audio.player import why_not_native
from demond.knobs import knob
from demond.messages import FollowTransport, RollTransport, TransportLed, TransportPlace
from demond.scenes.modulate import FADE_SECONDS, Lfo, RateUnit, Shape, wave
from demond.scenes.scene import Scene, Span, Unit
from demond.scenes.stage import Stage
from demond.scenes.transport import Sync
from tests.audio.playing import AudioProcess, audio_process, shared_loop
from tests.jack import running_jackd, wait_for
from tests.memory_control import MemoryControl
from tests.timebase import Timebase

NEAR_BEATS = 0.06
"""At 150 a minute this is 24 ms: what a busy machine may be late, and the estimates of two clocks."""
LFO = Lfo(Shape.TRIANGLE, 4.0, RateUnit.BEATS, 0.5, 0.5)


class Listener:
    """A stage that hears what the audio process says of the transport, as in the daemon."""

    def __init__(self, loop: SharedLoop, audio: AudioProcess) -> None:
        self.control = MemoryControl()
        self.stage: Stage = self.control.stage
        self.places: list[TransportPlace] = []
        self.latency = loop.audio().port_latency_max
        self._loop, self._audio, self._heard = loop, audio, 0
        self.stage.follow_jack = lambda on: audio.channel.send(FollowTransport(on=on))
        self.stage.jack_lead.tell = audio.channel.send
        self.stage.jack_lead.roll = lambda on: audio.channel.send(RollTransport(on=on))

    def pump(self) -> None:
        messages = self._audio.receive()
        for message in messages[self._heard :]:
            if isinstance(message, TransportPlace):
                self.places.append(message)
                self.stage.jack_transport(message)
        self._heard = len(messages)
        due_ns = self.stage.due_ns
        if due_ns is not None and due_ns <= time.monotonic_ns():
            self.stage.advance()

    def until(self, condition: Callable[[], object], what: str) -> None:
        def pumped() -> object:
            self.pump()
            return condition()

        wait_for(pumped, 15, what)

    def led(self) -> TransportLed | None:
        """What the audio process said last of being timebase master."""
        self.pump()
        return next((each for each in reversed(self._audio.messages) if isinstance(each, TransportLed)), None)

    def pass_cycles(self, count: int) -> None:
        aim = self._loop.audio().cycles + count
        self.until(lambda: self._loop.audio().cycles > aim, f"{count} cycles")

    def beat(self) -> float:
        return self.stage.transport.beat_at(time.monotonic_ns())


@contextlib.contextmanager
def heard(server: str, period: int = 256) -> Iterator[Listener]:
    """The audio process on a running server, and a stage that listens to it."""
    with shared_loop() as loop, audio_process(loop, server, "auto") as audio:
        audio.wait_until("connected")
        wait_for(lambda: loop.audio().port_latency_max > 0, 5, "JACK tells the latency")
        yield Listener(loop, audio)


@contextlib.contextmanager
def led(bpm: float = 150.0, period: int = 256) -> Iterator[tuple[Listener, Timebase]]:
    with (
        running_jackd(period=period, sync=False) as server,
        heard(server.name or "") as listener,
        Timebase(server.name, bpm, 3.0) as master,
    ):
        listener.stage.choose_sync(Sync.JACK)
        listener.until(lambda: listener.places, "the transport is told of")
        yield listener, master


def test_the_beat_is_that_of_the_frame_which_is_heard() -> None:
    with led(period=1024) as (listener, master):
        transport = listener.stage.transport
        assert not transport.playing
        listener.stage.transport_cue("play")
        listener.until(lambda: transport.playing, "JACK's transport rolls")
        assert (transport.bpm, transport.beats_per_bar) == (150.0, 3)
        errors = []
        for _ in range(60):
            listener.until(lambda: True, "")
            look = master.look()
            told = listener.stage.transport.beat_at(look.time_ns)
            errors.append(told - look.beat_at(master.bpm, listener.latency))
            time.sleep(0.005)
        assert abs(float(np.median(errors))) < 0.01, errors
        before = len(listener.places)
        master.locate(48000 * 60)
        listener.until(lambda: listener.beat() >= 150, "the beat is where the transport was put")
        assert any(each.moved for each in listener.places[before:])
        listener.stage.transport_cue("stop")
        listener.until(lambda: not transport.playing, "the beat stands with the transport")
        assert listener.beat() == pytest.approx(master.heard_beat(0), abs=0.001)


def test_an_lfo_and_a_scene_keep_to_the_transports_beats() -> None:
    with led() as (listener, master):
        listener.stage.define([Scene("drop", {"feedback": 0.9}, quantize=Span(1, Unit.BARS))], (), {})
        master.roll()
        listener.until(lambda: listener.stage.transport.playing, "JACK's transport rolls")
        listener.stage.start_lfo("denoise", LFO)
        began = time.monotonic()
        listener.until(lambda: time.monotonic() - began > FADE_SECONDS, "the LFO has faded in")
        errors = []
        while len(errors) < 40:
            calls = len(listener.control.calls)
            listener.until(lambda calls=calls: len(listener.control.calls) > calls, "the LFO moves")  # type: ignore[misc]
            travel = 0.5 + LFO.depth * wave(LFO.shape, master.heard_beat(listener.latency) / LFO.rate)
            errors.append(listener.control.value("denoise") - knob("denoise").from_norm(travel))
        # A quarter of a cycle is one beat, and half of the knob's range.
        assert abs(float(np.median(errors))) < NEAR_BEATS / 2, errors

        asked = master.heard_beat(listener.latency)
        listener.stage.recall("drop")
        listener.until(lambda: listener.control.value("feedback") == 0.9, "the scene on its bar")
        met = master.heard_beat(listener.latency)
        assert met - asked <= 3 + NEAR_BEATS
        assert met % 3 == pytest.approx(0, abs=NEAR_BEATS)


def test_without_a_master_the_tempo_is_ones_own_and_the_place_the_transports() -> None:
    with led() as (listener, master):
        master.release()
        master.locate(48000 * 10)
        listener.until(lambda: listener.places[-1].bpm is None, "nobody says the tempo")
        listener.stage.transport.set_bpm(60, time.monotonic_ns())
        master.locate(48000 * 20)
        listener.until(lambda: listener.beat() == pytest.approx(20), "the place at that tempo")


def test_where_it_is_not_followed_nothing_is_told() -> None:
    with led() as (listener, master):
        listener.stage.choose_sync(Sync.NONE)
        listener.pass_cycles(10)
        heard = len(listener.places)
        master.roll()
        wait_for(lambda: master.look().rolling, 5, "it rolls")
        listener.pass_cycles(100)
        assert len(listener.places) == heard
        listener.stage.choose_sync(Sync.JACK)
        listener.until(lambda: len(listener.places) > heard, "it is told again")
        assert listener.places[heard].rolling
        assert listener.places[heard].moved


def test_other_clients_follow_the_beat_when_it_leads() -> None:
    with (
        running_jackd(period=1024, sync=False) as server,
        heard(server.name or "") as listener,
        Timebase(server.name) as follower,
    ):
        stage, transport = listener.stage, listener.stage.transport
        transport.set_bpm(97, time.monotonic_ns())
        transport.beats_per_bar = 3
        stage.jack_lead.choose(True)
        listener.until(lambda: (led := listener.led()) is not None and led.leads, "it is timebase master")
        follower.roll()
        listener.until(lambda: follower.look().place.get("beats_per_minute") == 97, "the tempo is seen")
        assert follower.look().place["beats_per_bar"] == 3
        errors = []
        for _ in range(60):
            listener.pump()
            look = follower.look()
            errors.append(look.beat_told(listener.latency) - transport.beat_at(look.time_ns))
            time.sleep(0.005)
        assert abs(float(np.median(errors))) < 0.01, errors

        transport.set_bpm(140, time.monotonic_ns())
        stage.beat_changed()
        listener.until(lambda: follower.look().place.get("beats_per_minute") == 140, "a new tempo is seen")
        stage.transport_cue("stop")
        listener.until(lambda: not follower.look().rolling, "the transport stops, too")
        stage.transport_cue("play")
        listener.until(lambda: follower.look().rolling, "playing starts it")
        stage.jack_lead.choose(False)
        listener.until(lambda: (led := listener.led()) is not None and not led.leads, "it leads no longer")
        follower.locate(0)
        listener.until(lambda: "bar" not in follower.look().place, "nobody says bars and beats")


def test_a_timebase_master_that_is_there_is_not_pushed_aside_but_waited_for() -> None:
    with led() as (listener, master):
        listener.stage.choose_sync(Sync.NONE)
        listener.stage.jack_lead.choose(True)
        listener.until(lambda: (led := listener.led()) is not None and led.why_not, "it is told why it does not lead")
        assert listener.led() == TransportLed(leads=False, why_not="another client of JACK is timebase master")
        master.release()
        listener.until(lambda: (led := listener.led()) is not None and led.leads, "it leads as soon as it may")


def test_a_c_library_that_knows_no_timebase_is_said_to_be_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not_native() is None
    monkeypatch.setattr(native, "library", object())
    assert "older than its Python part" in str(why_not_native())
