"""Where each word of the shared playback loop lies, who writes it, and what it means.

This table is the truth for Python; `struct header` in `demond/_loop.h` is the same for C, and a test compares the
two field by field. Every word is an unsigned 64-bit integer. Each group begins on a cache line of its own and has one
writer; a dead process's words are only ever written by whoever was told to take over (named at the field).
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = int.from_bytes(b"demond\0L", "little")
VERSION: Final = 2
LINE: Final = 64
BUCKETS: Final = 192
FIGURES: Final = 24
"""Words in one slot of the engine's figures; those not in use yet are zero."""

GROUPS: Final[tuple[tuple[tuple[str, int], ...], ...]] = (
    # The daemon, once, at creation.
    (
        ("magic", 1),  # MAGIC, written last
        ("version", 1),
        ("capacity", 1),  # frames that one area holds
        ("areas", 1),  # bytes from the beginning to the first of the four areas
    ),
    # The daemon.
    (
        ("gain", 1),  # linear amplitude, the bits of a float64
        ("mute", 1),
        ("running", 1),
        ("dry_wet", 1),  # 0 the source to 1 the engine's music, the bits of a float64
        ("band", 1),  # the part of the loop that is played, see band.packed
    ),
    # The engine. Generation g plays area g % 2 and its source area 2 + g % 2, with rates[g % 2] and frames[g % 2]; 0
    # means no content yet.
    (
        ("generation", 1),
        ("rates", 2),
        ("frames", 2),
    ),
    # The engine; after its death the daemon. A block waits at the beginning of the area g % 2 that does not play.
    (
        ("journal", 1),  # 1 while the block must still be copied into the loop
        ("journal_start", 1),
        ("journal_length", 1),
    ),
    # The engine.
    (("engine_heartbeat", 1),),  # time.monotonic_ns()
    (
        ("figures_sequence", 1),  # slot figures_sequence % 2 is complete
        ("figures", 2 * FIGURES),
    ),
    # The audio process: its callback.
    (
        ("place_sequence", 1),  # slot place_sequence % 2 is complete
        ("places", 2 * 4),  # playhead, position, frames and generation that the position belongs to
    ),
    (
        ("cycles", 1),
        ("rate", 1),  # Hz, of the JACK server; 0 before the first connection
        ("period", 1),  # frames
        ("last_frame_time", 1),  # JACK's frame clock at the last cycle, 32 bits
        ("skipped", 1),  # cycles that JACK left out
        ("silent_frames", 1),  # frames played silent because faded out: stopped, no content, other rate
        ("settled", 1),  # the generation that alone is being played, 0 while an older one is faded from
        ("longest_ns", 1),  # the callback's longest time
    ),
    (("histogram", BUCKETS),),  # of callback times, see bucket_end_ns
    # The audio process: JACK's notification thread.
    (("xruns", 1),),
    # The audio process: its main thread; after its death the daemon for `connected`.
    (
        ("audio_heartbeat", 1),  # time.monotonic_ns()
        ("connected", 1),
        ("latency_min", 1),  # frames from our port to the ear, as JACK's playback latency range has it
        ("latency_max", 1),
        ("starts", 1),  # audio processes so far
        ("native", 1),  # 1 when the callback is C
    ),
    (("end", 0),),
)


def _offsets() -> dict[str, int]:
    offsets: dict[str, int] = {}
    at = 0
    for group in GROUPS:
        at = -(-at // LINE) * LINE
        for name, words in group:
            offsets[name] = at
            at += 8 * words
    return offsets


OFFSETS: Final = _offsets()
"""Bytes from the beginning of the segment, by field."""


def bucket_end_ns(bucket: int) -> int:
    """The upper end in ns of a histogram bucket: eight to an octave from 128 ns on, so 6 to 13 % wide."""
    return (9 + bucket % 8) << (4 + bucket // 8)
