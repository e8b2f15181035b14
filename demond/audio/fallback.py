"""The process callback in Python, for where the C one cannot be had: the same sound, at 30 to 60 µs a cycle.

It follows `demond/_native.c` part by part and keeps its promises but two: it allocates, and it needs the interpreter.
So the audio process freezes the garbage collector, does next to nothing beside it, and announces that periods below
256 frames are risky this way. Runs in JACK's process thread; the counters are for the main thread.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field, replace

import jack
import numpy as np
from numpy.typing import NDArray

from demond import native
from demond.audio.band import band_of, inside
from demond.audio.layout import BUCKETS
from demond.audio.loop import SharedLoop

Floats = NDArray[np.float32]


@dataclass(slots=True)
class _Ramp:
    """A value on its way to `target` in `left` equal steps."""

    value: float = 0.0
    target: float = 0.0
    step: float = 0.0
    left: int = 0

    def aim(self, target: float, seconds: float, rate: int) -> None:
        if target != self.target:
            self.target, self.left = target, max(1, int(seconds * rate))
            self.step = (target - self.value) / self.left

    def jump(self, target: float) -> None:
        self.value, self.target, self.left = target, target, 0

    def take(self, count: int) -> Floats:
        """The next `count` values."""
        moving = min(count, self.left)
        values = np.full(count, self.target, np.float32)
        values[:moving] -= self.step * np.arange(self.left - 1, self.left - 1 - moving, -1)
        self.left -= moving
        self.value = float(values[-1])
        return values


@dataclass(slots=True)
class _Voice:
    """One loop as the callback plays it: what the engine made, and its source, at the same place."""

    generation: int = 0
    rate: int = 0
    frames: int = 0
    position: int = 0
    wet: Floats = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    dry: Floats = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def copy(self, shares: Floats) -> Floats:
        """The next frames, one for each of the `shares` of the engine's music; the position moves on."""
        at, count = self.position, len(shares)
        self.position = (at + count) % self.frames
        if (shares == 1).all():
            return _frames(self.wet[: self.frames], at, count)
        shares = shares[:, None]
        wet, dry = _frames(self.wet[: self.frames], at, count), _frames(self.dry[: self.frames], at, count)
        return shares * wet + (1 - shares) * dry


def _frames(loop: Floats, position: int, count: int) -> Floats:
    if position + count <= len(loop):
        frames = loop[position : position + count].copy()
    else:
        frames = loop.take(np.arange(position, position + count), axis=0, mode="wrap")
    return np.nan_to_num(frames, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


class PythonPlayer:
    """The Python player for one client; the same counters as the C one."""

    def __init__(self, loop: SharedLoop, client: jack.Client, ports: tuple[jack.OwnPort, jack.OwnPort]) -> None:
        """Sets all of JACK's callbacks on `client`, which is not yet active."""
        self.shutdowns = self.port_changes = self.latency_changes = self.silent_cycles = 0
        self._loop, self._client, self._ports = loop, client, ports
        self._leaving = self._freewheeling = self._started = False
        self._rate = client.samplerate
        self._discontinuities = self._known_discontinuities = 0
        self._known_period = self._expected_frame_time = 0
        self._gain, self._fade, self._wet, self._cross = _Ramp(), _Ramp(), _Ramp(), _Ramp()
        self._alike = 0.0
        self._set("rate", self._rate)
        self._set("period", client.blocksize)
        self._sequence = self._get("place_sequence")
        slot = self._sequence % 2 * 4
        self._playhead, position, frames, generation = (self._get("places", slot + i) for i in range(4))
        self._now = self._old = self._voice(generation, frames, position)
        client.set_process_callback(self._process)
        client.set_xrun_callback(lambda delayed: self._add("xruns", 1))
        client.set_port_registration_callback(self._on_port, only_available=False)
        client.set_blocksize_callback(self._on_period)
        client.set_samplerate_callback(self._on_rate)
        client.set_freewheel_callback(self._on_freewheel)
        client.set_shutdown_callback(self._on_shutdown)

    def leave(self) -> None:
        """See :class:`demond.audio.player.Player`."""
        self._leaving = True

    def lead(self, beat: float, usecs: float, bpm: float, meter: float, rolls: bool) -> str:
        """See :class:`demond.audio.player.Player`: the interpreter is kept out of one more real-time callback."""
        return "only the callback in C can be timebase master, and here it runs in Python"

    def release(self) -> None:
        """See :class:`demond.audio.player.Player`."""

    def _get(self, name: str, index: int = 0) -> int:
        return native.load_u64(self._loop.address(name, index))

    def _number(self, name: str) -> float:
        return float(struct.unpack("=d", struct.pack("=Q", self._get(name)))[0])

    def _set(self, name: str, value: int, index: int = 0) -> None:
        native.store_u64(self._loop.address(name, index), value)

    def _add(self, name: str, value: int, index: int = 0) -> None:
        self._set(name, self._get(name, index) + value, index)

    def _on_port(self, port: object, registered: bool) -> None:
        self.port_changes += 1

    def _on_period(self, frames: int) -> None:
        self._discontinuities += 1
        self.latency_changes += 1

    def _on_rate(self, rate: int) -> None:
        self._rate = rate
        self._discontinuities += 1

    def _on_freewheel(self, starting: bool) -> None:
        self._freewheeling = starting
        self._discontinuities += 1

    def _on_shutdown(self, status: object, reason: str) -> None:
        self.shutdowns += 1

    def _process(self, frames: int) -> None:
        begin = time.monotonic_ns()
        self._set("period", frames)
        self._set("rate", self._rate)
        self._count_skipped(frames)
        sound, silent = self._render(self._follow(), frames)
        for channel, port in enumerate(self._ports):
            port.get_array()[:] = sound[:, channel]
        self._publish_place(frames)
        self._add("silent_frames", silent)
        self.silent_cycles = self.silent_cycles + 1 if silent == frames else 0
        self._add("cycles", 1)
        spent = time.monotonic_ns() - begin
        self._add("histogram", 1, bucket(spent))
        if spent > self._get("longest_ns"):
            self._set("longest_ns", spent)

    def _count_skipped(self, frames: int) -> None:
        now, discontinuities = self._client.last_frame_time, self._discontinuities
        gap = (now - self._expected_frame_time + (1 << 31)) % (1 << 32) - (1 << 31)
        if (
            self._started
            and frames == self._known_period
            and discontinuities == self._known_discontinuities
            and not self._freewheeling
            and gap > 0
        ):
            self._add("skipped", max(1, (gap + frames // 2) // frames))
        self._started, self._known_period, self._known_discontinuities = True, frames, discontinuities
        self._expected_frame_time = (now + frames) % (1 << 32)
        self._set("last_frame_time", now)

    def _faded_out(self) -> bool:
        return self._fade.value == 0.0 and self._fade.left == 0

    def _voice(self, generation: int, frames: int, position: int) -> _Voice:
        loop = self._loop
        rate = self._get("rates", generation % 2)
        return _Voice(generation, rate, frames, position, loop.area(generation), loop.dry_area(generation))

    def _follow(self) -> bool:
        """Looks for new content; true when what is played is to be heard."""
        geometry, old = self._loop.geometry(), self._now
        if not self._cross.left and geometry.generation != old.generation:
            there = old.frames and geometry.frames
            position = old.position * geometry.frames // old.frames % geometry.frames if there else 0
            new = self._voice(geometry.generation, geometry.frames, position)
            if self._faded_out() or old.frames == 0:
                self._now = new
            elif geometry.rate == self._rate and new.frames:
                self._crossfade_to(new)
        now = self._now
        heard = now.generation == geometry.generation and now.frames != 0 and now.rate == self._rate
        return heard and bool(self._get("running")) and not self._leaving

    def _crossfade_to(self, new: _Voice) -> None:
        self._old, self._now, self._cross = self._now, new, _Ramp()
        self._cross.aim(1.0, 0.010, self._rate)
        shares = replace(self._wet).take(self._cross.left)
        both = [replace(voice).copy(shares).astype(np.float64) for voice in (self._old, new)]
        energy = (both[0] ** 2).sum() * (both[1] ** 2).sum()
        alike = float((both[0] * both[1]).sum() / energy**0.5) if energy > 0 else 0.0
        self._alike = min(1.0, max(0.0, alike))

    def _render(self, heard: bool, frames: int) -> tuple[Floats, int]:
        """The sound (frames, 2), and how many of its frames are silent because we are faded out."""
        gain, wet = 0.0 if self._get("mute") else self._number("gain"), self._number("dry_wet")
        if self._faded_out():
            self._gain.jump(gain)
            self._wet.jump(wet)
        self._gain.aim(gain, 0.020, self._rate)
        self._wet.aim(wet, 0.020, self._rate)
        self._fade.aim(1.0 if heard else 0.0, 0.050, self._rate)
        if self._faded_out() or self._now.frames == 0:
            self._pass(frames)
            return np.zeros((frames, 2), np.float32), frames
        sound = self._play(frames)
        fade = self._fade.take(frames)
        sound *= (self._gain.take(frames) * fade)[:, None]
        return sound, int((fade == 0.0).sum())

    def _band(self) -> tuple[int, int]:
        return band_of(self._get("band"), self._now.frames, self._now.rate)

    def _play(self, frames: int) -> Floats:
        """Plays on inside the band, as `play` in C."""
        a, b = self._band()
        parts = []
        while frames:
            count, now = frames, self._now
            if not self._cross.left and b - a < now.frames:
                place = inside((a, b), now.position, now.frames)
                if place != now.position:
                    self._crossfade_to(replace(now, position=place))
                else:
                    count = min(count, b - place)
            crossing = self._cross.left
            count = min(count, crossing) if crossing else count
            shares = self._wet.take(count)
            part = self._now.copy(shares)
            if crossing:
                u = self._cross.take(count)[:, None]
                level = np.sqrt(u**2 + (1 - u) ** 2 + 2 * self._alike * u * (1 - u))
                part = ((u * part + (1 - u) * self._old.copy(shares)) / level).astype(np.float32)
            parts.append(part)
            frames -= count
        return np.concatenate(parts)

    def _pass(self, frames: int) -> None:
        """Time goes on in silence: the place moves as it would if it were heard."""
        self._cross.left = 0
        now = self._now
        if now.frames:
            a, b = self._band()
            now.position = a + (inside((a, b), now.position, now.frames) - a + frames) % (b - a)

    def _publish_place(self, frames: int) -> None:
        now = self._now
        self._playhead += frames
        slot = (self._sequence + 1) % 2 * 4
        for index, value in enumerate((self._playhead, now.position, now.frames, now.generation)):
            self._set("places", value, slot + index)
        self._sequence += 1
        self._set("place_sequence", self._sequence)
        alone = not self._cross.left or self._old.generation == now.generation
        self._set("settled", now.generation if alone else 0)


def bucket(ns: int) -> int:
    """The histogram bucket of a time, as in :func:`demond.audio.layout.bucket_end_ns`."""
    if ns < 128:
        return 0
    octave = ns.bit_length() - 1
    return min((octave - 7) * 8 + (ns >> (octave - 3) & 7), BUCKETS - 1)
