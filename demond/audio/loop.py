"""The shared playback loop: what the engine writes, JACK's callback plays, and the daemon keeps whole.

It is a loop, not a queue: the callback copies the frames at the playhead, so it can never run empty. It lives in
shared memory that the daemon makes: a header of words (see :mod:`demond.audio.layout`), then four areas of float32
frames. Generation g of the content plays from area g % 2; the other area takes the next generation, and until then
each block on its way into the loop. So whenever the engine is killed, the loop holds only what was finished, or the
finished block waits in the other area and :meth:`SharedLoop.repair` copies it. Two more areas hold the source that
each generation was made from, frame by frame beside it, for `dry_wet`.

Every method says first who may call it: each word has one writer, and nothing here takes a lock.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import time

import numpy as np
from numpy.typing import NDArray

from demond import native, shm
from demond.audio.band import band_of, inside, packed
from demond.audio.figures import AudioFigures, EngineFigures, Geometry, Place
from demond.audio.layout import BUCKETS, FIGURES, MAGIC, OFFSETS, VERSION

FRAME_BYTES = 8
_AREAS = 4
PAGE = 4096
SILENCE_DB = -60.0
"""An output gain of this or less is silence."""
_SETTLE_SECONDS = 0.5
"""Five of the longest periods (4096 frames at 44.1 kHz); then JACK stands still, and nobody hears the old content."""
_FIGURE_NAMES = tuple(f.name for f in dataclasses.fields(EngineFigures) if f.name != "heartbeat_ns")


class LoopError(RuntimeError):
    """The shared loop cannot be used so; the message says why."""


class SharedLoop:
    """One end of the shared playback loop. The daemon calls :meth:`create`, the other processes :meth:`attach`."""

    def __init__(self, memory: shm.SharedMemory) -> None:
        """For :meth:`create` and :meth:`attach` only."""
        self.name = memory.name
        self._memory: shm.SharedMemory | None = memory
        self._unlink = memory.unlink
        self._capacity = 0
        self._areas: list[NDArray[np.float32]] = []
        self._settled = 0
        """The last generation that the callback is known to play alone."""

    @classmethod
    def create(cls, name: str, capacity_frames: int) -> SharedLoop:
        """Daemon: a new loop without content, stopped, at full gain, for contents of up to `capacity_frames`.

        All of it is to be played, and nothing of its source. Takes memory for the contents when they come. Raises
        :class:`demond.shm.SharedMemoryError`.
        """
        if capacity_frames < 1:
            raise ValueError("a loop needs room for at least one frame")
        areas = -(-OFFSETS["end"] // PAGE) * PAGE
        loop = cls(shm.create(name, areas + _AREAS * capacity_frames * FRAME_BYTES, reserve=areas))
        loop._store("version", VERSION)
        loop._store("capacity", capacity_frames)
        loop._store("areas", areas)
        loop.set_output(0.0, mute=False)
        loop.set_dry_wet(1.0)
        loop.set_band(0.0, 1.0)
        loop._store("magic", MAGIC)
        loop._map()
        return loop

    @classmethod
    def attach(cls, name: str) -> SharedLoop:
        """Engine and audio process: the loop that the daemon made.

        Raises :class:`demond.shm.SharedMemoryError` when there is none, :class:`LoopError` when it is laid out
        differently from this version of demond.
        """
        memory = shm.attach(name)
        loop = cls(memory)
        try:
            if memory.size < OFFSETS["end"] or loop._load("magic") != MAGIC:
                raise LoopError(f"shared memory {name} is no playback loop")
            if (version := loop._load("version")) != VERSION:
                raise LoopError(
                    f"the playback loop {name} has layout {version}, this process knows layout {VERSION}: "
                    "the daemon and this process are of different versions of demond"
                )
            if native.available() and native.layout() != (VERSION, OFFSETS):
                raise LoopError("demond's C library is of another version than its Python part; reinstall demond")
            loop._map()
        except LoopError:
            loop.close()
            raise
        return loop

    def close(self) -> None:
        """Any process: unmaps the loop here. May be called twice; nothing else may be called after it."""
        if self._memory is not None:
            self._areas.clear()
            memory, self._memory = self._memory, None
            memory.close()

    def unlink(self) -> None:
        """Daemon: removes the loop's name, before or after :meth:`close`."""
        self._unlink()

    # -- the engine -------------------------------------------------------------------------------------------------

    def replace(self, rate: int, content: NDArray[np.float32], dry: NDArray[np.float32] | None = None) -> None:
        """Engine: new content (frames, 2) at `rate` Hz, and `dry`, as long, the source it is made from (by default
        itself). Playback crossfades to it in 10 ms; its position keeps its proportion of the loop.

        May wait until an earlier replacement is through. While JACK runs at another rate the output is silent.
        Raises `ValueError` for content that does not fit, :class:`demond.shm.SharedMemoryError` when `/dev/shm` is
        full.
        """
        frames = len(content)
        dry = content if dry is None else dry
        for each in (content, dry):
            if each.dtype != np.float32 or each.shape != (frames, 2):
                raise ValueError(f"content must be float32 of shape ({frames}, 2), not {each.dtype} {each.shape}")
        if not 1 <= frames <= self._capacity:
            raise ValueError(f"{frames} frames do not fit into a loop for 1 to {self._capacity}")
        if not 1 <= rate < 1 << 32:
            raise ValueError(f"{rate} Hz is no sample rate")
        self._wait_until_settled()
        generation = self._load("generation") + 1
        slot = generation % 2
        for area in (0, 1, 2 + slot):  # of the first two one is for the blocks on their way into the loop
            self._mapped().reserve(self._area_offset(area), frames * FRAME_BYTES)
        self._areas[slot][:frames] = content
        self._areas[2 + slot][:frames] = dry
        self._store("rates", rate, slot)
        self._store("frames", frames, slot)
        self._store("generation", generation)

    def commit(self, position: int, block: NDArray[np.float32]) -> None:
        """Engine: writes `block` (n, 2) at loop frame `position`, modulo the loop, wrapping at its end.

        The block is complete in shared memory before the first of its frames enters the loop, so that
        :meth:`repair` can finish the copy if the engine dies in it. After a replacement this may wait until the
        crossfade is over. Raises `ValueError` when n is more than the loop, or there is no content yet.
        """
        geometry = self.geometry()
        length = len(block)
        if block.dtype != np.float32 or block.shape != (length, 2):
            raise ValueError(f"a block must be float32 of shape (n, 2), not {block.dtype} {block.shape}")
        if length > geometry.frames:
            raise ValueError(f"a block of {length} frames does not fit into a loop of {geometry.frames}")
        if length == 0:
            return
        self._wait_until_settled()
        self._areas[(geometry.generation + 1) % 2][:length] = block
        self._store("journal_start", position % geometry.frames)
        self._store("journal_length", length)
        self._store("journal", 1)
        self._finish(geometry)

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """Engine and daemon: a copy (count, 2) of the frames from loop frame `position` on, modulo the loop.

        Raises `ValueError` when there is no content yet.
        """
        geometry = self.geometry()
        if count < 0 or geometry.frames == 0:
            raise ValueError("the loop has no content yet" if count >= 0 else "cannot read fewer than 0 frames")
        content = self._areas[geometry.generation % 2][: geometry.frames]
        return content.take(np.arange(position, position + count), axis=0, mode="wrap")

    def place(self) -> Place:
        """Any process: where playback is, in the present content and inside the band."""
        playhead, position, frames, generation = self._slot("place_sequence", "places", 4)
        geometry = self.geometry()
        if generation != geometry.generation:
            # The callback has not looked yet; it will keep the proportion, in this very way.
            there = frames and geometry.frames
            position = position * geometry.frames // frames % geometry.frames if there else 0
        if geometry.frames:
            position = inside(self._band(geometry), position, geometry.frames)
        return Place(playhead, position)

    def band(self) -> tuple[int, int]:
        """Any process: the positions a and b (not included) between which the present content is played."""
        return self._band(self.geometry())

    def geometry(self) -> Geometry:
        """Any process: the present content's generation, rate and length; all 0 before the first."""
        generation = self._load("generation")
        slot = generation % 2
        return Geometry(generation, self._load("rates", slot), self._load("frames", slot))

    def beat_engine(self) -> None:
        """Engine: says that it lives, and nothing else."""
        self._store("engine_heartbeat", time.monotonic_ns())

    def publish_engine(self, figures: EngineFigures) -> None:
        """Engine: all its figures at once, heartbeat included."""
        sequence = self._load("figures_sequence") + 1
        for index, name in enumerate(_FIGURE_NAMES):
            self._store("figures", max(0, int(getattr(figures, name))), sequence % 2 * FIGURES + index)
        self._store("figures_sequence", sequence)
        self._store("engine_heartbeat", figures.heartbeat_ns)

    def engine(self) -> EngineFigures:
        """Any process: the figures of one :meth:`publish_engine`, with the latest heartbeat."""
        values = self._slot("figures_sequence", "figures", FIGURES, len(_FIGURE_NAMES))
        return EngineFigures(
            heartbeat_ns=self._load("engine_heartbeat"), **dict(zip(_FIGURE_NAMES, values, strict=True))
        )

    # -- the daemon -------------------------------------------------------------------------------------------------

    def set_output(self, gain_db: float, mute: bool) -> None:
        """Daemon: the output gain in dB (-60 or less is silence), which glides there in 20 ms, and the mute."""
        if math.isnan(gain_db):
            raise ValueError("the gain is not a number")
        gain = 0.0 if gain_db <= SILENCE_DB else 10 ** (gain_db / 20)
        self._store("gain", struct.unpack("=Q", struct.pack("=d", gain))[0])
        self._store("mute", int(mute))

    def set_dry_wet(self, wet: float) -> None:
        """Daemon: the share of the engine's music, 0–1, which glides there in 20 ms; the rest is its source."""
        if not 0 <= wet <= 1:
            raise ValueError(f"a share lies between 0 and 1, not at {wet}")
        self._store("dry_wet", struct.unpack("=Q", struct.pack("=d", wet))[0])

    def set_band(self, a: float, b: float) -> None:
        """Daemon: plays the loop from share `a` to share `b` of it (0–1), round and round.

        For bands that are too short see :func:`demond.audio.band.band_of`. From outside the band playback jumps into
        it at once, with a crossfade of 10 ms as at its end: who closes a band wants to hear it, not the rest of the
        loop first. It lands where it would be had it been inside all the time, so a band of whole beats keeps the
        beat.
        """
        if not (0 <= a <= 1 and 0 <= b <= 1):
            raise ValueError(f"a band's ends lie between 0 and 1, not at {a} and {b}")
        self._store("band", packed(a, b))

    def set_running(self, running: bool) -> None:
        """Daemon: false fades to silence in 50 ms, true back. Time goes on: the playhead moves all the while."""
        self._store("running", int(running))

    def repair(self) -> bool:
        """Daemon, once the engine is dead: finishes the block that it was copying; True when there was one."""
        if not self._load("journal"):
            return False
        self._finish(self.geometry())
        return True

    def forget_audio(self) -> None:
        """Daemon, once the audio process is dead: it is connected no more, whatever it said last."""
        self._store("connected", 0)

    # -- the audio process ------------------------------------------------------------------------------------------

    def start_audio(self, native_callback: bool) -> None:
        """Audio process, at its start: counts the start and clears what a dead predecessor may have left."""
        self._store("connected", 0)
        self._store("native", int(native_callback))
        self._store("starts", self._load("starts") + 1)
        self.beat_audio()

    def beat_audio(self) -> None:
        """Audio process, main thread: says that it lives."""
        self._store("audio_heartbeat", time.monotonic_ns())

    def set_connected(self, connected: bool) -> None:
        """Audio process, main thread: whether the callback is in a server's graph."""
        self._store("connected", int(connected))

    def set_port_latency(self, least: int, most: int) -> None:
        """Audio process, main thread: the output ports' playback latency range in frames."""
        self._store("latency_min", least)
        self._store("latency_max", most)

    def touch(self) -> None:
        """Audio process, main thread: maps every page of content and source, so that the callback need not."""
        geometry = self.geometry()
        for area in (geometry.generation % 2, 2 + geometry.generation % 2):
            flat = self._areas[area][: geometry.frames].reshape(-1)
            flat[:: PAGE // 4].sum()

    def audio(self) -> AudioFigures:
        """Any process: the figures of the audio process and its callback."""
        place = self.place()
        return AudioFigures(
            connected=bool(self._load("connected")),
            heartbeat_ns=self._load("audio_heartbeat"),
            starts=self._load("starts"),
            native=bool(self._load("native")),
            rate=self._load("rate"),
            period=self._load("period"),
            port_latency_min=self._load("latency_min"),
            port_latency_max=self._load("latency_max"),
            playhead=place.playhead,
            position=place.position,
            cycles=self._load("cycles"),
            xruns=self._load("xruns"),
            skipped_cycles=self._load("skipped"),
            silent_frames=self._load("silent_frames"),
            last_frame_time=self._load("last_frame_time"),
            settled=self._load("settled"),
            longest_callback_us=self._load("longest_ns") / 1000,
            histogram=np.ndarray(BUCKETS, np.uint64, self._mapped().buf, OFFSETS["histogram"]).copy(),
        )

    def address(self, field: str = "magic", index: int = 0) -> int:
        """Audio process: where word `index` of `field` lies in this process, for the callback."""
        return self._mapped().address + OFFSETS[field] + 8 * index

    def area(self, generation: int) -> NDArray[np.float32]:
        """Audio process: the whole area (capacity, 2) of a generation, for the callback; a view, drop it soon."""
        return self._areas[generation % 2]

    def dry_area(self, generation: int) -> NDArray[np.float32]:
        """Audio process: as :meth:`area`, of the generation's source."""
        return self._areas[2 + generation % 2]

    # -- inside -----------------------------------------------------------------------------------------------------

    def _mapped(self) -> shm.SharedMemory:
        if self._memory is None:
            raise LoopError("this end of the playback loop is closed")
        return self._memory

    def _load(self, field: str, index: int = 0) -> int:
        return native.load_u64(self.address(field, index))

    def _store(self, field: str, value: int, index: int = 0) -> None:
        native.store_u64(self.address(field, index), value)

    def _area_offset(self, area: int) -> int:
        return self._load("areas") + area * self._capacity * FRAME_BYTES

    def _map(self) -> None:
        memory = self._mapped()
        self._capacity = self._load("capacity")
        if memory.size < self._area_offset(_AREAS):
            raise LoopError(f"the playback loop {memory.name} is shorter than it says")
        self._areas = [
            np.ndarray((self._capacity, 2), np.float32, memory.buf, self._area_offset(area)) for area in range(_AREAS)
        ]

    def _band(self, geometry: Geometry) -> tuple[int, int]:
        return band_of(self._load("band"), geometry.frames, geometry.rate)

    def _slot(self, sequence: str, field: str, words: int, count: int | None = None) -> list[int]:
        """The complete one of two slots. Its writer, even killed, never leaves a reader waiting."""
        while True:
            before = self._load(sequence)
            values = [self._load(field, before % 2 * words + index) for index in range(count or words)]
            native.fence()
            if self._load(sequence) == before:
                return values

    def _finish(self, geometry: Geometry) -> None:
        """Copies the block in the journal into the loop. Doing it twice, or once and a half, does no harm."""
        start, length = self._load("journal_start"), self._load("journal_length")
        content, block = self._areas[geometry.generation % 2], self._areas[(geometry.generation + 1) % 2]
        first = min(length, geometry.frames - start)
        content[start : start + first] = block[:first]
        content[: length - first] = block[first:length]
        self._store("journal", 0)

    def _wait_until_settled(self) -> None:
        """Until the callback no longer reads the other area. Only ever waits right after a replacement."""
        generation = self._load("generation")
        if self._settled == generation:
            return
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self._load("connected") and self._load("settled") != generation and time.monotonic() < deadline:
            time.sleep(0.001)
        self._settled = generation
