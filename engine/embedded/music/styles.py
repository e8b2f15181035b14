"""The eight styles that the built-in model knows: rhythm and idioms of each. Their sounds are in `sounds`.

Patterns are written in sixteenths of one bar or two: in drums `x` is a hit, `o` a soft one, and a digit a hit that
repeats so many times within its sixteenth; in the bass `1` is the root, `5` the fifth and `8` the octave; in chords
and melodies `x` is an onset. They are common knowledge of dance-music practice, not transcriptions.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.embedded.music.sound import Sound
from engine.embedded.music.sounds import SOUNDS


@dataclass(frozen=True, slots=True)
class Style:
    """How a style is played, and how it sounds."""

    words: tuple[str, ...]
    """Tags that mean it; the first is its name."""
    bpm: tuple[float, float]
    swing: tuple[float, float]
    """Share of a sixteenth by which every second one is late."""
    modes: tuple[str, ...]
    kick: str
    snare: str
    hat: str
    open_hat: str
    bass: str
    bass_legato: float
    """Share of the time to the next note that a note lasts."""
    chord: str
    chord_length: float
    """Sixteenths that a chord lasts at the most."""
    arp: float
    """Probability of an arpeggio."""
    arp_rate: int
    """Sixteenths between its notes."""
    lead: float
    """Probability of a melody."""
    perc: float
    """Probability of a percussion hit on a weak sixteenth."""
    sound: Sound


STYLES: dict[str, Style] = {
    "house": Style(
        words=("house", "deep house", "disco", "club", "garage", "french house"),
        bpm=(118, 128),
        swing=(0.0, 0.12),
        modes=("minor", "dorian"),
        kick="x...x...x...x...",
        snare="....x.......x...",
        hat="o.oxo.oxo.oxo.ox",
        open_hat="..x...x...x...x.",
        bass="..1...1...1...8.",
        bass_legato=0.45,
        chord="x..x..x....x..x.",
        chord_length=1.4,
        arp=0.25,
        arp_rate=2,
        lead=0.35,
        perc=0.08,
        sound=SOUNDS["house"],
    ),
    "techno": Style(
        words=("techno", "industrial", "warehouse", "acid", "minimal", "rave"),
        bpm=(126, 140),
        swing=(0.0, 0.03),
        modes=("phrygian", "minor"),
        kick="x...x...x...x...",
        snare="............x...",
        hat="..x...x...x...x.",
        open_hat="................",
        bass=".111.111.111.118",
        bass_legato=0.7,
        chord="...x......x.....",
        chord_length=1.0,
        arp=0.75,
        arp_rate=1,
        lead=0.1,
        perc=0.25,
        sound=SOUNDS["techno"],
    ),
    "lofi": Style(
        words=("lofi", "lo-fi", "chillhop", "hip hop", "jazzy", "chill"),
        bpm=(70, 88),
        swing=(0.14, 0.28),
        modes=("dorian", "major"),
        kick="x.....x...x.....",
        snare="....x.......x...",
        hat="x.o.x.o.x.o.x.o.",
        open_hat="................",
        bass="1.....1...5.....",
        bass_legato=0.8,
        chord="x......x..x.....",
        chord_length=6.0,
        arp=0.15,
        arp_rate=2,
        lead=0.6,
        perc=0.04,
        sound=SOUNDS["lofi"],
    ),
    "ambient": Style(
        words=("ambient", "drone", "atmospheric", "meditation", "soundscape", "cinematic"),
        bpm=(60, 84),
        swing=(0.0, 0.0),
        modes=("major", "dorian", "minor"),
        kick="................",
        snare="................",
        hat="................",
        open_hat="................",
        bass="1...............",
        bass_legato=1.0,
        chord="x...............",
        chord_length=16.0,
        arp=0.6,
        arp_rate=4,
        lead=0.5,
        perc=0.0,
        sound=SOUNDS["ambient"],
    ),
    "dnb": Style(
        words=("dnb", "drum and bass", "jungle", "liquid", "breakbeat", "neurofunk"),
        bpm=(168, 176),
        swing=(0.0, 0.05),
        modes=("minor",),
        kick="x.........x.....x.........x..o..",
        snare="....x..o.o..x..o....x..o.o..x.oo",
        hat="x.x.x.x.x.x.x.x.",
        open_hat="..............x.",
        bass="1.......1.....8.1.....5.1.......",
        bass_legato=0.95,
        chord="x...............",
        chord_length=12.0,
        arp=0.35,
        arp_rate=1,
        lead=0.35,
        perc=0.1,
        sound=SOUNDS["dnb"],
    ),
    "synthwave": Style(
        words=("synthwave", "retrowave", "outrun", "80s", "vaporwave", "synth pop"),
        bpm=(84, 112),
        swing=(0.0, 0.0),
        modes=("minor", "major"),
        kick="x.......x.......",
        snare="....x.......x...",
        hat="x.x.x.x.x.x.x.x.",
        open_hat="................",
        bass="1.8.1.8.1.8.1.8.",
        bass_legato=0.6,
        chord="x...............",
        chord_length=16.0,
        arp=0.75,
        arp_rate=1,
        lead=0.6,
        perc=0.03,
        sound=SOUNDS["synthwave"],
    ),
    "trap": Style(
        words=("trap", "drill", "808", "phonk", "hip-hop beat", "bass music"),
        bpm=(132, 150),
        swing=(0.0, 0.04),
        modes=("minor", "phrygian"),
        kick="x.....x.........x.........x.....",
        snare="........x...............x.......",
        hat="x.x.x.x2x.x.3.x.x.x.x.x2x.2.x.4.",
        open_hat="..............x.................",
        bass="1.....1...........1.......5.....",
        bass_legato=1.0,
        chord="x...............................",
        chord_length=14.0,
        arp=0.35,
        arp_rate=4,
        lead=0.6,
        perc=0.03,
        sound=SOUNDS["trap"],
    ),
    "chiptune": Style(
        words=("chiptune", "8-bit", "video game", "arcade", "nintendo", "bitpop"),
        bpm=(120, 160),
        swing=(0.0, 0.0),
        modes=("major", "minor"),
        kick="x.....x.x.......",
        snare="....x.......x...",
        hat="x.x.x.x.x.x.x.x.",
        open_hat="................",
        bass="1.1.8.1.1.8.1.5.",
        bass_legato=0.75,
        chord="................",
        chord_length=1.0,
        arp=1.0,
        arp_rate=1,
        lead=0.9,
        perc=0.0,
        sound=SOUNDS["chiptune"],
    ),
}
