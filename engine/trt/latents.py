"""Latents of many kinds of music, made by the model that they are for: what INT8 is calibrated with and judged by.

Called by `demond engine export --precision int8`. A VAE's decoder is fed what the network makes of prompts, not what
an encoder makes of recordings, and a range that was measured on one style clips another's loudest frames. So styles,
tempos and keys are spread, and every second prompt is also heard as another version of the clip inside. What the
result is judged by was made of prompts that no range was measured with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine.conditioning import Prompt
from engine.curves import Curves
from engine.geometry import LATENT_RATE
from engine.knobs import Knobs
from engine.model.checkpoint import Progress
from engine.rig import Builder, Rig, Setup, Silence
from engine.stream import generate
from engine.trt.quantize import Music

PROMPTS = (
    "techno, dark, driving, 132 bpm, f minor",
    "ambient, calm, spacious, 64 bpm, d major",
    "house, bright, warm, 122 bpm, a minor",
    "lofi hip hop, mellow, dusty, 78 bpm, c minor",
    "drum and bass, fast, energetic, 172 bpm, g minor",
    "synthwave, nostalgic, bright, 104 bpm, e minor",
    "jazz trio, soft, brushed drums, 96 bpm, b flat major",
    "orchestral, dramatic, strings and brass, 88 bpm, c minor",
    "trap, heavy bass, sparse, 146 bpm, f sharp minor",
    "solo piano, quiet, tender, 60 bpm, e flat major",
    "rock, loud, distorted guitars, 138 bpm, e minor",
    "dub, deep, echoing, 74 bpm, a minor",
)
"""What ranges are measured with."""
OTHERS = (
    "disco, sparkling, 118 bpm, g major",
    "industrial, harsh, noisy, 126 bpm, d minor",
    "folk song, acoustic guitar, 92 bpm, d major",
    "breakbeat, funky, 134 bpm, c minor",
)
"""What the result is judged by."""
SECONDS = 4.0
_STEPS = 8
_FROM_TEXT = Knobs(denoise=1.0, hint_strength=0.0)
_COVER = Knobs(denoise=0.7)


def prompt_diverse(
    checkpoint: Path | None,
    prompts: Sequence[str] = PROMPTS,
    device: torch.device | None = None,
    progress: Progress = lambda stage, share: None,
    others: Sequence[str] = OTHERS,
) -> Music:
    """What the model in `checkpoint` (none is the one inside) makes of `prompts` and of `others`, as the module says.

    The same model gives the same latents. Raises `CheckpointError` and `PromptError`.
    """
    place = device or torch.device("cpu")
    builder = Builder(place, torch.bfloat16 if place.type == "cuda" else torch.float32, 1, backend="eager")
    texts = (*prompts, *others)
    asked = [(True, number) for number in range(len(texts))] + [(False, number) for number in range(0, len(texts), 2)]
    measured: list[Tensor] = []
    judged: list[Tensor] = []
    rig: Rig | None = None
    for done, (from_text, number) in enumerate(asked):
        source = Silence(SECONDS) if from_text else None
        setup = Setup(checkpoint, source, prompts={"a": Prompt(texts[number])}, depth=1, steps=_STEPS)
        rig = builder.build(setup, rig)
        knobs = replace(_FROM_TEXT if from_text else _COVER, seed=done)
        (measured if number < len(prompts) else judged).append(_generated(rig, knobs))
        progress("making music to measure", (done + 1) / len(asked))
    return Music(tuple(prompts), tuple(measured), tuple(judged))


@torch.inference_mode()
def _generated(rig: Rig, knobs: Knobs) -> Tensor:
    """The beginning of what `rig` plays."""
    frames = min(rig.frames, round(SECONDS * LATENT_RATE))
    cut = replace(rig, latents=rig.latents[:frames], hint=rig.hint[:frames])
    curves = Curves(frames, rig.latents.device)
    return generate(cut.backend, cut.latents, cut.new_guides().at(knobs, curves), curves, knobs, _STEPS).float().cpu()
