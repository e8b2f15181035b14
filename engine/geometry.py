"""The fixed sizes of the family: ACE-Step v1.5 latents are 25 frames a second of 64 channels over 48 kHz stereo.

Read by every part of the engine. Integer frame counts are used everywhere; seconds appear only at the borders.
"""

from __future__ import annotations

SAMPLE_RATE = 48_000
"""Samples a second of the audio that the VAE encodes and decodes."""

HOP = 1_920
"""Samples in one latent frame (40 ms)."""

LATENT_RATE = 25
"""Latent frames a second."""

CHANNELS = 64
"""Channels of a latent frame."""

GRID = 9_600
"""Source audio is trimmed to whole multiples of this many samples: five latent frames, one of structure hints."""


class RateError(ValueError):
    """The sample rate cannot carry whole latent frames. What the user can do: run JACK at a usual rate."""


def hop_at(rate: int) -> int:
    """Samples in one latent frame at `rate`, e.g. 1,764 at 44,100 Hz.

    Raises :class:`RateError` when that is no whole number, as windows could then not be placed sample-exactly.
    """
    if rate <= 0 or rate % LATENT_RATE:
        raise RateError(
            f"a sample rate of {rate} Hz does not hold {LATENT_RATE} whole latent frames a second; "
            "rates such as 44100, 48000, 88200 or 96000 do"
        )
    return rate // LATENT_RATE
