"""An effect for REAPER (JSFX) with a slider for each knob: draw an envelope, and demond follows it over MIDI.

REAPER's own OSC says which track and which effect a value is of, in numbers that change when a project does, and at
the rate of its screen. An effect's sliders are named, automated, saved and undone like any other's, and the MIDI that
it sends leaves with the audio block. Called by `demond export`.

Each slider is in the knob's unit. It is sent as NRPN, 14 bits, whose number is the knob's place in demond's table, on
channel 1: CC 99 and 98 the number, CC 6 and 38 the value, high half first (MIDI 1.0 Detailed Specification 4.2,
non-registered parameter numbers). `mappings/reaper.yaml` takes that back. The language: Cockos' JSFX reference, of
which this needs sliders, `@init`, `@block`, `midirecv` and `midisend` with four arguments (REAPER 4.60).
"""

from __future__ import annotations

from demond.export.instrument import Instrument
from demond.knobs import Form, Knob

SLIDERS = 64
"""That many sliders an effect may have."""
FULL = 16_383
"""The greatest value of 14 bits."""

_HEAD = """\
desc:demond - play the loop by envelopes
//author: demond
// {knobs} knobs of {origin}.
// Put it on a track of its own, send that track's MIDI to the port that demond listens to, and automate a slider.
// A slider is sent when it moves; those that have moved are sent again when playing starts.

"""
_CODE = """\

in_pin:none
out_pin:none

@init
ext_noinit = 1;
told = 0;
moved = {sliders};
fresh = 1;

function tell(number, value, low, high)
  local(raw)
(
  raw = min(max(floor((value - low) / (high - low) * {full} + 0.5), 0), {full});
  fresh ? (told[number] = raw);
  (raw != told[number] || (starts && moved[number])) ? (
    told[number] = raw;
    moved[number] = 1;
    midisend(0, $xB0, 99, number >> 7);
    midisend(0, $xB0, 98, number & 127);
    midisend(0, $xB0, 6, raw >> 7);
    midisend(0, $xB0, 38, raw & 127);
  );
);

@block
while (midirecv(offset, status, first, second)) (
  midisend(offset, status, first, second);
);
starts = (play_state & 1) && !was_playing;
was_playing = play_state & 1;
"""
_END = "fresh = 0;\n"


def top(knob: Knob) -> float:
    """The upper end of the slider: 14 bits cannot tell more whole numbers apart."""
    return knob.maximum if knob.form is Form.FLOAT else min(knob.maximum, knob.minimum + FULL)


def effect(instrument: Instrument) -> str:
    """The text of the `.jsfx` file; knobs beyond the 64th have no slider."""
    knobs = instrument.knobs[:SLIDERS]
    sliders = "".join(_slider(number, knob) for number, knob in enumerate(knobs, 1))
    calls = "".join(
        f"tell({number}, slider{number + 1}, {knob.minimum:.10g}, {top(knob):.10g});\n"
        for number, knob in enumerate(knobs)
    )
    head = _HEAD.format(knobs=len(knobs), origin=_line(instrument.origin))
    return head + sliders + _CODE.replace("{sliders}", str(SLIDERS)).replace("{full}", str(FULL)) + calls + _END


def mapping(instrument: Instrument) -> str:
    """The lines of `mappings/reaper.yaml`: what the sliders' numbers mean to demond."""
    lines = []
    for number, knob in enumerate(instrument.knobs[:SLIDERS], 1):
        span = "" if top(knob) == knob.maximum else f", range: [{knob.minimum:.10g}, {top(knob):.10g}]"
        lines.append(f"  - {{from: reaper/slider{number}, to: {knob.name}, takeover: 'off'{span}}}\n")
    return "".join(lines)


def _slider(number: int, knob: Knob) -> str:
    step = 1 if knob.form is not Form.FLOAT else (knob.maximum - knob.minimum) / FULL
    names = knob.choices or (("off", "on") if knob.form is Form.BOOL else ())
    words = "{" + ",".join(_line(name).translate({ord(c): " " for c in "{},<>"}) for name in names) + "}"
    default = min(knob.default, top(knob))
    label = _line(f"{knob.name} {knob.unit}".strip())
    span = f"{knob.minimum:.10g},{top(knob):.10g},{step:.6g}{words if names else ''}"
    return f"slider{number}:{default:.10g}<{span}>{label}\n"


def _line(text: str) -> str:
    """`text` on one line, since a line is what ends in this format."""
    return " ".join(text.split())
