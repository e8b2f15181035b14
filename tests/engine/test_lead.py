"""The lead controller, by its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.lead import HALF_LIFE, RESERVE_MOST, LeadController

LOOP = 16 * 48_000
durations = st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=40)
periods = st.sampled_from([16, 64, 128, 256, 480, 1024, 4096])
rates = st.sampled_from([8_000, 44_100, 48_000, 96_000, 192_000])


def controller(rate: int = 48_000, period: int = 256, latency: int = 512, loop: int = LOOP) -> LeadController:
    return LeadController(rate, period, latency, loop)


@given(rates, periods, durations, durations, st.lists(st.integers(0, 100_000), max_size=5))
def test_whatever_happens_the_lead_is_whole_periods_between_its_floor_and_half_the_loop(
    rate: int, period: int, ticks: list[float], decodes: list[float], late: list[int]
) -> None:
    loop = 4 * rate
    lead = controller(rate, period, 512, loop)
    for tick in ticks:
        lead.ticked(tick)
    for decode in decodes:
        lead.decoded(decode)
    for frames in late:
        lead.late(frames)
    read = lead.read()
    slowest = sorted(decodes)[math.ceil(0.99 * (len(decodes) - 1))]
    floor = min(period + slowest * rate, loop // 2 // period * period)
    assert read.write_ahead % period == 0
    assert max(period, math.floor(floor)) <= read.write_ahead <= max(period, loop // 2)
    assert read.lead % period == 0
    assert read.lead >= read.write_ahead + 512
    assert 0 <= read.reserve <= math.ceil(RESERVE_MOST * rate)
    assert read.late_writes == len(late)


def test_at_rest_it_is_one_period() -> None:
    assert controller().write_ahead == 256


def test_decoding_is_paid_at_its_99th_percentile() -> None:
    lead = controller()
    for _ in range(200):
        lead.decoded(0.010)
    assert lead.write_ahead == 768  # 256 + 480, in whole periods
    for _ in range(5):
        lead.decoded(0.030)
    assert lead.write_ahead == 1792  # 256 + 1440


@given(st.integers(0, 20_000))
def test_a_late_write_raises_the_reserve_by_more_than_its_lateness(frames: int) -> None:
    lead = controller()
    lead.late(frames)
    assert lead.read().reserve >= frames
    assert lead.write_ahead >= 256 + frames


def test_a_slow_tick_raises_the_reserve_before_anything_was_late() -> None:
    lead = controller()
    for _ in range(20):
        lead.ticked(0.050)
    assert lead.read().reserve == 0
    lead.ticked(0.049)
    assert lead.read().reserve == 0
    lead.ticked(0.250)
    assert lead.read().reserve == pytest.approx(0.200 * 48_000, abs=1)
    assert lead.read().late_writes == 0


def test_work_that_is_about_to_share_the_machine_raises_the_reserve_by_one_write() -> None:
    lead = controller()
    for _ in range(10):
        lead.ticked(0.040)
        lead.decoded(0.010)
    lead.scheduled(ticks_between=2, ticks_to_write=1)
    lead.brace()
    assert lead.read().reserve == pytest.approx(0.090 * 48_000, abs=1)
    lead.brace()
    assert lead.read().reserve == pytest.approx(0.090 * 48_000, abs=1)
    assert lead.read().late_writes == 0


def test_the_reserve_halves_every_half_life_of_music_and_ends() -> None:
    lead = controller()
    lead.late(9_344)
    before = lead.read().reserve
    lead.consumed(int(HALF_LIFE * 48_000))
    assert lead.read().reserve == pytest.approx(before / 2, abs=1)
    lead.consumed(int(30 * HALF_LIFE * 48_000))
    assert lead.read().reserve == 0


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=20))
def test_decay_does_not_depend_on_how_the_music_is_cut(parts: list[int]) -> None:
    whole, cut = controller(), controller()
    for lead in (whole, cut):
        lead.late(20_000)
    whole.consumed(sum(parts))
    for part in parts:
        cut.consumed(part)
    assert abs(whole.read().reserve - cut.read().reserve) <= 1


def test_a_new_period_and_rate_count_at_once_and_measurements_stay() -> None:
    lead = controller()
    lead.decoded(0.010)
    lead.configure(96_000, 1024, 0, 2 * LOOP)
    assert lead.write_ahead == 2048  # 1024 + 960, in whole periods
    assert lead.read().decode_p99_ms == pytest.approx(10)


def test_the_lead_adds_the_ticks_until_the_next_write_and_the_ports_latency() -> None:
    lead = controller(latency=512)
    for _ in range(10):
        lead.ticked(0.040)
        lead.decoded(0.010)
    lead.scheduled(ticks_between=2, ticks_to_write=1)
    read = lead.read()
    assert read.write_ahead == 768
    assert read.lead == math.ceil((2 * 1920 + 768 + 512) / 256) * 256
    assert lead.wait == 1920
    assert lead.write_interval == 2 * 1920 + 480


@pytest.mark.parametrize("port", [(0, 256, 0, 9), (48_000, 0, 0, 9), (48_000, 256, -1, 9), (48_000, 256, 0, 0)])
def test_an_impossible_port_is_refused(port: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such port"):
        LeadController(*port)
