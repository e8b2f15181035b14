"""A JACK client that is timebase master, as a DAW is: a tempo, a meter, and the place in it of each frame."""

from __future__ import annotations

import jack


class Timebase:
    """Master of the transport of `server` until the end of the block. `bpm` may be set while it stands."""

    def __init__(self, server: str | None, bpm: float, meter: float = 4.0) -> None:
        self.bpm, self.meter = bpm, meter
        self.client = jack.Client("master", no_start_server=True, servername=server)
        self.client.set_timebase_callback(self._place)

    def _place(self, state: int, frames: int, position: jack._ffi.CData, new: bool) -> None:
        # The position of whoever asks for another place has nothing in it but the frame.
        beat = position.frame / self.client.samplerate * self.bpm / 60
        position.valid = jack.POSITION_BBT
        position.beats_per_bar, position.beat_type, position.ticks_per_beat = self.meter, 4.0, 1920.0
        position.beats_per_minute = self.bpm
        position.bar = int(beat // self.meter) + 1
        position.beat = int(beat % self.meter) + 1
        position.tick = int(beat % 1 * 1920)

    def heard_beat(self, latency_frames: int) -> float:
        """The beat of the frame that is heard now, by JACK's own estimate of where the transport is."""
        frame = self.client.transport_frame - latency_frames
        return frame / self.client.samplerate * self.bpm / 60

    def __enter__(self) -> Timebase:
        self.client.activate()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
