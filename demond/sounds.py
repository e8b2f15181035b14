"""What docs/sounds.md shows: the loops inside, and what each prompt inside makes of the first one.

The commands stand here once: the page is made from them by `demond.reference`, the pictures beside it by
`demond.render.pictures`, and the tests hold page, pictures and commands together.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from demond.built_in import CLIPS, PROMPTS

FOLDER = Path(__file__).parent.parent / "docs" / "sounds"
"""Of the pictures, in a checkout."""
_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Sound:
    """One file that `demond render` writes, and its picture."""

    name: str
    arguments: tuple[str, ...]
    """Of `demond render`, but for `--out`."""
    words: str

    @property
    def command(self) -> str:
        """As it is typed."""
        return shlex.join(("demond", "render", *self.arguments, "--out", f"{self.name}.flac"))

    @property
    def picture(self) -> Path:
        """Where it lies in a checkout."""
        return FOLDER / f"{self.name}.png"


SOURCES = tuple(
    Sound(name, ("--source", name, "--denoise", "0", "--seconds", str(_SECONDS)), clip.told(name))
    for name, clip in CLIPS.items()
)
COVERS = tuple(
    Sound(
        name, ("--source", next(iter(CLIPS)), "--named", name, "--denoise", "0.9", "--seconds", str(_SECONDS)), text
    )
    for name, text in PROMPTS.items()
)


def section(sounds: tuple[Sound, ...]) -> str:
    """Markdown: of every sound its name, what it is, the command and the picture."""
    parts = [
        f"### {sound.name}\n\n{sound.words[:1].upper()}{sound.words[1:]}.\n\n```sh\n{sound.command}\n```\n\n"
        f"![Spectrogram of {sound.name}: {sound.words}](sounds/{sound.name}.png)"
        for sound in sounds
    ]
    return "\n\n".join(parts)
