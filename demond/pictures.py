"""The pictures in docs/recipes: the layouts that `demond export` writes and the ready mappings, as they are now.

`python -m demond.pictures` draws them anew; with `--check` it only says whether they are right, which is what the
tests ask. A widget stands in its picture where the exported file has it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from demond.export import open_stage_control, reaper, touchosc
from demond.export.instrument import Instrument
from demond.export.surface import surface
from demond.export.widgets import COLOURS, LAYOUTS, Placed, Role, Section, Shape, Surface, Widget
from demond.knobs import KNOBS, Knob
from demond.mapping import SHIPPED, load_mapping
from demond.mapping.binding import Binding, Mode

FOLDER = Path(__file__).parent.parent / "docs" / "recipes"
SHOWN = Instrument(scenes=("intro", "verse", "drop", "outro"))
"""What the pictures are of: every knob, and a few scenes."""
SURFACES = {name: surface(SHOWN, layout) for name, layout in LAYOUTS.items()}
GROUND, DARK, LIGHT = "#15181c", "#22272d", "#e6e9ec"
BAR = 34
"""Height of the row of tabs."""

Box = tuple[float, float, float, float]
"""x, y, width, height."""


class Drawing:
    """An SVG picture of so many pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        """An empty dark ground."""
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'font-family="sans-serif" text-anchor="middle"><title>{escape(title)}</title>'
        ]
        self.box((0, 0, width, height), GROUND)

    def box(self, box: Box, fill: str, stroke: str = "", name: str = "") -> None:
        """A rectangle; `name` is what it stands for."""
        x, y, width, height = (f"{number:.2f}".rstrip("0").rstrip(".") for number in box)
        extra = f' stroke="{stroke}"' if stroke else ""
        extra += f' data-is="{escape(name, {chr(34): "&quot;"})}"' if name else ""
        self._parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{fill}"{extra}/>')

    def ring(self, x: float, y: float, radius: float, stroke: str) -> None:
        """A circle, as a knob has it."""
        self._parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{DARK}" stroke="{stroke}" stroke-width="4"/>'
        )

    def words(self, x: float, y: float, text: str, fill: str = LIGHT, size: float = 12, anchor: str = "") -> None:
        """A text around (or, with the anchor `start`, from) x, its foot near y."""
        extra = f' text-anchor="{anchor}"' if anchor else ""
        shown = escape(text)
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}"{extra}>{shown}</text>')

    def within(self, box: Box, text: str, fill: str = LIGHT, most: float = 13) -> None:
        """A text in the middle of `box`, as small as it has to be."""
        x, y, width, height = box
        size = max(7.0, min(most, height * 0.62, width / max(1, len(text)) / 0.56))
        if text:
            self.words(x + width / 2, y + height / 2 + size * 0.35, text, fill, round(size, 1))

    def text(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


# -- pages of widgets ----------------------------------------------------------------------------------------------

Place = Callable[[Placed, Surface, Box], Box]
"""Where a program puts a widget on a page whose frame is given."""


def pages(made: Surface, titles: Iterable[str], place: Place, frame: Callable[[Surface, Section], Box]) -> str:
    """The first pages of some sections side by side, each below the rows of tabs that lead there."""
    chosen = [section for title in titles for section in made.sections if section.title == title]
    width, height, gap = made.layout.width, made.layout.height, 16
    total = len(chosen) * (width + gap) - gap
    drawing = Drawing(total, height, f"{made.layout.name}: {', '.join(section.title for section in chosen)}")
    for number, section in enumerate(chosen):
        left = number * (width + gap)
        if number:
            drawing.box((left - gap, 0, gap, height), "#ffffff")
        inside = frame(made, section)
        _tabs(
            drawing, [(each.title, each.role, each is section) for each in made.sections], (left, 0, width, inside[1])
        )
        top = inside[1]
        if len(section.pages) > 1:
            inner = [(page.title, section.role, page is section.pages[0]) for page in section.pages]
            _tabs(drawing, inner, (left, top, width, top))
            top *= 2
        for placed in section.pages[0].placed:
            x, y, w, h = place(placed, made, inside)
            _widget(drawing, placed.widget, (left + x, top + y, w, h))
    return drawing.text()


def in_percent(placed: Placed, made: Surface, frame: Box) -> Box:
    """Where Open Stage Control puts a widget: shares of the page, less a gap."""
    left, top, width, height = open_stage_control.geometry(placed, made.layout)
    return left * frame[2] / 100, top * frame[3] / 100, width * frame[2] / 100, height * frame[3] / 100


def a_tab_high(made: Surface, section: Section) -> Box:
    """The frame of a page in a window of Open Stage Control, which has a row of tabs at each level."""
    levels = 1 if len(section.pages) == 1 else 2
    return 0, BAR, made.layout.width, made.layout.height - levels * BAR


def in_units(placed: Placed, made: Surface, frame: Box) -> Box:
    """Where TouchOSC puts a widget: whole units."""
    x, y, width, height = map(int, frame)
    return touchosc.place(placed, made, (x, y, width, height))


def _tabs(drawing: Drawing, tabs: Sequence[tuple[str, Role, bool]], bar: Box) -> None:
    left, top, width, height = bar
    each = width / len(tabs)
    for i, (title, role, chosen) in enumerate(tabs):
        box = (left + i * each + 1, top + 1, each - 2, height - 2)
        drawing.box(box, COLOURS[role] if chosen else DARK)
        drawing.within(box, title)


def _widget(drawing: Drawing, widget: Widget, box: Box) -> None:
    colour = COLOURS[widget.role]
    x, y, width, height = box
    match widget.shape:
        case Shape.LABEL:
            drawing.within(box, widget.label, colour)
        case Shape.SHOWN:
            drawing.within(box, widget.start)
        case Shape.TEXT | Shape.NUMBER:
            drawing.box(box, DARK, "#4a525b", widget.address)
            drawing.within(box, widget.start)
        case Shape.FADER:
            drawing.box(box, DARK, colour, widget.address)
            start = widget.knob.default if widget.knob else float(widget.start)
            share = (start - widget.minimum) / (widget.maximum - widget.minimum)
            if share:
                drawing.box((x, y + height * (1 - share), width, height * share), colour)
        case Shape.CHOICE:
            drawing.box(box, DARK, colour, widget.address)
            each = height / len(widget.choices)
            for i, (label, _) in enumerate(widget.choices):
                part = (x + 1, y + i * each + 1, width - 2, each - 2)
                drawing.box(part, colour if label == widget.start else DARK)
                drawing.within(part, label)
        case _:
            drawing.box(box, colour, name=widget.address)
            drawing.within(box, widget.label)


# -- DAWs ----------------------------------------------------------------------------------------------------------


def effect_sliders() -> str:
    """The effect for REAPER as its window shows it: a name, a slider and a value for each knob."""
    rows, columns, width = 17, 3, 350
    drawing = Drawing(columns * width, rows * 24 + 34, "The effect demond in REAPER")
    drawing.box((0, 0, columns * width, 26), DARK)
    drawing.words(12, 18, "JS: demond - play the loop by envelopes", anchor="start")
    for number, knob in enumerate(KNOBS[: reaper.SLIDERS]):
        x, y = number // rows * width, 36 + number % rows * 24
        drawing.words(x + 142, y + 13, f"{knob.name} {knob.unit}".strip(), size=11, anchor="end")
        drawing.box((x + 150, y + 3, 140, 12), DARK, "#4a525b", f"slider{number + 1}")
        drawing.box((x + 150 + 134 * knob.to_norm(knob.default), y, 6, 18), _colour(knob))
        shown = knob.format(knob.default).removesuffix(knob.unit).strip()
        drawing.words(x + 298, y + 13, shown, size=11, anchor="start")
    return drawing.text()


def envelopes(file: str) -> str:
    """A ready mapping's controllers as the envelopes of a clip, and its notes as the keys below."""
    bindings = list(_bindings(file))
    lines = [(control, binding) for control, binding in bindings if control.startswith("cc")]
    keys = [(control, binding) for control, binding in bindings if control.startswith("note")]
    height = 30 + 24 * len(lines) + 54
    drawing = Drawing(760, height, f"What {file} plays")
    for number, (control, binding) in enumerate(lines):
        y = 16 + number * 24
        knob = binding.actions[0].knob
        drawing.words(16, y + 14, f"MIDI Ctrl {control[2:]}", size=12, anchor="start")
        drawing.box((130, y, 430, 20), DARK, name=control)
        drawing.box((130, y + 20 * (1 - knob.to_norm(knob.default)) - 1, 430, 2), _colour(knob))
        drawing.words(576, y + 14, _does(binding), _colour(knob), 12, "start")
    for number, (control, binding) in enumerate(keys):
        box = (16 + number * 728 / len(keys), height - 50, 728 / len(keys) - 4, 40.0)
        drawing.box(box, DARK, "#4a525b", control)
        drawing.within((box[0], box[1], box[2], 20), f"note {control[4:]}")
        drawing.within((box[0], box[1] + 18, box[2], 20), _does(binding))
    return drawing.text()


def devices(file: str) -> str:
    """A ready mapping's controllers as rows of eight knobs, as a DAW's device for MIDI controllers has them."""
    turned = [each for each in _bindings(file) if each[0].startswith("cc") and each[1].mode is Mode.SET]
    rows = [turned[i : i + 8] for i in range(0, len(turned), 8)]
    drawing = Drawing(8 * 112 + 90, len(rows) * 112 + 10, f"What {file} plays")
    for number, row in enumerate(rows):
        top = 10 + number * 112
        drawing.box((6, top, 8 * 112 + 78, 102), DARK, "#4a525b")
        drawing.words(46, top + 54, "MIDI CC", size=13)
        for i, (control, binding) in enumerate(row):
            x, knob = 90 + i * 112 + 56, binding.actions[0].knob
            drawing.ring(x, top + 44, 22, _colour(knob))
            drawing.words(x, top + 48, control[2:], size=12)
            drawing.words(x, top + 92, _does(binding), _colour(knob), 11)
    return drawing.text()


def _bindings(file: str) -> Iterable[tuple[str, Binding]]:
    """The controls of the mapping's only device that move a knob, in the order of their numbers."""
    (device,) = load_mapping([SHIPPED / file]).devices
    for control in sorted(device.bindings, key=lambda name: int(re.sub("[^0-9]", "", name))):
        yield from ((control, binding) for binding in device.bindings[control] if binding.actions)


def _does(binding: Binding) -> str:
    knob = binding.actions[0].knob.name
    return f"{knob}/reset" if binding.mode is Mode.TRIGGER else knob


def _colour(knob: Knob) -> str:
    return COLOURS[Role(knob.kind.value)]


PICTURES: dict[str, Callable[[], str]] = {
    "open-stage-control.svg": lambda: pages(surface(SHOWN, LAYOUTS["tablet"]), ("play",), in_percent, a_tab_high),
    "touchosc.svg": lambda: pages(
        surface(SHOWN, LAYOUTS["phone"]), ("play", "scenes", "slot"), in_units, touchosc.page_frame
    ),
    "reaper.svg": effect_sliders,
    "ableton.svg": lambda: envelopes("ableton.yaml"),
    "bitwig.svg": lambda: devices("bitwig.yaml"),
}
"""What each picture is drawn by."""


def main() -> int:
    """The program. Its exit status is 1 when `--check` finds something stale."""
    parser = argparse.ArgumentParser(
        prog="python -m demond.pictures", description="Draw the pictures of the recipes."
    )
    parser.add_argument("--check", action="store_true", help="only say whether they are right")
    check = parser.parse_args().check
    stale = 0
    for name, draw in PICTURES.items():
        path, new = FOLDER / name, draw()
        if path.exists() and path.read_text() == new:
            continue
        if check:
            sys.stderr.write(f"{path} is stale; run: python -m demond.pictures\n")
            stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new)
    return stale


if __name__ == "__main__":
    sys.exit(main())
