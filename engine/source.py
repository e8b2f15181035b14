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

SLOWEST, FASTEST = 4_000, 384_000
"""Sample rates in Hz that a source may have."""

LOUDEST = 16.0
"""The largest sample that is taken for music (+24 dBFS). Beyond are files that hold other numbers than -1 to 1."""

SILENT = 1e-4
"""The largest sample of what is taken for silence (-80 dBFS)."""

SEAM = 0.02
"""Seconds over which the seam of a loop is treated."""

_CLIPPED = 4
"""Samples in a row at the same height that are no peak any more; above 30 Hz a sine has fewer."""


class SourceError(Exception):
    """The file cannot be the source. What the user can do: name another file, or convert it."""


def load_source(path: Path) -> Audio:
    """The loop in `path` (WAV, FLAC or whatever libsndfile reads) as [2,N] at 48 kHz, N a multiple of 9,600.

    Raises :class:`SourceError`.
    """
    try:
        if not path.is_file():
            reason = "it is no file" if path.exists() else "there is no such file"
            raise SourceError(f"{path} cannot be read as audio: {reason}")
        if path.suffix.lower() == ".raw":
            raise SourceError(f"{path} cannot be read as audio: raw samples have no header that says what they are")
        with soundfile.SoundFile(path) as file:
            _check(file, path)
            audio, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        raise SourceError(f"{path} cannot be read as audio: {error.error_string.rstrip('.')}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read as audio: {error.strerror or error}") from None
    return prepared(audio, rate, str(path))


def _check(file: Any, path: Path) -> None:
    """Raises :class:`SourceError` for what the header of `file` says, before memory is spent on the rest."""
    if file.channels > 2:
        raise SourceError(f"{path} has {file.channels} channels; mono or stereo is wanted")
    if not SLOWEST <= file.samplerate <= FASTEST:
        raise SourceError(f"{path} has {file.samplerate} samples a second; {SLOWEST} to {FASTEST} are wanted")
    if file.frames > LONGEST * file.samplerate:
        raise SourceError(f"{path} lasts {file.frames / file.samplerate:.0f} s; {LONGEST:.0f} s is the most")


def prepared(audio: NDArray[Any], rate: int, name: str) -> Audio:
    """`audio` [frames, mono or stereo] at `rate` Hz as :func:`load_source` gives it. `name` is for errors."""
    if audio.shape[0] == 0:
        raise SourceError(f"{name} is empty")
    if not np.isfinite(audio).all():
        raise SourceError(f"{name} holds samples that are no numbers (NaN or infinity)")
    if (peak := np.abs(audio).max()) > LOUDEST:
        raise SourceError(f"{name} holds samples up to {peak:g}; audio goes from -1 to 1")
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio.astype(np.float32), rate, SAMPLE_RATE, quality="VHQ")
    seconds = audio.shape[0] / SAMPLE_RATE
    if seconds < SHORTEST:
        raise SourceError(f"{name} lasts {seconds:.2f} s; at least {SHORTEST:.0f} s are wanted")
    stereo = np.ascontiguousarray(np.broadcast_to(audio, (audio.shape[0], 2)).T, dtype=np.float32)
    return looped(stereo, stereo.shape[1] // GRID * GRID)


def remark_on(audio: Audio) -> str:
    """What a user should know about `audio` [2,N] before hearing it: that it is silent, clips or is too loud."""
    magnitude = np.abs(audio)
    peak = float(magnitude.max())
    if peak < SILENT:
        return "it is silent"
    if peak > 1:
        return f"it is {20 * np.log10(peak):.1f} dB above full scale"
    full = magnitude >= max(0.99, 0.99999 * peak)
    clipped = np.lib.stride_tricks.sliding_window_view(full, _CLIPPED, axis=1).all(axis=-1)
    if places := int((np.diff(clipped.astype(np.int8), axis=1, prepend=0) == 1).sum()):
        return f"it clips in {places} place{'s' if places > 1 else ''}"
    return ""


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
