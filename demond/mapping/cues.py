"""Lines whose control plays on the stage: it recalls a scene, taps the tempo, morphs. Used by `demond.mapping.lines`
to read them, and by the strokes to play them.
"""

from __future__ import annotations

import re
import time

from demond.control import Control, Origin, RefusedError
from demond.knobs import did_you_mean
from demond.mapping.binding import Binding, Mode
from demond.mapping.fields import Note
from demond.mapping.profile import DeviceControl
from demond.mapping.schema import MapEntry
from demond.mapping.takeover import Takeover
from demond.scenes.scene import RESERVED, is_name, read_grid
from demond.scenes.triggers import TRIGGERS, fire

FADER = "scene/morph"
"""The one cue that takes a position."""
_ADDRESS = re.compile(r"(?:/demond/)?((?:scene|transport|trigger)/.{1,80})")
PLAYS_NO_KNOB = (
    "range", "curve", "travel", "out_of_range", "takeover", "tolerance", "smooth", "value", "step", "after",
)  # fmt: skip
"""The keys of a line that only one that moves knobs has a use for."""
_FIXED = (
    *("scene/undo", "scene/morph/pause", "scene/morph/keep", "transport/tap", "transport/play", "transport/stop"),
    *(f"trigger/{name}" for name in TRIGGERS),
)


def cue_of(entry: MapEntry) -> str | None:
    """What a line plays on the stage, such as `scene/drop`; None for lines that do not."""
    found = _ADDRESS.fullmatch(entry.to) if isinstance(entry.to, str) else None
    return found[1] if found else None


def cue_binding(entry: MapEntry, source: str, control: DeviceControl | None, cue: str, note: Note) -> Binding | None:
    """The binding of such a line, without its condition; None after a mistake was noted."""
    name = cue.removeprefix("scene/")
    is_scene = cue.startswith("scene/") and is_name(name)
    if not (is_scene or cue in (*_FIXED, FADER)):
        words = f"{name} means something else" if name in RESERVED else f"nothing on the stage is called {cue[:80]!r}"
        note(("to",), f"{words}{did_you_mean(cue[:80], (*_FIXED, FADER))}")
        return None
    for word in PLAYS_NO_KNOB:
        if getattr(entry, word) is not None:
            note((word,), f"{cue} takes no {word}")
            return None
    if entry.quantize is not None and not is_scene:
        note(("quantize",), "quantize goes with a scene")
        return None
    pressed = control is None or control.kind.pressed
    if cue == FADER:
        if control is not None and pressed:
            note(("to",), f"{cue} takes the position of a fader or a knob, not a {control.kind}")
            return None
    elif not pressed:
        note(("to",), f"{cue} is played by a button or a pad, not by a {control.kind if control else ''}")
        return None
    wanted = Mode.SET if cue == FADER else Mode.TRIGGER
    if entry.mode not in (None, wanted.value):
        note(("mode",), f"{cue} has mode: {wanted.value}")
        return None
    return Binding(entry.id or "", source, wanted, Takeover.OFF, (), cue=cue, quantize=entry.quantize or "")


def play(control: Control, binding: Binding, travel: float) -> str:
    """Does what the line says; `travel` (0–1) is where a fader stands. Returns what came of it, in words."""
    stage, cue = control.stage, binding.cue
    try:
        match cue:
            case "scene/morph":
                stage.move_to(travel)
            case "scene/undo":
                stage.undo()
            case "scene/morph/pause":
                stage.pause(not stage.paused)
            case "scene/morph/keep":
                stage.keep()
            case "transport/tap" | "transport/play" | "transport/stop":
                stage.transport_cue(cue.rpartition("/")[2])
            case "trigger/reseed" | "trigger/panic" | "trigger/tap":
                fire(control, cue.rpartition("/")[2], Origin("midi", binding.source, time.monotonic_ns()))
            case _:
                grid = read_grid(binding.quantize) if binding.quantize else None
                stage.recall(cue.removeprefix("scene/"), grid=grid)
    except RefusedError as error:
        return str(error)
    return cue
