"""A whole ACE-Step checkpoint with random weights and small numbers, in the layout that diffusers saves.

For tests, and for trying a command on a full checkpoint without a download:

    python -m tests.engine.tiny_ace_step FOLDER [--xl] [--no-hints]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import Tokenizer, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer

_LIBRARY: Any = diffusers
_TEXT_LIBRARY: Any = transformers
WIDTH, TEXT_WIDTH = 32, 24

_ATTENTION = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
_SENTENCES = (
    "# Instruction\nFill the audio semantic mask based on the given conditions:\n\n# Caption\nwarm analogue house",
    "Generate audio semantic tokens based on the given conditions: a slow ambient piece with soft pads and bells",
    "# Metas\n- bpm: 120\n- timesignature: 4\n- keyscale: A minor\n- duration: 30 seconds\n",
    "# Languages\nen\n\n# Lyric\n[Instrumental]",
)
_END = "<|endoftext|>"


def write(folder: Path, *, xl: bool = False, hints: bool = True, seed: int = 1) -> Path:
    """Writes the checkpoint into `folder` and returns it.

    With `xl` the transformer is wider than its conditions, as that of the XL release is. Without `hints` the audio
    tokenizer and its inverse are left out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = _parts(xl, hints)
    _LIBRARY.AceStepPipeline(**parts).save_pretrained(folder)
    return folder


def _parts(xl: bool, hints: bool) -> dict[str, Any]:
    condition_encoder = _LIBRARY.AceStepConditionEncoder(
        **_ATTENTION,
        text_hidden_dim=TEXT_WIDTH,
        num_lyric_encoder_hidden_layers=2,
        num_timbre_encoder_hidden_layers=2,
    )
    condition_encoder.silence_latent.copy_(0.3 * torch.randn_like(condition_encoder.silence_latent))
    tokenizer = _tokenizer()
    text_encoder = _TEXT_LIBRARY.Qwen3Model(
        _TEXT_LIBRARY.Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        )
    )
    transformer = _LIBRARY.AceStepTransformer1DModel(
        **_ATTENTION | ({"hidden_size": 48, "encoder_hidden_size": WIDTH} if xl else {}),
        num_hidden_layers=2,
        is_turbo=True,
        model_version="turbo",
    )
    vae = _LIBRARY.AutoencoderOobleck(
        encoder_hidden_size=128,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=[1, 1, 1, 1, 1],
        decoder_channels=8,
        decoder_input_channels=64,
        audio_channels=2,
        sampling_rate=48_000,
    )
    audio_tokenizer = _LIBRARY.AceStepAudioTokenizer(
        **_ATTENTION, fsq_dim=WIDTH, num_attention_pooler_hidden_layers=1
    )
    detokenizer = _LIBRARY.AceStepAudioTokenDetokenizer(**_ATTENTION, num_attention_pooler_hidden_layers=1)
    return {
        "vae": vae.eval(),
        "text_encoder": text_encoder.eval(),
        "tokenizer": tokenizer,
        "transformer": transformer.eval(),
        "condition_encoder": condition_encoder.eval(),
        "scheduler": _LIBRARY.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        "audio_tokenizer": audio_tokenizer.eval() if hints else None,
        "audio_token_detokenizer": detokenizer.eval() if hints else None,
    }


def _tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE of a few hundred tokens, which ends every text as the tokenizer of Qwen3-Embedding does."""
    blank = Qwen2Tokenizer()
    backend = Tokenizer.from_str(blank.backend_tokenizer.to_str())
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        special_tokens=[_END],
        show_progress=False,
    )
    backend.train_from_iterator(_SENTENCES, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", pair=None, special_tokens=[(_END, backend.token_to_id(_END))]
    )
    return Qwen2Tokenizer(tokenizer_object=backend)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes a tiny ACE-Step checkpoint with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--xl", action="store_true", help="a transformer wider than its conditions")
    parser.add_argument("--no-hints", action="store_true", help="without the audio tokenizer")
    arguments = parser.parse_args()
    print(write(arguments.folder, xl=arguments.xl, hints=not arguments.no_hints))
