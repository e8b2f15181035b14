"""A JACK client that listens: the last minute of two ports, with the server's frame time of every cycle.

For the benches, in their own process, which does little else: a Python process callback is good enough to listen
with. It never writes to the graph.
"""

from __future__ import annotations

import gc
from types import TracebackType

import jack
import numpy as np
from numpy.typing import NDArray

_FRAMES = 1 << 22
"""87 s at 48 kHz; a multiple of every period."""
_CYCLES = 1 << 17


class Capture:
    """Frames are numbered as they were received; `frame_time` relates them to the server's clock."""

    def __init__(self, server: str | None, sources: tuple[str, str] | None, name: str = "demond-bench") -> None:
        """Connects to `sources`, if any. Raises `jack.JackError` when there is no such server or port."""
        self._client = jack.Client(name, servername=server, no_start_server=True)
        self._sources = sources
        self._audio = np.zeros((2, _FRAMES), np.float32)
        self._first_frames = np.zeros(_CYCLES, np.int64)
        self._times = np.zeros(_CYCLES, np.int64)
        self._cycles = 0
        self.frames = 0
        """Frames received so far."""
        self.rate: int = self._client.samplerate
        self._ports = [self._client.inports.register(f"in_{i}") for i in (1, 2)]
        self._client.set_process_callback(self._process)

    def __enter__(self) -> Capture:
        """Starts to listen."""
        gc.collect()
        gc.disable()
        self._client.activate()
        for source, port in zip(self._sources or (), self._ports, strict=self._sources is not None):
            self._client.connect(source, port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops listening."""
        self._client.deactivate()
        self._client.close()
        gc.enable()

    def _process(self, frames: int) -> None:
        start = self.frames % _FRAMES
        self._audio[0, start : start + frames] = self._ports[0].get_array()
        self._audio[1, start : start + frames] = self._ports[1].get_array()
        self._first_frames[self._cycles % _CYCLES] = self.frames
        self._times[self._cycles % _CYCLES] = self._client.last_frame_time
        self._cycles += 1
        self.frames += frames

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its ports, for others to connect."""
        return tuple(port.name for port in self._ports)

    @property
    def now(self) -> int:
        """The server's frame time at this moment: its estimate between two cycles."""
        return int(self._client.frame_time)

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """`count` received frames [count, 2] from number `first`; they must be among the last minute's."""
        if first < max(0, self.frames - _FRAMES + 65_536) or first + count > self.frames:
            raise ValueError(f"frames {first} to {first + count} are not held; there are {self.frames}")
        return self._audio[:, np.arange(first, first + count) % _FRAMES].T.copy()

    def cycles(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of every cycle that is held: the number of its first frame, and the server's frame time there."""
        held = np.arange(max(0, self._cycles - _CYCLES + 64), self._cycles) % _CYCLES
        return self._first_frames[held], self._times[held]

    def frame_at(self, time: int) -> int:
        """The number of the received frame that was played at the server's frame time `time`."""
        cycle = self._cycle(self._times, time)
        return int(self._first_frames[cycle] + time - self._times[cycle])

    def time_of(self, frame: int) -> int:
        """The server's frame time at which received frame `frame` was played."""
        cycle = self._cycle(self._first_frames, frame)
        return int(self._times[cycle] + frame - self._first_frames[cycle])

    def _cycle(self, values: NDArray[np.int64], value: int) -> int:
        """The place of the newest cycle that did not begin after `value`."""
        held = np.arange(max(0, self._cycles - _CYCLES + 64), self._cycles)
        return int(held[np.searchsorted(values[held % _CYCLES], value, side="right") - 1] % _CYCLES)
