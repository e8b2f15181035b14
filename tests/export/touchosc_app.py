"""TouchOSC as far as an exported layout needs it: the nodes, their messages and the root's script.

It reads the `.tosc` file by what public descriptions of the format say, and fails at anything else. The script is run
by Lua 5.1, with the functions of the manual's "Script" pages that it calls.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import dataclass, field
from typing import Any

import lupa.lua51

from tests.export.wire import Typed, Wire

KINDS: dict[str, dict[str, str]] = {
    "GROUP": {"tabColorOff": "c", "tabColorOn": "c", "tabLabel": "s", "textColorOff": "c", "textColorOn": "c"},
    "PAGER": {
        "tabLabels": "b", "tabbar": "b", "tabbarDoubleTap": "b", "tabbarSize": "i", "textSizeOff": "i",
        "textSizeOn": "i",
    },
    "BUTTON": {"buttonType": "i", "press": "b", "release": "b", "valuePosition": "b"},
    "FADER": {
        "bar": "b", "barDisplay": "i", "cursor": "b", "cursorDisplay": "i", "grid": "b", "gridSteps": "i",
        "response": "i", "responseFactor": "i",
    },
    "LABEL": {
        "font": "i", "textAlignH": "i", "textAlignV": "i", "textClip": "b", "textColor": "c", "textLength": "i",
        "textSize": "i", "textWrap": "b",
    },
}  # fmt: skip
"""The properties of each type of node, and the type of each property."""
KINDS["TEXT"] = KINDS["LABEL"]
COMMON = {
    "background": "b", "color": "c", "cornerRadius": "f", "frame": "r", "grabFocus": "b", "interactive": "b",
    "locked": "b", "name": "s", "orientation": "i", "outline": "b", "outlineStyle": "i", "pointerPriority": "i",
    "script": "s", "shape": "i", "visible": "b",
}  # fmt: skip
VALUES = {
    "GROUP": ["touch"], "PAGER": ["page", "touch"], "BUTTON": ["x", "touch"], "FADER": ["x", "touch"],
    "LABEL": ["text", "touch"], "TEXT": ["text", "touch"],
}  # fmt: skip
OSC = [
    "enabled", "send", "receive", "feedback", "noDuplicates", "connections", "triggers", "path", "arguments",
]  # fmt: skip
TYPES = {"b": "[01]", "i": "-?[0-9]+", "f": r"[0-9]+(\.[0-9]+)?", "s": "(?s).*"}


@dataclass
class Part:
    """A partial of an address or of the arguments."""

    kind: str
    conversion: str
    value: str
    low: float
    high: float

    def argument(self, node: Node) -> Typed:
        """What it adds to a message that is sent."""
        value: Any = self.value if self.kind == "CONSTANT" else node.values[self.value]
        if self.conversion == "STRING":
            return "s", str(value)
        number = self.low + float(value) * (self.high - self.low) if self.kind == "VALUE" else float(value)
        return ("i", round(number)) if self.conversion == "INTEGER" else ("f", number)

    def taken(self, argument: object) -> object:
        """What the node's value becomes when this argument comes."""
        if self.conversion == "STRING":
            return f"{argument:g}" if isinstance(argument, float) else str(argument)
        assert isinstance(argument, float | int), argument
        return (argument - self.low) / (self.high - self.low)


@dataclass
class Message:
    """An OSC message of a node."""

    address: str
    variable: str
    condition: str
    arguments: list[Part]
    send: bool
    receive: bool


@dataclass
class Node:
    """A control."""

    kind: str
    frame: tuple[float, ...]
    properties: dict[str, str]
    values: dict[str, Any]
    messages: list[Message]
    children: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.properties["name"]


def load(file: bytes) -> Node:
    """The root of the layout in `file`."""
    assert file[0] == 0x78, "a zlib stream, without an envelope"
    text = zlib.decompress(file).decode("utf-8")
    assert text.startswith("<?xml version='1.0' encoding='UTF-8'?><lexml version='5'>")
    tree = ET.fromstring(text)  # noqa: S314  # our own
    assert len(tree) == 1
    ids = [element.get("ID") for element in tree.iter("node")]
    assert len(ids) == len(set(ids))
    return _node(tree[0])


def _node(element: ET.Element) -> Node:
    assert element.tag == "node"
    assert element.keys() == ["ID", "type"]
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", element.get("ID", ""))
    kind = element.get("type", "")
    sections = [section.tag for section in element]
    assert sections in ([each for each in ("properties", "values", "messages", "children") if each in sections],)
    assert all(len(section) for section in element), "an empty section is left out"
    properties = {}
    keys = []
    for entry in element.findall("properties/property"):
        key, value = entry[0], entry[1]
        keys.append(key.text or "")
        code = {**COMMON, **KINDS[kind]}[keys[-1]]
        assert entry.get("type") == code, keys[-1]
        if code in "cr":
            numbers = [float(number.text or "") for number in value]
            assert [number.tag for number in value] == list("rgba" if code == "c" else "xywh")
            assert code == "r" or all(0 <= number <= 1 for number in numbers)
            properties[keys[-1]] = " ".join(map(str, numbers))
        else:
            assert re.fullmatch(TYPES[code], value.text or ""), (keys[-1], value.text)
            properties[keys[-1]] = value.text or ""
    assert keys == sorted(set(keys)), "in alphabetical order"
    assert keys.count("name") == 1
    values = {}
    for entry in element.findall("values/value"):
        assert [part.tag for part in entry] == ["key", "locked", "lockedDefaultCurrent", "default", "defaultPull"]
        values[entry[0].text or ""] = entry[3].text or ""
    assert list(values) == VALUES[kind]
    assert values["touch"] == "false"
    node = Node(
        kind,
        tuple(map(float, properties["frame"].split())),
        properties,
        {key: value if key == "text" else _default(value) for key, value in values.items()},
        [_message(entry) for entry in element.findall("messages/*")],
    )
    node.children = [_node(child) for child in element.findall("children/*")]
    assert not node.children or kind in ("GROUP", "PAGER")
    assert kind != "PAGER" or all(child.kind == "GROUP" for child in node.children)
    return node


def _default(text: str) -> bool | float:
    return text == "true" if text in ("true", "false") else float(text)


def _message(entry: ET.Element) -> Message:
    assert entry.tag == "osc"
    assert [part.tag for part in entry] == OSC
    said = {part.tag: part.text or "" for part in entry}
    assert said["enabled"] == "1"
    assert said["feedback"] == "0", "what comes is not sent back"
    assert re.fullmatch("[01]{10}", said["connections"])
    (trigger,) = entry.findall("triggers/trigger")
    condition = trigger.findtext("condition") or ""
    assert condition in ("ANY", "RISE", "FALL")
    (path,) = map(_part, entry.findall("path/partial"))
    assert (path.kind, path.conversion) == ("CONSTANT", "STRING")
    arguments = list(map(_part, entry.findall("arguments/partial")))
    variable = trigger.findtext("var") or ""
    return Message(path.value, variable, condition, arguments, said["send"] == "1", said["receive"] == "1")


def _part(entry: ET.Element) -> Part:
    assert [part.tag for part in entry] == ["type", "conversion", "value", "scaleMin", "scaleMax"]
    kind, conversion, value, low, high = (part.text or "" for part in entry)
    assert kind in ("CONSTANT", "VALUE", "PROPERTY", "INDEX")
    assert conversion in ("STRING", "INTEGER", "FLOAT", "BOOLEAN")
    return Part(kind, conversion, value, float(low), float(high))


class App:
    """A device that has the layout open."""

    def __init__(self, file: bytes, port: int, wire: Wire | None = None) -> None:
        self.wire = wire or Wire(port)
        self.root = load(file)
        self.nodes = list(every(self.root))
        self.millis = 1000.0
        """Milliseconds since the application was started."""
        self._lua = lupa.lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
        scope = self._lua.globals()
        scope.sendOSC = self._script_sends
        scope.getMillis = lambda: self.millis
        status = self._lua.table_from({"values": self._lua.table_from({"text": ""})})
        scope.self = self._lua.table_from({"children": self._lua.table_from({"status": status})})
        self._status = status
        self._lua.execute(self.root.properties["script"])

    @property
    def status(self) -> str:
        """What the bar below the pages says."""
        return str(self._status["values"]["text"])

    def frame(self, milliseconds: float = 16) -> None:
        """One frame of the application, which calls the script's `update`."""
        self.millis += milliseconds
        self._lua.globals().update()

    def set(self, node: Node, variable: str, value: Any) -> None:
        """A finger changes a value of a node: messages that it triggers are sent."""
        before, node.values[variable] = node.values[variable], value
        for message in node.messages:
            if not message.send or message.variable != variable or before == value:
                continue
            if message.condition == "ANY" or (message.condition == "RISE") == (value > before):
                self.wire.send(message.address, *(part.argument(node) for part in message.arguments))

    def press(self, node: Node) -> None:
        """A push button goes down and up; a toggle changes."""
        if node.properties["buttonType"] == "2":
            self.set(node, "x", 0.0 if node.values["x"] else 1.0)
        else:
            self.set(node, "x", 1.0)
            self.set(node, "x", 0.0)

    def take(self, address: str, arguments: list[object]) -> None:
        """A message came: the script sees it, and then the nodes whose messages have the address."""
        said = [self._lua.table_from({"tag": _tag(value), "value": value}) for value in arguments]
        self._lua.globals().onReceiveOSC(self._lua.table_from([address, self._lua.table_from(said)]))
        for node in self.nodes:
            for message in node.messages:
                if message.receive and message.address == address:
                    for part, value in zip(message.arguments, arguments, strict=False):
                        node.values[part.value] = part.taken(value)

    def with_address(self, address: str) -> list[Node]:
        """The nodes that have a message of this address."""
        return [node for node in self.nodes if any(message.address == address for message in node.messages)]

    def _script_sends(self, message: Any) -> None:
        self.wire.send(message[1], *((part["tag"], part["value"]) for part in message[2].values()))


def every(node: Node) -> list[Node]:
    """The node and all below it."""
    return [node, *(each for child in node.children for each in every(child))]


def as_xml_has_it(text: str) -> str:
    """`text` without what XML 1.0 cannot hold, and with line ends as its readers make them."""
    kept = "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
    return kept.replace("\r\n", "\n").replace("\r", "\n")


def _tag(value: object) -> str:
    return "s" if isinstance(value, str) else "i" if isinstance(value, int) else "f"
