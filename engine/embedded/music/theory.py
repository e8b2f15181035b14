"""Scales and chord progressions as numbers. Plain tables of music theory, read by the composer and the judges."""

from __future__ import annotations

ROOTS = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")
"""Names of the pitch classes 0–11."""

SCALES = {
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
"""Semitones above the root of the seven degrees of every mode."""

PROGRESSIONS = {
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 0, 5, 6), (0, 3, 0, 4)),
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 2, 3, 4)),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0)),
    "phrygian": ((0, 1, 0, 1), (0, 0, 1, 6)),
}
"""Degrees (0 = tonic) of the chords of four bars."""


def degree(root: int, mode: str, number: int) -> int:
    """The MIDI note of scale degree `number` (0 = the root between C2 and B2; 7 = an octave above)."""
    octave, step = divmod(number, 7)
    return 36 + root + SCALES[mode][step] + 12 * octave
