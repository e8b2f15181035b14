"""The shared loop's engine and daemon side: content, blocks, the journal, and what crashes leave behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demond import native, shm
from demond.audio import loop as loop_module
from demond.audio.figures import EngineFigures, Place, callback_times
from demond.audio.layout import BUCKETS
from demond.audio.loop import LoopError, SharedLoop
from tests.audio.cycles import NativeCycles
from tests.audio.playing import frame_numbers, ramp, shared_loop


@pytest.fixture
def loop() -> Iterator[SharedLoop]:
    with shared_loop(50_000) as made:
        yield made


def same(frames: int, value: float) -> np.ndarray:
    return np.full((frames, 2), value, np.float32)


def test_a_new_loop_is_empty(loop: SharedLoop) -> None:
    assert loop.place() == Place(0, 0)
    assert loop.geometry().frames == 0
    assert loop.engine() == EngineFigures()
    assert not loop.audio().connected
    with pytest.raises(ValueError, match="no content yet"):
        loop.read(0, 1)
    with pytest.raises(ValueError, match="does not fit"):
        loop.commit(0, same(1, 1))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3000), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 3000)), max_size=8))
def test_blocks_land_where_they_belong_modulo_the_loop(
    loop: SharedLoop, frames: int, blocks: list[tuple[int, int]]
) -> None:
    other = SharedLoop.attach(loop.name)
    expected = ramp(frames)
    loop.replace(48000, expected)
    for number, (position, length) in enumerate(blocks):
        block = same(min(length, frames), -1 - number)
        loop.commit(position, block)
        expected[(position + np.arange(len(block))) % frames] = block
        assert np.array_equal(other.read(0, frames), expected)
    assert np.array_equal(other.read(frames - 1, frames), np.roll(expected, 1, axis=0))
    assert not other.repair()
    other.close()


def test_what_does_not_fit_is_refused_and_changes_nothing(loop: SharedLoop) -> None:
    loop.replace(48000, ramp(1000))
    for wrong in (np.zeros((10, 2)), np.zeros((10, 1), np.float32), np.zeros(10, np.float32)):
        with pytest.raises(ValueError, match="must be float32 of shape"):
            loop.commit(0, wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must be float32 of shape"):
            loop.replace(48000, wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must be float32 of shape"):
            loop.replace(48000, same(20, 1), wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1001 frames does not fit into a loop of 1000"):
        loop.commit(0, same(1001, 1))
    with pytest.raises(ValueError, match="50001 frames do not fit"):
        loop.replace(48000, same(50_001, 1))
    with pytest.raises(ValueError, match="no sample rate"):
        loop.replace(0, same(10, 1))
    assert np.array_equal(loop.read(0, 1000), ramp(1000))
    assert loop.geometry().generation == 1


def test_a_block_ahead_of_the_playhead_is_heard_to_the_sample(loop: SharedLoop) -> None:
    loop.replace(48000, ramp(40_000))
    cycles = NativeCycles(loop)
    cycles.run(4096)
    loop.commit(6000, ramp(500, first=100_000))
    heard = frame_numbers(cycles.run(*[256] * 12))
    expected = np.arange(4096, 4096 + 12 * 256)
    expected[6000 - 4096 : 6500 - 4096] = np.arange(100_000, 100_500)
    assert np.array_equal(heard, expected)


def test_a_late_write_leaves_the_old_audio_playing(loop: SharedLoop) -> None:
    loop.replace(48000, ramp(40_000))
    cycles = NativeCycles(loop)
    cycles.run(4096)
    loop.commit(3000, ramp(1000, first=100_000))  # all of it behind the playhead
    assert np.array_equal(frame_numbers(cycles.run(1024)), np.arange(4096, 5120))


class _Killed(BaseException):
    """Stands for SIGKILL: no code of the loop may catch it."""


def _die_after(monkeypatch: pytest.MonkeyPatch, stores: int) -> None:
    """Makes the engine die just before its store number `stores`."""
    real, done = native.store_u64, 0

    def store(address: int, value: int) -> None:
        nonlocal done
        if done == stores:
            raise _Killed
        done += 1
        real(address, value)

    monkeypatch.setattr(loop_module.native, "store_u64", store)


@pytest.mark.parametrize("stores", range(5))
def test_an_engine_that_dies_at_any_store_of_a_write_leaves_it_whole(
    loop: SharedLoop, monkeypatch: pytest.MonkeyPatch, stores: int
) -> None:
    loop.replace(48000, same(1000, 1))
    engine = SharedLoop.attach(loop.name)
    with monkeypatch.context() as patch:
        _die_after(patch, stores)
        try:
            engine.commit(700, same(600, 2))
            completed = True
        except _Killed:
            completed = False
    assert completed == (stores == 4)
    assert loop.repair() == (stores == 3)
    written = set(loop.read(700, 600).ravel().tolist())
    assert written == ({1.0} if stores < 3 else {2.0})
    assert set(loop.read(300, 400).ravel().tolist()) == {1.0}
    assert not loop.repair()


@pytest.mark.parametrize("stores", range(4))
def test_an_engine_that_dies_at_any_store_of_a_replacement_leaves_the_old_or_the_new_loop(
    loop: SharedLoop, monkeypatch: pytest.MonkeyPatch, stores: int
) -> None:
    loop.replace(48000, same(1000, 1))
    engine = SharedLoop.attach(loop.name)
    with monkeypatch.context() as patch:
        _die_after(patch, stores)
        try:
            engine.replace(44100, same(2000, 2))
        except _Killed:
            assert stores < 3
    loop.repair()
    geometry = loop.geometry()
    content = set(loop.read(0, geometry.frames).ravel().tolist())
    assert (geometry.rate, geometry.frames, content) in ((48000, 1000, {1.0}), (44100, 2000, {2.0}))


def test_an_engine_killed_50_times_leaves_every_block_old_or_new(loop: SharedLoop) -> None:
    block_frames, blocks = 5000, 10
    generator = np.random.default_rng(1)
    values = np.zeros(blocks)
    loop.replace(48000, same(block_frames * blocks, 0))
    repaired = 0
    for life in range(1, 51):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # The block of turn t goes to place t % blocks, shifted so that one of them wraps.
            for turn in range(10**9):
                loop.commit(turn % blocks * block_frames + 2500, same(block_frames, life * 1e4 + turn % 9000))
                if turn == 0:
                    os.write(writer, b".")
        assert os.read(reader, 1) == b"."
        time.sleep(generator.uniform(0, 0.004))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        repaired += loop.repair()
        for index in range(blocks):
            content = np.unique(loop.read(index * block_frames + 2500, block_frames))
            assert len(content) == 1, f"life {life}: block {index} is half old, half new"
            assert content[0] == values[index] or content[0] // 10_000 == life
            values[index] = content[0]
    assert repaired > 0, "no kill hit a copy: the test proves nothing"


def test_engine_figures_come_back_as_they_were(loop: SharedLoop) -> None:
    figures = EngineFigures(*range(1000, 1013))
    loop.publish_engine(figures)
    assert loop.engine() == figures
    loop.beat_engine()
    assert loop.engine().heartbeat_ns > figures.heartbeat_ns
    assert loop.engine().tick == figures.tick


def _hammer(write: Callable[[int], None], check: Callable[[], None], seconds: float = 0.7) -> None:
    """Writes in one thread while this one reads."""
    stop = threading.Event()

    def writing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write(number)

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            check()
    finally:
        stop.set()
        thread.join()


def test_figures_are_never_a_mix_of_two_ticks(loop: SharedLoop) -> None:
    reader = SharedLoop.attach(loop.name)
    seen = set()

    def check() -> None:
        figures = reader.engine()
        assert figures.tick == figures.writes == figures.decode_us_p99 == figures.lead_frames
        seen.add(figures.tick)

    def write(number: int) -> None:
        loop.publish_engine(
            EngineFigures(tick=number, writes=number, decode_us_p99=number, lead_frames=number, heartbeat_ns=1)
        )

    _hammer(write, check)
    assert len(seen) > 20
    reader.close()


def _run(cycles: NativeCycles) -> None:
    cycles.run(64)


def test_playhead_and_position_are_always_of_one_cycle(loop: SharedLoop) -> None:
    """The callback runs here in a thread, as fast as it can; position and playhead must keep their difference."""
    frames = 50_000
    loop.replace(48000, ramp(frames))
    cycles = NativeCycles(loop)
    reader = SharedLoop.attach(loop.name)
    seen = set()

    def check() -> None:
        place = reader.place()
        assert place.playhead % frames == place.position
        seen.add(place.playhead)

    _hammer(lambda number: _run(cycles), check)
    assert len(seen) > 20
    reader.close()


def test_a_reader_never_waits_for_a_dead_writer(loop: SharedLoop) -> None:
    """Half a publication, as SIGKILL leaves it: the slot that is being filled is not the one that is read."""
    loop.publish_engine(EngineFigures(tick=1))
    sequence = native.load_u64(loop.address("figures_sequence"))
    native.store_u64(loop.address("figures", (sequence + 1) % 2 * 24), 99)
    assert loop.engine().tick == 1


def test_blocks_wait_until_a_replacement_is_through(loop: SharedLoop) -> None:
    """The old content is on its way out for 10 ms; until then a block must not be staged in its area."""
    loop.replace(48000, same(40_000, 0.25))
    cycles = NativeCycles(loop)
    loop.set_connected(True)
    cycles.run(4096)
    loop.replace(48000, same(40_000, 0.25))
    assert cycles.run(64).min() == pytest.approx(0.25)  # the crossfade has begun
    committed = threading.Event()

    def write() -> None:
        loop.commit(20_000, same(10_000, 0.5))
        committed.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not committed.wait(0.05)
    heard = cycles.run(*[64] * 8)
    assert np.allclose(heard, 0.25, rtol=1e-6), "the same music came with a bump"
    assert committed.wait(5)
    thread.join()
    assert loop.read(20_000, 1)[0, 0] == 0.5


def test_a_jack_that_stands_still_holds_the_engine_up_for_half_a_second_only(loop: SharedLoop) -> None:
    loop.replace(48000, same(100, 1))
    loop.set_connected(True)  # and never a cycle
    start = time.monotonic()
    loop.commit(0, same(10, 2))
    assert 0.4 < time.monotonic() - start < 1.5
    start = time.monotonic()
    loop.commit(0, same(10, 2))
    assert time.monotonic() - start < 0.2


def test_gain_is_in_decibels_and_must_be_a_number(loop: SharedLoop) -> None:
    with pytest.raises(ValueError, match="not a number"):
        loop.set_output(float("nan"), mute=False)


def test_band_and_share_must_lie_in_the_loop(loop: SharedLoop) -> None:
    loop.replace(48000, ramp(40_000))
    for a, b in ((-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            loop.set_band(a, b)
        with pytest.raises(ValueError, match="between 0 and 1"):
            loop.set_dry_wet(a if a else b)
    assert loop.band() == (0, 40_000)
    loop.set_band(0.25, 0.75)
    assert loop.band() == (10_000, 30_000)


def test_a_closed_end_says_so_instead_of_crashing(loop: SharedLoop) -> None:
    other = SharedLoop.attach(loop.name)
    other.close()
    other.close()
    with pytest.raises(LoopError, match="closed"):
        other.place()
    with pytest.raises(LoopError, match="closed"):
        other.audio()


def test_memory_is_taken_only_for_the_content_that_is_there() -> None:
    """A loop for ten minutes at 192 kHz costs nothing until such content comes."""
    loop = SharedLoop.create(shm.unique_name("long"), 600 * 192_000)
    try:
        path = Path("/dev/shm") / loop.name
        assert path.stat().st_blocks * 512 < 100_000
        loop.replace(48000, ramp(100_000))
        assert path.stat().st_blocks * 512 < 3_000_000
    finally:
        loop.close()
        loop.unlink()


def test_quantiles_of_callback_times() -> None:
    histogram = np.zeros(BUCKETS, np.uint64)
    assert callback_times(histogram) == {"p50": 0, "p99": 0, "p999": 0, "max": 0}
    histogram[8], histogram[40], histogram[80] = 980, 18, 2  # end at 288 ns, 4.608 µs and 147.456 µs
    assert callback_times(histogram) == {"p50": 0.288, "p99": 4.608, "p999": 147.456, "max": 147.456}
    assert callback_times(histogram, 100.0)["p999"] == 100.0
    with pytest.raises(ValueError, match="192 buckets"):
        callback_times(histogram[:10])
