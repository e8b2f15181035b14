"""Tempo, key and time signature as a musician writes them in a prompt, apart from the rest of it.

Called by the conditioner of ACE-Step checkpoints, which were trained on captions with these three beside them in a
list of their own. What this page does not recognise stays in the caption, where the model reads it as prose. The
ranges are those of the ACE-Step 1.5 release: 30–300 bpm in whole numbers; 2/4, 3/4, 4/4 and 6/8; major and minor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.conditioning import PromptError

_SLOWEST, _FASTEST = 30, 300
_SIGNATURES = {("2", "4"): "2", ("3", "4"): "3", ("4", "4"): "4", ("6", "8"): "6"}
_SIGNS = {"sharp": "#", "♯": "#", "flat": "b", "♭": "b"}
_MODES = {"min": "minor", "maj": "major"}

_BPM = re.compile(
    r"(?<![\w.])(?:at\s+)?(?:tempo\s*[:=]?\s*)?"
    r"(?:(\d{1,4}(?:\.\d{1,3})?)\s*bpm|bpm\s*[:=]?\s*(\d{1,4}(?:\.\d{1,3})?))(?!\w)",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?<!\w)(?:in\s+)?(?:(?:the\s+)?key\s*(?:of|[:=])?\s*)?"
    r"([a-g])(?:\s?(sharp|flat)|([#b♯♭]))?[\s-]?(minor|major|min|maj)(?!\w)(?!\s+(?:key|chord|scale))",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"(?<![\w/.])(?:in\s+)?(\d{1,2})\s*/\s*(2|4|8|16)(?:\s+time(?:\s+signature)?)?(?![\w/]|\.\d)", re.IGNORECASE
)
_HOLE = "\0"
_END = re.compile(rf"(?:[\s,;]*{_HOLE})+[\s,;]*(?=[.!?]|$)")
_JOIN = re.compile(rf"(?:[\s,;]*{_HOLE})+[\s,;]*")


@dataclass(frozen=True, slots=True)
class Metas:
    """A prompt taken apart."""

    caption: str
    """The text without what was read from it."""
    bpm: int | None = None
    """Beats a minute, 30–300."""
    key: str | None = None
    """A key as `A minor`, `F# minor` or `Bb major`."""
    time_signature: str | None = None
    """Beats in a bar: `2`, `3`, `4`, or `6` for 6/8."""
    remarks: tuple[str, ...] = ()
    """Sentences on what was read otherwise than it was written."""


def read_metas(
    text: str, bpm: float | None = None, key: str | None = None, time_signature: str | None = None
) -> Metas:
    """The first tempo, key and time signature in `text`, which holds no NUL character; any other unicode will do.

    Those given apart win over those in the text. Raises :class:`PromptError` for a `key` or a `time_signature`
    (`4/4`) that is none.
    """
    remarks: list[str] = []
    whole = tonality = beats = None
    if found := _BPM.search(text):
        bpm = float(found[1] or found[2]) if bpm is None else bpm
        text = _without(text, found)
    if found := _KEY.search(text):
        tonality = _spelt(found)
        text = _without(text, found)
    if found := _SIGNATURE.search(text):
        beats = _SIGNATURES.get((found[1], found[2]))
        if beats is not None or time_signature is not None:
            text = _without(text, found)
        else:
            remarks.append(_unknown(found[1], found[2]))
    caption = _JOIN.sub(_joint, _END.sub("", text)) if _HOLE in text else text
    caption = caption.strip(" \t\r\n,;")
    if bpm is not None:
        whole, remark = _whole(bpm)
        remarks += [remark] if remark else []
    if key is not None:
        if not (found := _KEY.fullmatch(key.strip())):
            raise PromptError(f"{key!r} is no key such as 'a minor' or 'f# major'")
        tonality = _spelt(found)
    if time_signature is not None:
        if not (found := _SIGNATURE.fullmatch(time_signature.strip())):
            raise PromptError(f"{time_signature!r} is no time signature such as '4/4'")
        beats = _SIGNATURES.get((found[1], found[2]))
        if beats is None:
            remarks.append(_unknown(found[1], found[2]))
            caption = f"{caption}, {found[1]}/{found[2]}" if caption else f"{found[1]}/{found[2]}"
    return Metas(caption, whole, tonality, beats, tuple(remarks))


def _unknown(beats: str, unit: str) -> str:
    return (
        f"the model has no {beats}/{unit} among its time signatures (2/4, 3/4, 4/4, 6/8); "
        "it is a part of the description"
    )


def _whole(bpm: float) -> tuple[int, str]:
    """`bpm` as the model can take it, and a remark where that is something else, else an empty string."""
    nearest = min(max(int(bpm + 0.5), _SLOWEST), _FASTEST)
    if not _SLOWEST <= bpm <= _FASTEST:
        return nearest, f"{bpm:g} bpm is outside the model's {_SLOWEST}–{_FASTEST} and was read as {nearest}"
    return nearest, "" if nearest == bpm else f"{bpm:g} bpm was read as {nearest}, as the model takes whole numbers"


def _spelt(found: re.Match[str]) -> str:
    """A key as ACE-Step spells it."""
    sign, mode = (found[2] or found[3] or "").lower(), found[4].lower()
    return f"{found[1].upper()}{_SIGNS.get(sign, sign)} {_MODES.get(mode, mode)}"


def _without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + _HOLE + text[found.end() :]


def _joint(found: re.Match[str]) -> str:
    """What stands in a hole: a comma where one was beside it."""
    return ", " if "," in found[0] or ";" in found[0] else " "
