"""Which devices of a mapping should be there and are not: `missing: warn` and `missing: error`.

Owned by the mapping source, in the daemon's event loop. It says each absence once, and each return.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from demond.mapping.mapping import Device, Mapping

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""How long devices have to turn up after the start: ports are looked for every second or two."""


class Roll:
    """The devices that are wanted, and what was said of them."""

    def __init__(self, mapping: Callable[[], Mapping], present: Callable[[], Collection[str]]) -> None:
        """`mapping` tells what is mapped, `present` the ids of the devices that are there."""
        self._mapping, self._present = mapping, present
        self._said: set[str] = set()
        self._calls = False

    @property
    def missing(self) -> list[Device]:
        """The devices that are wanted and not there."""
        present = self._present()
        return [
            device for device in self._mapping().devices if device.missing != "ignore" and device.id not in present
        ]

    def begin(self) -> str:
        """The time to turn up is over: says what is missing. Why demond cannot play without it, or nothing."""
        self._calls = True
        self.look()
        needed = [device for device in self.missing if device.missing == "error"]
        return "; ".join(map(_absence, needed))

    def look(self) -> None:
        """Ports or the mapping have changed."""
        if not self._calls:
            return
        missing = {device.id: device for device in self.missing}
        for name, device in missing.items():
            if name not in self._said:
                log.log(logging.ERROR if device.missing == "error" else logging.WARNING, "%s", _absence(device))
        for name in self._said - missing.keys():
            log.info("%s is there", name)
        self._said = set(missing)


def _absence(device: Device) -> str:
    return f"{device.id} is missing: no MIDI port is called {' or '.join(device.patterns)}; `demond ports` lists them"
