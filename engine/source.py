"""The loop that the music starts from: read from a file, at 48 kHz, cut to whole frames, and joined at its seam.

Called once per source by the session. Everything that can be wrong with a file is a :class:`SourceError` in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from engine.geometry import GRID, SAMPLE_RATE

Audio = NDArray[np.float32]

SHORTEST, LONGEST = 1.0, 240.0
"""Seconds that a source may have."""

SEAM = 0.02
"""Seconds over which the seam of a loop is treated."""


class SourceError(Exception):
    """The file cannot be the source. What the user can do: name another file, or convert it."""


def load_source(path: Path) -> Audio:
    """The loop in `path` (WAV, FLAC or whatever libsndfile reads) as [2,N] at 48 kHz, N a multiple of 9,600.

    Raises :class:`SourceError`.
    """
    try:
        with soundfile.SoundFile(path) as file:
            seconds = file.frames / file.samplerate
            if seconds > LONGEST:
                raise SourceError(f"{path} lasts {seconds:.0f} s; {LONGEST:.0f} s is the most")
            audio, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        reason = "there is no such file" if not path.exists() else str(error)
        raise SourceError(f"{path} cannot be read as audio: {reason}") from None
    return prepared(audio, rate, str(path))


def prepared(audio: NDArray[Any], rate: int, name: str) -> Audio:
    """`audio` [frames, channels] at `rate` Hz, made a loop as :func:`load_source` says. `name` is for errors."""
    if audio.shape[0] == 0:
        raise SourceError(f"{name} is empty")
    if audio.shape[1] > 2:
        raise SourceError(f"{name} has {audio.shape[1]} channels; mono or stereo is wanted")
    if not np.isfinite(audio).all():
        raise SourceError(f"{name} holds samples that are no numbers (NaN or infinity)")
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio.astype(np.float32), rate, SAMPLE_RATE, quality="VHQ")
    seconds = audio.shape[0] / SAMPLE_RATE
    if seconds < SHORTEST:
        raise SourceError(f"{name} lasts {seconds:.2f} s; at least {SHORTEST:.0f} s are wanted")
    stereo = np.ascontiguousarray(np.broadcast_to(audio, (audio.shape[0], 2)).T, dtype=np.float32)
    return looped(stereo, stereo.shape[1] // GRID * GRID)


def looped(audio: Audio, length: int) -> Audio:
    """The first `length` samples of `audio` [2,N] as a loop without a click at its seam.

    What was cut off behind goes on sounding into the beginning, where it is faded over 20 ms. Without such a tail the
    step from the last sample to the first is taken away by bending both ends by half of it, which leaves a loop that
    closes already as good as untouched.
    """
    loop = audio[:, :length].copy()
    fade = min(int(SEAM * SAMPLE_RATE), length // 4)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    tail = audio[:, length : length + fade]
    if tail.shape[1] == fade:
        loop[:, :fade] = ramp * loop[:, :fade] + (1 - ramp) * tail
    else:
        half = (loop[:, :1] - loop[:, -1:]) / 2
        loop[:, -fade:] += half * ramp
        loop[:, :fade] -= half * ramp[::-1]
    return loop
