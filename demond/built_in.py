"""What the model inside brings to play with, by name: loops to start from, and prompts that show what it does.

Called wherever a user may name one: commands, OSC, settings files, scenes. The sounds themselves lie in the engine,
which control code does not import; `tests/test_built_in.py` holds both lists together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demond.knobs import did_you_mean


class UnknownNameError(ValueError):
    """Nothing inside is called so."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A loop; its name says style and tempo."""

    bars: int
    key: str

    def told(self, name: str) -> str:
        """In words: `lofi, 75 bpm, d dorian, 4 bars`."""
        style, _, bpm = name.partition("-")
        return f"{style}, {bpm} bpm, {self.key}, {self.bars} bars"


CLIPS = {
    "house-120": Clip(8, "f dorian"),
    "techno-128": Clip(8, "a minor"),
    "lofi-75": Clip(4, "d dorian"),
    "ambient-60": Clip(4, "c major"),
    "synthwave-100": Clip(4, "e minor"),
    "trap-150": Clip(4, "g minor"),
}
"""Loops that may be named where a file would be. The first is the one that plays when nothing is named."""

PROMPTS = {
    "warehouse": "techno, 120 bpm, f dorian, driving, dark",
    "neon": "synthwave, 120 bpm, f dorian, bright, spacious",
    "arcade": "chiptune, 120 bpm, f dorian, busy",
    "attic": "lofi, 120 bpm, f dorian, calm, dark",
    "cloud": "ambient, 120 bpm, f dorian, spacious",
    "cellar": "trap, 120 bpm, f dorian, sparse, bright",
}
"""Prompts by name, made for the first loop."""


def prompt_text(name: str) -> str:
    """The text of the prompt called `name`. Raises :class:`UnknownNameError` with what there is."""
    if name not in PROMPTS:
        raise UnknownNameError(f"no prompt is called {name[:64]!r}{_known(name, PROMPTS)}")
    return PROMPTS[name]


def prompt_name(text: str) -> str:
    """What the prompt `text` is called; empty for one of the user's own."""
    return next((name for name, each in PROMPTS.items() if each == text), "")


def told() -> dict[str, dict[str, str]]:
    """All there is, in words."""
    return {"sources": {name: clip.told(name) for name, clip in CLIPS.items()}, "prompts": dict(PROMPTS)}


def _known(name: str, names: Iterable[str]) -> str:
    return did_you_mean(name[:64], names) or f"; there are {', '.join(names)}"
