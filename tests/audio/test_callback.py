"""The process callback, the C one and its Python stand-in, cycle by cycle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demond import native
from demond.audio.layout import BUCKETS, bucket_end_ns
from demond.audio.loop import SharedLoop
from tests.audio.cycles import Cycles, NativeCycles, PythonCycles
from tests.audio.playing import frame_numbers, ramp, shared_loop
from tests.listening import clicks

RATE = 48000


@pytest.fixture
def loop() -> Iterator[SharedLoop]:
    with shared_loop(100_000) as made:
        yield made


@pytest.fixture(params=[NativeCycles, PythonCycles], ids=["C", "Python"])
def player(request: pytest.FixtureRequest) -> type[Cycles]:
    return request.param  # type: ignore[no-any-return]


def sine(frames: int, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(frames) / rate)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def level_of(audio: np.ndarray) -> np.ndarray:
    """The gain that was applied to content that is all ones."""
    assert np.array_equal(audio[:, 0], audio[:, 1])
    return audio[:, 0]


def test_without_content_there_is_silence_and_the_playhead_moves(player: type[Cycles], loop: SharedLoop) -> None:
    assert not player(loop).run(256, 256).any()
    figures = loop.audio()
    assert (figures.playhead, figures.position, figures.silent_frames, figures.cycles) == (512, 0, 512, 2)


def test_the_loop_fades_in_for_50_ms_and_then_comes_out_exactly(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    levels = level_of(player(loop).run(*[256] * 12))
    assert levels[0] < 0.001
    assert np.allclose(np.diff(levels[:2400]), 1 / 2400, atol=1e-6)
    assert (levels[2399:] == 1).all()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    periods=st.lists(st.sampled_from([32, 48, 64, 256, 441, 1024, 4096]), min_size=1, max_size=12),
    frames=st.integers(1, 5000),
)
def test_every_period_and_loop_length_comes_out_sample_exact(
    player: type[Cycles], periods: list[int], frames: int
) -> None:
    with shared_loop(5000) as loop:
        loop.replace(RATE, ramp(frames))
        cycles = player(loop)
        cycles.run(4096)
        start = loop.place()
        heard = frame_numbers(cycles.run(*periods))
        assert np.array_equal(heard, (start.position + np.arange(sum(periods))) % frames)
        assert loop.place().playhead - start.playhead == sum(periods)
        assert loop.place().position == (start.position + sum(periods)) % frames


def test_a_new_gain_is_reached_in_20_ms_without_a_step(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    cycles = player(loop)
    cycles.run(*[256] * 10)
    loop.set_output(-20.0, mute=False)
    levels = level_of(cycles.run(*[256] * 5))
    assert np.allclose(np.diff(levels[:960]), -0.9 / 960, atol=1e-5)
    assert np.allclose(levels[960:], 0.1, rtol=1e-6)


@pytest.mark.parametrize(("gain_db", "mute"), [(-60.0, False), (-200.0, False), (0.0, True)])
def test_the_least_gain_and_mute_are_true_silence(
    player: type[Cycles], loop: SharedLoop, gain_db: float, mute: bool
) -> None:
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    cycles = player(loop)
    cycles.run(*[256] * 10)
    loop.set_output(gain_db, mute)
    levels = level_of(cycles.run(*[256] * 5))
    assert levels[500] > 0.4
    assert not levels[960:].any()


def test_stopping_fades_in_50_ms_and_time_goes_on(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    cycles = player(loop)
    cycles.run(*[256] * 10)
    loop.set_running(False)
    before = loop.place()
    levels = level_of(cycles.run(*[256] * 12))
    assert np.allclose(np.diff(levels[:2400]), -1 / 2400, atol=1e-6)
    assert not levels[2400:].any()
    assert loop.place().playhead - before.playhead == 12 * 256
    assert loop.audio().silent_frames == 12 * 256 - 2399
    loop.set_running(True)
    assert level_of(cycles.run(*[256] * 10))[-1] == 1


@pytest.mark.parametrize("period", [32, 256, 1024])
def test_nothing_that_is_done_to_a_tone_clicks(player: type[Cycles], loop: SharedLoop, period: int) -> None:
    loop.replace(RATE, sine(48000))
    cycles = player(loop)
    heard = [cycles.run(*[period] * (9600 // period))]
    for change in (
        lambda: loop.set_output(-12.0, mute=False),
        lambda: loop.set_output(0.0, mute=True),
        lambda: loop.set_output(-3.0, mute=False),
        lambda: loop.set_running(False),
        lambda: loop.set_running(True),
        lambda: loop.replace(RATE, sine(31000, hertz=1000)),
        lambda: loop.replace(RATE, sine(48000)),
        cycles.leave,
    ):
        change()
        heard.append(cycles.run(*[period] * (9600 // period)))
    assert clicks(np.concatenate(heard), RATE) == []
    assert not heard[-1][-period:].any()
    assert cycles.silent_cycles() > 0


def test_a_replacement_crossfades_in_10_ms_and_keeps_the_proportion(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, np.zeros((10_000, 2), np.float32))
    cycles = player(loop)
    cycles.run(*[500] * 9)  # position 4500 of 10000
    loop.replace(RATE, np.ones((20_000, 2), np.float32))
    assert loop.place().position == 9000, "told before the callback has looked"
    levels = level_of(cycles.run(100))
    assert loop.audio().settled == 0
    assert loop.place().position == 9100
    levels = np.concatenate([levels, level_of(cycles.run(*[100] * 9))])
    u = np.arange(1, 481) / 480
    assert np.allclose(levels[:480], u / np.sqrt(u**2 + (1 - u) ** 2), atol=1e-5), "no equal-power fade from silence"
    assert (levels[480:] == 1).all()
    assert loop.audio().settled == 2


def test_content_of_another_rate_is_not_heard(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(44100, np.ones((1000, 2), np.float32))
    cycles = player(loop)
    assert not cycles.run(*[256] * 20).any()
    assert loop.audio().rate == RATE
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    assert level_of(cycles.run(*[256] * 10))[-1] == 1


def test_a_rate_that_changes_under_way_fades_out_until_the_content_follows(
    player: type[Cycles], loop: SharedLoop
) -> None:
    loop.replace(RATE, sine(48000))
    cycles = player(loop)
    heard = [cycles.run(*[256] * 20)]
    cycles.change_rate(96000)
    heard.append(cycles.run(*[256] * 40))
    assert loop.audio().rate == 96000
    assert not heard[-1][-256:].any()
    loop.replace(96000, sine(96000, 96000))
    heard.append(cycles.run(*[256] * 40))
    assert heard[-1][-2000:].any()
    assert clicks(np.concatenate(heard), 48000) == []


def test_a_lost_cycle_is_counted_and_the_loop_goes_on_where_it_was(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(100_000))
    cycles = player(loop)
    before = frame_numbers(cycles.run(4096, 256)[-256:])
    cycles.lose(3 * 256)
    after = frame_numbers(cycles.run(256))
    assert loop.audio().skipped_cycles == 3
    assert after[0] == before[-1] + 1
    cycles.lose(17)  # less than a period is still a hole
    cycles.run(256)
    assert loop.audio().skipped_cycles == 4


def test_a_clock_that_wraps_is_no_gap(player: type[Cycles], loop: SharedLoop) -> None:
    cycles = player(loop)
    cycles.run(*[1024] * 30)
    assert cycles.last_frame_time < 100_000
    assert loop.audio().skipped_cycles == 0


def test_changes_of_period_and_freewheeling_are_no_lost_cycles(player: type[Cycles], loop: SharedLoop) -> None:
    cycles = player(loop)
    cycles.run(256, 256)
    cycles.lose(5000)
    cycles.run(1024)  # another period says it all
    cycles.announce_period(512)
    cycles.announce_period(1024)
    cycles.lose(5000)
    cycles.run(1024)  # there and back again
    cycles.freewheel(True)
    cycles.lose(70_000)
    cycles.run(1024, 1024)
    cycles.lose(9)
    cycles.run(1024)
    cycles.freewheel(False)
    cycles.lose(70_000)
    cycles.run(1024, 1024)
    assert loop.audio().skipped_cycles == 0
    cycles.lose(1024)
    cycles.run(1024)
    assert loop.audio().skipped_cycles == 1


def test_a_new_process_goes_on_at_the_same_place(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(100_000))
    player(loop).run(4096, 256)
    before = loop.audio()
    loop.start_audio(native_callback=True)
    heard = player(loop).run(4096, 256)
    assert frame_numbers(heard[-256:])[0] == before.position + 4096
    after = loop.audio()
    assert (after.playhead, after.cycles) == (before.playhead + 4352, before.cycles + 2)
    assert after.starts == 1


def test_a_new_process_finds_its_place_in_content_that_came_meanwhile(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(10_000))
    player(loop).run(2500)
    loop.replace(RATE, ramp(20_000))
    loop.replace(RATE, ramp(40_000))
    assert loop.place().position == 10_000
    player(loop).run(256)
    assert loop.place().position == 10_256


def test_what_is_no_number_is_played_as_silence(player: type[Cycles], loop: SharedLoop) -> None:
    content = np.ones((1000, 2), np.float32)
    content[100, 0], content[200, 1], content[300] = np.nan, np.inf, -np.inf
    loop.replace(RATE, content)
    cycles = player(loop)
    cycles.run(3000)
    heard = cycles.run(1000)
    assert np.isfinite(heard).all()
    assert (heard == 0).sum() == 4


def test_a_damaged_header_is_never_read_past_the_loop(loop: SharedLoop) -> None:
    """Frames beyond the capacity, as only a bug could write them, are no content to the C callback."""
    loop.replace(RATE, np.ones((1000, 2), np.float32))
    native.store_u64(loop.address("frames", 0), 1 << 40)
    native.store_u64(loop.address("generation"), 2)
    assert not NativeCycles(loop).run(*[256] * 20).any()


def test_the_time_of_every_cycle_is_counted(player: type[Cycles], loop: SharedLoop) -> None:
    player(loop).run(*[256] * 50)
    figures = loop.audio()
    assert int(figures.histogram.sum()) == 50
    times = figures.callback_us
    assert 0 < times["p50"] <= times["p99"] <= times["p999"] <= times["max"] == figures.longest_callback_us


@given(st.integers(0, 1 << 40))
def test_a_time_falls_into_the_bucket_that_ends_above_it(ns: int) -> None:
    from demond.audio.fallback import bucket

    assert native.library is not None
    native.library.demond_bucket.argtypes = [native._U64]
    found = native.library.demond_bucket(ns)
    assert found == bucket(ns)
    if found < BUCKETS - 1:
        assert ns < bucket_end_ns(found)
    if found > 0:
        assert ns >= bucket_end_ns(found - 1)
