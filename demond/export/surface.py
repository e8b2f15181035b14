"""The pages of an instrument, before any program's format: what stands where, sends what and shows what.

Called by `demond export` and by what draws the pictures. It promises that each knob is on exactly one page, that no
two widgets of a page lie on each other or beyond its edge, and that every address is one of demond's table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from demond.export.instrument import Instrument
from demond.export.widgets import Layout, Page, Placed, Role, Section, Shape, Surface, Value, Widget
from demond.knobs import Form, Kind, Knob
from demond.osc.namespace import FIELDS, target_of
from demond.scenes.transport import Sync
from demond.setting import DEPTH_LIMIT, SLOTS, STEPS_LIMIT

PLAYED = (
    "denoise", "prompt_blend", "hint_strength", "feedback", "source_lock", "velocity_scale", "shift", "volume_db",
)  # fmt: skip
"""The knobs of the first page, in the order that the ready mappings give to the faders of controllers."""
SWITCHES = ("mute", "sde", "seed")
"""Below them."""
_FADED = 256
"""A whole-number knob of more values than this is typed."""
_KINDS = {Kind.SHARED: Role.SHARED, Kind.SLOT: Role.SLOT, Kind.OUTPUT: Role.OUTPUT}
_TALL = 7
"""Rows of a fader with its name, its value and the button that puts it back."""

Item = tuple[Placed, ...]
"""Widgets that stay together, placed from their own upper left."""


def surface(instrument: Instrument, layout: Layout) -> Surface:
    """All pages for `instrument`."""
    knobs = {knob.name: knob for knob in instrument.knobs}
    first = [knobs.pop(name) for name in (*PLAYED, *SWITCHES) if name in knobs]
    prompts = [knobs.pop(name) for name in list(knobs) if name.startswith("prompt_")]
    sections: list[tuple[str, Role, list[Item]]] = [
        ("play", Role.SHARED, [*map(_of_knob, first), *_at_hand(instrument.layers)]),
        ("scenes", Role.SCENE, _scenes(instrument.scenes)),
        ("prompts", Role.PROMPT, [*_prompts(layout), *map(_of_knob, prompts)]),
        *(
            (kind.value, role, [_of_knob(knob) for knob in knobs.values() if knob.kind is kind])
            for kind, role in _KINDS.items()
        ),
        ("session", Role.SESSION, _session(instrument.loras, layout)),
        ("beat", Role.TRANSPORT, _transport()),
    ]
    made = (Section(title, role, _pages(title, filter(_taken, items), layout)) for title, role, items in sections)
    return Surface(layout, tuple(section for section in made if section.pages))


def _taken(item: Item) -> bool:
    """Whether demond takes the item's addresses. Knobs are believed of a daemon that has others than this version."""
    addresses = [part.widget.address for part in item if part.widget.address]
    return all(address.startswith("/demond/knob/") or target_of(address) is not None for address in addresses)


# -- what there is -------------------------------------------------------------------------------------------------


def of_knob(knob: Knob) -> Widget:
    """The widget that sets `knob`, in its own unit."""
    shape = Shape.FADER
    if knob.choices:
        shape = Shape.CHOICE
    elif knob.form is Form.BOOL:
        shape = Shape.TOGGLE
    elif knob.form is Form.INT and knob.maximum - knob.minimum > _FADED:
        shape = Shape.NUMBER
    return Widget(
        shape,
        _KINDS[knob.kind],
        knob.name,
        f"/demond/knob/{knob.name}",
        knob.minimum,
        knob.maximum,
        knob.unit,
        whole=knob.form is not Form.FLOAT,
        choices=tuple((name, float(i)) for i, name in enumerate(knob.choices)),
        knob=knob,
        start=knob.format(knob.default),
    )


def _of_knob(knob: Knob) -> Item:
    widget = of_knob(knob)
    if widget.shape is Shape.TOGGLE:
        return (Placed(widget, 0, 0, 1, 2),)
    if widget.shape is Shape.NUMBER:
        steps = (replace(_setter("down"), sends=-1.0), replace(_setter("up"), sends=1.0))
        return _typed(widget, 2) + tuple(
            Placed(replace(step, address=f"{widget.address}/delta"), i, 2, 1, 1) for i, step in enumerate(steps)
        )
    shown = Widget(Shape.SHOWN, Role.STATUS, knob.name, f"{widget.address}/text", start=widget.start)
    return _tall(widget, shown, Widget(Shape.BUTTON, Role.TRIGGER, "reset", f"{widget.address}/reset", keeps=False))


def _setter(label: str) -> Widget:
    return Widget(Shape.SETTER, Role.TRIGGER, label, keeps=False)


def _tall(widget: Widget, shown: Widget | None = None, below: Widget | None = None) -> Item:
    """A name, what is shown, the widget itself and what is below it, one over the other."""
    parts = [Placed(_name(widget), 0, 0)]
    if shown is not None:
        parts.append(Placed(shown, 0, 1))
    top, end = len(parts), _TALL - (below is not None)
    parts.append(Placed(widget, 0, top, 1, end - top))
    if below is not None:
        parts.append(Placed(below, 0, end))
    return tuple(parts)


def _typed(widget: Widget, columns: int) -> Item:
    return (Placed(_name(widget), 0, 0, columns, 1), Placed(widget, 0, 1, columns, 1))


def _name(widget: Widget) -> Widget:
    return Widget(Shape.LABEL, widget.role, widget.label)


def _fire(label: str, address: str, role: Role = Role.TRIGGER) -> Item:
    return (Placed(Widget(Shape.BUTTON, role, label, address, keeps=False), 0, 0, 1, 2),)


def _shown(label: str, address: str, columns: int = 2, start: str = "") -> Item:
    return _typed(Widget(Shape.SHOWN, Role.STATUS, label, address, start=start), columns)


def _text(role: Role, label: str, address: str, columns: int, start: str = "", keeps: bool = True) -> Item:
    return _typed(Widget(Shape.TEXT, role, label, address, start=start, keeps=keeps), columns)


def _number(role: Role, label: str, address: str, start: str = "0") -> Item:
    return _typed(Widget(Shape.NUMBER, role, label, address, start=start), 1)


def _choice(role: Role, label: str, address: str, choices: Sequence[tuple[str, Value]], start: str = "") -> Item:
    shown = Widget(Shape.SHOWN, Role.STATUS, label, address, start=start)
    return _tall(Widget(Shape.CHOICE, role, label, address, choices=tuple(choices), start=start), shown)


def _switch(role: Role, label: str, address: str) -> Item:
    return (Placed(Widget(Shape.TOGGLE, role, label, address), 0, 0, 1, 2),)


def _at_hand(layers: Iterable[str]) -> list[Item]:
    """What the first page has besides knobs."""
    return [
        _fire("reseed", "/demond/trigger/reseed"),
        _fire("panic", "/demond/trigger/panic"),
        _fire("undo scene", "/demond/scene/undo", Role.SCENE),
        _fire("tap", "/demond/transport/tap", Role.TRANSPORT),
        _shown("scene", "/demond/scene/current"),
        *(_switch(Role.LAYER, name, f"/demond/layer/{name}") for name in layers),
    ]


def _scenes(names: Iterable[str]) -> list[Item]:
    at = "/demond/scene/"
    morph = Widget(Shape.FADER, Role.SCENE, "morph", f"{at}morph", start="0")
    grid = [(word, word) for word in ("immediate", "beat", "bar", "4 bars")]
    return [
        *(_fire(name, f"{at}{name}", Role.SCENE) for name in names),
        _switch(Role.SCENE, "pause", f"{at}morph/pause"),
        _fire("keep", f"{at}morph/keep"),
        _text(Role.SCENE, "recall", f"{at}current", 2),
        _shown("waits for its beat", f"{at}next"),
        _text(Role.SCENE, "store as", f"{at}store", 2, keeps=False),
        _text(Role.SCENE, "forget", f"{at}remove", 2, keeps=False),
        _number(Role.SCENE, "program", f"{at}index", "-1"),
        _tall(morph),
        _choice(Role.SCENE, "begins", f"{at}quantize", grid, "immediate"),
    ]


def _prompts(layout: Layout) -> list[Item]:
    at = "/demond/prompt/"
    items = [_text(Role.PROMPT, f"prompt {slot}", f"{at}{slot}/text", layout.columns) for slot in SLOTS]
    for slot in ("a", "b"):
        items.append(_text(Role.PROMPT, f"{slot} lyrics", f"{at}{slot}/lyrics", 4))
        items.append(_text(Role.PROMPT, f"{slot} named", f"{at}{slot}/named", 2))
        for field in FIELDS:
            if field == "bpm":
                items.append(_number(Role.PROMPT, f"{slot} bpm", f"{at}{slot}/bpm"))
            elif field != "lyrics":
                items.append(_text(Role.PROMPT, f"{slot} {field.split('_')[0]}", f"{at}{slot}/{field}", 1))
    return items


def _session(loras: Iterable[str], layout: Layout) -> list[Item]:
    """What is no knob. Another checkpoint is not for the stage, so it has no widget."""
    steps = [(f"{n} steps", float(n)) for n in (2, 4, 6, 8, 12, 16) if n <= STEPS_LIMIT]
    depths = [(f"{n} slots", float(n)) for n in (1, 2, 4, 6, 8) if n <= DEPTH_LIMIT]
    shares: list[tuple[str, Value]] = [("off", "off"), *((f"{n:g} ×", n) for n in (0.25, 0.5, 0.75, 1.0, 1.5))]
    wide = layout.columns // 2 if layout.columns > 4 else layout.columns
    return [
        *(_text(Role.SESSION, word, f"/demond/{word}", wide) for word in ("source", "timbre", "structure", "target")),
        _text(Role.SESSION, "load a LoRA", "/demond/lora/load", wide, keeps=False),
        _number(Role.SESSION, "silence s", "/demond/source/silence"),
        _number(Role.SESSION, "context s", "/demond/context"),
        _choice(Role.SESSION, "steps", "/demond/steps", steps, "8 steps"),
        _choice(Role.SESSION, "depth", "/demond/depth", depths, "4 slots"),
        *(_choice(Role.SESSION, name, f"/demond/lora/{name}/strength", shares) for name in loras),
    ]


def _transport() -> list[Item]:
    at = "/demond/transport/"
    bpm = Widget(Shape.FADER, Role.TRANSPORT, "bpm", f"{at}bpm", 20, 400, start="120")
    sync = [(word.value, word.value) for word in Sync]
    return [
        *(_fire(word, f"{at}{word}", Role.TRANSPORT) for word in ("tap", "play", "stop")),
        _shown("playing", f"{at}playing", 1, "1"),
        _number(Role.TRANSPORT, "bpm", f"{at}bpm", "120"),
        _number(Role.TRANSPORT, "beats a bar", f"{at}meter", "4"),
        _switch(Role.TRANSPORT, "start stop", f"{at}start_stop"),
        _tall(bpm),
        _choice(Role.TRANSPORT, "sync", f"{at}sync", sync, "midi"),
    ]


# -- where it stands -----------------------------------------------------------------------------------------------


def _pages(title: str, items: Iterable[Item], layout: Layout) -> tuple[Page, ...]:
    """`items` on shelves from left to right and top to bottom, on as many pages as they need."""
    pages: list[list[Placed]] = []
    column = row = height = 0
    for item in items:
        columns = max(part.column + part.columns for part in item)
        rows = max(part.row + part.rows for part in item)
        if column + columns > layout.columns:
            column, row, height = 0, row + height, 0
        if not pages or row + rows > layout.rows:
            pages.append([])
            column = row = height = 0
        pages[-1] += [replace(part, column=column + part.column, row=row + part.row) for part in item]
        column, height = column + columns, max(height, rows)
    if len(pages) == 1:
        return (Page(title, tuple(pages[0])),)
    return tuple(Page(str(number), tuple(placed)) for number, placed in enumerate(pages, 1))
