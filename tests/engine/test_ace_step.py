"""Conditions of a whole ACE-Step checkpoint: what it hears is what diffusers' pipeline would hear."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.ace_step import AceStepConditioner, pieces
from engine.conditioning import Conditioner, Prompt, Task, load_conditioner
from tests.engine import tiny_ace_step
from tests.engine.parts import gaussian

CPU = torch.device("cpu")
PROMPT = "ambient, 100 bpm, a minor, 4/4"


@pytest.fixture(scope="module")
def conditioner(tiny: Path) -> Conditioner:
    return load_conditioner(tiny, CPU)


def reference(root: Path) -> Any:
    kind: Any = AceStepPipeline
    return kind.from_pretrained(root, local_files_only=True)


@pytest.fixture(scope="module")
def pipeline(tiny: Path) -> Any:
    return reference(tiny)


@torch.inference_mode()
def states_of(
    pipeline: Any,
    caption: str,
    lyrics: str = "[Instrumental]",
    *,
    task: str = "cover",
    timbre: Tensor | None = None,
    xl: bool = False,
    **fields: Any,
) -> Tensor:
    """Encoder states as the pipeline's own methods make them, its forward included. `timbre` is [750,64]."""
    text, text_mask, lyrics_, lyrics_mask = pipeline.encode_prompt(
        caption, lyrics, CPU, instruction=pipeline._get_task_instruction(task), **fields
    )
    encoder = pipeline.condition_encoder
    if xl:
        encoder.timbre_encoder.embed_tokens = ClassToken(encoder.timbre_encoder)
    sound = encoder.silence_latent[:, :750] if timbre is None else timbre[None]
    states, mask = encoder(text, text_mask, lyrics_, lyrics_mask, sound, torch.zeros(1).long())
    assert mask.all()
    return states  # type: ignore[no-any-return]


class ClassToken(torch.nn.Module):
    """The timbre encoder's embedding as the XL release has it."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.embed, self.token = encoder.embed_tokens, encoder.special_token

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.token.expand(len(x), -1, -1), self.embed(x)), dim=1)


@pytest.mark.parametrize(
    ("text", "caption", "metas"),
    [
        (PROMPT, "ambient", {"bpm": 100, "keyscale": "A minor", "timesignature": "4"}),
        ("warm house {0} 'n' bass, ♯1", "warm house {0} 'n' bass, ♯1", {}),
        ("", "", {}),
        ("pads and bells " * 100, ("pads and bells " * 100).strip(), {}),
    ],
)
def test_states_are_those_of_the_pipeline(
    conditioner: Conditioner, pipeline: Any, text: str, caption: str, metas: dict[str, Any]
) -> None:
    states = conditioner.encode(Prompt(text), seconds=16.4).states
    wanted = states_of(pipeline, caption, audio_duration=16.4, **metas)
    assert states.shape == wanted.shape
    assert (states - wanted).abs().max() < 1e-5
    assert states.dtype == torch.float32


def test_lyrics_and_fields_are_those_of_the_pipeline(conditioner: Conditioner, pipeline: Any) -> None:
    lyrics = "[Verse]\nÖde Straßen, weiter Weg {0}\n\n[Chorus]\n東京 ♥\n"
    prompt = Prompt("techno, 90 bpm, 3/4", lyrics, "de", bpm=141, key="e flat minor", time_signature="6/8")
    condition = conditioner.encode(prompt, seconds=20)
    wanted = states_of(
        pipeline,
        "techno",
        lyrics,
        vocal_language="de",
        audio_duration=20,
        bpm=141,
        keyscale="Eb minor",
        timesignature="6",
    )
    assert condition.states.shape == wanted.shape
    assert (condition.states - wanted).abs().max() < 1e-5
    assert condition.remark == ""


def test_every_task_has_its_own_instruction(conditioner: Conditioner, pipeline: Any) -> None:
    condition = conditioner.encode(Prompt("ambient"), seconds=16)
    for task, states in (("cover", condition.states), ("text2music", condition.free), ("repaint", condition.repaint)):
        assert states is not None
        wanted = states_of(pipeline, "ambient", task=task, audio_duration=16)
        assert states.shape == wanted.shape
        assert (states - wanted).abs().max() < 1e-5


def test_without_hints_the_model_is_told_to_play_freely(copy: Path, pipeline: Any) -> None:
    shutil.rmtree(copy / "audio_tokenizer")
    condition = load_conditioner(copy, CPU).encode(Prompt("ambient"), seconds=16)
    wanted = states_of(pipeline, "ambient", task="text2music", audio_duration=16)
    assert (condition.states - wanted).abs().max() < 1e-5
    assert condition.free is None
    assert condition.repaint is not None


@pytest.mark.parametrize("frames", [75, 300, 750, 1_200])
def test_a_clip_of_timbre_is_heard_as_the_pipeline_hears_it(
    conditioner: Conditioner, pipeline: Any, frames: int
) -> None:
    """Through a VAE that averages every frame on its own, so that joints between pieces make no difference."""

    def averages(audio: Tensor) -> Any:
        latents = audio.unflatten(-1, (-1, 1_920)).mean(-1).repeat_interleave(32, dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda: latents))

    vae = SimpleNamespace(encode=averages, dtype=torch.float32)
    audio = gaussian(2, frames, seed=6).repeat_interleave(1_920, dim=1)
    heard, _ = type(pipeline).prepare_reference_audio_latents(
        SimpleNamespace(vae=vae, sample_rate=48_000), audio, 1, CPU, torch.float32
    )
    clip = averages(audio[None]).latent_dist.sample()[0].T
    assert (pieces(clip) - heard[0]).abs().max() < 1e-5
    states = conditioner.encode(Prompt("ambient"), seconds=30, timbre=clip).states
    assert (states - states_of(pipeline, "ambient", timbre=heard[0], audio_duration=30)).abs().max() < 1e-5


def test_timbre_runs_from_silence_to_the_clip_under_every_task(conditioner: Conditioner) -> None:
    prompt, clip = Prompt("ambient"), gaussian(300, 64, seed=7)
    sounding, without = conditioner.encode(prompt, timbre=clip), conditioner.encode(prompt)
    assert without.silent is None
    assert sounding.silent is not None
    assert torch.equal(sounding.silent, without.states)
    assert ((sounding.states != sounding.silent).any(dim=-1)).sum() == 1
    tasks: tuple[Task, ...] = ("cover", "text2music", "repaint")
    for task in tasks:
        silent, full = without.at(task), sounding.at(task)
        assert torch.equal(sounding.at(task, 0.0), silent)
        assert torch.equal(sounding.at(task, 1.0), full)
        assert torch.allclose(sounding.at(task, 0.25), torch.lerp(silent, full, 0.25), atol=1e-6)
        assert torch.equal(without.at(task, 0.25), silent)


@torch.inference_mode()
def test_the_null_embedding_as_one_token_is_the_same_as_at_full_length(
    conditioner: Conditioner, pipeline: Any
) -> None:
    null = conditioner.null().states
    assert torch.equal(null, pipeline.condition_encoder.null_condition_emb)
    x, context, half = gaussian(1, 50, 64, seed=8), gaussian(1, 50, 128, seed=9), torch.tensor([0.5])

    def velocity(states: Tensor) -> Tensor:
        return pipeline.transformer(x, half, half, states, context).sample  # type: ignore[no-any-return]

    one = velocity(null)
    assert (one - velocity(null.expand(1, 70, -1))).abs().max() < 1e-5
    assert (one - velocity(conditioner.encode(Prompt(PROMPT)).states)).abs().max() > 1e-3


def test_the_class_token_of_xl_is_put_back(tmp_path: Path) -> None:
    root = tiny_ace_step.write(tmp_path / "tiny-xl", xl=True)
    clip = gaussian(750, 64, seed=7)
    condition = load_conditioner(root, CPU).encode(Prompt("ambient"), timbre=clip)
    pipeline = reference(root)
    without = states_of(pipeline, "ambient", timbre=clip, audio_duration=30)
    wanted = states_of(pipeline, "ambient", timbre=clip, audio_duration=30, xl=True)
    assert (condition.states - wanted).abs().max() < 1e-5
    differs = (condition.states - without).abs().amax(dim=(0, 2)) > 1e-3
    assert differs.sum() == 1  # the timbre
    assert condition.silent is not None
    silent = states_of(pipeline, "ambient", audio_duration=30)  # the class token is in the pipeline by now
    assert (condition.silent - silent).abs().max() < 1e-5


@torch.inference_mode()
def test_hints_are_the_source_through_the_audio_tokenizer(conditioner: Conditioner, pipeline: Any) -> None:
    for frames in (25, 23):
        latents = gaussian(frames, 64, seed=5)
        codes, _ = pipeline.audio_tokenizer.tokenize(latents[None], pipeline.condition_encoder.silence_latent)
        wanted = pipeline.audio_token_detokenizer(codes)[0, :frames]
        assert torch.equal(conditioner.hint(latents), wanted)


def test_without_an_audio_tokenizer_hints_are_silence_and_that_is_said(copy: Path) -> None:
    shutil.rmtree(copy / "audio_token_detokenizer")
    stages: list[str] = []
    conditioner = load_conditioner(copy, CPU, progress=lambda stage, share: stages.append(stage))
    assert torch.equal(conditioner.hint(gaussian(25, 64, seed=5)), conditioner.silence(25))
    assert "no structure hints: the checkpoint has no audio tokenizer" in stages


def test_silence_is_the_checkpoints_own(conditioner: Conditioner, pipeline: Any) -> None:
    silence, _ = pipeline.prepare_src_latents(CPU, torch.float32, latent_length=15_010)
    assert torch.equal(conditioner.silence(15_010), silence[0])
    assert silence.abs().max() > 0


def test_a_change_costs_what_was_changed(tiny: Path) -> None:
    conditioner = load_conditioner(tiny, CPU)
    assert isinstance(conditioner, AceStepConditioner)
    runs: dict[str, int] = {}

    def count(name: str, module: torch.nn.Module) -> None:
        runs[name] = 0
        module.register_forward_hook(lambda *_: runs.update({name: runs[name] + 1}))

    count("text", conditioner._text_encoder)
    count("lyrics", conditioner._encoder.lyric_encoder)
    count("timbre", conditioner._encoder.timbre_encoder)
    count("hint", conditioner._tokenizer)
    clip, latents = gaussian(100, 64, seed=1), gaussian(50, 64, seed=2)

    def spent(prompt: Prompt, timbre: Tensor | None = None) -> dict[str, int]:
        before = dict(runs)
        conditioner.encode(prompt, timbre=timbre)
        return {name: runs[name] - before[name] for name in runs if runs[name] != before[name]}

    assert spent(Prompt("house, 100 bpm")) == {"text": 3, "lyrics": 1}
    assert spent(Prompt("100 bpm, house")) == {}
    assert spent(Prompt("house", "la la", bpm=100)) == {"lyrics": 1}
    assert spent(Prompt("techno", "la la", bpm=100)) == {"text": 3}
    assert spent(Prompt("techno", "la la", bpm=100), clip) == {"timbre": 1}
    assert spent(Prompt("house, 100 bpm"), clip.clone()) == {}
    assert torch.equal(conditioner.hint(latents), conditioner.hint(latents.clone()))
    assert runs["hint"] == 1


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (PROMPT, ""),
        ("  ", "the prompt is empty"),
        ("7/8, 122.5 bpm", "122.5 bpm was read as 123"),
        ("jazz " * 300, "longer than the 256 tokens"),
        ("\ud800 lone", ""),
        (Prompt("house", "la " * 3_000), "the lyrics are longer than the 2048 tokens"),
        (Prompt("house", "la la \ud800", "xx"), "did not learn to sing in 'xx'"),
        (Prompt("house", "", "xx"), ""),
        (Prompt("", "la la", "ja"), ""),
        (Prompt("house", time_signature="7/8"), "the model has no 7/8"),
    ],
)
def test_remarks_say_what_the_model_does_not_take(conditioner: Conditioner, text: str | Prompt, remark: str) -> None:
    said = conditioner.encode(Prompt(text) if isinstance(text, str) else text).remark
    assert remark in said
    assert bool(said) == bool(remark)


def test_in_bf16_states_stay_close_and_positions_exact(tiny: Path, conditioner: Conditioner) -> None:
    coarse = load_conditioner(tiny, CPU, torch.bfloat16)
    assert isinstance(coarse, AceStepConditioner)
    assert coarse._text_encoder.rotary_emb.inv_freq.dtype == torch.float32
    a, b = coarse.encode(Prompt(PROMPT)).states, conditioner.encode(Prompt(PROMPT)).states
    assert a.dtype == torch.float32
    assert (a - b).abs().mean() < 0.05 * b.abs().mean()
    assert coarse.hint(gaussian(25, 64, seed=5)).isfinite().all()


def test_a_text_encoder_as_it_was_published_is_the_same(copy: Path, conditioner: Conditioner) -> None:
    """Positions and dtype under their older names; weights with a language model's head and prefix."""
    folder = copy / "text_encoder"
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"], config["dtype"]
    (folder / "config.json").write_text(
        json.dumps(config | {"rope_theta": 1_000_000, "rope_scaling": None, "torch_dtype": "bfloat16"})
    )
    tensors = load_file(folder / "model.safetensors")
    head = {"lm_head.weight": tensors["embed_tokens.weight"].clone()}
    save_file({f"model.{name}": tensor for name, tensor in tensors.items()} | head, folder / "model.safetensors")
    assert torch.equal(
        load_conditioner(copy, CPU).encode(Prompt(PROMPT)).states, conditioner.encode(Prompt(PROMPT)).states
    )
