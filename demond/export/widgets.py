"""What pages are made of: widgets, their places, pages, sections, and the screens that they are laid out for.

Plain data, shared by :mod:`~demond.export.surface`, which lays pages out, and by the modules that write or draw them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from demond.knobs import Knob


class Role(StrEnum):
    """What a widget is about, which is what its colour tells."""

    SHARED = "shared"
    SLOT = "slot"
    OUTPUT = "output"
    PROMPT = "prompt"
    SCENE = "scene"
    SESSION = "session"
    TRANSPORT = "transport"
    LAYER = "layer"
    TRIGGER = "trigger"
    STATUS = "status"


COLOURS: dict[Role, str] = {
    Role.SHARED: "#2f9e8f",
    Role.SLOT: "#c98a1b",
    Role.OUTPUT: "#5b7fd1",
    Role.PROMPT: "#9b6bc4",
    Role.SCENE: "#cf5c7a",
    Role.SESSION: "#7d8a45",
    Role.TRANSPORT: "#3f8fb5",
    Role.LAYER: "#8c6d4f",
    Role.TRIGGER: "#b5533c",
    Role.STATUS: "#808890",
}
"""As `#rrggbb`, dark enough for white letters and light enough for a dark ground."""


class Shape(StrEnum):
    """How a widget is handled."""

    FADER = "fader"
    """Moves between two ends."""
    TOGGLE = "toggle"
    """On sends 1, off sends 0."""
    CHOICE = "choice"
    """Sends one of a few fixed values."""
    BUTTON = "button"
    """Fires; it sends no value."""
    SETTER = "setter"
    """Sends a fixed value on each press."""
    TEXT = "text"
    """A text that is typed, and sent when it is done."""
    NUMBER = "number"
    """A number that is typed."""
    SHOWN = "shown"
    """Shows what demond tells."""
    LABEL = "label"
    """Words that stay; it has no address."""


Value = float | str


@dataclass(frozen=True, slots=True)
class Widget:
    """One thing to touch, to type into or to look at."""

    shape: Shape
    role: Role
    label: str
    address: str = ""
    minimum: float = 0.0
    maximum: float = 1.0
    unit: str = ""
    whole: bool = False
    """Only whole numbers."""
    choices: tuple[tuple[str, Value], ...] = ()
    """Of a choice: what each is called, and what it sends."""
    sends: Value | None = None
    """Of a setter: what it sends."""
    knob: Knob | None = None
    """The knob whose value it sets."""
    keeps: bool = True
    """Whether the address has a value, so that the widget can be told of it."""
    start: str = ""
    """What a picture shows in it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A widget in its place, counted in cells from the upper left."""

    widget: Widget
    column: int
    row: int
    columns: int = 1
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Page:
    """What is seen at once."""

    title: str
    """Its own: the section's, or where that has several pages, its number there."""
    placed: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A tab. Where its widgets need more than one page, it has tabs of its own."""

    title: str
    role: Role
    pages: tuple[Page, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The grid of cells of a page, and the size of the screen that it was made for, in pixels."""

    name: str
    columns: int
    rows: int
    width: int
    height: int


TABLET = Layout("tablet", 8, 14, 1024, 768)
PHONE = Layout("phone", 4, 14, 414, 828)
LAYOUTS = {layout.name: layout for layout in (TABLET, PHONE)}


@dataclass(frozen=True, slots=True)
class Surface:
    """All pages for one kind of screen."""

    layout: Layout
    sections: tuple[Section, ...]

    @property
    def pages(self) -> list[Page]:
        """All pages, section by section."""
        return [page for section in self.sections for page in section.pages]

    def widgets(self) -> list[Widget]:
        """Every widget that has an address, page by page."""
        return [placed.widget for page in self.pages for placed in page.placed if placed.widget.address]
