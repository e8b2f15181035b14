"""The tempo from MIDI clock, from taps, from numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.control import RefusedError
from demond.scenes.follower import TICKS_PER_BEAT
from demond.scenes.scene import Span, Unit
from demond.scenes.transport import Sync, Transport

START_NS = 5_000_000_000


def ticks(bpm: float, seconds: float, since_ns: float = START_NS) -> list[float]:
    gap = 60e9 / bpm / TICKS_PER_BEAT
    return [since_ns + i * gap for i in range(int(seconds * 1e9 / gap))]


def follow(transport: Transport, times: Iterable[float], port: str = "clock") -> None:
    for time_ns in times:
        transport.clock(port, "tick", 0, round(time_ns))


def started() -> Transport:
    transport = Transport(START_NS - 1_000_000)
    transport.clock("clock", "start", 0, START_NS - 1_000_000)
    return transport


@settings(max_examples=60, deadline=None)
@given(bpm=st.floats(50, 200), seed=st.integers(0, 2**32), jitter_ms=st.floats(0, 3), lost=st.floats(0, 0.1))
def test_midi_clock_is_followed_through_jitter_and_lost_ticks(
    bpm: float, seed: int, jitter_ms: float, lost: float
) -> None:
    chance = random.Random(seed)  # noqa: S311
    gap_ms = 60_000 / bpm / TICKS_PER_BEAT
    late_ms = min(jitter_ms, 0.2 * gap_ms)
    exact = ticks(bpm, 8)
    kept = [*exact[:10], *(t for t in exact[10:] if chance.random() >= lost)]
    heard = [t + chance.uniform(0, late_ms) * 1e6 for t in kept]
    transport = started()
    follow(transport, heard)
    assert transport.bpm == pytest.approx(bpm, rel=0.01)
    true_beat = (heard[-1] - START_NS) * bpm / 60e9
    assert transport.beat_at(heard[-1]) == pytest.approx(true_beat, abs=0.02)


def test_ticks_that_come_late_all_together_are_counted_once() -> None:
    times = ticks(120, 4)
    late = [t if i < 96 or i > 106 else times[106] for i, t in enumerate(times)]
    transport = started()
    follow(transport, late)
    assert transport.beat_at(times[-1]) == pytest.approx((times[-1] - START_NS) * 2 / 1e9, abs=0.02)


def test_a_new_tempo_is_followed_within_a_beat() -> None:
    transport = started()
    first = ticks(120, 4)
    follow(transport, first)
    second = ticks(140, 0.5, first[-1] + 60e9 / 140 / 24)
    follow(transport, second)
    assert transport.bpm == pytest.approx(140, rel=0.01)


def test_the_beat_goes_on_while_the_clock_drops_out() -> None:
    transport = started()
    times = ticks(120, 4)
    follow(transport, times)
    assert transport.beat_at(times[-1] + 3e9) == pytest.approx(transport.beat_at(times[-1]) + 6, abs=0.05)
    follow(transport, ticks(120, 2, times[-1] + 3e9))
    assert transport.beat_at(times[-1] + 5e9) == pytest.approx(18, abs=0.15)


def test_start_stop_continue_and_position_are_obeyed() -> None:
    transport = started()
    times = ticks(120, 2)
    follow(transport, times)
    transport.clock("clock", "stop", 0, round(times[-1]))
    stopped = transport.beat_at(times[-1])
    assert transport.beat_at(times[-1] + 9e9) == stopped
    transport.clock("clock", "position", 32, round(times[-1]))
    again = ticks(120, 2, times[-1] + 1e9)
    transport.clock("clock", "continue", 0, round(again[0] - 1e6))
    follow(transport, again)
    assert transport.beat_at(again[-1]) == pytest.approx(8 + (len(again) - 1) / 24, abs=0.01)


def test_one_port_leads_until_it_is_silent() -> None:
    transport = started()
    times = ticks(120, 2)
    follow(transport, times)
    assert not transport.clock("other", "tick", 0, round(times[-1] + 1e7))
    assert transport.clock("other", "tick", 0, round(times[-1] + 3e9))


def test_clock_wins_over_taps_unless_told_otherwise() -> None:
    transport = started()
    times = ticks(120, 2)
    follow(transport, times)
    now = round(times[-1])
    with pytest.raises(RefusedError, match="MIDI clock from clock says the tempo"):
        transport.tap(now)
    with pytest.raises(RefusedError):
        transport.set_bpm(90, now)
    transport.choose(Sync.TAP, now)
    assert not transport.clock("clock", "tick", 0, now)
    assert transport.set_bpm(90, now) == transport.bpm == 90


@settings(max_examples=80, deadline=None)
@given(bpm=st.floats(60, 180), seed=st.integers(0, 2**32), slip=st.sampled_from(["none", "missed", "stray"]))
def test_taps_give_the_tempo_through_a_slip(bpm: float, seed: int, slip: str) -> None:
    chance = random.Random(seed)  # noqa: S311
    gap = 60e9 / bpm
    times = [START_NS + i * gap + chance.uniform(-0.02, 0.02) * gap for i in range(9)]
    if slip == "missed":
        del times[5]
    if slip == "stray":
        times.insert(5, times[4] + 0.3 * gap)
    transport = Transport(START_NS - 1)
    for time_ns in times:
        transport.tap(round(time_ns))
    assert transport.bpm == pytest.approx(bpm, rel=0.03)
    assert transport.beat_at(times[-1]) == pytest.approx(round(transport.beat_at(times[-1])), abs=1e-6)


def test_taps_at_another_tempo_begin_anew() -> None:
    transport = Transport(START_NS)
    for i in range(9):
        transport.tap(START_NS + i * 500_000_000)
    for i in range(1, 5):
        transport.tap(START_NS + 4_000_000_000 + i * 333_000_000)
    assert transport.bpm == pytest.approx(180, rel=0.02)


def test_a_grid_is_met_on_its_beats() -> None:
    transport = Transport(0)
    assert transport.next_on(Span(1, Unit.BEATS), 0.6e9) == 2
    assert transport.next_on(Span(1, Unit.BEATS), 1.0e9) == 2
    assert transport.next_on(Span(2, Unit.BARS), 0.6e9) == 8
    assert transport.time_of(8) == 4e9


def test_a_tempo_is_changed_without_a_jump_of_the_beat() -> None:
    transport = Transport(0)
    before = transport.beat_at(1.3e9)
    transport.set_bpm(60, 1_300_000_000)
    assert transport.beat_at(1.3e9) == before
    assert transport.beat_at(2.3e9) == pytest.approx(before + 1)
