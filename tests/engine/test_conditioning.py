"""Prompts: what the built-in model reads from a text, and the blend of two conditions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import PromptError, embedded
from engine.backends import Side
from engine.backends.eager import EagerBackend
from engine.conditioning import Condition, Prompt, Task, blend, load_conditioner
from engine.embedded.front import TagConditioner
from tests.engine.parts import gaussian


@pytest.fixture(scope="module")
def front() -> TagConditioner:
    conditioner = load_conditioner(embedded.CHECKPOINT, torch.device("cpu"))
    assert isinstance(conditioner, TagConditioner)
    return conditioner


@pytest.mark.parametrize(
    ("text", "words", "bpm"),
    [
        ("house, 128 bpm, a minor", {"style": "house", "root": "root a", "mode": "mode minor"}, 128),
        ("Drum and Bass at 174BPM in F#", {"style": "drum and bass", "root": "root f#"}, 174),
        ("deep house bpm: 122.5", {"style": "deep house"}, 122.5),
        ("B♭ Major chiptune", {"style": "chiptune", "root": "root a#", "mode": "mode major"}, None),
        ("E flat dorian", {"root": "root d#", "mode": "mode dorian"}, None),
        (
            "dark, busy, driving techno with reverb",
            {"style": "techno", "brightness": "dark", "density": "busy", "energy": "driving", "space": "spacious"},
            None,
        ),
        ("8-bit lead", {"style": "8-bit"}, None),
        ("a sparse beat", {"density": "sparse"}, None),
    ],
)
def test_tags_tempo_and_key_are_read(
    front: TagConditioner, text: str, words: dict[str, str], bpm: float | None
) -> None:
    reading = front.read(text)
    assert {group: word for group, word in reading.words.items() if group in words} == words
    assert reading.bpm == bpm


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("housse", "'housse' was read as 'house'"),
        ("xylophone quartet", "'xylophone' is not known"),
        ("house techno", "'techno' was left out, as 'house' already sets the style"),
        ("", "the prompt is empty"),
        ("house 300 bpm", "300 bpm is outside"),
        ("house, 120 bpm, f dorian, bright", ""),
        ("techno techno TECHNO", ""),
    ],
)
def test_what_was_not_understood_is_said(front: TagConditioner, text: str, remark: str) -> None:
    said = front.encode(Prompt(text)).remark
    assert remark in said
    assert bool(said) == bool(remark)


@given(st.text(st.characters(), max_size=300))
def test_any_text_is_a_prompt(text: str) -> None:
    """Whatever unicode it is made of, lone surrogates and control characters included."""
    if "\0" in text:
        with pytest.raises(PromptError):
            _FRONT.encode(Prompt(text))
        return
    condition = _FRONT.encode(Prompt(text))
    assert condition.states.shape == (1, 9, 256)
    assert condition.states.isfinite().all()


_FRONT = load_conditioner(embedded.CHECKPOINT, torch.device("cpu"))


def test_a_prompt_of_endless_length_is_refused(front: TagConditioner) -> None:
    with pytest.raises(PromptError, match="2000 is the most"):
        front.encode(Prompt("house " * 1000))


@pytest.mark.parametrize("lyrics", ["la " * 10_000, "la\0la"])
def test_lyrics_without_end_or_with_a_nul_are_refused(front: TagConditioner, lyrics: str) -> None:
    with pytest.raises(PromptError, match="the lyrics"):
        front.encode(Prompt("house", lyrics))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"bpm": math.nan}, "nan is no tempo"),
        ({"bpm": math.inf}, "inf is no tempo"),
        ({"bpm": 0.0}, "0.0 is no tempo"),
        ({"bpm": -120.0}, "-120.0 is no tempo"),
        ({"key": "loud"}, "'loud' is no key"),
        ({"key": "a minor or so"}, "is no key"),
        ({"language": "English"}, "'English' is no code of a language"),
        ({"language": "en\n\n# Lyric\nla"}, "is no code of a language"),
    ],
)
def test_a_field_that_holds_something_else_is_refused(
    front: TagConditioner, field: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        front.encode(Prompt("house", **field))


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (Prompt("house 90 bpm c major", bpm=128, key="A minor"), "house, 128 bpm, a minor"),
        (Prompt("house c major", key="f♯"), "house in f#"),
        (Prompt("house", key=" E flat dorian "), "house, e flat dorian"),
        (Prompt("house, a minor", key="", time_signature=""), "house, a minor"),
        (Prompt("house", time_signature="4/4"), "house"),
    ],
)
def test_fields_win_over_the_text(front: TagConditioner, prompt: Prompt, text: str) -> None:
    assert torch.equal(front.encode(prompt).states, front.encode(Prompt(text)).states)
    assert front.encode(prompt).remark == ""


def test_what_the_built_in_model_does_not_know_is_said(front: TagConditioner) -> None:
    assert not front.takes_lyrics
    assert not front.takes_timbre
    prompt = Prompt("house", "la la", time_signature="3/4")
    condition = front.encode(prompt, timbre=gaussian(50, 64, seed=1))
    for what in ("lyrics", "a time signature", "a timbre clip"):
        assert f"the built-in model does not know {what}" in condition.remark
    assert torch.equal(condition.states, front.encode(Prompt("house")).states)


def test_the_null_condition_of_the_built_in_model_asks_for_nothing(front: TagConditioner) -> None:
    null = front.null()
    assert null.remark == ""
    assert torch.equal(null.states[0], front.words.weight[0] + front.slot)


def test_a_condition_without_tasks_or_timbre_is_the_same_for_all_of_them() -> None:
    condition = Condition(gaussian(1, 6, 24, seed=1))
    tasks: tuple[Task, ...] = ("cover", "text2music", "repaint")
    for task in tasks:
        assert condition.at(task, 0.5) is condition.states


def test_words_that_mean_nothing_change_nothing(front: TagConditioner) -> None:
    assert torch.equal(front.encode(Prompt("some music like house")).states, front.encode(Prompt("house")).states)
    assert not torch.equal(front.encode(Prompt("techno")).states, front.encode(Prompt("house")).states)


def test_hints_keep_their_rhythm_under_a_turn_of_five_frames(front: TagConditioner) -> None:
    latents = gaussian(50, 64, seed=1)
    hints, turned = front.hint(latents), front.hint(latents.roll(5, dims=0))
    assert hints.shape == (50, 64)
    assert (turned.roll(-5, dims=0) - hints)[10:40].abs().max() < 1e-4
    assert front.hint(latents[:48]).shape == (48, 64)


def test_a_blend_ends_exactly_at_its_prompts() -> None:
    a, b = gaussian(1, 6, 24, seed=1), gaussian(1, 4, 24, seed=2)
    assert blend(a, b, 0.0) == (a, None)
    assert blend(a, b, 1.0) == (b, None)


@given(st.floats(0.01, 0.99, allow_subnormal=False))
def test_between_prompts_of_one_length_states_are_interpolated(w: float) -> None:
    a, b = gaussian(1, 6, 24, seed=1), gaussian(1, 6, 24, seed=2)
    states, mask = blend(a, b, w)
    assert mask is None
    assert torch.equal(states, torch.lerp(a, b, w))


@torch.inference_mode()
def test_a_longer_prompt_fades_out_to_the_shorter_one(backend: EagerBackend) -> None:
    a, b = gaussian(1, 6, 24, seed=1), gaussian(1, 4, 24, seed=2)
    _, mask = blend(a, b, 0.5)
    assert mask is not None
    assert mask.tolist() == [pytest.approx([0, 0, 0, 0, math.log(0.5), math.log(0.5)])]
    x, context = gaussian(1, 50, 64, seed=3), gaussian(1, 50, 128, seed=4)

    def velocity(w: float) -> torch.Tensor:
        states, mask = blend(a, b, w)
        return backend.velocity(x, [0.5], [Side(context, backend.keys_values(states), mask)])

    assert (velocity(0.9999) - velocity(1.0)).abs().max() < 1e-2
    assert (velocity(0.0001) - velocity(0.0)).abs().max() < 1e-2
    assert (velocity(0.5) - velocity(0.0)).abs().max() > 1e-2
