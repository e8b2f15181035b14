"""Runs the process callback, the C one or the Python one, cycle by cycle without a JACK server.

A server cannot be told to lose a cycle or to change its rate at a given frame; this can. What JACK hands a callback
(buffers, its frame clock) comes from here, everything else is the real code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demond import native
from demond.audio.fallback import PythonPlayer
from demond.audio.loop import SharedLoop

_GET_BUFFER = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
_LAST_FRAME_TIME = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
_LONGEST = 8192


class Cycles:
    """A pretended server at `rate`, whose clock starts shortly before its 32 bits wrap."""

    def __init__(self, loop: SharedLoop, rate: int = 48000) -> None:
        self.loop, self.samplerate, self.blocksize = loop, rate, 256
        self.last_frame_time = (1 << 32) - 10_000
        self.buffers = np.full((2, _LONGEST), 9, np.float32)

    def _process(self, frames: int) -> None:
        raise NotImplementedError

    def run(self, *periods: int) -> NDArray[np.float32]:
        """One cycle for each of `periods`; returns what was heard, (frames, 2)."""
        heard = []
        for frames in periods:
            self.buffers[:] = 9
            self._process(frames)
            assert (self.buffers[:, frames:] == 9).all(), "written past the end of the port's buffer"
            heard.append(self.buffers[:, :frames].T.copy())
            self.last_frame_time = (self.last_frame_time + frames) % (1 << 32)
        return np.concatenate(heard)

    def lose(self, frames: int) -> None:
        """JACK's clock goes on without a cycle."""
        self.last_frame_time = (self.last_frame_time + frames) % (1 << 32)

    def change_rate(self, rate: int) -> None:
        raise NotImplementedError

    def announce_period(self, frames: int) -> None:
        raise NotImplementedError

    def freewheel(self, on: bool) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError

    def silent_cycles(self) -> int:
        raise NotImplementedError


class NativeCycles(Cycles):
    """Drives the C callback."""

    def __init__(self, loop: SharedLoop, rate: int = 48000) -> None:
        super().__init__(loop, rate)
        assert native.library is not None
        self._library = native.library
        self._library.demond_player_size.restype = ctypes.c_uint64
        self._memory = ctypes.create_string_buffer(self._library.demond_player_size())
        self._player = ctypes.c_void_p(ctypes.addressof(self._memory))
        self._get_buffer = _GET_BUFFER(lambda port, frames: self.buffers[port - 1].ctypes.data)
        self._last_frame_time = _LAST_FRAME_TIME(lambda client: self.last_frame_time)
        self._library.demond_player_init.argtypes = [ctypes.c_void_p] * 7 + [ctypes.c_uint64] * 2
        self._library.demond_player_init(
            self._player,
            loop.address(),
            None,
            1,
            2,
            ctypes.cast(self._get_buffer, ctypes.c_void_p),
            ctypes.cast(self._last_frame_time, ctypes.c_void_p),
            rate,
            self.blocksize,
        )

    def _process(self, frames: int) -> None:
        assert self._library.demond_process(frames, self._player) == 0

    def change_rate(self, rate: int) -> None:
        self._library.demond_on_rate(rate, self._player)

    def announce_period(self, frames: int) -> None:
        self._library.demond_on_period(frames, self._player)

    def freewheel(self, on: bool) -> None:
        self._library.demond_on_freewheel(int(on), self._player)

    def leave(self) -> None:
        native.store_u64((self._player.value or 0) + 3 * 8, 1)

    def silent_cycles(self) -> int:
        return native.load_u64((self._player.value or 0) + 4 * 8)


class _Port:
    def __init__(self, cycles: PythonCycles, channel: int) -> None:
        self._cycles, self._channel = cycles, channel

    def get_array(self) -> NDArray[np.float32]:
        return self._cycles.buffers[self._channel, : self._cycles.frames]


class PythonCycles(Cycles):
    """Drives the Python callback: takes the part of JACK-Client's `Client`."""

    def __init__(self, loop: SharedLoop, rate: int = 48000) -> None:
        super().__init__(loop, rate)
        self.frames = self.blocksize
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._player = PythonPlayer(loop, self, (_Port(self, 0), _Port(self, 1)))  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("set_"):
            raise AttributeError(name)
        return lambda callback, **options: self._callbacks.update({name: callback})

    def _process(self, frames: int) -> None:
        self.frames = frames
        self._callbacks["set_process_callback"](frames)

    def change_rate(self, rate: int) -> None:
        self._callbacks["set_samplerate_callback"](rate)

    def announce_period(self, frames: int) -> None:
        self._callbacks["set_blocksize_callback"](frames)

    def freewheel(self, on: bool) -> None:
        self._callbacks["set_freewheel_callback"](on)

    def leave(self) -> None:
        self._player.leave()

    def silent_cycles(self) -> int:
        return self._player.silent_cycles
