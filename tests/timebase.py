"""A JACK client that is timebase master, as a DAW is, or reads what the master says.

It is a process of its own: libjack's threads may outlive a client for a moment, and have taken a test run with them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

PROGRAM = """
import json, sys, time, jack
name, bpm, meter = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
client = jack.Client(name, no_start_server=True)
rate = client.samplerate

def place(state, frames, position, is_new):
    # The position of whoever asks for another place has nothing in it but the frame, not even the rate.
    beat = position.frame / rate * bpm / 60
    position.valid = jack.POSITION_BBT
    position.beats_per_bar, position.beat_type, position.ticks_per_beat = meter, 4.0, 1920.0
    position.beats_per_minute = bpm
    position.bar, position.beat = int(beat // meter) + 1, int(beat % meter) + 1
    position.tick = int(beat % 1 * 1920)

if bpm:
    client.set_timebase_callback(place)
with client:
    for line in sys.stdin:
        word, number = line.split()
        if word == "roll":
            (client.transport_start if int(number) else client.transport_stop)()
        elif word == "locate":
            client.transport_frame = int(number)
        elif word == "release":
            client.release_timebase()
        before = time.monotonic_ns()
        frame = client.transport_frame
        now = (before + time.monotonic_ns()) // 2
        rolling = client.transport_state == jack.ROLLING
        print(json.dumps([now, frame, rate, rolling, dict(client.transport_query()[1])]), flush=True)
"""


@dataclass(frozen=True)
class Look:
    """The transport at one moment, by JACK's own estimate of it."""

    time_ns: int
    frame: int
    rate: int
    rolling: bool
    place: dict[str, float]
    """What `jack_transport_query` says, with bars and beats only where somebody says them."""

    def beat_at(self, bpm: float, latency_frames: int) -> float:
        """The beat of the frame that is heard now, at a steady tempo since the beginning."""
        return (self.frame - latency_frames) / self.rate * bpm / 60

    def beat_told(self, latency_frames: int) -> float:
        """The same, as the timebase master says it."""
        place = self.place
        in_bar = place["beat"] - 1 + place["tick"] / place["ticks_per_beat"]
        beat = (place["bar"] - 1) * place["beats_per_bar"] + in_bar
        since = self.frame - place["frame"] - latency_frames
        return float(beat + since / self.rate * place["beats_per_minute"] / 60)


class Timebase:
    """A client of `server` that is timebase master at `bpm`; without one it only looks. A context manager."""

    def __init__(self, server: str | None, bpm: float = 0.0, meter: float = 4.0) -> None:
        self.bpm = bpm
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, "master" if bpm else "follower", str(bpm), str(meter)],
            env={**os.environ, "JACK_DEFAULT_SERVER": server or "default", "JACK_NO_START_SERVER": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def look(self) -> Look:
        return self._ask("look 0")

    def roll(self, on: bool = True) -> Look:
        return self._ask(f"roll {int(on)}")

    def locate(self, frame: int) -> Look:
        return self._ask(f"locate {frame}")

    def release(self) -> Look:
        return self._ask("release 0")

    def heard_beat(self, latency_frames: int) -> float:
        """The beat that is heard now."""
        return self.look().beat_at(self.bpm, latency_frames)

    def _ask(self, line: str) -> Look:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return Look(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Timebase:
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
