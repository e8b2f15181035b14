"""A layout of TouchOSC (the second generation): a `.tosc` file, which is XML in a zlib stream.

The XML is `<lexml version='5'>` around one `node`; a node has an ID and a type, and in this order `properties`,
`values`, and where it has any `messages` and `children`. Keys and texts are CDATA, booleans 0 or 1 in properties and
true or false in values. Hexler publishes no schema: these are facts of files that the editor wrote, as public
descriptions of the format have them, and of the manual (control reference, OSC messages, script functions). Called by
`demond export`.

Faders send `/demond/knob/NAME/norm`, and `touch` while a finger is on them; *feedback* is off in every message, so
that what is received is not sent back. A script at the root says `/ping` with its port every five seconds, which
paints the page at once, and subscribes with texts when it hears of a demond that is new.
"""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from demond.export.widgets import COLOURS, Page, Placed, Role, Section, Shape, Surface, Widget

SPACE = uuid.UUID("5f5b0a4c-4c0e-5d8e-9b53-3f1f6c1f7d10")
"""Node IDs are made of it and of where the node stands, so that the same surface is the same file."""
TAB_BAR, STATUS_BAR = 40, 28
"""Heights in the layout's units."""
GAP = 4
EVERY_CONNECTION = "1" * 10
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""

Property = tuple[str, str, object]
"""Type, key and value: `b` a switch, `i` a whole number, `f` a number, `s` a text, `c` a colour, `r` a rectangle."""
Rectangle = tuple[int, int, int, int]
"""x, y, width, height."""


def script(listen: int) -> str:
    """What the root does: it says where it listens, and shows what demond refuses."""
    return f"""\
local due, uptime = 0, math.huge

function update()
  local now = getMillis()
  if now >= due then
    due = now + 5000
    sendOSC({{'/ping', {{{{tag = 'i', value = {listen}}}}}}})
  end
end

function onReceiveOSC(message)
  local path, arguments = message[1], message[2]
  if path == '/demond/error' then
    self.children.status.values.text = arguments[3].value .. ': ' .. arguments[4].value
  elseif path == '/demond/pong' then
    if arguments[2].value < uptime then
      sendOSC({{'/demond/subscribe', {{
        {{tag = 's', value = '/demond//*'}}, {{tag = 'i', value = {listen}}}, {{tag = 'f', value = 30}},
        {{tag = 'i', value = 120}}, {{tag = 's', value = 'text'}}}}}})
    end
    uptime = arguments[2].value
  end
end
"""


def layout(surface: Surface, listen: int) -> bytes:
    """The `.tosc` file for `surface`, on a device that listens on UDP port `listen`."""
    return zlib.compress(document(surface, listen).encode("utf-8"), 9)


def document(surface: Surface, listen: int) -> str:
    """The XML of the layout."""
    width, height = surface.layout.width, surface.layout.height
    root = _Node("GROUP", "demond", (0, 0, width, height), "#15181c", interactive=False)
    root.properties += [("s", "script", script(listen))]
    bar = (0, height - STATUS_BAR, width, STATUS_BAR)
    root.children = [_pager(surface), _words("status", bar, f"listens on port {listen}", "#808890")]
    return f"<?xml version='1.0' encoding='UTF-8'?><lexml version='5'>{root.xml('root')}</lexml>"


# -- the format ----------------------------------------------------------------------------------------------------


@dataclass
class _Node:
    """One control, as the file has it."""

    kind: str
    name: str
    frame: Rectangle
    colour: str
    interactive: bool = True
    properties: list[Property] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    """Key and default, besides `touch`."""
    messages: list[str] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)

    def xml(self, path: str) -> str:
        """The node and what is in it; `path` tells it from all others."""
        common: list[Property] = [
            ("b", "background", True),
            ("c", "color", self.colour),
            ("f", "cornerRadius", 2),
            ("r", "frame", self.frame),
            ("b", "grabFocus", self.interactive),
            ("b", "interactive", self.interactive),
            ("b", "locked", False),
            ("s", "name", self.name),
            ("i", "orientation", 0),
            ("b", "outline", self.interactive),
            ("i", "outlineStyle", 0),
            ("i", "pointerPriority", 0),
            ("i", "shape", 1),
            ("b", "visible", True),
        ]
        properties = {key: (kind, value) for kind, key, value in (*common, *self.properties)}
        parts = [
            f"<node ID='{uuid.uuid5(SPACE, path)}' type='{self.kind}'><properties>",
            *(_property(kind, key, value) for key, (kind, value) in sorted(properties.items())),
            "</properties><values>",
            *(_value(key, default) for key, default in (*self.values, ("touch", "false"))),
            "</values>",
            *(["<messages>", *self.messages, "</messages>"] if self.messages else []),
        ]
        if self.children:
            inner = [child.xml(f"{path}/{i}") for i, child in enumerate(self.children)]
            parts += ["<children>", *inner, "</children>"]
        return "".join([*parts, "</node>"])


def cdata(text: str) -> str:
    """`text` for XML as it stands; what XML cannot hold becomes the replacement character."""
    text = _NOT_XML.sub("\ufffd", text).replace("]]>", "]]]]><![CDATA[>")
    return f"<![CDATA[{text}]]>"


def _property(kind: str, key: str, value: object) -> str:
    if kind == "c":
        red, green, blue = (int(str(value)[i : i + 2], 16) / 255 for i in (1, 3, 5))
        inner = f"<r>{red:.4g}</r><g>{green:.4g}</g><b>{blue:.4g}</b><a>1</a>"
    elif kind == "r" and isinstance(value, tuple):
        inner = "".join(f"<{letter}>{number}</{letter}>" for letter, number in zip("xywh", value, strict=True))
    elif kind == "s":
        inner = cdata(str(value))
    else:
        inner = str(int(value)) if isinstance(value, bool) else str(value)
    return f"<property type='{kind}'><key>{cdata(key)}</key><value>{inner}</value></property>"


def _value(key: str, default: str) -> str:
    return (
        f"<value><key>{cdata(key)}</key><locked>0</locked><lockedDefaultCurrent>0</lockedDefaultCurrent>"
        f"<default>{cdata(default)}</default><defaultPull>0</defaultPull></value>"
    )


def _partial(kind: str, conversion: str, value: str, low: float = 0, high: float = 1) -> str:
    return (
        f"<partial><type>{kind}</type><conversion>{conversion}</conversion><value>{cdata(value)}</value>"
        f"<scaleMin>{low:.10g}</scaleMin><scaleMax>{high:.10g}</scaleMax></partial>"
    )


def _message(
    address: str, variable: str, argument: str, *, send: bool = True, receive: bool = True, on: str = "ANY"
) -> str:
    """An OSC message of the node's value `variable`, sent when it changes as `on` says: ANY way, or when it RISEs."""
    return (
        f"<osc><enabled>1</enabled><send>{int(send)}</send><receive>{int(receive)}</receive><feedback>0</feedback>"
        f"<noDuplicates>0</noDuplicates><connections>{EVERY_CONNECTION}</connections>"
        f"<triggers><trigger><var>{cdata(variable)}</var><condition>{on}</condition></trigger></triggers>"
        f"<path>{_partial('CONSTANT', 'STRING', address)}</path><arguments>{argument}</arguments></osc>"
    )


# -- the pages -----------------------------------------------------------------------------------------------------


def _pager(surface: Surface) -> _Node:
    """Tabs of sections, and in them tabs of pages where a section has several."""
    width, height = surface.layout.width, surface.layout.height - STATUS_BAR
    pager = _tabs("pages", (0, 0, width, height), [section.title for section in surface.sections])
    below = _below((0, 0, width, height))
    for section in surface.sections:
        group = _group(section.title, below, section.role)
        if len(section.pages) == 1:
            group.children = _widgets(section.pages[0], surface, below)
        else:
            inside = (0, 0, below[2], below[3])
            inner = _tabs(f"{section.title} pages", inside, [page.title for page in section.pages])
            for page in section.pages:
                leaf = _group(page.title, _below(inside), section.role)
                leaf.children = _widgets(page, surface, _below(inside))
                inner.children.append(leaf)
            group.children = [inner]
        pager.children.append(group)
    return pager


def page_frame(surface: Surface, section: Section) -> Rectangle:
    """The place of a page of `section` in what is around it, in the layout's units."""
    frame = _below((0, 0, surface.layout.width, surface.layout.height - STATUS_BAR))
    return frame if len(section.pages) == 1 else _below((0, 0, frame[2], frame[3]))


def _below(frame: Rectangle) -> Rectangle:
    """What is left of a pager's `frame` below its tabs."""
    return 0, TAB_BAR, frame[2], frame[3] - TAB_BAR


def _tabs(name: str, frame: Rectangle, titles: Sequence[str]) -> _Node:
    letters = int(min(14, max(8, frame[2] / len(titles) / max(map(len, titles)) / 0.6)))
    pager = _Node("PAGER", name, frame, "#22272d")
    pager.properties += [
        ("b", "tabLabels", True),
        ("b", "tabbar", True),
        ("b", "tabbarDoubleTap", False),
        ("i", "tabbarSize", TAB_BAR),
        ("i", "textSizeOff", letters),
        ("i", "textSizeOn", letters),
    ]
    pager.values = [("page", "0")]
    return pager


def _group(title: str, frame: Rectangle, role: Role) -> _Node:
    node = _Node("GROUP", title, frame, "#15181c", interactive=False)
    node.properties += [
        ("c", "tabColorOff", "#22272d"),
        ("c", "tabColorOn", COLOURS[role]),
        ("s", "tabLabel", title),
        ("c", "textColorOff", "#ffffff"),
        ("c", "textColorOn", "#ffffff"),
    ]
    return node


def _widgets(page: Page, surface: Surface, frame: Rectangle) -> list[_Node]:
    made = (_SHAPES[each.widget.shape](each.widget, place(each, surface, frame)) for each in page.placed)
    return [node for nodes in made for node in nodes]


def place(placed: Placed, surface: Surface, frame: Rectangle) -> Rectangle:
    """Where a widget stands on its page, in the layout's units; its edges are rounded as its neighbours' are."""
    _, _, width, height = frame
    across, down = width / surface.layout.columns, height / surface.layout.rows
    left, top = round(placed.column * across), round(placed.row * down)
    right, bottom = round((placed.column + placed.columns) * across), round((placed.row + placed.rows) * down)
    return left + GAP // 2, top + GAP // 2, right - left - GAP, bottom - top - GAP


def _words(name: str, frame: Rectangle, text: str, colour: str, kind: str = "LABEL") -> _Node:
    """A text that is seen; as TEXT, one that may be edited."""
    node = _Node(kind, name, frame, "#2b3138", interactive=kind == "TEXT")
    node.properties += [
        ("b", "background", kind == "TEXT"),
        ("i", "font", 0),
        ("i", "textAlignH", 2),
        ("i", "textAlignV", 2),
        ("b", "textClip", True),
        ("c", "textColor", colour),
        ("i", "textLength", 0),
        ("i", "textSize", max(8, min(14, int(frame[2] / max(1, min(len(text), 18)) / 0.55)))),
        ("b", "textWrap", kind == "TEXT"),
    ]
    node.values = [("text", text)]
    return node


def _fader(widget: Widget, frame: Rectangle) -> list[_Node]:
    node = _Node("FADER", widget.label, frame, COLOURS[widget.role])
    steps = int(widget.maximum - widget.minimum) if widget.whole else 10
    node.properties += [
        ("b", "bar", True),
        ("i", "barDisplay", 0),
        ("b", "cursor", True),
        ("i", "cursorDisplay", 0),
        ("b", "grid", widget.whole),
        ("i", "gridSteps", steps),
        ("i", "response", 0),
        ("i", "responseFactor", 100),
    ]
    node.values = [("x", "0")]
    if widget.knob is None:
        travel = _partial("VALUE", "FLOAT", "x", widget.minimum, widget.maximum)
        node.messages = [_message(widget.address, "x", travel)]
    else:
        touched = _partial("VALUE", "INTEGER", "touch")
        node.messages = [
            _message(f"{widget.address}/norm", "x", _partial("VALUE", "FLOAT", "x")),
            _message(f"{widget.address}/touch", "touch", touched, receive=False),
        ]
    return [node]


def _pressed(widget: Widget, frame: Rectangle, message: str, kind: int = 0, label: str = "") -> list[_Node]:
    """A button with words on it. Kind 0 springs back, kind 2 changes on each press."""
    node = _Node("BUTTON", widget.label, frame, COLOURS[widget.role])
    node.properties += [
        ("i", "buttonType", kind),
        ("b", "press", True),
        ("b", "release", True),
        ("b", "valuePosition", False),
    ]
    node.values, node.messages = [("x", "0")], [message]
    return [node, _words(f"{widget.label} words", frame, label or widget.label, "#ffffff")]


def _toggle(widget: Widget, frame: Rectangle) -> list[_Node]:
    address = widget.address if widget.knob is None else f"{widget.address}/norm"
    return _pressed(widget, frame, _message(address, "x", _partial("VALUE", "FLOAT", "x")), kind=2)


def _button(widget: Widget, frame: Rectangle) -> list[_Node]:
    # 1 on the press and 0 on the release: demond fires on the way up.
    return _pressed(widget, frame, _message(widget.address, "x", _partial("VALUE", "FLOAT", "x"), receive=False))


def _fixed(address: str, value: float | str) -> str:
    argument = _partial("CONSTANT", "STRING" if isinstance(value, str) else "FLOAT", str(value))
    return _message(address, "x", argument, receive=False, on="RISE")


def _setter(widget: Widget, frame: Rectangle) -> list[_Node]:
    return _pressed(widget, frame, _fixed(widget.address, widget.sends if widget.sends is not None else 1.0))


def _choice(widget: Widget, frame: Rectangle) -> list[_Node]:
    """A button for each choice, one below the other."""
    left, top, width, height = frame
    edges = [round(i * height / len(widget.choices)) for i in range(len(widget.choices) + 1)]
    nodes: list[_Node] = []
    for (label, value), above, below in zip(widget.choices, edges, edges[1:], strict=False):
        box = (left, top + above, width, below - above - GAP // 2)
        nodes += _pressed(widget, box, _fixed(widget.address, value), label=label)
    return nodes


def _text(widget: Widget, frame: Rectangle) -> list[_Node]:
    node = _words(widget.label, frame, "", "#ffffff", "TEXT")
    node.messages = [_message(widget.address, "text", _partial("VALUE", "STRING", "text"), receive=widget.keeps)]
    return [node]


def _shown(widget: Widget, frame: Rectangle) -> list[_Node]:
    node = _words(f"{widget.label} value", frame, "", "#ffffff")
    node.messages = [_message(widget.address, "text", _partial("VALUE", "STRING", "text"), send=False)]
    return [node]


def _label(widget: Widget, frame: Rectangle) -> list[_Node]:
    return [_words(f"{widget.label} name", frame, widget.label, COLOURS[widget.role])]


_SHAPES: dict[Shape, Callable[[Widget, Rectangle], list[_Node]]] = {
    Shape.FADER: _fader,
    Shape.TOGGLE: _toggle,
    Shape.CHOICE: _choice,
    Shape.BUTTON: _button,
    Shape.SETTER: _setter,
    Shape.TEXT: _text,
    Shape.NUMBER: _text,
    Shape.SHOWN: _shown,
    Shape.LABEL: _label,
}
