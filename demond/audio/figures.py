"""What the processes tell each other about themselves through the shared loop, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from demond.audio.layout import BUCKETS, bucket_end_ns

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class Place:
    """One consistent reading of where playback is."""

    playhead: int
    """Frames that JACK has consumed since the daemon started; never goes back, whatever is restarted."""
    position: int
    """The loop frame that is consumed next, 0 to frames - 1."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The loop's present content: how often it was replaced, its rate in Hz and its length in frames."""

    generation: int
    rate: int
    frames: int


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What the engine says of itself, once a tick. All are whole numbers of at least 0."""

    heartbeat_ns: int = 0
    """`time.monotonic_ns()` when the engine last was alive."""
    tick: int = 0
    """Ticks so far."""
    knob_version: int = 0
    """The state of the knob table that the last step was made with."""
    idle: int = 0
    """1 while nothing that was asked for can change the music and the whole loop is up to date."""
    lead_frames: int = 0
    """From a change to the ear, as the performer feels it."""
    write_ahead_frames: int = 0
    """From the playhead to where writes begin."""
    writes: int = 0
    late_writes: int = 0
    """Writes that the playhead had reached before they were done."""
    last_write_playhead: int = 0
    """The playhead when the last write was done."""
    tick_us_p50: int = 0
    tick_us_p95: int = 0
    tick_us_p99: int = 0
    decode_us_p50: int = 0
    decode_us_p95: int = 0
    decode_us_p99: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class AudioFigures:
    """What the audio process and its callback say of themselves. Counts run since the daemon started."""

    connected: bool
    """Whether it has a JACK server; if so `cycles` must move."""
    heartbeat_ns: int
    """`time.monotonic_ns()` when its main thread last was alive; 0 before the first process."""
    starts: int
    """Audio processes so far."""
    native: bool
    """Whether the process callback is the C one."""
    rate: int
    """The server's sample rate in Hz; 0 before the first connection."""
    period: int
    """Frames in a cycle."""
    port_latency_min: int
    port_latency_max: int
    """Frames from our output ports to the ear, as JACK says."""
    playhead: int
    position: int
    """As in :class:`Place`."""
    cycles: int
    xruns: int
    """As JACK reports them; PipeWire reports none, so trust `skipped_cycles`."""
    skipped_cycles: int
    """Cycles that JACK left out, by its frame clock; changes of period and freewheeling do not count."""
    silent_frames: int
    """Frames faded to silence: while stopped, without content, or while the content has another rate."""
    last_frame_time: int
    """JACK's frame clock (32 bits) at the last cycle."""
    settled: int
    """The generation of the content that alone is played; 0 during a crossfade."""
    longest_callback_us: float
    histogram: NDArray[np.uint64] = field(repr=False)
    """Counts of callback times; bucket b ends at :func:`demond.audio.layout.bucket_end_ns`."""

    @property
    def callback_us(self) -> dict[str, float]:
        """Time spent in the process callback in µs: p50, p99, p999 (to a bucket, 6 to 13 % up) and max."""
        return callback_times(self.histogram, self.longest_callback_us)


def callback_times(histogram: NDArray[np.uint64], longest_us: float | None = None) -> dict[str, float]:
    """Quantiles of callback times in µs from counts (BUCKETS), each the upper end of its bucket.

    `max` is `longest_us`, or the end of the highest bucket in use; give none for a difference of two histograms.
    """
    if histogram.shape != (BUCKETS,):
        raise ValueError(f"a histogram has {BUCKETS} buckets, this one {histogram.shape}")
    total = int(histogram.sum())
    if total == 0:
        return {**dict.fromkeys(QUANTILES, 0.0), "max": longest_us or 0.0}
    running = np.cumsum(histogram)
    ends = {name: bucket_end_ns(int(np.searchsorted(running, q * total))) / 1000 for name, q in QUANTILES.items()}
    highest = bucket_end_ns(int(np.flatnonzero(histogram)[-1])) / 1000
    longest = highest if longest_us is None else longest_us
    return {**{name: min(end, longest) for name, end in ends.items()}, "max": longest}
