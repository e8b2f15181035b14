"""Playing and writing parts of a loop: a band of it, regions of long latents, and another loop in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from demond.bench.clicks import clicks, longest_silence
from engine.geometry import HOP
from engine.offline import GLIDE, JUMP, VirtualPort
from engine.playback import BEYOND, FADE, SEAM, Playback
from engine.stream import Result
from engine.windows import Windows

RATE = 48_000
T = 100
LOOP = T * HOP
EDGE = int((BEYOND + FADE) * RATE)


class Melody:
    """A VAE with music that can be computed: frame by frame two tones, as loud as the first two channels say."""

    reach = 2
    encoder_reach = 0

    def __init__(self, during: Callable[[], object] = lambda: None) -> None:
        self._during = during

    def encode(self, audio: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        self._during()
        at = torch.arange(latents.shape[0] * HOP) % 96 / 96
        level = latents[:, :2].T.repeat_interleave(HOP, dim=1)
        return level * torch.stack((torch.sin(2 * torch.pi * at), torch.sin(2 * torch.pi * (3 * at + 0.25))))


def tones(left: float, right: float, frames: int = T) -> Tensor:
    latent = torch.zeros(frames, 64)
    latent[:, 0], latent[:, 1] = left, right
    return latent


def result(latent: Tensor, first: int = 0, number: int = 1) -> Result:
    """A result for the region that begins at `first`; its part is all that the decoder can make of it."""
    count, before = latent.shape[0], Melody.reach + 1
    part = (0, T) if count == T else ((first + before) % T, max(0, count - 2 * before - SEAM))
    return Result(latent, number, 0, 7, 1, 1, (first, count), part, 1, settled=True)


def heard(latent: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(Melody().decode(latent).T.numpy())


SOURCE, OTHER, THIRD = tones(0.5, 0.25), tones(-0.25, 0.5), tones(0.1, -0.4)


@pytest.fixture
def port() -> VirtualPort:
    return VirtualPort()


@pytest.fixture
def playback(port: VirtualPort) -> Playback:
    return Playback(Melody(), port, Melody().decode(SOURCE), port.clock)


def until_fresh(playback: Playback, port: VirtualPort, stride: int = 960) -> NDArray[np.float32]:
    played = []
    for _ in range(3_000):
        if playback.fresh:
            return np.concatenate(played) if played else np.zeros((0, 2), np.float32)
        playback.follow()
        playback.fill()
        played.append(port.play(stride))
    raise AssertionError("the band did not become fresh")


def test_the_virtual_port_goes_round_in_its_band(port: VirtualPort) -> None:
    ramp = np.stack([np.arange(LOOP), -np.arange(LOOP)], axis=1).astype(np.float32)
    port.replace(RATE, ramp, ramp)
    port.ends = (0.25, 0.5)
    expected = LOOP // 4 + (0 - LOOP // 4) % LOOP % (LOOP // 4)
    for count in (1_000, 70, 96_000, 5):
        before = port.place()[0]
        at = LOOP // 4 + (expected - LOOP // 4 + np.arange(count)) % (LOOP // 4)
        music = port.play(count)[:, 0]
        pure = (at >= LOOP // 4 + int(JUMP * RATE)) & (before + np.arange(count) >= int(JUMP * RATE))
        assert np.array_equal(music[pure], at[pure])
        expected = LOOP // 4 + (expected - LOOP // 4 + count) % (LOOP // 4)
        assert port.place() == (before + count, expected)


def test_the_virtual_port_mixes_the_source_under_the_music(port: VirtualPort) -> None:
    ones = np.ones((LOOP, 2), np.float32)
    port.replace(RATE, ones, -ones)
    port.play(100)
    port.dry_wet = 0.25
    levels = port.play(4_000)[:, 0]
    glide = int(GLIDE * RATE)
    assert np.allclose(np.diff(levels[:glide]), -1.5 / glide, atol=1e-6)
    assert np.allclose(levels[glide:], -0.5)
    port.dry_wet = 1.0
    port.play(4_000)
    assert np.array_equal(port.play(100), ones[:100])


def test_the_source_stays_beside_the_music_that_is_written(playback: Playback, port: VirtualPort) -> None:
    playback.write(result(OTHER))
    until_fresh(playback, port)
    assert np.array_equal(port.dry, heard(SOURCE))
    port.rate = 44_100
    playback.follow()
    whole = VirtualPort(44_100)
    Playback(Melody(), whole, Melody().decode(SOURCE), whole.clock)
    assert np.array_equal(port.dry, whole.loop)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, LOOP), st.integers(0, LOOP), st.integers(12_500, LOOP), st.sampled_from([44_100, 48_000]))
def test_a_band_becomes_fresh_and_nothing_else_does(playhead: int, a: int, length: int, rate: int) -> None:
    port = VirtualPort(rate)
    playback = Playback(Melody(), port, Melody().decode(SOURCE), port.clock)
    old, new, loop = port.loop.copy(), VirtualPort(rate), port.frames
    Playback(Melody(), new, Melody().decode(OTHER), new.clock)
    a = min(a, loop - 12_500)
    b = min(loop, a + length)
    port.ends = (a / loop, b / loop)
    a, b = port.band()
    port.play(playhead)
    playback.follow()
    playback.write(result(OTHER))
    until_fresh(playback, port)
    assert np.abs(port.loop[a:b] - new.loop[a:b]).max() < 3e-4
    at = np.arange(loop)
    far = ((at - a) % loop >= b - a) & ((at - b) % loop >= EDGE) & ((a - at) % loop > EDGE)
    assert np.array_equal(port.loop[far], old[far])
    assert playback.fill() is None


def test_a_block_that_passes_the_end_of_the_band_goes_on_at_its_beginning(
    playback: Playback, port: VirtualPort
) -> None:
    port.ends = (0.25, 0.75)
    a, b = port.band()
    port.play(b - 8_000 - port.place()[1] + b - a)
    at = port.place()[1]
    playback.follow()
    write = playback.write(result(OTHER))
    assert write is not None
    assert write.position == at + playback.lead.write_ahead
    fade = int(FADE * RATE)
    music = heard(OTHER)
    assert np.array_equal(port.loop[write.position + fade : b], music[write.position + fade : b])
    wrapped = write.position + write.frames - b
    assert wrapped > 2 * fade
    assert np.array_equal(port.loop[a : a + wrapped - fade], music[a : a + wrapped - fade])


def test_the_band_sounds_whole_and_clicks_neither_at_its_end_nor_when_it_is_opened(
    playback: Playback, port: VirtualPort
) -> None:
    port.ends = (0.333, 0.666)
    playback.follow()
    music = [port.play(4_800)]
    for number, latent in enumerate((OTHER, THIRD, SOURCE, OTHER)):
        playback.write(result(latent, number=number))
        music.append(until_fresh(playback, port))
        port.ends = (0.0, 1.0) if number % 2 else (0.3, 0.55)
        music.append(port.play(LOOP))
    heard_all = np.concatenate(music)
    assert clicks(heard_all, RATE) == []
    assert longest_silence(heard_all, RATE) < 0.001


def test_opening_the_band_makes_the_new_part_stale(playback: Playback, port: VirtualPort) -> None:
    port.ends = (0.5, 1.0)
    playback.write(result(OTHER))
    until_fresh(playback, port)
    assert playback.wanted_frame() is None
    port.ends = (0.6, 0.9)
    assert playback.fresh
    port.ends = (0.4, 1.0)
    assert not playback.fresh
    until_fresh(playback, port)
    assert np.abs(port.loop[int(0.4 * LOOP) :] - heard(OTHER)[int(0.4 * LOOP) :]).max() < 1e-6


def test_a_band_that_moves_while_a_block_is_decoded_leaves_the_block_out(port: VirtualPort) -> None:
    def close() -> None:
        port.ends = (0.5, 0.75)

    playback = Playback(Melody(close), port, Melody().decode(SOURCE), port.clock)
    assert playback.write(result(OTHER)) is None
    assert np.array_equal(port.loop, heard(SOURCE))


def test_the_shortest_band_is_written_at_the_usual_periods(playback: Playback, port: VirtualPort) -> None:
    port.ends = (0.5, 0.5 + 12_000 / LOOP)
    playback.follow()
    playback.write(result(OTHER))
    until_fresh(playback, port, stride=256)


# -- regions --------------------------------------------------------------------------------------------------------


def test_a_region_is_written_inside_of_itself_only(playback: Playback, port: VirtualPort) -> None:
    region = result(tones(-0.25, 0.5, 30), first=90)  # goes on at the loop's beginning
    port.play(91 * HOP)
    assert playback.write(region) is None, "the decoder would not hear enough before the block"
    for _ in range(60):
        playback.follow()
        playback.fill()
        port.play(1_920)
    at = np.arange(LOOP)
    inside = (at - 92 * HOP) % LOOP < 26 * HOP
    assert np.array_equal(port.loop[~inside], heard(SOURCE)[~inside])
    fade = int(FADE * RATE)
    pure = ((at - 92 * HOP - 4 * fade) % LOOP) < 26 * HOP - 8 * fade
    assert np.abs(port.loop[pure] - heard(OTHER)[pure]).max() < 1e-6


def test_stale_music_plays_on_where_the_region_does_not_reach(playback: Playback, port: VirtualPort) -> None:
    assert playback.write(result(tones(-0.25, 0.5, 30), first=40)) is None
    assert np.array_equal(port.loop, heard(SOURCE))
    port.play(75 * HOP)
    assert playback.top_up() is None
    assert np.array_equal(port.loop, heard(SOURCE))


def test_the_next_frame_is_where_the_next_write_begins(playback: Playback, port: VirtualPort) -> None:
    port.play(50 * HOP + 1_000)
    frame = playback.next_frame()
    assert frame == (50 * HOP + 1_000 + playback.lead.write_ahead) // HOP
    before = Melody.reach + 1
    assert playback.write(result(tones(-0.25, 0.5, 30), first=frame - before)) is not None
    assert playback.write(result(tones(0.25, 0.5, 30), first=frame - before + 2)) is None
    playback.lead.ticked(0.120)
    assert playback.next_frame(ticks=2) == frame + 6


LONG = 300


def until_fresh_by_regions(playback: Playback, port: VirtualPort, windows: Windows, music: object) -> list[int]:
    """Gives the playback the regions that it wants, as the ring makes them; returns their first frames."""
    given = []
    for _ in range(4_000):
        if playback.fresh:
            return given
        if (at := playback.wanted_frame()) is not None:
            first = windows.first(at)
            latent = tones(-0.25, 0.5, windows.length)
            given.append(first)
            region = (first, windows.length)
            playback.write(replace(result(latent), region=region, part=windows.part(first), id=len(given)), music)
        playback.follow()
        playback.fill()
        port.play(port.rate // 25)
    raise AssertionError("the band did not become fresh")


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, LONG * HOP),
    st.integers(100, LONG),
    st.sampled_from([(0, 1), (0.3, 0.8), (0.5, 0.51)]),
    st.sampled_from([44_100, 48_000]),
)
def test_the_loop_becomes_fresh_region_by_region(
    playhead: int, window: int, ends: tuple[float, float], rate: int
) -> None:
    port, windows = VirtualPort(rate), Windows(LONG, window, torch.device("cpu"))
    playback = Playback(Melody(), port, Melody().decode(tones(0.5, 0.25, LONG)), port.clock)
    port.ends = (ends[0], max(ends[1], ends[0] + 0.25 * rate / port.frames))
    port.play(playhead)
    playback.follow()
    given = until_fresh_by_regions(playback, port, windows, object())
    assert len(given) <= 2 * len(set(given)) + 2
    a, b = port.band()
    new = VirtualPort(rate)
    Playback(Melody(), new, Melody().decode(tones(-0.25, 0.5, LONG)), new.clock)
    assert np.abs(port.loop[a:b] - new.loop[a:b]).max() < 3e-4


def test_another_music_makes_all_regions_stale(port: VirtualPort) -> None:
    playback = Playback(Melody(), port, Melody().decode(tones(0.5, 0.25, LONG)), port.clock)
    windows, music = Windows(LONG, 120, torch.device("cpu")), object()
    assert len(until_fresh_by_regions(playback, port, windows, music)) > 1
    first = windows.first(playback.next_frame())
    again = replace(result(tones(-0.25, 0.5, 120)), region=(first, 120), part=windows.part(first))
    assert playback.write(again, music) is None
    assert playback.fresh
    playback.write(again, object())
    assert not playback.fresh


def test_a_result_that_does_not_fit_the_loop_is_ignored(playback: Playback, port: VirtualPort) -> None:
    assert playback.write(result(tones(-0.25, 0.5, T + 5))) is None
    assert playback.write(replace(result(OTHER), region=(0, 30))) is None
    assert np.array_equal(port.loop, heard(SOURCE))
    assert playback.fill() is None


# -- another loop ---------------------------------------------------------------------------------------------------


def test_a_swap_keeps_the_proportion_and_plays_the_source_at_once(playback: Playback, port: VirtualPort) -> None:
    port.play(LOOP // 4)
    playback.write(result(OTHER))
    playback.swap(Melody(), Melody().decode(tones(0.3, 0.3, 60)))
    assert port.place() == (LOOP // 4, 15 * HOP)
    assert np.array_equal(port.loop, heard(tones(0.3, 0.3, 60)))
    assert np.array_equal(port.dry, port.loop)
    assert not playback.fresh
    assert playback.fill() is None
    assert playback.write(result(OTHER)) is None, "a latent of the old loop"
    assert playback.write(result(tones(-0.25, 0.5, 60))) is not None
    until_fresh(playback, port)
    assert np.abs(port.loop - heard(tones(-0.25, 0.5, 60))).max() < 1e-6


def test_a_swap_can_bring_other_content_than_its_source(playback: Playback, port: VirtualPort) -> None:
    playback.swap(Melody(), Melody().decode(SOURCE), Melody().decode(THIRD))
    assert np.array_equal(port.loop, heard(THIRD))
    assert np.array_equal(port.dry, heard(SOURCE))
    with pytest.raises(ValueError, match="as long as its source"):
        playback.swap(Melody(), Melody().decode(SOURCE), Melody().decode(tones(1, 1, 5)))
    assert np.array_equal(port.loop, heard(THIRD))


def test_a_block_that_is_decoded_during_a_swap_is_not_written_into_the_new_loop(port: VirtualPort) -> None:
    def swap() -> None:
        playback.swap(Melody(), Melody().decode(THIRD))

    playback = Playback(Melody(swap), port, Melody().decode(SOURCE), port.clock)
    assert playback.write(result(OTHER)) is None
    assert np.array_equal(port.loop, heard(THIRD))
