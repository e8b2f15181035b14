"""Which device is at which MIDI port. Used by the mapper, in the daemon's event loop.

Two identical controllers are told apart by the USB socket where the system tells it, and else by their order: the
numbers are given out by name, and a port that comes back gets the number that it had.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from demond.mapping.mapping import Device

_NAMES_LIMIT = 256


@dataclass(frozen=True, slots=True)
class PortIdentity:
    """What is known of a MIDI port."""

    name: str
    usb: str = ""
    """`0944:0117`; empty where the system does not tell, as JACK does not."""
    path: str = ""
    """The place of the USB socket, such as `1-1.2`; empty where the system does not tell."""
    answers: bool = False
    """Whether there is an output to the same device, so that it can be shown something."""


class Plugs:
    """The ports that are there, and their numbers among their like."""

    def __init__(self) -> None:
        """No port is there."""
        self._present: dict[str, PortIdentity] = {}
        self._numbers: dict[tuple[object, ...], dict[str, int]] = {}
        """Among the ports that fit one description, each port's number."""

    def update(self, identities: Iterable[PortIdentity]) -> tuple[list[str], list[str]]:
        """These ports are there now, and no others. Returns the names of those that have gone and of the new ones."""
        before, self._present = self._present, {one.name: one for one in identities}
        gone = [name for name in before if self._present.get(name) != before[name]]
        return gone, [name for name in self._present if before.get(name) != self._present[name]]

    @property
    def names(self) -> tuple[str, ...]:
        """The ports that are there."""
        return tuple(self._present)

    def devices_at(self, port: str, devices: Iterable[Device]) -> tuple[Device, ...]:
        """The devices that a port of this name is taken for."""
        identity = self._present.get(port, PortIdentity(port))
        return tuple(
            device
            for device in devices
            if _fits(device, identity) and (device.order is None or self._number(device, port) == device.order)
        )

    def _number(self, device: Device, port: str) -> int:
        described = (device.patterns, device.usb, device.path)
        numbers = self._numbers.setdefault(described, {})
        present = sorted(name for name, one in self._present.items() if _fits(device, one))
        for name in sorted({*present, port}):
            if name in numbers and list(numbers.values()).count(numbers[name]) == 1:
                continue
            taken = {number for other, number in numbers.items() if other in self._present and other != name}
            number = 1
            while number in taken:
                number += 1
            for other in [other for other, given in numbers.items() if given == number]:
                del numbers[other]
            numbers[name] = number
        while len(numbers) > _NAMES_LIMIT:
            del numbers[next(iter(numbers))]
        return numbers[port]


def _fits(device: Device, identity: PortIdentity) -> bool:
    name = identity.name.lower()
    return (
        any(fnmatch.fnmatchcase(name, pattern) for pattern in device.patterns)
        and device.usb in (None, identity.usb)
        and device.path in (None, identity.path)
    )
