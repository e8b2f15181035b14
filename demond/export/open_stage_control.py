"""A session of Open Stage Control 1.25 or later, and the module that shows demond's refusals there.

A session is a JSON file: `type` `session`, and in `content` a tree of widgets, each an object of its properties; what
is not said has its default. Properties and their meaning: Open Stage Control's documentation, "Properties reference",
"Scripting" and "Custom module", and its sources for what a property's text is read as. Called by `demond export`.

Addresses are in the knob's own unit. Buttons that fire are `momentary`, which sends no value. The page is painted by
the subscription that the root widget sends when it is created; every five seconds it sends `/ping`, and subscribes
again when demond has been restarted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from demond.export.widgets import COLOURS, Layout, Page, Placed, Section, Shape, Surface, Widget

VERSION = "1.25.0"
"""Sessions of this version are read as they are: the last conversion is for those up to 1.24.2."""
DECIMALS = 4
PONG = "demond_pong"
"""The widget that keeps the last answer to a ping."""
GAP = 0.4
"""Between two widgets, in percent of the page."""

Properties = dict[str, Any]

HELLO = f"""
function hello() {{
    send('/demond/subscribe', '/demond//*', {{type: 'i', value: 0}}, {{type: 'f', value: 30}},
         {{type: 'i', value: 120}}, 'text')
}}
locals.uptime = Infinity
hello()
setInterval(function() {{
    var told = get('{PONG}')
    if (Array.isArray(told)) {{
        if (told[1] < locals.uptime) hello()
        locals.uptime = told[1]
    }}
    send('/ping')
}}, 5000)
""".strip()
"""What the root widget does when a client opens the session."""

MODULE = """\
// What demond refuses is shown as a notification. Load it with --custom-module.
module.exports = {
    oscInFilter: function(data) {
        if (data.address !== '/demond/error') return data
        receive('/NOTIFY', 'circle-exclamation', data.args[2].value + ': ' + data.args[3].value)
    }
}
"""


def session(surface: Surface) -> str:
    """The session file for `surface`."""
    names: set[str] = set()
    tabs = [_section(f"page_{number}", each, surface.layout, names) for number, each in enumerate(surface.sections)]
    first = tabs[0]["tabs"][0] if "tabs" in tabs[0] else tabs[0]
    first["widgets"].append({"type": "variable", "id": PONG, "address": "/demond/pong", "bypass": True})
    root = {
        "type": "root",
        "id": "root",
        "bypass": True,
        "colorBg": "#15181c",
        "onCreate": HELLO,
        "tabs": tabs,
    }
    content = {"createdWith": "Open Stage Control", "version": VERSION, "type": "session", "content": root}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def launch(session_file: str, module_file: str | None, host: str, port: int, listen: int) -> list[str]:
    """The command that starts Open Stage Control with these files, towards the daemon at `host`:`port`."""
    module = ["--custom-module", module_file] if module_file else []
    return [
        "open-stage-control", "--load", session_file, *module, "--send", f"{host}:{port}", "--osc-port", str(listen),
    ]  # fmt: skip


def plain(text: str) -> str:
    """`text` as a property that is shown as it stands.

    The program reads `@{...}`, `JS{...}` and the like in any property as code, `^name` in a label as an icon, a label
    of a switch as HTML, and a text that is JSON as what it says; `auto` means the widget's id.
    """
    text = text.translate({ord("{"): "(", ord("}"): ")", ord("^"): "ˆ", ord("<"): "‹", ord("&"): "+"})
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        if text != "auto":
            return text
    return f"\u200b{text}"


def _section(identity: str, section: Section, layout: Layout, names: set[str]) -> Properties:
    """A tab; with tabs in it, where the section has several pages."""
    tab: Properties = {
        "type": "tab",
        "id": identity,
        "label": plain(section.title),
        "bypass": True,
        "colorWidget": COLOURS[section.role],
    }
    if len(section.pages) == 1:
        return {**tab, "widgets": _widgets(identity, section.pages[0], layout, names)}
    pages: list[Properties] = []
    for page in section.pages:
        inner = f"{identity}_{len(pages)}"
        widgets = _widgets(inner, page, layout, names)
        # A label that is a number would be one.
        pages.append({**tab, "id": inner, "label": f"{plain(section.title)} {page.title}", "widgets": widgets})
    return {**tab, "tabs": pages}


def _widgets(page_id: str, page: Page, layout: Layout, names: set[str]) -> list[Properties]:
    widgets = []
    for placed in page.placed:
        identity = name = _identity(placed.widget) or f"{page_id}_{placed.column}_{placed.row}"
        number = 1
        while identity in names:
            number += 1
            identity = f"{name}_{number}"
        names.add(identity)
        widgets.append(_widget(placed, identity, layout))
    return widgets


def _identity(widget: Widget) -> str:
    """An id that other widgets could speak of: no dots, no slashes."""
    return widget.address.strip("/").replace("/", "_").replace(".", "-")


def _widget(placed: Placed, identity: str, layout: Layout) -> Properties:
    widget = placed.widget
    box = zip(("left", "top", "width", "height"), geometry(placed, layout), strict=True)
    return {
        **_SHAPES[widget.shape](widget),
        "id": identity,
        **({"address": widget.address} if widget.address else {"bypass": True}),
        **{name: f"{share:.2f}%" for name, share in box},
        "colorWidget": COLOURS[widget.role],
        "decimals": DECIMALS,
    }


def geometry(placed: Placed, layout: Layout) -> tuple[float, float, float, float]:
    """Left, top, width and height of a widget, in percent of its page."""
    across, down = 100 / layout.columns, 100 / layout.rows
    left, top = placed.column * across + GAP / 2, placed.row * down + GAP / 2
    return left, top, placed.columns * across - GAP, placed.rows * down - GAP


def _fader(widget: Widget) -> Properties:
    properties: Properties = {
        "type": "fader",
        "design": "compact",
        "range": {"min": widget.minimum, "max": widget.maximum},
        "typeTags": "f",
    }
    if widget.whole:
        properties |= {"steps": int(widget.maximum - widget.minimum) + 1, "typeTags": "i"}
    if widget.knob is not None:
        touch = f"send('{widget.address}/touch', {{type: 'i', value: event.type === 'start' ? 1 : 0}})"
        properties |= {"onTouch": touch, "doubleTap": f"{widget.address}/reset"}
    return properties


def _toggle(widget: Widget) -> Properties:
    button = {"type": "button", "mode": "toggle", "on": 1, "off": 0, "typeTags": "i"}
    return {**button, "label": plain(widget.label)}


def _choice(widget: Widget) -> Properties:
    texts = any(isinstance(value, str) for _, value in widget.choices)
    labels, values = [plain(label) for label, _ in widget.choices], [value for _, value in widget.choices]
    # Numbers are sent as floats among texts, for which there is no tag that fits both.
    return {
        "type": "switch",
        "layout": "vertical",
        "values": {"labels": labels, "values": values},
        "typeTags": "" if texts else "i" if widget.whole else "f",
    }


def _button(widget: Widget) -> Properties:
    return {"type": "button", "mode": "momentary", "label": plain(widget.label)}


def _setter(widget: Widget) -> Properties:
    return {
        "type": "button",
        "mode": "tap",
        "on": widget.sends,
        "off": None,
        "typeTags": "s" if isinstance(widget.sends, str) else "f",
        "label": plain(widget.label),
    }


def _text(widget: Widget) -> Properties:
    return {"type": "input", "align": "left", "typeTags": "s"}


def _number(widget: Widget) -> Properties:
    # A float would round a seed, so a whole number travels as a text.
    return {"type": "input", "numeric": True, "typeTags": "s" if widget.whole else "f", "unit": plain(widget.unit)}


def _shown(widget: Widget) -> Properties:
    return {"type": "text", "bypass": True}


def _label(widget: Widget) -> Properties:
    return {"type": "text", "default": plain(widget.label), "colorText": COLOURS[widget.role]}


_SHAPES: dict[Shape, Callable[[Widget], Properties]] = {
    Shape.FADER: _fader,
    Shape.TOGGLE: _toggle,
    Shape.CHOICE: _choice,
    Shape.BUTTON: _button,
    Shape.SETTER: _setter,
    Shape.TEXT: _text,
    Shape.NUMBER: _number,
    Shape.SHOWN: _shown,
    Shape.LABEL: _label,
}
