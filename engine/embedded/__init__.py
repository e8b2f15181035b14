"""The model that ships inside, so that demond plays within a minute on two CPU cores and needs no download.

`checkpoint/` has the layout of any other checkpoint; its transformer is ACE-Step's architecture with small numbers,
so the engine knows nothing that only this model has. Its VAE and its condition encoder are our own: `vae.py` and
`front.py`. Weights and clips were made from music by our own generator (`music/`); `training/` has the programs that
made the weights, `gate/` the one that judges them.
"""

from __future__ import annotations

from pathlib import Path

_CLIPS = Path(__file__).parent / "clips"

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The checkpoint folder that is used when the user names none."""

CLIPS = {
    name: _CLIPS / f"{name}.flac"
    for name in ("house-120", "techno-128", "lofi-75", "ambient-60", "synthwave-100", "trap-150")
}
"""Loops of four or eight bars, by style and tempo."""

CLIP = CLIPS["house-120"]
"""A loop of eight bars at 120 bpm (16 s) that is played when the user names no source."""

PROMPTS = {
    "warehouse": "techno, 120 bpm, f dorian, driving, dark",
    "neon": "synthwave, 120 bpm, f dorian, bright, spacious",
    "arcade": "chiptune, 120 bpm, f dorian, busy",
    "attic": "lofi, 120 bpm, f dorian, calm, dark",
    "cloud": "ambient, 120 bpm, f dorian, spacious",
    "cellar": "trap, 120 bpm, f dorian, sparse, bright",
}
"""Prompts that show what the model does to the loop it starts with."""

PROMPT_A = "house, 120 bpm, f dorian"
PROMPT_B = PROMPTS["neon"]
