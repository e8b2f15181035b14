"""Blocks that are decoded behind the ticks: begun with the latent, written when they are finished."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from engine.offline import VirtualPort
from engine.playback import Playback
from engine.vae import decode_window
from tests.engine.test_playback import HOP, LOOP, OTHER, SOURCE, ToneVae, heard, result, tones, written


class LaterVae(ToneVae):
    """Decodes in the background, as a `engine.captured.CapturedVae` does; tells what was waited for."""

    def __init__(self) -> None:
        self.begun, self.waited = 0, 0

    def begin_window(self, latents: Tensor, start: int, count: int) -> Callable[[], NDArray[np.float32]]:
        self.begun += 1
        audio = decode_window(self, latents, start, count).T.numpy()

        def wait() -> NDArray[np.float32]:
            self.waited += 1
            return audio

        return wait


@pytest.fixture
def vae() -> LaterVae:
    return LaterVae()


@pytest.fixture
def port() -> VirtualPort:
    return VirtualPort(period=256)


@pytest.fixture
def playback(port: VirtualPort, vae: LaterVae) -> Playback:
    return Playback(vae, port, vae.decode(SOURCE), port.clock, behind=True)


def test_nothing_is_waited_for_and_nothing_is_written_before_the_end(
    playback: Playback, port: VirtualPort, vae: LaterVae
) -> None:
    before = port.loop.copy()
    assert playback.write(result(OTHER, number=3, version=5), tick=(9, 123)) is None
    assert (vae.begun, vae.waited) == (1, 0)
    assert np.array_equal(port.loop, before)
    write = written(playback.finish())
    assert vae.waited == 1
    assert (write.result, write.knob_version, write.tick, write.tick_started_ns) == (3, 5, 9, 123)
    assert playback.finish() is None


def test_it_comes_to_the_loop_that_waiting_at_once_gives(playback: Playback, port: VirtualPort) -> None:
    other = VirtualPort(period=256)
    at_once = Playback(ToneVae(), other, ToneVae().decode(SOURCE), other.clock)
    playback.write(result(OTHER))
    assert written(playback.finish()).frames == written(at_once.write(result(OTHER))).frames
    assert np.array_equal(port.loop, other.loop)
    while at_once.fill():
        other.play(HOP)
        playback.fill()
        playback.finish()
        port.play(HOP)
    assert np.array_equal(port.loop, other.loop)
    assert playback.fresh == at_once.fresh


def test_what_the_playhead_has_passed_meanwhile_is_left_as_it_was(playback: Playback, port: VirtualPort) -> None:
    before, reserve = heard(SOURCE), playback.lead.read().reserve
    playback.write(result(OTHER))
    port.play(4_000)
    write = written(playback.finish())
    assert write.late_frames > 0
    assert write.start_playhead >= 4_000 + port.period
    assert np.array_equal(port.loop[: write.position], before[: write.position])
    assert playback.lead.read().reserve > reserve


def test_a_block_of_a_loop_that_has_been_swapped_is_not_written(
    playback: Playback, port: VirtualPort, vae: LaterVae
) -> None:
    playback.write(result(OTHER))
    new = tones(0.1, 0.1)
    playback.swap(vae, vae.decode(new))
    assert playback.finish() is None
    assert np.array_equal(port.loop, heard(new))
    assert port.frames == LOOP
