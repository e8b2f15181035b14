"""The embedded model's condition encoder: tags, tempo and key read from the text, and structure hints.

Called through the interface of `engine.conditioning`. Nine tokens make a condition: style, tempo (as a row of a
table and as a Fourier series), root, mode, brightness, density, energy, space. A token that the text does not ask for
is the null row, which the model knows from training. A word that it does not know is taken for the nearest one that
it does know, or left out, and either is said in the remark.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.conditioning import Condition, Prompt, PromptError, checked
from engine.geometry import CHANNELS

_HARMONICS = 16
_POOL = 5
"""Latent frames in one frame of hints (5 Hz)."""

_STYLE, _ROOT, _MODE = 0, 1, 2
_GROUPS = ("style", "root", "mode", "brightness", "density", "energy", "space")
_DESCRIPTORS = {
    "brightness": {
        "dark": ("dark", "muffled", "warm", "deep", "mellow", "gloomy"),
        "neutral tone": ("neutral",),
        "bright": ("bright", "crisp", "shiny", "sparkling", "brilliant", "airy"),
    },
    "density": {
        "sparse": ("sparse", "simple", "empty", "thin", "few notes"),
        "medium density": ("medium",),
        "busy": ("busy", "dense", "complex", "full", "many notes"),
    },
    "energy": {
        "calm": ("calm", "soft", "gentle", "quiet", "relaxed", "slow", "peaceful"),
        "steady": ("steady", "groovy", "moderate"),
        "driving": ("driving", "energetic", "hard", "powerful", "aggressive", "intense", "fast", "loud"),
    },
    "space": {
        "dry": ("dry", "close", "tight"),
        "room": ("room", "natural"),
        "spacious": ("spacious", "reverb", "wide", "hall", "echo", "huge", "distant"),
    },
}
_FLATS = {"db": "c#", "eb": "d#", "gb": "f#", "ab": "g#", "bb": "a#", "cb": "b", "fb": "e", "e#": "f", "b#": "c"}
_MODES = {"minor": "minor", "min": "minor", "major": "major", "maj": "major"}
_BPM = re.compile(r"(?<![\w.])(?:(\d{1,4}(?:\.\d{1,3})?)\s*bpm|bpm\s*[:=]?\s*(\d{1,4}(?:\.\d{1,3})?))(?!\w)")
_KEY = re.compile(
    r"(?<!\w)([a-g])\s?(sharp|flat|#|b)?[\s-]?(minor|major|min|maj|dorian|phrygian)(?!\w)"
    r"|(?:in|key)(?: of|:)?\s+([a-g])(sharp|flat|#|b)?(?![\w#])"
)
_FILLER = re.compile(
    "a|an|and|at|beats?|by|for|in|is|it|key|like|loop|music|of|on|or|some|songs?|sounds?|style|tempo|the|to|tone|"
    "tracks?|very|with"
)
_NEAR = 0.7
"""How alike two words must be (0–1, `difflib`) for one to be taken for the other."""


@dataclass(slots=True)
class Reading:
    """What was read from a text: a word of the vocabulary or none for every group, and a tempo."""

    words: dict[str, str] = field(default_factory=dict)
    bpm: float | None = None
    remarks: list[str] = field(default_factory=list)


class TagConditioner(nn.Module):
    """See `engine.conditioning.Conditioner`."""

    takes_timbre = takes_lyrics = False
    hint_down: Tensor
    hint_up: Tensor
    silence_latent: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` holds the vocabulary. Raises `KeyError` when a part of it is missing."""
        super().__init__()
        width, self.vocabulary = int(config["hidden_size"]), list(config["words"])
        self.bpm_floor, self.bpm_step = float(config["bpm"]["min"]), float(config["bpm"]["step"])
        buckets = int(config["bpm"]["buckets"])
        self.bpm_ceiling = self.bpm_floor + self.bpm_step * (buckets - 1) - 0.01
        self.words = nn.Embedding(len(self.vocabulary), width)
        self.bpm_rows = nn.Embedding(buckets, width)
        self.bpm_1, self.bpm_2 = nn.Linear(4 * _HARMONICS, width), nn.Linear(width, width)
        self.slot = nn.Parameter(torch.zeros(len(config["slots"]), width))
        self.register_buffer("hint_down", torch.zeros(16, CHANNELS))
        self.register_buffer("hint_up", torch.zeros(CHANNELS, 16))
        self.register_buffer("silence_latent", torch.zeros(1, 1, CHANNELS))
        self._phrases = {
            phrase: ("style", phrase) for phrases in config["synonyms"].values() for phrase in phrases
        } | {
            phrase: (group, word)
            for group, words in _DESCRIPTORS.items()
            for word, phrases in words.items()
            for phrase in (word, *phrases)
        }
        self._phrases |= {word: ("mode", f"mode {word}") for word in ("minor", "major", "dorian", "phrygian")}

    def silence(self, frames: int) -> Tensor:
        """The latents [frames,64] of silence, all of them the same."""
        return self.silence_latent[0, :1].expand(frames, -1)

    def encode(self, prompt: Prompt, *, seconds: float | None = None, timbre: Tensor | None = None) -> Condition:
        """See `engine.conditioning.Conditioner`. The length of the loop changes nothing."""
        prompt = checked(prompt)
        reading = self.read(prompt.text)
        if prompt.key is not None:
            key = _plain(prompt.key).strip()
            if not (found := _KEY.fullmatch(key) or _KEY.fullmatch(f"in {key}")):
                raise PromptError(f"{prompt.key!r} is no key such as 'a minor' or 'f# dorian'")
            reading.words.pop("mode", None)
            reading.words |= _key_words(found)
        if prompt.bpm is not None:
            reading.bpm = prompt.bpm
        rows = [self.vocabulary.index(reading.words[g]) if g in reading.words else 0 for g in _GROUPS]
        tokens = self.words(torch.tensor(rows, device=self.slot.device))
        states = torch.cat((tokens[:1], self._tempo(reading), tokens[1:])) + self.slot
        unread = {
            "lyrics": prompt.lyrics,
            "a time signature": prompt.time_signature not in (None, "4/4"),
            "a timbre clip": timbre is not None,
        }
        remarks = [*reading.remarks, *(_unread(what) for what, given in unread.items() if given)]
        return Condition(states[None].detach(), "; ".join(remarks))

    def null(self) -> Condition:
        """See `engine.conditioning.Conditioner`. Nine null rows, which training left a whole condition out as."""
        return Condition(self.encode(Prompt("")).states)

    def read(self, text: str) -> Reading:
        """The tags, tempo and key in `text`, any unicode."""
        reading = Reading()
        rest = _plain(text)
        if found := _BPM.search(rest):
            reading.bpm = float(found[1] or found[2])
            rest = _BPM.sub(" , ", rest)
        rest = self._read_key(rest, reading)
        words = re.findall(r"[^\W_]+(?:[-'][^\W_]+)*", rest)
        at = 0
        while at < len(words):
            size, phrase = next(
                ((n, p) for n in (3, 2, 1) if (p := " ".join(words[at : at + n])) in self._phrases), (1, words[at])
            )
            self._read_phrase(phrase, reading)
            at += size
        if not reading.words and reading.bpm is None and not reading.remarks:
            reading.remarks.append("the prompt is empty, so the model plays freely")
        return reading

    def _read_phrase(self, phrase: str, reading: Reading) -> None:
        if phrase not in self._phrases:
            if _FILLER.fullmatch(phrase):
                return
            near = difflib.get_close_matches(phrase, self._phrases, n=1, cutoff=_NEAR)
            if not near:
                _remark(reading, f"{phrase!r} is not known to the built-in model and was left out")
                return
            _remark(reading, f"{phrase!r} was read as {near[0]!r}")
            phrase = near[0]
        group, word = self._phrases[phrase]
        if group not in reading.words:
            reading.words[group] = word
        elif reading.words[group] != word:
            taken = reading.words[group].removeprefix("mode ")
            _remark(reading, f"{phrase!r} was left out, as {taken!r} already sets the {group}")

    def _read_key(self, text: str, reading: Reading) -> str:
        """Reads the first key in `text`; returns `text` without it."""
        found = _KEY.search(text)
        if not found:
            return text
        reading.words |= _key_words(found)
        return f"{text[: found.start()]} , {text[found.end() :]}"

    def _tempo(self, reading: Reading) -> Tensor:
        """The two tempo tokens [2,E]."""
        if reading.bpm is None:
            return self.words.weight[:1].expand(2, -1)
        bpm = min(max(reading.bpm, self.bpm_floor), self.bpm_ceiling)
        if abs(bpm - reading.bpm) > 0.02:
            _remark(reading, f"{reading.bpm:g} bpm is outside the model's {self.bpm_floor:g}–{self.bpm_ceiling:.0f}")
        place = (bpm - self.bpm_floor) / self.bpm_step
        row = int(place)
        bucket = torch.lerp(self.bpm_rows.weight[row], self.bpm_rows.weight[row + 1], place - row)
        k = torch.arange(1, _HARMONICS + 1, device=self.slot.device, dtype=torch.float32)
        slow, beats = math.log2(bpm / 60) * math.pi * k, bpm / 60 * (2 * math.pi / 4) * k
        waves = torch.cat((slow.sin(), slow.cos(), beats.sin(), beats.cos()))
        return torch.stack((bucket, self.bpm_2(F.silu(self.bpm_1(waves)))))

    def hint(self, latents: Tensor) -> Tensor:
        """Directions that two renderings of one score share, averaged over 5 frames (see `Conditioner`)."""
        frames = latents.shape[0]
        y = ((latents - latents.mean(0)) @ self.hint_down.T).T[None]
        y = F.avg_pool1d(F.pad(y, (0, -frames % _POOL), mode="replicate"), _POOL)
        y = F.interpolate(y, scale_factor=float(_POOL), mode="linear", align_corners=False)
        hint: Tensor = y[0, :, :frames].T @ self.hint_up.T
        return hint


def _key_words(found: re.Match[str]) -> dict[str, str]:
    """The words of the vocabulary for a key that `_KEY` found."""
    accidental = {"sharp": "#", "flat": "b", None: ""}
    note, sign = (found[1], found[2]) if found[1] else (found[4], found[5])
    root = note + accidental.get(sign, sign or "")
    words = {"root": f"root {_FLATS.get(root, root)}"}
    return words | ({"mode": f"mode {_MODES.get(found[3], found[3])}"} if found[3] else {})


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("♯", "#").replace("♭", "b")


def _unread(what: str) -> str:
    return f"the built-in model does not know {what}, which was left out"


def _remark(reading: Reading, sentence: str) -> None:
    if sentence not in reading.remarks and len(reading.remarks) < 8:
        reading.remarks.append(sentence)
