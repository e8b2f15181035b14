"""The beat from JACK's transport, told by messages with known times."""

from __future__ import annotations

import pytest

from demond.control import RefusedError
from demond.messages import LeadTransport, TransportPlace
from demond.scenes.jack_lead import ASTRAY_BEATS
from demond.scenes.scene import Scene, Span, Unit
from demond.scenes.transport import GONE_SECONDS, Sync, Transport
from tests.scenes.stand import Stand

NOW_NS = 5_000_000_000


def place(seconds: float, time_ns: int = NOW_NS, *, rolling: bool = True, moved: bool = True) -> TransportPlace:
    """Without a timebase master."""
    return TransportPlace(time_ns=time_ns, rolling=rolling, moved=moved, seconds=seconds)


def mastered(
    beat: float, bpm: float = 150.0, meter: float = 3.0, time_ns: int = NOW_NS, *, rolling: bool = True
) -> TransportPlace:
    """With one."""
    there = place(beat * 60 / bpm, time_ns, rolling=rolling, moved=False)
    return there.model_copy(update={"bpm": bpm, "beat": beat, "beats_per_bar": meter})


@pytest.fixture
def transport() -> Transport:
    transport = Transport(NOW_NS)
    transport.choose(Sync.JACK, NOW_NS)
    return transport


def test_tempo_beat_and_meter_are_the_masters(transport: Transport) -> None:
    assert transport.jack(mastered(7.5))
    assert (transport.bpm, transport.beats_per_bar, transport.follows(NOW_NS)) == (150.0, 3, "jack")
    assert transport.beat_at(NOW_NS + 2e9) == pytest.approx(12.5)
    with pytest.raises(RefusedError, match="timebase master of JACK's transport says the tempo"):
        transport.set_bpm(90, NOW_NS)
    with pytest.raises(RefusedError):
        transport.tap(NOW_NS)


def test_it_stands_where_the_transport_stands_and_rolls_with_it(transport: Transport) -> None:
    transport.jack(mastered(6, rolling=False))
    assert not transport.playing
    assert transport.beat_at(NOW_NS + 9e9) == 6
    transport.jack(mastered(6, time_ns=NOW_NS + 10**9))
    assert transport.playing
    assert transport.beat_at(NOW_NS + 3e9) == pytest.approx(11)


def test_with_start_stop_off_the_beat_goes_on_when_the_transport_stops(transport: Transport) -> None:
    transport.start_stop = False
    transport.jack(mastered(6))
    transport.jack(mastered(6.5, time_ns=NOW_NS + 200_000_000, rolling=False))
    assert transport.beat_at(NOW_NS + 2e9) == pytest.approx(11)
    transport.jack(mastered(0, time_ns=NOW_NS + 3 * 10**9))
    assert transport.beat_at(NOW_NS + 3e9) == 0


def test_without_a_master_the_place_counts_and_the_tempo_is_ones_own(transport: Transport) -> None:
    transport.jack(place(2.0))
    assert transport.beat_at(NOW_NS) == pytest.approx(4)
    assert transport.follows(NOW_NS) == ""
    transport.set_bpm(60, NOW_NS)
    transport.jack(place(3.0, NOW_NS + 10**9, moved=False))
    assert transport.beat_at(NOW_NS + 1e9) == pytest.approx(5), "a change of tempo is no jump of the beat"
    transport.jack(place(10.0, NOW_NS + 2 * 10**9))
    assert transport.beat_at(NOW_NS + 2e9) == pytest.approx(10)


def test_a_transport_that_has_gone_leaves_the_beat_going_and_the_tempo_free(transport: Transport) -> None:
    transport.jack(mastered(0))
    later = NOW_NS + round((GONE_SECONDS + 1) * 1e9)
    assert not transport.hears_jack(later)
    assert transport.beat_at(later) == pytest.approx(7.5)
    assert transport.set_bpm(90, later) == 90


def test_where_it_is_not_asked_for_it_does_not_count(transport: Transport) -> None:
    transport.choose(Sync.MIDI, NOW_NS)
    assert not transport.jack(mastered(7))
    assert transport.bpm == 120


def jack_led(scene: Scene) -> tuple[Stand, list[object]]:
    stand = Stand(scene)
    told: list[object] = []
    stand.stage.follow_jack = lambda on: told.append(("follow", on))
    stand.stage.jack_lead.roll = lambda on: told.append(("roll", on))
    stand.stage.choose_sync(Sync.JACK)
    return stand, told


def test_play_and_stop_are_the_transports_while_it_is_heard() -> None:
    stand, told = jack_led(Scene("drop", {}))
    stand.stage.transport_cue("stop")
    assert not stand.stage.transport.playing
    stand.stage.jack_transport(mastered(0, time_ns=stand.now_ns, rolling=False))
    stand.stage.transport_cue("play")
    assert not stand.stage.transport.playing, "it rolls when JACK says so"
    stand.stage.transport.start_stop = False
    stand.stage.transport_cue("play")
    assert stand.stage.transport.playing
    stand.stage.choose_sync(Sync.NONE)
    assert told == [("follow", True), ("roll", True), ("follow", False)]


def test_a_scene_that_waits_for_its_beat_waits_for_the_next_one_when_the_transport_is_put_elsewhere() -> None:
    stand, _ = jack_led(Scene("drop", {"denoise": 0.2}, quantize=Span(1, Unit.BARS)))
    stand.stage.jack_transport(mastered(100.5, bpm=60, time_ns=stand.now_ns))
    stand.stage.recall("drop")
    stand.pass_time(0.5)
    stand.stage.jack_transport(mastered(10, bpm=60, time_ns=stand.now_ns))
    stand.pass_time(1.9)
    assert stand.value("denoise") == 0.7
    stand.pass_time(0.2)
    assert stand.value("denoise") == 0.2


def leading() -> tuple[Stand, list[LeadTransport], list[bool]]:
    stand, told, rolled = Stand(), list[LeadTransport](), list[bool]()
    stand.stage.jack_lead.tell, stand.stage.jack_lead.roll = told.append, rolled.append
    stand.stage.jack_lead.choose(True)
    return stand, told, rolled


def test_a_steady_beat_is_told_once_and_each_change_once() -> None:
    stand, told, rolled = leading()
    stand.pass_time(10)
    assert [(lead.on, lead.bpm, lead.rolls) for lead in told] == [(True, 120.0, True)]
    stand.stage.transport.set_bpm(90, stand.now_ns)
    stand.stage.beat_changed()
    stand.stage.beat_changed()
    assert [lead.bpm for lead in told] == [120.0, 90.0]
    assert told[1].beat == pytest.approx(20)
    stand.stage.transport_cue("stop")
    stand.stage.transport_cue("play")
    assert [lead.rolls for lead in told] == [True, True, False, True]
    assert rolled == [False, True]
    stand.stage.jack_lead.choose(False)
    stand.stage.transport.set_bpm(80, stand.now_ns)
    stand.stage.beat_changed()
    assert [lead.on for lead in told[4:]] == [False]


def test_a_midi_clock_that_wanders_is_told_on() -> None:
    stand, told, _rolled = leading()
    for _ in range(200):
        stand.now_ns += round(60e9 / 130 / 24)
        stand.stage.midi_clock("clock", "tick", 0, stand.now_ns)
    assert told[-1].bpm == pytest.approx(130, rel=0.01)
    assert len(told) < 100
    last = told[-1]
    heard = last.beat + (stand.now_ns - last.time_ns) * last.bpm / 60e9
    assert heard == pytest.approx(stand.stage.transport.beat_at(stand.now_ns), abs=2 * ASTRAY_BEATS)


def test_what_follows_jack_cannot_lead_it() -> None:
    stand, told, _ = leading()
    stand.stage.choose_sync(Sync.JACK)
    assert [lead.on for lead in told] == [True, False]
    with pytest.raises(RefusedError, match="choose another /demond/transport/sync"):
        stand.stage.jack_lead.choose(True)
