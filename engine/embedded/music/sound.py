"""What a style sounds like: the numbers of its voices, its drum kit and its room.

Filled in by the table of styles, varied by the composer, read by the renderer. Times are in seconds, frequencies in
hertz, levels and mixes linear; the range of every other number stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthesiser: oscillators, a brightness that falls from a peak, an envelope, sends."""

    level: float
    attack: float = 0.004
    decay: float = 0.3
    sustain: float = 0.5
    release: float = 0.06
    saw: float = 0.0
    square: float = 0.0
    pulse: float = 0.0
    sine: float = 0.0
    fm: float = 0.0
    width: float = 0.25
    """0.05–0.5: share of a period that the pulse is high."""
    ratio: float = 1.0
    """Modulator's frequency over the carrier's."""
    index: float = 1.0
    """0–6: modulation at the onset, in radians; it falls with `index_decay` to a third."""
    index_decay: float = 0.2
    bright: float = 0.3
    """0–0.93: amplitude of each harmonic over that of the one below, at rest."""
    sweep: float = 0.2
    """0–0.9: brightness added at the onset; it falls with `sweep_decay`."""
    sweep_decay: float = 0.15
    detune: float = 0.0
    """Cents between the two channels' oscillators."""
    vibrato: float = 0.0
    """Cents at 5.2 Hz, growing over 0.3 s."""
    tremolo: float = 0.0
    """0–1: alternating between the channels."""
    drive: float = 0.0
    """0–8: gain in front of a saturation."""
    pan: float = 0.0
    """-1 (left) to 1 (right)."""
    octave: float = 0.0
    reverb: float = 0.2
    echo: float = 0.0


@dataclass(frozen=True, slots=True)
class Kit:
    """Drums from sines and filtered noise."""

    kick: float = 0.85
    kick_low: float = 48.0
    kick_high: float = 190.0
    kick_drop: float = 0.04
    kick_decay: float = 0.2
    kick_drive: float = 1.8
    kick_click: float = 0.1
    snare: float = 0.5
    snare_tone: float = 190.0
    snare_body: float = 0.6
    snare_low: float = 1_200.0
    snare_high: float = 9_000.0
    snare_decay: float = 0.1
    snare_claps: float = 0.0
    """0–1: how much the noise is that of clapping hands."""
    snare_reverb: float = 0.15
    hat: float = 0.22
    hat_low: float = 7_000.0
    hat_high: float = 16_000.0
    hat_decay: float = 0.035
    open_hat: float = 0.18
    open_decay: float = 0.15
    perc: float = 0.2
    perc_tone: float = 320.0
    perc_fm: float = 2.0
    perc_decay: float = 0.07


@dataclass(frozen=True, slots=True)
class Room:
    """What happens to the mix."""

    reverb: float = 0.5
    reverb_time: float = 0.25
    """Seconds in which the reverberation falls by 8.7 dB."""
    gate: float = 9.0
    """Seconds after which the reverberation is cut off."""
    echo: float = 0.12
    echo_steps: float = 3.0
    """Sixteenths between two echoes."""
    duck: float = 0.3
    """0–0.9: how far the kick pushes everything else down."""
    lowpass: float = 18_000.0
    tilt: float = 0.0
    """Decibels an octave around 1 kHz."""
    hiss: float = 0.0
    crackle: float = 0.0
    wow: float = 0.0
    """Cents that the pitch of everything sways."""
    crush: float = 0.0
    """Levels of amplitude on either side of zero; 0 leaves it alone."""
    hold: float = 1.0
    """Samples that are held as one."""
    drive: float = 1.0
    width: float = 1.0
    """0–1.5: gain of the side signal."""


@dataclass(frozen=True, slots=True)
class Sound:
    """All of it. The four chord voices share `chord`."""

    bass: Voice
    chord: Voice
    arp: Voice
    lead: Voice
    kit: Kit
    room: Room


_Part = TypeVar("_Part", Voice, Kit, Room)

_EXACT = {"octave", "ratio", "echo_steps", "hold", "pan", "gate"}
"""Numbers that are the style's own and are not varied."""

_LIMITS = {"width": 1.5, "bright": 0.9, "sweep": 0.8, "sustain": 1.0, "tremolo": 1.0, "duck": 0.9}


def varied(sound: Sound, rng: np.random.Generator, amount: float) -> Sound:
    """`sound` with every number but a few multiplied by `2^u`, u normal of deviation `amount` octaves."""

    def part(numbers: _Part) -> _Part:
        new = {}
        for field in fields(numbers):
            factor = 2.0 ** (amount * float(rng.standard_normal()))
            if field.name not in _EXACT:
                value = float(getattr(numbers, field.name)) * factor
                new[field.name] = min(value, _LIMITS.get(field.name, value))
        return replace(numbers, **new)

    return Sound(
        part(sound.bass), part(sound.chord), part(sound.arp), part(sound.lead), part(sound.kit), part(sound.room)
    )
