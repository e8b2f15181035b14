"""demond's engine: a streaming diffusion model that rewrites a loop of music just ahead of a playhead.

It knows nothing of MIDI, OSC, JACK or files of settings, and can be used as a library:

>>> import soundfile
>>> from engine import Knobs, Session
>>> session = Session(prompt_a="house, 120 bpm, a minor", device="cpu")
>>> def turn(seconds):
...     return Knobs(denoise=0.4 if seconds < 1 else 0.8)
>>> heard = session.render(2.0, turn)
>>> heard.shape
(96000, 2)
>>> soundfile.write("heard.wav", heard, 48000)
>>> session.close()
"""

from __future__ import annotations

from engine.backends import BackendError, BackendRangeError
from engine.changes import OVERTAKEN, RoomError
from engine.conditioning import Prompt, PromptError
from engine.device import DeviceError
from engine.geometry import RateError
from engine.knobs import Knobs
from engine.lead import Lead
from engine.lora import LoraError
from engine.model.checkpoint import CheckpointError
from engine.performance import Step
from engine.port import LoopPort, Write
from engine.rig import Silence
from engine.session import Session
from engine.source import SourceError

__all__ = [
    "OVERTAKEN",
    "BackendError",
    "BackendRangeError",
    "CheckpointError",
    "DeviceError",
    "Knobs",
    "Lead",
    "LoopPort",
    "LoraError",
    "Prompt",
    "PromptError",
    "RateError",
    "RoomError",
    "Session",
    "Silence",
    "SourceError",
    "Step",
    "Write",
]
