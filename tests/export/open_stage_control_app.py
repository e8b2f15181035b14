"""Open Stage Control as far as an exported session needs it: the widgets, their scripts and the custom module.

It does what the program's documentation says of each property that is used, and fails at any other. Scripts are run
by a JavaScript engine.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import quickjs

from tests.export.wire import Typed, Wire

COMMON = {
    "type", "id", "address", "bypass", "decimals", "typeTags", "left", "top", "width", "height", "colorWidget",
    "colorText", "default",
}  # fmt: skip
PROPERTIES: dict[str, set[str]] = {
    "root": {"colorBg", "onCreate", "tabs"},
    "tab": {"label", "widgets", "tabs"},
    "variable": set(),
    "text": set(),
    "fader": {"design", "range", "steps", "onTouch", "doubleTap"},
    "button": {"mode", "on", "off", "label"},
    "switch": {"layout", "values"},
    "input": {"align", "numeric", "unit"},
}
"""What each type may have besides the common ones: "Properties reference" of the documentation."""
CHOICES: dict[str, set[object]] = {
    "design": {"default", "round", "compact"},
    "mode": {"toggle", "push", "momentary", "tap"},
    "layout": {"vertical", "horizontal", "grid"},
    "align": {"center", "left", "right"},
}
CODE = re.compile(r"(@|JS|#|VAR|OSC|IMPORT)\{")
"""What is read as code in any property."""
DEAF = ("/demond/scene/store", "/demond/scene/remove", "/demond/lora/load")
"""Addresses that do something and have no value."""
SCRIPTS = ("onCreate", "onTouch")
Widget = dict[str, Any]


def validate(session: str) -> list[Widget]:
    """The widgets of a session that the program would read as it is meant; fails at whatever it would not."""
    data = json.loads(session)
    assert list(data) == ["createdWith", "version", "type", "content"]
    assert data["type"] == "session"
    assert tuple(map(int, data["version"].split("."))) > (1, 24, 2), "it would be converted"
    root = data["content"]
    assert root["type"] == "root"
    assert root["tabs"]
    assert "widgets" not in root, "a container has tabs or widgets"
    _look_at(root)
    found: list[Widget] = [root]
    for tab in root["tabs"]:
        found += _tab(tab)
    ids = [widget["id"] for widget in found]
    assert len(ids) == len(set(ids)), "widgets of the same id act as one"
    return found


def _tab(tab: Widget) -> list[Widget]:
    """The tab and all that is in it."""
    assert tab["type"] == "tab"
    assert ("widgets" in tab) != ("tabs" in tab), "a container has tabs or widgets"
    _look_at(tab)
    for widget in tab.get("widgets", []):
        _look_at(widget)
        if widget["type"] != "variable":
            _inside(widget)
    return [tab, *tab.get("widgets", []), *(each for inner in tab.get("tabs", []) for each in _tab(inner))]


def _look_at(widget: Widget) -> None:
    kind = widget["type"]
    assert widget.keys() <= PROPERTIES[kind] | COMMON, widget
    assert widget.get("address", "/").startswith("/")
    for name, value in widget.items():
        assert name not in CHOICES or value in CHOICES[name], (name, value)
        if name not in SCRIPTS:
            for text in _texts(value):
                assert not CODE.search(text), text
                if name in ("label", "default", "unit", "values"):
                    assert not set("^<&") & set(text), "an icon, or HTML"
                if name in ("label", "default", "unit"):
                    assert text != "auto"
                    assert not _is_json(text), f"{text!r} is read as what it says"
    if kind == "fader":
        assert widget["range"]["min"] < widget["range"]["max"]
        assert widget["decimals"] == 4
    if kind == "button" and widget["mode"] == "momentary":
        assert "on" not in widget, "it is ignored"
    if kind == "button" and widget["mode"] in ("tap", "toggle"):
        assert widget["on"] != widget["off"]
    if kind == "switch":
        assert len(widget["values"]["labels"]) == len(widget["values"]["values"]) > 1


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _inside(widget: Widget) -> None:
    left, top, width, height = (float(widget[name].removesuffix("%")) for name in ("left", "top", "width", "height"))
    assert 0 <= left < left + width <= 100
    assert 0 <= top < top + height <= 100
    assert min(width, height) > 1


class App:
    """The server and one client that has the session open."""

    def __init__(self, session: str, module: str, port: int) -> None:
        self.wire = Wire(port)
        self.widgets = [widget for widget in validate(session) if widget["type"] not in ("root", "tab")]
        self.root = json.loads(session)["content"]
        self.values: dict[str, object] = {}
        """What each widget shows, by id."""
        self.notes: list[str] = []
        self._by_address: dict[str, list[Widget]] = {}
        for widget in self.widgets:
            if "address" in widget:
                self._by_address.setdefault(widget["address"], []).append(widget)
        self._js = quickjs.Context()
        self._js.add_callable("_send", self._script_sends)
        self._js.add_callable("_get", lambda name: json.dumps(self.values.get(name)))
        self._js.add_callable("_notify", self.notes.append)
        self._js.eval(
            """
            var locals = {}, intervals = [], module = {}
            function send(address, ...args) { _send(JSON.stringify([address, args])) }
            function get(id) { return JSON.parse(_get(id)) }
            function setInterval(callback, delay) { intervals.push({callback, delay}) }
            function receive(address, icon, message) {
                if (address !== '/NOTIFY') throw address
                _notify(message)
            }
            """
        )
        self._js.eval(module)
        self._filter = "(function() { return module.exports.oscInFilter(%s) === undefined })()"

    @staticmethod
    def is_deaf(widget: Widget) -> bool:
        """Whether nothing that comes can be shown in it."""
        momentary = widget["type"] == "button" and widget["mode"] != "toggle"
        return momentary or widget["type"] == "variable" or widget["address"] in DEAF

    def open(self) -> None:
        """A client opens the session: the root's script runs."""
        self._js.eval(f"(function() {{ {self.root['onCreate']} }})()")

    def pass_time(self) -> list[int]:
        """Every interval comes round; returns how many milliseconds each is."""
        self._js.eval("for (var each of intervals) each.callback()")
        return list(json.loads(self._js.eval("JSON.stringify(intervals.map(x => x.delay))")))

    def touch(self, widget: Widget, start: bool) -> None:
        """A finger takes or leaves a fader."""
        event = json.dumps({"type": "start" if start else "stop"})
        self._js.eval(f"(function(event) {{ {widget['onTouch']} }})({event})")

    def drag(self, widget: Widget, value: float) -> None:
        """Moves a fader; it sends what it then shows."""
        low, high = widget["range"]["min"], widget["range"]["max"]
        if "steps" in widget:
            step = (high - low) / (widget["steps"] - 1)
            value = low + round((value - low) / step) * step
        self._set(widget, min(max(value, low), high))

    def press(self, widget: Widget, choice: int = 0) -> object:
        """Presses a button, or item `choice` of a switch; returns the value that it sends, None for no argument."""
        if widget["type"] == "switch":
            value = widget["values"]["values"][choice]
        elif widget["mode"] == "momentary":
            self.wire.send(widget["address"])
            return None
        elif widget["mode"] == "tap":
            value = widget["on"]
        else:
            on = self.values.get(widget["id"]) == widget["on"]
            value = widget["off"] if on else widget["on"]
        self._set(widget, value)
        return value

    def type(self, widget: Widget, text: str) -> None:
        """Types into an input; what is JSON becomes what it says, as the program does."""
        value: Any = text
        try:
            value = json.loads(text)
        except ValueError:
            assert not widget.get("numeric")
        self._set(widget, value)

    def take(self, address: str, arguments: list[object]) -> None:
        """A message came: through the module's filter to the widgets of the address."""
        tagged = [{"value": value} for value in arguments]
        data = json.dumps({"address": address, "args": tagged})
        if self._js.eval(self._filter % data):
            return
        value: object = arguments[0] if len(arguments) == 1 else arguments
        for widget in self._by_address.get(address, []):
            self._show(widget, value)

    def _show(self, widget: Widget, value: object) -> None:
        if widget["type"] == "button":
            if widget["mode"] != "toggle" or value not in (widget["on"], widget["off"]):
                return
        elif widget["type"] == "switch":
            if value not in widget["values"]["values"]:
                return
        elif widget["type"] == "fader":
            assert isinstance(value, float | int)
            value = min(max(value, widget["range"]["min"]), widget["range"]["max"])
        self.values[widget["id"]] = value

    def _set(self, widget: Widget, value: Any) -> None:
        self.values[widget["id"]] = value
        if isinstance(value, float):
            value = round(value, widget.get("decimals", 2))
        self.wire.send(widget["address"], _typed(widget.get("typeTags", ""), value))

    def _script_sends(self, text: str) -> None:
        address, arguments = json.loads(text)
        typed = [(a["type"], a["value"]) if isinstance(a, dict) else _typed("", a) for a in arguments]
        self.wire.send(address, *typed)


def _typed(tags: str, value: Any) -> Typed:
    """The argument that the server makes of a widget's value."""
    match tags:
        case "i":
            return "i", int(value)
        case "f":
            return "f", struct.unpack("f", struct.pack("f", float(value)))[0]
        case "s":
            return "s", value if isinstance(value, str) else json.dumps(value)
    assert tags == ""
    return ("f", float(value)) if isinstance(value, float | int) else ("s", value)
