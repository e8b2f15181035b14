"""The model that ships inside, so that demond plays within a minute on two CPU cores and needs no download.

`checkpoint/` has the layout of any other checkpoint; its transformer is ACE-Step's architecture with small numbers,
so the engine knows nothing that only this model has. Its VAE and its condition encoder are our own: `vae.py` and
`front.py`.
Weights and clips were made from music by demond's own procedural generator.
"""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The checkpoint folder that is used when the user names none."""

CLIP = Path(__file__).parent / "clips" / "house-120.flac"
"""A loop of eight bars at 120 bpm (16 s) that is played when the user names no source."""

PROMPT_A = "house, 120 bpm, f dorian"
PROMPT_B = "synthwave, 120 bpm, f dorian, bright, spacious"
