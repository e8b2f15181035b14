"""The conditioner of a full ACE-Step 1.5 checkpoint: prompts and clips to encoder states, sources to structure hints.

Called through the interface of `engine.conditioning`. The prompt's template, the task instructions, the condition
encoder and the audio tokenizer are diffusers' own, the text encoder is transformers'; both libraries are imported
when such a checkpoint is loaded and not before. Their weights are read by `engine.model.checkpoint` as everything
else is: safetensors in the folder, no pickle, no code from the folder, no network.

What diffusers 0.42.1 and the release (github.com/ace-step/ACE-Step-1.5, `acestep/core/generation/handler`) do, and
what is done here:

- Timbre. Both hear three pieces of 10 s, of a clip that is repeated until it lasts 30 s. The release draws each from
  its third at random; diffusers takes the first 10 s, 10 s from a third on, and the last 10 s, and so is done here.
  Both join the pieces as audio and draw a sample of the posterior; here they are joined as latents, its mean, so that
  a clip is encoded once. That differs within the encoder's reach of a joint (7 frames).
- The XL checkpoint has a class token before the frames of the timbre, which diffusers leaves out. It is put back.
- A cover of strength s. The release takes the instruction and the context of text-to-music for the last 1 - s of the
  steps; diffusers mixes the velocities under both instructions, in the context of the cover. Here the hints fade in
  the context, under the instruction of the cover, and text-to-music is what is asked for at 0.
- No lyrics. diffusers passes on an empty text; the release writes `[Instrumental]`, and so is done here.
- Guidance. Both repeat the learned null embedding to the length of the condition. Equal keys and values without
  positions weigh as one, so here it is one.
- A repaint. Both have silence in the context where music is wanted, and the source's latents where it is kept. Here
  it is the hints where music is wanted, which are silence at strength 0 (`engine.guide`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.conditioning import Condition, Prompt, Task, checked
from engine.metas import Metas, read_metas
from engine.model.checkpoint import (
    CheckpointError,
    Progress,
    check_shapes,
    needed_libraries,
    read_config,
    read_tensors,
    read_transformer_sizes,
)
from engine.recent import Recent, content_of

INSTRUMENTAL = "[Instrumental]"
"""The lyrics of music without a voice, as ACE-Step writes them."""

_TEXT_TOKENS, _LYRIC_TOKENS = 256, 2048
"""Tokens read of the text and of the lyrics; the defaults of diffusers' `AceStepPipeline.encode_prompt`."""
_PIECE = 250
"""Frames (10 s) of each of the three pieces of a clip that the timbre encoder hears."""
_KEPT = 128 * 2**20
"""Bytes of states and hints kept; a text of 200 tokens takes 1.6 MB, the longest lyrics 17 MB."""
_LANGUAGES = (
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk "
    "sr sv sw ta te th tl tr uk ur vi yue zh unknown"
)
"""What the release sings in (its `acestep/constants.py`)."""


class AceStepConditioner:
    """See `engine.conditioning.Conditioner`.

    States are [lyrics | timbre | text]. Each of the three is encoded on its own and kept by its content, so that a
    change costs what was changed. What is returned may be shared and is not to be written to.
    """

    takes_timbre = takes_lyrics = True

    def __init__(
        self,
        tokenize: Callable[[str, int], tuple[list[int], bool]],
        text_encoder: Any,
        condition_encoder: Any,
        audio_tokenizer: Any | None = None,
        detokenizer: Any | None = None,
        *,
        timbre_token: bool = False,
    ) -> None:
        """The models are on their device, in their dtype, with their weights.

        `tokenize(text, limit)` gives ids and whether some were left out. `timbre_token` puts the class token before
        the frames of the timbre.
        """
        from diffusers.pipelines.ace_step.pipeline_ace_step import TASK_INSTRUCTIONS, AceStepPipeline

        self._tokenize, self._text_encoder, self._encoder = tokenize, text_encoder, condition_encoder
        self._silence: Tensor = condition_encoder.silence_latent
        self._tokenizer, self._detokenizer = audio_tokenizer, detokenizer
        self._pipeline: Any = AceStepPipeline
        self._instructions: Mapping[str, str] = TASK_INSTRUCTIONS
        # What the transformer will find in its context decides what it is told to do.
        hints = audio_tokenizer is not None and detokenizer is not None
        self._tasks: tuple[Task, ...] = ("cover", "text2music", "repaint") if hints else ("text2music", "repaint")
        if timbre_token:
            timbre = condition_encoder.timbre_encoder
            timbre.embed_tokens.register_forward_hook(
                lambda module, given, frames: torch.cat(
                    (timbre.special_token.expand(len(frames), -1, -1), frames), dim=1
                )
            )
        self._recent: Recent[tuple[Tensor, bool]] = Recent(_KEPT, lambda made: made[0].nbytes)
        self._silent = self._encode_timbre(self._silence[0, : 3 * _PIECE])

    def silence(self, frames: int) -> Tensor:
        """Silence as the checkpoint holds it, [frames,64] in fp32; from its beginning again after 600 s."""
        around = torch.arange(frames, device=self._silence.device) % self._silence.shape[1]
        return self._silence[0, around].float()

    @torch.inference_mode()
    def encode(self, prompt: Prompt, *, seconds: float | None = None, timbre: Tensor | None = None) -> Condition:
        """See `engine.conditioning.Conditioner`.

        Tempo, key and time signature are read from the text (see `engine.metas`) where they are not given, the rest
        of it is the caption. Without an audio tokenizer there are no hints to follow, and `states` are those of
        text-to-music.
        """
        prompt = checked(prompt)
        metas = read_metas(_sound(prompt.text), prompt.bpm, prompt.key, prompt.time_signature)
        remarks = list(metas.remarks)
        sings = bool(prompt.lyrics.strip())
        if metas == Metas("") and not sings:
            remarks.append("the prompt is empty, so the model plays freely")
        if sings and prompt.language not in _LANGUAGES.split():
            remarks.append(f"the model did not learn to sing in {prompt.language!r}")
        written = {task: self._formatted(metas, prompt, seconds, task) for task in self._tasks}
        lyrics, lyrics_cut = self._lyrics(written[self._tasks[0]][1])
        texts = {task: self._text(text) for task, (text, _) in written.items()}
        if any(cut for _, cut in texts.values()):
            remarks.append(
                f"the prompt is longer than the {_TEXT_TOKENS} tokens that the model reads; "
                "the end is left out, and tempo and key with it"
            )
        if lyrics_cut:
            remarks.append(
                f"the lyrics are longer than the {_LYRIC_TOKENS} tokens that the model reads; the end is left out"
            )
        sound = self._silent if timbre is None else self._timbre(timbre)
        states = {task: torch.cat((lyrics, sound, text), dim=1) for task, (text, _) in texts.items()}
        following = states[self._tasks[0]]
        return Condition(
            following,
            "; ".join(remarks),
            silent=None if timbre is None else torch.cat((lyrics, self._silent, texts[self._tasks[0]][0]), dim=1),
            free=states["text2music"] if following is not states["text2music"] else None,
            repaint=states["repaint"],
        )

    def null(self) -> Condition:
        """See `engine.conditioning.Conditioner`. The learned null embedding, one token."""
        null: Tensor = self._encoder.null_condition_emb
        return Condition(null.float())

    @torch.inference_mode()
    def hint(self, latents: Tensor) -> Tensor:
        """Latents [T,64] through the audio tokenizer (5 Hz codes) and back, [T,64] in fp32.

        Without `audio_tokenizer/` and `audio_token_detokenizer/` in the checkpoint this is silence: the network knows
        structure in its context as detokenized codes only, and the latents themselves would hand it the sound too.
        """
        if self._tokenizer is None or self._detokenizer is None:
            return self.silence(latents.shape[0])
        tokenizer, detokenizer = self._tokenizer, self._detokenizer

        def encoded() -> tuple[Tensor, bool]:
            codes, _ = tokenizer.tokenize(latents[None].to(self._silence), self._silence)
            return detokenizer(codes)[0, : latents.shape[0]].float(), False

        return self._recent.get(("hint", content_of(latents)), encoded)[0]

    def _formatted(self, metas: Metas, prompt: Prompt, seconds: float | None, task: Task) -> tuple[str, str]:
        """Text and lyrics in the template that the model was trained on."""
        # The method uses nothing of a pipeline but another static method, so the class stands in for one.
        text, lyrics = self._pipeline._format_prompt(
            self._pipeline,
            prompt=metas.caption,
            lyrics=_sound(prompt.lyrics) if prompt.lyrics.strip() else INSTRUMENTAL,
            vocal_language=prompt.language,
            audio_duration=seconds,
            instruction=self._instructions[task],
            bpm=metas.bpm,
            keyscale=metas.key,
            timesignature=metas.time_signature,
        )
        return text, lyrics

    def _ids(self, text: str, limit: int) -> tuple[Tensor, bool]:
        ids, cut = self._tokenize(text, limit)
        return torch.tensor([ids], device=self._silence.device), cut

    def _text(self, text: str) -> tuple[Tensor, bool]:
        """States [1,L,E] in fp32 of a formatted text, and whether its end was left out."""

        def encoded() -> tuple[Tensor, bool]:
            ids, cut = self._ids(text, _TEXT_TOKENS)
            hidden = self._text_encoder(input_ids=ids, use_cache=False).last_hidden_state
            return self._encoder.text_projector(hidden).float(), cut

        return self._recent.get(("text", text), encoded)

    def _lyrics(self, lyrics: str) -> tuple[Tensor, bool]:
        """States [1,L,E] in fp32 of formatted lyrics, and whether their end was left out."""

        def encoded() -> tuple[Tensor, bool]:
            ids, cut = self._ids(lyrics, _LYRIC_TOKENS)
            embedded = self._text_encoder.get_input_embeddings()(ids)
            states = self._encoder.lyric_encoder(embedded, torch.ones_like(ids, dtype=torch.bool))
            return states.float(), cut

        return self._recent.get(("lyrics", lyrics), encoded)

    def _timbre(self, clip: Tensor) -> Tensor:
        """The one state [1,1,E] in fp32 of the sound of a clip [N,64]."""
        return self._recent.get(("timbre", content_of(clip)), lambda: (self._encode_timbre(pieces(clip)), False))[0]

    @torch.inference_mode()
    def _encode_timbre(self, frames: Tensor) -> Tensor:
        one_clip = torch.zeros(1, dtype=torch.long, device=self._silence.device)
        token, _ = self._encoder.timbre_encoder(frames[None].to(self._silence), one_clip)
        state: Tensor = token.float()
        return state


def pieces(clip: Tensor) -> Tensor:
    """What the timbre encoder hears of `clip` [N,64]: its first 10 s, 10 s from a third of it on, and its last 10 s.

    A clip of less than 30 s is repeated until it is longer. [750,64]; the rule is diffusers'
    `AceStepPipeline.prepare_reference_audio_latents`.
    """
    clip = clip.repeat(max(1, math.ceil(3 * _PIECE / clip.shape[0])), 1)
    third = clip.shape[0] // 3
    return torch.cat((clip[:_PIECE], clip[third : third + _PIECE], clip[-_PIECE:]))


def _sound(text: str) -> str:
    """`text` without lone surrogates, which are no text to the tokenizer."""
    return text.encode("utf-8", "replace").decode()


def load_ace_step(
    root: Path, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype, progress: Progress
) -> AceStepConditioner:
    """The conditioner of the checkpoint `root`, whose `condition_encoder/config.json` holds `config`.

    Raises `CheckpointError`.
    """
    with needed_libraries(root):
        import transformers  # before diffusers, which hides what it misses of it until it is used
        from diffusers import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer, AceStepConditionEncoder

    kinds: dict[str, Any] = {
        "condition_encoder": AceStepConditionEncoder,
        "audio_tokenizer": AceStepAudioTokenizer,
        "audio_token_detokenizer": AceStepAudioTokenDetokenizer,
    }
    width, text_width = config.get("hidden_size", 2048), config.get("text_hidden_dim", 1024)
    sizes = read_transformer_sizes(root)
    if sizes.encoder_hidden_size != width:
        raise CheckpointError(
            f"{root} does not fit together: its transformer takes conditions of width {sizes.encoder_hidden_size}, "
            f"its condition_encoder makes them {width} wide"
        )
    text_config = read_config(root / "text_encoder")
    if text_config.get("model_type") != "qwen3" or text_config.get("hidden_size") != text_width:
        raise CheckpointError(
            f"{root / 'text_encoder' / 'config.json'} does not describe a qwen3 model of width {text_width}, "
            "which the condition_encoder asks for"
        )

    def text_model() -> nn.Module:
        wanted = {name: value for name, value in text_config.items() if "attn_implementation" not in name}
        known = transformers.Qwen3Config.from_dict(wanted)
        known._attn_implementation = "sdpa"
        model: nn.Module = transformers.Qwen3Model(known)
        return model

    def load(part: str, stage: str, make: Callable[[], nn.Module] | None = None) -> Any:
        folder = root / part
        make = make or (lambda: kinds[part].from_config(read_config(folder)))
        return _load(folder, make, device, dtype, lambda share: progress(stage, share))

    text_encoder = load("text_encoder", "text encoder", text_model)
    # Tables that are computed and not stored have no values yet: they are made again.
    text_encoder.rotary_emb = type(text_encoder.rotary_emb)(text_encoder.config).to(device)
    condition_encoder = load("condition_encoder", "conditioner")
    audio_tokenizer = detokenizer = None
    if all((root / part).is_dir() for part in ("audio_tokenizer", "audio_token_detokenizer")):
        audio_tokenizer = load("audio_tokenizer", "audio tokenizer")
        detokenizer = load("audio_token_detokenizer", "audio token detokenizer")
        bare = audio_tokenizer.quantizer
        quantizer = type(bare)(bare.project_in.in_features, bare.levels, bare.num_quantizers)
        quantizer.load_state_dict(bare.state_dict(), assign=True)
        audio_tokenizer.quantizer = quantizer.to(device).eval().requires_grad_(False)
    else:
        progress("no structure hints: the checkpoint has no audio tokenizer", 1.0)
    tokenize = _tokenizer(root / "tokenizer" / "tokenizer.json", int(text_encoder.config.vocab_size))
    return AceStepConditioner(
        tokenize,
        text_encoder,
        condition_encoder,
        audio_tokenizer,
        detokenizer,
        timbre_token=sizes.hidden_size > sizes.encoder_hidden_size,
    )


def _load(
    folder: Path,
    make: Callable[[], nn.Module],
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[float], None],
) -> nn.Module:
    """What `make` makes, filled from the safetensors of `folder` without being initialised first."""
    try:
        with torch.device("meta"):
            model = make()
    except Exception as error:  # the libraries check a config in ways of their own
        raise CheckpointError(f"{folder / 'config.json'} cannot be used: {' '.join(str(error).split())}") from None
    wanted = model.state_dict()
    # A language model's file may hold the whole of it, with its head and under another prefix.
    tensors = {
        n.removeprefix("model."): t for n, t in read_tensors(folder, progress).items() if n != "lm_head.weight"
    }
    check_shapes({n: tuple(t.shape) for n, t in wanted.items()}, tensors, folder)
    model.load_state_dict({n: t.to(device, dtype) for n, t in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False)


def _tokenizer(path: Path, vocabulary: int) -> Callable[[str, int], tuple[list[int], bool]]:
    """The tokenizer in `path` as a function. Raises `CheckpointError`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower type
        raise CheckpointError(f"{path} cannot be read as a tokenizer: {error}") from None
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f"{path} has {tokenizer.get_vocab_size()} tokens, and the text_encoder beside it knows {vocabulary}"
        )
    tokenizer.no_padding()
    turn = threading.Lock()

    def tokenize(text: str, limit: int) -> tuple[list[int], bool]:
        with turn:  # the limit is a state of the tokenizer
            tokenizer.enable_truncation(limit)
            encoding = tokenizer.encode(text)
        return list(encoding.ids), bool(encoding.overflowing)

    return tokenize
