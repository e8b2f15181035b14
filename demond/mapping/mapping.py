"""What a mapping is once it is loaded: devices with their controls, and lines. Made by the loader; never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from demond.mapping.assembly import Layout
from demond.mapping.binding import Binding
from demond.mapping.profile import Profile
from demond.scenes.performance import Performance
from demond.strict_yaml import Problem


@dataclass(frozen=True, slots=True)
class Device:
    """A controller, with what its messages mean."""

    id: str
    profile: str
    """The name of its profile; its own id if it has none."""
    patterns: tuple[str, ...]
    """Globs for port names, in small letters; any of them must fit."""
    usb: str | None
    """`0944:0117`, if that must fit, too."""
    path: str | None
    """The place of the USB socket, such as `1-1.2`, if that must fit, too."""
    order: int | None
    """Which of several ports that fit it is, from 1, by name; None for each of them."""
    model: Profile
    layout: Layout
    bindings: dict[str, tuple[Binding, ...]]
    """By control name."""
    greeted: bool = True
    """Whether it is put into its mode and painted when it comes."""
    missing: Literal["ignore", "warn", "error"] = "ignore"
    """What it means that it is not there."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """All that is mapped. Never changed: a reload makes a new one."""

    devices: tuple[Device, ...] = ()
    osc: dict[str, tuple[Binding, ...]] = field(default_factory=dict)
    """By address."""
    layers: tuple[str, ...] = ()
    performance: Performance = field(default_factory=Performance)
    files: tuple[Path, ...] = ()
    """Every file that was read, or looked for in vain."""
    learned: frozenset[str] = frozenset()
    """The ids of the lines that were learned."""
    warnings: tuple[Problem, ...] = ()
    """What is most likely not meant, though it works."""

    def bindings(self) -> Iterator[Binding]:
        """Every line."""
        for device in self.devices:
            for lines in device.bindings.values():
                yield from lines
        for lines in self.osc.values():
            yield from lines
