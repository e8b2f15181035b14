"""Placement into a loop, on a port whose playhead the test moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from engine import RateError
from engine.fades import crossfade
from engine.geometry import HOP
from engine.offline import VirtualPort
from engine.playback import FADE, KEEP, Playback
from engine.port import Write
from engine.stream import Result
from tests.engine.parts import gaussian

T = 50
LOOP = T * HOP


class ToneVae:
    """A VAE with music that can be computed: the first two channels are the levels of two tones, one on each side."""

    reach = 1
    encoder_reach = 0

    def encode(self, audio: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        level = latents[:, :2].T.repeat_interleave(HOP, dim=1)
        return level * torch.sin(2 * torch.pi * (torch.arange(level.shape[1]) % 96) / 96)


def tones(left: float, right: float) -> Tensor:
    latent = torch.zeros(T, 64)
    latent[:, 0], latent[:, 1] = left, right
    return latent


def result(latent: Tensor, number: int = 1, version: int = 0) -> Result:
    return Result(latent, number, 0, 7, version, version, (0, T), (0, T), 1, settled=True)


def heard(latent: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(ToneVae().decode(latent).T.numpy())


SOURCE, OTHER = tones(0.5, 0.25), tones(-0.25, 0.5)
FADE_FRAMES = int(FADE * 48_000)


@pytest.fixture
def port() -> VirtualPort:
    return VirtualPort(period=256)


@pytest.fixture
def playback(port: VirtualPort) -> Playback:
    return Playback(ToneVae(), port, ToneVae().decode(SOURCE), port.clock)


def written(write: Write | None) -> Write:
    assert write is not None
    return write


def test_the_source_is_heard_first_and_for_ever(playback: Playback, port: VirtualPort) -> None:
    expected = heard(SOURCE)
    assert np.array_equal(port.play(2 * LOOP + 100), np.concatenate((expected, expected, expected[:100])))


@pytest.mark.parametrize("playhead", [0, 1, 1919, 1920, 40_003, LOOP - 300, LOOP - 1, LOOP, 3 * LOOP + 17])
def test_a_block_is_placed_sample_exactly_ahead_of_the_playhead(
    playback: Playback, port: VirtualPort, playhead: int
) -> None:
    port.play(playhead)
    write = written(playback.write(result(OTHER)))
    assert write.start_playhead == playhead + playback.lead.write_ahead
    assert write.position == write.start_playhead % LOOP
    assert (write.position + write.frames) % HOP == 0
    assert write.frames > (KEEP - 1) * HOP
    new, old, at = heard(OTHER), heard(SOURCE), np.arange(LOOP)
    inside = (at - write.position) % LOOP
    pure = (inside >= FADE_FRAMES) & (inside < write.frames - FADE_FRAMES)
    assert np.array_equal(port.loop[pure], new[pure])
    outside = inside >= write.frames
    assert np.array_equal(port.loop[outside], old[outside])


def test_nothing_clicks_at_either_end_of_a_block(playback: Playback, port: VirtualPort) -> None:
    port.play(LOOP - 5_000)  # the block will lie across the seam
    write = written(playback.write(result(OTHER)))
    assert write.position + write.frames > LOOP
    music = port.play(2 * LOOP)
    smooth = max(np.abs(np.diff(heard(latent), n=2, axis=0)).max() for latent in (SOURCE, OTHER))
    assert np.abs(np.diff(music, n=2, axis=0)).max() < 1.2 * smooth


def test_the_story_of_a_write_is_that_of_its_result(playback: Playback, port: VirtualPort) -> None:
    port.play(1_000)
    write = written(playback.write(result(OTHER, number=7, version=42)))
    assert (write.result, write.knob_version, write.admitted_version, write.late_frames) == (7, 42, 42, 0)
    assert write.latent_ready_ns == port.clock()


def test_a_late_write_leaves_the_old_audio_playing(playback: Playback, port: VirtualPort) -> None:
    """The playhead moves on while the block is decoded; what it has passed is never touched."""
    vae = ToneVae()
    slow = _Stalling(vae, lambda: port.play(3_000))
    late = Playback(slow, port, vae.decode(SOURCE), port.clock)
    write = written(late.write(result(OTHER)))
    assert write.late_frames == 3_000  # it had meant to begin one period ahead
    assert write.start_playhead == 3_000 + 256
    assert np.array_equal(port.loop[:3_256], heard(SOURCE)[:3_256])
    assert late.lead.read().late_writes == 1
    assert late.lead.write_ahead > 3_000


def test_a_write_that_is_late_altogether_is_left_out(port: VirtualPort) -> None:
    vae = ToneVae()
    late = Playback(_Stalling(vae, lambda: port.play(30_000)), port, vae.decode(SOURCE), port.clock)
    assert late.write(result(OTHER)) is None
    assert np.array_equal(port.loop, heard(SOURCE))
    assert late.lead.read().late_writes == 1


class _Stalling:
    """A VAE during whose decoding something else happens."""

    reach = 1
    encoder_reach = 0

    def __init__(self, vae: ToneVae, during: Callable[[], object]) -> None:
        self._vae, self._during = vae, during

    def encode(self, audio: Tensor) -> Tensor:
        return self._vae.encode(audio)

    def decode(self, latents: Tensor) -> Tensor:
        self._during()
        return self._vae.decode(latents)


def test_topping_up_keeps_the_present_latent_ahead_of_the_playhead(playback: Playback, port: VirtualPort) -> None:
    port.play(1_000)
    written(playback.write(result(OTHER)))
    port.play(2_000)  # past the first fade
    playback.lead.ticked(960 / 48_000)
    playback.lead.scheduled(ticks_between=2, ticks_to_write=1)
    for _ in range(200):
        playback.follow()
        playback.top_up()
        before = port.place()[1]
        expected = np.take(heard(OTHER), np.arange(before, before + 960), axis=0, mode="wrap")
        assert np.abs(port.play(960) - expected).max() < 1e-6


def test_topping_up_waits_while_there_is_enough(playback: Playback, port: VirtualPort) -> None:
    written(playback.write(result(OTHER)))
    assert playback.top_up() is None


def test_filling_makes_the_whole_loop_fresh_and_then_stops(playback: Playback, port: VirtualPort) -> None:
    written(playback.write(result(OTHER)))
    for _ in range(400):
        playback.follow()
        if playback.fresh:
            break
        playback.fill()
        port.play(960)
    assert playback.fresh
    assert playback.fill() is None
    assert np.abs(port.loop - heard(OTHER)).max() < 1e-6


def test_another_latent_makes_the_loop_stale_again_and_the_same_one_does_not(
    playback: Playback, port: VirtualPort
) -> None:
    playback.write(result(OTHER))
    while not playback.fresh:
        playback.fill()
        port.play(4_800)
    playback.write(result(OTHER.clone(), number=2))
    assert playback.fresh
    playback.write(result(SOURCE, number=3))
    assert not playback.fresh


@pytest.mark.parametrize(("rate", "hop"), [(44_100, 1_764), (96_000, 3_840), (22_050, 882)])
def test_windows_at_another_rate_equal_the_whole_loop_resampled(rate: int, hop: int) -> None:
    port = VirtualPort(rate)
    playback = Playback(ToneVae(), port, ToneVae().decode(SOURCE), port.clock)
    assert port.frames == T * hop
    playback.write(result(OTHER))
    while not playback.fresh:
        playback.fill()
        port.play(rate // 20)
    whole = VirtualPort(rate)
    Playback(ToneVae(), whole, ToneVae().decode(OTHER), whole.clock)
    assert np.abs(port.loop - whole.loop).max() < 1e-4


def test_a_new_rate_keeps_the_music_and_its_place(playback: Playback, port: VirtualPort) -> None:
    port.play(LOOP // 2)
    port.rate = 44_100
    playback.follow()
    assert port.frames == T * 1_764
    assert port.place()[1] == port.frames // 2
    expected = VirtualPort(44_100)
    Playback(ToneVae(), expected, ToneVae().decode(SOURCE), expected.clock)
    assert np.abs(port.loop - expected.loop).max() < 1e-4
    assert written(playback.write(result(OTHER))).frames > (KEEP - 1) * 1_764


def test_an_engine_that_takes_anothers_place_leaves_the_loop_as_it_is(port: VirtualPort) -> None:
    left = np.full((LOOP, 2), 0.25, np.float32)
    port.replace(48_000, left, left)
    Playback(ToneVae(), port, ToneVae().decode(SOURCE), port.clock, keep=True)
    assert np.array_equal(port.loop, left)
    port.replace(48_000, left[: LOOP // 2], left[: LOOP // 2])
    Playback(ToneVae(), port, ToneVae().decode(SOURCE), port.clock, keep=True)
    assert len(port.loop) == LOOP
    assert not np.array_equal(port.loop, left)


def test_a_rate_without_whole_frames_is_refused_in_words(port: VirtualPort) -> None:
    port.rate = 47_999
    with pytest.raises(RateError, match="47999 Hz"):
        Playback(ToneVae(), port, ToneVae().decode(SOURCE), port.clock)


@given(st.integers(0, 9), st.floats(0, 1, allow_subnormal=False))
def test_a_fade_keeps_the_level_whatever_the_music(seed: int, share: float) -> None:
    """The power in the middle of a fade is that of its ends, from unrelated music to the same."""
    a, b = gaussian(20_000, 2, seed=seed).numpy(), gaussian(20_000, 2, seed=seed + 10).numpy()
    new = np.asarray(share * a + (1 - share**2) ** 0.5 * b, np.float32)
    faded, alike = crossfade(a, new)
    assert alike == pytest.approx(share, abs=0.03)
    assert (faded[9_000:11_000] ** 2).mean() == pytest.approx(1, abs=0.12)
    assert np.abs(faded[0] - a[0]).max() < 1e-2
    assert np.abs(faded[-1] - new[-1]).max() < 1e-2


def test_fading_into_the_same_music_changes_nothing() -> None:
    a = gaussian(1_200, 2, seed=1).numpy()
    faded, alike = crossfade(a, a)
    assert np.abs(faded - a).max() < 1e-6
    assert alike == pytest.approx(1)


def test_silence_fades_without_a_nan() -> None:
    silence = np.zeros((1_200, 2), np.float32)
    assert np.array_equal(crossfade(silence, silence)[0], silence)
