"""Procedural music: the only thing that the built-in model was trained on, and the source of the built-in clips.

`compose` writes a piece from a request and a seed (notes in NumPy), `render` makes many of them sound at once
(PyTorch, CPU or GPU). Eight styles have their own rhythms, voices and rooms; tempo, key and mode are as asked for.
"""

from __future__ import annotations

from engine.embedded.music.compose import Piece, Request, compose, compose_pair, loop_tempo
from engine.embedded.music.render import render
from engine.embedded.music.styles import STYLES, Style

__all__ = ["STYLES", "Piece", "Request", "Style", "compose", "compose_pair", "loop_tempo", "render"]
