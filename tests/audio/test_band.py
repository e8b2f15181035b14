"""The part of the loop that is played: its ends, what the callback does at them, and the source beside the music."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from demond import native
from demond.audio.band import band_of, inside, packed
from demond.audio.loop import SharedLoop
from tests.audio.cycles import Cycles, NativeCycles, PythonCycles
from tests.audio.playing import audio_process, frame_numbers, ramp, shared_loop
from tests.jack import running_jackd, wait_for
from tests.listening import Capture, clicks, longest_silence

RATE = 48000
FADE = 480
LOOP = 100_000
shares = st.floats(0, 1)
lengths = st.integers(1, 46_080_000)
rates = st.sampled_from([8_000, 44_100, 48_000, 192_000])


@pytest.fixture
def loop() -> Iterator[SharedLoop]:
    with shared_loop(LOOP) as made:
        yield made


@pytest.fixture(params=[NativeCycles, PythonCycles], ids=["C", "Python"])
def player(request: pytest.FixtureRequest) -> type[Cycles]:
    return request.param  # type: ignore[no-any-return]


def music(frames: int, seed: int) -> NDArray[np.float32]:
    """Ten tones that fit the loop, nothing like those of another seed."""
    generator = np.random.default_rng(seed)
    turns = generator.integers(frames * 60 // RATE, frames * 600 // RATE, 10)
    phase = np.arange(frames)[:, None] / frames * turns + generator.random(10)
    tones = np.sin(2 * np.pi * phase).sum(axis=1) / 25
    return np.stack([tones, -tones], axis=1).astype(np.float32)


@given(shares, shares, lengths, rates)
def test_c_and_python_agree_on_every_band(a: float, b: float, frames: int, rate: int) -> None:
    assert native.library is not None
    word = ctypes.c_uint64
    native.library.demond_band.argtypes = [word, word, word, ctypes.POINTER(word)]
    native.library.demond_band.restype = None
    ends = (word * 2)()
    native.library.demond_band(packed(a, b), frames, rate, ends)
    assert tuple(ends) == band_of(packed(a, b), frames, rate)


@given(shares, shares, lengths, rates)
def test_a_band_lies_in_the_loop_and_lasts_a_quarter_of_a_second(a: float, b: float, frames: int, rate: int) -> None:
    first, end = band_of(packed(a, b), frames, rate)
    assert 0 <= first < end <= frames
    assert end - first >= min(frames, rate // 4)
    if (b - a) * frames > rate // 4 + 1:
        assert first == pytest.approx(a * frames, abs=1)
        assert end == pytest.approx(b * frames, abs=1)


@given(shares, shares, st.integers(1, 1_000_000), st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_playing_on_before_or_after_a_jump_leads_to_the_same_place(
    a: float, b: float, frames: int, start: int, on: int
) -> None:
    band, start = band_of(packed(a, b), frames, RATE), start % frames
    place = inside(band, start, frames)
    assert band[0] <= place < band[1]
    if band[0] <= start < band[1]:
        assert place == start
    elif on < (band[0] - start) % frames:  # it has not come in by itself by then
        after = band[0] + (place - band[0] + on) % (band[1] - band[0])
        assert inside(band, (start + on) % frames, frames) == after


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([32, 64, 256, 441, 1024, 4096]), min_size=1, max_size=20),
    st.integers(0, 80_000),
    st.integers(12_000, 50_000),
    st.sampled_from([NativeCycles, PythonCycles]),
)
def test_the_band_comes_round_sample_exactly_at_every_period(
    periods: list[int], a: int, length: int, player: type[Cycles]
) -> None:
    b = min(LOOP, a + length)
    with shared_loop(LOOP) as loop:
        loop.replace(RATE, ramp(LOOP))
        loop.set_band(a / LOOP, b / LOOP)
        cycles = player(loop)
        cycles.run(4096)
        start = loop.place()
        assert a <= start.position < b
        heard = cycles.run(*periods)
        expected = a + (start.position - a + np.arange(sum(periods))) % (b - a)
        pure = expected >= a + FADE  # before that the frames beyond b are faded from
        assert np.array_equal(frame_numbers(heard[pure]), expected[pure])
        place = loop.place()
        assert place.playhead - start.playhead == sum(periods)
        assert place.position == a + (start.position - a + sum(periods)) % (b - a)


def test_the_whole_loop_has_no_fade_at_its_end(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(20_000))
    cycles = player(loop)
    cycles.run(4096)
    heard = frame_numbers(cycles.run(*[1024] * 20))
    assert set(np.diff(heard) % 20_000) == {1}


def test_the_end_of_the_band_is_faded_from_with_constant_power(player: type[Cycles], loop: SharedLoop) -> None:
    content = np.random.default_rng(1).standard_normal((LOOP, 2)).astype(np.float32)
    loop.replace(RATE, content)
    loop.set_band(0.2, 0.5)
    cycles = player(loop)
    cycles.run(*[1000] * 40)
    start = loop.place().position
    until = 50_000 - start
    heard = cycles.run(*[1000] * (until // 1000 + 2))[until : until + FADE]
    u = (np.arange(1, FADE + 1) / FADE)[:, None]
    old, new = content[50_000 : 50_000 + FADE], content[20_000 : 20_000 + FADE]
    alike = max(0.0, np.vdot(old, new) / np.sqrt(np.vdot(old, old) * np.vdot(new, new)))
    level = np.sqrt(u**2 + (1 - u) ** 2 + 2 * alike * u * (1 - u))
    assert np.allclose(heard, (u * new + (1 - u) * old) / level, atol=1e-4)
    assert (heard**2).mean() == pytest.approx(1, abs=0.1)


def test_music_that_repeats_at_the_bands_end_has_no_bump_there(player: type[Cycles], loop: SharedLoop) -> None:
    tone = 0.5 * np.sin(2 * np.pi * np.arange(LOOP) / 100)
    loop.replace(RATE, np.stack([tone, tone], axis=1).astype(np.float32))
    loop.set_band(0.2, 0.5)
    cycles = player(loop)
    cycles.run(*[1000] * 3)
    start = loop.place().position
    expected = 0.5 * np.sin(2 * np.pi * (start + np.arange(60_000)) / 100)
    assert np.abs(cycles.run(*[1000] * 60)[:, 0] - expected).max() < 1e-4


def test_the_playhead_comes_into_a_new_band_at_once_and_keeps_its_phase(
    player: type[Cycles], loop: SharedLoop
) -> None:
    loop.replace(RATE, music(LOOP, 1))
    cycles = player(loop)
    cycles.run(*[500] * 10)
    for a, b in ((0.5, 0.7), (0.1, 0.3), (0.2, 0.45), (0.0, 1.0), (0.9, 1.0)):
        before = loop.place()
        loop.set_band(a, b)
        place = inside(loop.band(), before.position, LOOP)
        assert loop.place().position == place, "told before the callback has looked"
        cycles.run(500, 500)
        first, end = loop.band()
        assert loop.place().position == first + (place - first + 1000) % (end - first)
        assert loop.place().playhead == before.playhead + 1000


def test_a_band_that_moves_all_the_time_neither_clicks_nor_falls_silent(
    player: type[Cycles], loop: SharedLoop
) -> None:
    loop.replace(RATE, music(LOOP, 1), music(LOOP, 2))
    cycles = player(loop)
    generator = np.random.default_rng(5)
    heard = [cycles.run(*[64] * 50)]
    for turn in range(300):
        a, b = generator.random(2)
        loop.set_band(a, b)
        loop.set_dry_wet(generator.random())
        if turn % 50 == 49:
            loop.replace(RATE, music(LOOP - 100 * turn, turn), music(LOOP - 100 * turn, -turn % 7))
        heard.append(cycles.run(*[64] * int(generator.integers(1, 12))))
    sound = np.concatenate(heard)[2400:]
    assert clicks(sound, RATE) == []
    assert longest_silence(sound, RATE) < 0.001


def test_time_goes_on_inside_the_band_while_nobody_hears_it(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(LOOP))
    loop.set_running(False)
    loop.set_band(0.5, 0.75)
    cycles = player(loop)
    cycles.run(*[1024] * 100)
    first = inside((50_000, 75_000), 0, LOOP) - 50_000
    assert loop.place().position == 50_000 + (first + 102_400) % 25_000


@pytest.mark.parametrize(("wet", "expected"), [(1.0, 1.0), (0.0, -1.0), (0.75, 0.5)])
def test_dry_wet_is_reached_in_20_ms_in_a_straight_line(
    player: type[Cycles], loop: SharedLoop, wet: float, expected: float
) -> None:
    ones = np.ones((LOOP, 2), np.float32)
    loop.replace(RATE, ones, -ones)
    cycles = player(loop)
    cycles.run(*[256] * 10)
    loop.set_dry_wet(wet)
    levels = cycles.run(*[256] * 5)[:, 0]
    assert np.allclose(np.diff(levels[:960]), (expected - 1) / 960, atol=1e-5)
    assert (levels[960:] == expected).all()


def test_the_source_is_played_at_the_place_of_the_music(player: type[Cycles], loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(20_000), ramp(20_000, first=100_000))
    loop.set_dry_wet(0.0)
    cycles = player(loop)
    cycles.run(4096)
    at = loop.place().position
    heard = frame_numbers(cycles.run(*[256] * 200))
    assert np.array_equal(heard, 100_000 + (at + np.arange(51_200)) % 20_000)


def test_writes_into_the_loop_leave_the_source_alone(loop: SharedLoop) -> None:
    loop.replace(RATE, ramp(20_000))
    loop.commit(0, np.zeros((20_000, 2), np.float32))
    assert np.array_equal(loop.dry_area(loop.geometry().generation)[:20_000], ramp(20_000))


def test_moving_the_band_and_the_source_and_swapping_the_loop_do_not_click() -> None:
    """Music that has nothing to do with each other on either side of every jump."""
    generator = np.random.default_rng(3)
    with (
        running_jackd(period=128) as server,
        shared_loop(200_000) as loop,
        audio_process(loop, server.name or "", "auto") as audio,
    ):
        loop.replace(RATE, music(96_000, 1), music(96_000, 2))
        audio.wait_until_heard()
        with Capture(["demond:out_1", "demond:out_2"], 20, server.name) as capture:
            for turn in range(30):
                match turn % 3:
                    case 0:
                        loop.set_band(*generator.random(2))
                    case 1:
                        loop.set_dry_wet(generator.random())
                    case _:
                        frames = int(generator.integers(48_000, 192_000))
                        loop.replace(RATE, music(frames, turn), music(frames, turn + 1))
                start, way = loop.place().playhead, int(generator.integers(100, 20_000))
                wait_for(lambda start=start, way=way: loop.place().playhead > start + way, 5, "music")  # type: ignore[misc]
            capture.stop()
            heard = capture.audio
            assert capture.skipped == 0
        assert len(heard) > 30 * 4_800
        assert clicks(heard, RATE) == []
        assert longest_silence(heard, RATE) < 0.001
