"""The file of what was learned: read, written, taken back, and loaded after the user's own files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.control import Outcome, RefusedError
from demond.mapping import MappingSource, load_mapping
from demond.mapping import raw as raw_controls
from demond.mapping.learned import Learned, LearnedFile, line_text
from demond.mapping.lesson import Wish
from demond.mapping.plugs import PortIdentity
from demond.mapping.profile import Word
from demond.mapping.transfer import Encoding
from tests.memory_control import MemoryControl

MINE = """demond: 1
devices:
  nk2: {profile: korg/nanokontrol2, match: {name: "nano*"}}
maps:
  - {from: nk2/fader1, to: denoise}
  - {from: nk2/fader2, to: shift}
"""


def ids(path: Path, learned: Path) -> set[str]:
    return {binding.id for binding in load_mapping([path], learned=learned).bindings()}


def test_a_line_takes_the_place_of_the_user_s_line_for_that_control_and_of_no_other(tmp_path: Path) -> None:
    mine, file = tmp_path / "mine.yaml", LearnedFile(tmp_path / "state/learned.yaml")
    mine.write_text(MINE)
    assert ids(mine, file.path) == {"nk2/fader1/denoise", "nk2/fader2/shift"}
    file.save(Learned().with_line({"from": "nk2/fader1", "to": "feedback"}))
    assert file.path.read_text().endswith("maps:\n  - {from: nk2/fader1, to: feedback}\n")
    mapping = load_mapping([mine], learned=file.path)
    assert {binding.id for binding in mapping.bindings()} == {"nk2/fader1/feedback", "nk2/fader2/shift"}
    assert mapping.learned == {"nk2/fader1/feedback"}
    assert file.path.resolve() in {path.resolve() for path in mapping.files}


def test_a_line_whose_device_is_gone_is_left_out_with_a_warning(tmp_path: Path) -> None:
    mine, file = tmp_path / "mine.yaml", LearnedFile(tmp_path / "learned.yaml")
    mine.write_text("demond: 1\n")
    file.save(Learned().with_line({"from": "nk2/fader1", "to": "feedback"}))
    mapping = load_mapping([mine], learned=file.path)
    assert list(mapping.bindings()) == []
    assert [warning.message for warning in mapping.warnings] == ["no device is called 'nk2'; see devices:"]
    file.path.write_text("demond: 1\nmaps: 7\n")
    assert "must be a list" in load_mapping([mine], learned=file.path).warnings[0].message


def test_what_cannot_be_understood_is_set_aside_and_never_written_over(tmp_path: Path) -> None:
    file = LearnedFile(tmp_path / "learned.yaml")
    file.path.write_text("my own words")
    assert file.load() == Learned()
    assert (tmp_path / "learned.damaged.yaml").read_text() == "my own words"


def test_controls_that_no_line_needs_any_more_are_left_out(tmp_path: Path) -> None:
    first = (
        Learned()
        .with_control("box", "box:*", "knob_cc1", {"cc": 1})
        .with_line({"from": "box/knob_cc1", "to": "shift"})
    )
    second = first.with_control("box", "box:*", "knob_cc2", {"cc": 2}).with_line(
        {"from": "box/knob_cc2", "to": "shift"}
    )
    assert set(second.devices["box"]["controls"]) == {"knob_cc1", "knob_cc2"}
    assert second.without_last() == first
    assert first.without_last() == Learned()
    assert first.with_line({"from": "box/knob_cc1", "to": "denoise"}).maps == (
        {"from": "box/knob_cc1", "to": "denoise"},
    )


def test_a_line_of_the_same_id_is_replaced() -> None:
    one = Learned().with_line({"from": "nk2/fader1", "to": "shift", "id": "mine"})
    assert one.with_line({"from": "nk2/fader2", "to": "shift", "id": "mine"}).maps == (
        {"from": "nk2/fader2", "to": "shift", "id": "mine"},
    )


sources = st.sampled_from(
    ["nk2/fader1", "osc:/1/fader1", "box/knob_cc1", "osc:/a'b\"c", "osc:/{x", "osc:/- y:z!&%@`|>"]
)
targets = st.sampled_from(["denoise", "scene/drop.1", "layer/fine", "transport/tap", "on", "null", "1.0"])
names = st.text("abcXYZ0189_./:+~-", min_size=1, max_size=30)


@given(st.lists(st.tuples(sources, targets, names), max_size=8), st.text(min_size=1, max_size=40))
def test_what_is_written_is_what_is_read(lines: list[tuple[str, str, str]], match: str) -> None:
    import tempfile

    learned = Learned().with_control("box", "?" + "".join(c for c in match if c.isprintable()), "knob_cc1", {"cc": 1})
    for source, target, name in lines:
        learned = learned.with_line({"from": source, "to": target, "id": name})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = LearnedFile(Path(folder) / "learned.yaml")
        file.save(learned)
        assert file.load() == learned


@given(
    st.sampled_from([Word.CC, Word.NOTE, Word.BEND, Word.PRESSURE, Word.KEY_PRESSURE, Word.PROGRAM]),
    st.integers(1, 16),
    st.integers(0, 127),
)
def test_every_message_is_a_control_that_sends_it(word: Word, channel: int, number: int) -> None:
    key = (word, channel, 0 if word in (Word.BEND, Word.PRESSURE) else number)
    name, entry = raw_controls.described(key)
    assert raw_controls.control(name, entry).key == key


def test_an_encoder_and_a_pair_are_described_as_such() -> None:
    name, entry = raw_controls.described((Word.CC, 3, 7), "encoder", Encoding.OFFSET_BINARY)
    assert (name, entry) == ("encoder_cc7_ch3", {"cc": 7, "channel": 3, "encoding": "offset_binary"})
    assert raw_controls.control(*raw_controls.described((Word.CC, 1, 7), "fader", lsb=39)).bits == 14


@pytest.mark.parametrize(
    ("port", "later", "name"),
    [
        ("box:out", "box:out", "box"),
        ("nano MIDI 1 20:0", "nano MIDI 1 24:0", "nano_midi_1"),
        ("a2j:nano [20] (capture): MIDI 1", "a2j:nano [24] (capture): MIDI 1", "a2j"),
        ("My *[1]? Box", "My *[1]? Box", "my_box"),
        ("osc", "osc", "device_osc"),
        ("8 pads:x", "8 pads:x", "device_8_pads"),
    ],
)
def test_a_device_is_known_again_by_its_port_s_name(tmp_path: Path, port: str, later: str, name: str) -> None:
    import fnmatch

    pattern = raw_controls.glob(port)
    assert fnmatch.fnmatchcase(later.lower(), pattern.lower())
    assert not fnmatch.fnmatchcase("another " + later.lower(), pattern.lower())
    assert raw_controls.device_name(port, ()) == name
    assert raw_controls.device_name(port, (name,)) == f"{name}_2"


# -- the whole way ------------------------------------------------------------------------------------------------


class Room:
    """A mapping source that learns, in a running event loop."""

    def __init__(self, folder: Path) -> None:
        self.mine = folder / "mine.yaml"
        self.mine.write_text(MINE)
        self.file = LearnedFile(folder / "state/learned.yaml")
        self.control = MemoryControl()
        self.source = MappingSource([self.mine], self.control, learned=self.file.path)
        assert self.source.load() is None
        self.source.ports([PortIdentity("nano:out"), PortIdentity("box:out")])
        self.told: list[tuple[object, ...]] = []

    def sweep(self, port: str, status: int, number: int) -> None:
        import time

        for value in range(0, 120, 10):
            self.source.midi(port, [bytes((status, number, value))], time.monotonic_ns())

    async def outcome(self, ask: object, *arguments: object) -> Outcome:
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        assert callable(ask)
        ask(*arguments, ended.set_result)
        return await asyncio.wait_for(ended, 10)

    async def learn(self, target: str, port: str, number: int, **wish: object) -> Outcome:
        self.source.journal._records.clear()
        self.source.lessons.start(Wish(target, **wish), lambda *said: self.told.append(said))  # type: ignore[arg-type]
        self.sweep(port, 0xB0, number)
        return await self.outcome(self.source.lessons.accept, "")

    @property
    def ids(self) -> set[str]:
        return {binding.id for binding in self.source.mapping.bindings()}


def test_what_was_accepted_is_written_in_force_and_taken_back(tmp_path: Path) -> None:
    async def play() -> None:
        room = Room(tmp_path)
        outcome = await room.learn("feedback", "nano:out", 0)
        assert outcome == Outcome(True, "- {from: nk2/fader1, to: feedback}")
        assert room.told[-1] == ("done", "nk2/fader1/feedback", "- {from: nk2/fader1, to: feedback}")
        assert room.ids == {"nk2/fader1/feedback", "nk2/fader2/shift"}
        outcome = await room.learn("denoise", "box:out", 21, id="mine")
        assert outcome.message == "- {from: box/knob_cc21, to: denoise, id: mine}"
        assert room.told[-1][1] == "mine"
        room.sweep("box:out", 0xB0, 21)
        assert room.control.values["denoise"] > 0.7
        assert (await room.outcome(room.source.lessons.undo)).message == outcome.message
        assert room.ids == {"nk2/fader1/feedback", "nk2/fader2/shift"}
        assert (await room.outcome(room.source.lessons.undo)).ok
        assert room.ids == {"nk2/fader1/denoise", "nk2/fader2/shift"}
        nothing = await room.outcome(room.source.lessons.undo)
        assert nothing == Outcome(False, "no line is learned, so there is nothing to undo")

    asyncio.run(play())


def test_what_a_line_replaced_comes_back_with_an_undo(tmp_path: Path) -> None:
    async def play() -> None:
        room = Room(tmp_path)
        await room.learn("feedback", "nano:out", 0)
        await room.learn("protect", "nano:out", 0)
        assert room.ids == {"nk2/fader1/protect", "nk2/fader2/shift"}
        await room.outcome(room.source.lessons.undo)
        assert room.ids == {"nk2/fader1/feedback", "nk2/fader2/shift"}
        again = Room(tmp_path)  # demond was started anew: the lines are there, and go one by one
        assert again.ids == room.ids
        assert (await again.outcome(again.source.lessons.undo)).ok
        assert again.ids == {"nk2/fader1/denoise", "nk2/fader2/shift"}

    asyncio.run(play())


def test_a_line_that_cannot_be_in_force_is_not_kept(tmp_path: Path) -> None:
    async def play() -> None:
        room = Room(tmp_path)
        room.mine.write_text(MINE + "  - nonsense\n")
        outcome = await room.learn("feedback", "nano:out", 0)
        assert not outcome.ok
        assert "mine.yaml:7" in outcome.message
        assert room.told[-1][0] == "cancelled"
        assert room.file.load() == Learned()
        assert room.ids == {"nk2/fader1/denoise", "nk2/fader2/shift"}

    asyncio.run(play())


def test_a_file_that_cannot_be_written_is_told_and_changes_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        room = Room(tmp_path)
        room.file.path.parent.write_text("a file where the folder should be")
        outcome = await room.learn("feedback", "nano:out", 0)
        assert not outcome.ok
        assert "cannot be written" in outcome.message
        assert room.ids == {"nk2/fader1/denoise", "nk2/fader2/shift"}
        assert room.source.lessons.target == ""

    asyncio.run(play())


def test_without_a_file_nothing_can_be_learned(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    source = MappingSource([tmp_path / "mine.yaml"], MemoryControl())
    with pytest.raises(RefusedError, match="no file to keep it in"):
        source.lessons.start(Wish("denoise"), lambda *said: None)


def test_a_line_reads_as_it_stands_in_the_file() -> None:
    line = {"from": "osc:/1/fader1", "to": "denoise"}
    assert line_text(line) in Learned().with_line(line).text()
