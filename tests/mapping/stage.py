"""A mapper on a control in memory, with hands to move a device of the test's own."""

from __future__ import annotations

from pathlib import Path

from demond.control import Origin
from demond.mapping import Mapper, Mapping, PortIdentity, load_mapping
from demond.mapping.profile import Profile, expand
from demond.mapping.profile_schema import ProfileFile
from demond.strict_yaml import parse
from tests.memory_control import MemoryControl

PORT = "box:out"
MS = 1_000_000


def profile_of(text: str) -> Profile:
    """The device profile that `text` describes."""
    document = parse(text, "profile")
    file = document.validate(ProfileFile)
    profile = expand(file, document) if file is not None else None
    document.raise_problems()
    assert profile is not None
    return profile


class Stage:
    """`box` has the controls of `profile`; `lines` are those of its mapping. A message comes each 5 ms."""

    def __init__(self, folder: Path, profile: str, *lines: str, head: str = "") -> None:
        self.folder, self.head = folder, head
        (folder / "devices/my").mkdir(parents=True, exist_ok=True)
        text = f"profile: my/box\nsource: this test\nsetup: none\nports: 'box:*'\n{profile}"
        (folder / "devices/my/box.yaml").write_text(text)
        self.control = MemoryControl()
        self.mapper = Mapper(self.load(*lines), self.control)
        self.control.on_change = self.mapper.changed
        self.shown: list[tuple[str, str]] = []
        """What was sent to ports, in hex."""
        self.mapper.show_with(lambda port, messages: self.shown.extend((port, m.hex(" ")) for m in messages))
        self.now = 0

    def load(self, *lines: str) -> Mapping:
        text = f"demond: 1\ndevices:\n  box: {{profile: my/box}}\n{self.head}maps:{'' if lines else ' []'}\n"
        (self.folder / "m.yaml").write_text(text + "".join(f"  - {line}\n" for line in lines))
        return load_mapping([self.folder / "m.yaml"])

    def plug(self, *ports: str) -> list[str]:
        """These ports are there; returns what they are sent."""
        self.shown.clear()
        self.mapper.ports([PortIdentity(port) for port in ports or (PORT,)])
        return self.sent()

    def send(self, *data: int, port: str = PORT) -> None:
        self.now += 5 * MS
        self.mapper.midi(port, bytes(data), self.now)

    def wait(self, ms: float) -> None:
        """Time passes; the mapper is woken when it wants to be."""
        end = self.now + round(ms * MS)
        while (due := self.mapper.due_ns) is not None and due <= end:
            self.now = max(self.now, due)
            self.mapper.advance(self.now)
        self.now = end

    def elsewhere(self, **changes: float) -> list[str]:
        """Somebody else sets knobs; returns what is sent to ports because of it."""
        self.shown.clear()
        self.control.set_knobs(changes, Origin("osc", "127.0.0.1:5", self.now))
        return self.sent()

    def sent(self) -> list[str]:
        """What was sent to ports since the last look."""
        found = [message for _, message in self.shown]
        self.shown.clear()
        return found

    def why(self) -> str:
        """What came of the last message."""
        last = self.mapper.last
        assert last is not None
        return last.outcome

    def __getitem__(self, knob: str) -> float:
        return self.control.values[knob]
