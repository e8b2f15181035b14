"""What the names of MIDI ports tell: which output belongs to an input, and where a device is plugged in.

Pure functions, and one look into /proc and /sys. Used in the MIDI process alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_SIDES = re.compile(r"\b(capture|playback|input|output|in|out|source|sink)\b", re.IGNORECASE)
_ALSA_CLIENT = re.compile(r"([0-9]+):[0-9]+$")
_FIRST_CARD_CLIENT, _CLIENTS_A_CARD = 16, 4
"""ALSA's sequencer gives card number c the clients from 16 + 4 c on (sound/core/seq/seq_clientmgr.c)."""


def match_output(source: str, sources: Iterable[str], sinks: Iterable[str]) -> str | None:
    """The one of `sinks` that leads to the device of `source`, one of `sources`; None if none surely does.

    The two are named alike but for the words for their direction. Where no name fits, a client with one port each way
    is taken as one device. Nothing is guessed beyond that: lamps of the wrong device would be worse than none.
    """
    every = list(sinks)
    alike = [sink for sink in every if _side_free(sink) == _side_free(source)]
    if len(alike) == 1:
        return alike[0]
    client = _client(source)
    theirs = [sink for sink in every if _client(sink) == client]
    if not alike and len(theirs) == 1 and sum(_client(name) == client for name in sources) == 1:
        return theirs[0]
    return None


def _client(name: str) -> str:
    return name.partition(":")[0].lower()


def _side_free(name: str) -> str:
    """The name without the words for its direction: `nano [20] (capture): MIDI 1` is as its `(playback)`."""
    return _SIDES.sub("", name.replace("_", " ")).lower()


def usb_place(alsa_name: str, root: Path = Path("/")) -> tuple[str, str]:
    """USB id and socket of the card of an ALSA port such as `nanoKONTROL2 MIDI 1 20:0`; empty where unknown.

    `root` is where /proc and /sys are found.
    """
    found = _ALSA_CLIENT.search(alsa_name)
    if found is None or int(found[1]) < _FIRST_CARD_CLIENT:
        return "", ""
    card = (int(found[1]) - _FIRST_CARD_CLIENT) // _CLIENTS_A_CARD
    try:
        usb = (root / f"proc/asound/card{card}/usbid").read_text(encoding="ascii").strip()
        # The card's device is the USB interface, as in .../usb1/1-1/1-1.2/1-1.2:1.0.
        interface = os.path.basename(os.path.realpath(root / f"sys/class/sound/card{card}/device"))
    except OSError:  # no USB device, or it has just been unplugged
        return "", ""
    return usb, interface.partition(":")[0]
