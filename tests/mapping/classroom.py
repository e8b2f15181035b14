"""A stage with somebody who learns there: for tests of learning."""

from __future__ import annotations

import time
from pathlib import Path

from demond.mapping.journal import Journal
from demond.mapping.learned import LearnedFile
from demond.mapping.lesson import Lessons, Wish
from demond.mapping.search import Search
from tests.mapping.stage import PORT, Stage

PROFILE = """
controls:
  fader1: {cc: 0, touch: touch1}
  fader2: {cc: 1}
  fader3: {cc: 7, bits: 14, lsb: 39}
  motor1: {bend: true, kind: fader, follows: true}
  encoder1: {cc: 20, encoding: twos_complement, ring: {}}
  button1: {note: 1, led: {}}
  button2: {note: 2}
  touch1: {note: 104}
  program1: {program: 5, kind: button}
"""
LINES = (
    "{from: box/fader1, to: feedback, takeover: pickup}",
    "{from: box/fader2, to: shift}",
    "{from: box/encoder1, to: denoise}",
    "{from: box/button1, to: mute}",
    "{from: 'osc:/1/fader1', to: feedback}",
)


class Class:
    """A stage with somebody who learns there."""

    def __init__(self, folder: Path) -> None:
        self.one = Stage(folder, PROFILE, *LINES, head="layers: {shift: {}}\n")
        self.one.plug(PORT, "other:out")
        self.one.now = time.monotonic_ns()
        self.told: list[tuple[object, ...]] = []
        mapper = self.one.mapper
        file = LearnedFile(folder / "learned.yaml")
        self.lessons = Lessons(file, lambda: mapper.mapping, mapper.journal.after)
        self.lessons.changed = lambda search: setattr(mapper, "search", search)

    def start(self, target: str = "denoise", guess: bool = False) -> Class:
        self.lessons.start(Wish(target, guess=guess), lambda *said: self.told.append(said))
        self.one.now = max(self.one.now, time.monotonic_ns())
        return self

    @property
    def search(self) -> Search:
        search = self.one.mapper.search
        assert search is not None
        return search

    @property
    def found(self) -> list[str]:
        return [one.name for one in self.search.found()]

    def sweep(self, number: int, *values: int, status: int = 0xB0, port: str = PORT) -> None:
        for value in values or range(10, 60, 5):
            self.one.send(status, number, value, port=port)

    def rest(self) -> None:
        """Nothing is heard for so long that nothing counts as busy."""
        self.one.mapper.journal = Journal()
        self.one.wait(4_000)

    def press(self, note: int, port: str = PORT) -> None:
        self.one.send(0x90, note, 127, port=port)
        self.one.send(0x80, note, 0, port=port)
