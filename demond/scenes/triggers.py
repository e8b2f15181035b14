"""What a performer fires besides scenes: a new seed, silence, a beat. Called by OSC and by mapping lines."""

from __future__ import annotations

from random import SystemRandom

from demond.control import Control, Origin
from demond.knobs import knob

TRIGGERS = ("reseed", "panic", "tap")


def fire(control: Control, name: str, origin: Origin) -> None:
    """Fires one of :data:`TRIGGERS`. Raises `RefusedError` for a tap that the tempo does not listen to.

    `reseed` gives the seed another number. `panic` mutes, and ends what moves knobs by itself: the morph, LFOs and
    gestures; everything stays where it is.
    """
    stage = control.stage
    if name == "tap":
        stage.transport_cue("tap")
    elif name == "reseed":
        seed = knob("seed")
        control.set_knobs({"seed": SystemRandom().randint(int(seed.minimum), int(seed.maximum))}, origin)
    else:
        for moved in tuple(stage.modulators.knobs):
            stage.start_lfo(moved, None)
        stage.keep()
        control.set_knobs({"mute": 1.0}, origin)
