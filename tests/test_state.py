"""What a performer has set outlives the daemon, whatever happens to the file."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demond import state
from demond.session import Session
from demond.setting import Prompt, SetCurve, SetDepth, SetLora, SetPrompt, SetSource, SetTimbre, Setting
from demond.state import Keeper, Kept, StateFile

CONFIGURED: tuple[Setting, ...] = (
    SetDepth(count=4),
    SetPrompt(slot="a", prompt=Prompt(text="house")),
    SetTimbre(path="/horn.wav"),
)
PLAYED: tuple[Setting, ...] = (
    SetDepth(count=4),
    SetPrompt(slot="a", prompt=Prompt(text="slow", bpm=70, lyrics="[verse]\nlä")),
    SetSource(path="/loop.wav"),
    SetCurve(name="protect", values=(0.0, 0.25, 1.0)),
    SetLora(name="tape", path="/tape.safetensors", strength=0.5),
)
KEPT = Kept(knobs={"denoise": 0.3, "seed": 2**32 - 1}, configured=CONFIGURED, settings=PLAYED)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "demond/state.json")


def test_what_is_saved_is_loaded(file: StateFile) -> None:
    assert file.load() == (None, "")
    file.save(KEPT)
    assert file.load() == (KEPT, "")
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert os.listdir(file.path.parent) == ["state.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "\0" * 100,
        lambda text: text.replace('"demond": 1', '"demond": 2'),
        lambda text: text.replace("0.3", "NaN"),
        lambda text: text.replace('"depth"', '"breadth"'),
        lambda text: text.replace('"a"', '"z"'),
    ],
)
def test_a_damaged_file_is_set_aside_with_one_message(file: StateFile, damage: Callable[[str], str]) -> None:
    file.save(KEPT)
    broken = damage(file.path.read_text())
    file.path.write_text(broken)
    kept, remark = file.load()
    assert kept is None
    assert remark == f"{file.path} is damaged; it was set aside as state.damaged.json, and demond starts afresh"
    assert file.path.with_name("state.damaged.json").read_text() == broken
    assert file.load() == (None, "")


def test_a_file_that_cannot_be_read_is_said_and_left(file: StateFile) -> None:
    file.path.mkdir(parents=True)
    kept, remark = file.load()
    assert kept is None
    assert "cannot be read" in remark


def test_the_old_file_stays_when_the_new_one_cannot_be_written(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(KEPT)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.save(Kept(knobs={}, configured=(), settings=()))
    assert file.load() == (KEPT, "")
    assert os.listdir(file.path.parent) == ["state.json"]


def test_what_was_set_comes_back_where_the_settings_file_is_the_same() -> None:
    restored = KEPT.onto(Session(CONFIGURED))
    assert restored.prompt("a").bpm == 70
    assert restored.source == SetSource(path="/loop.wav")
    assert restored.curves == {"protect": (0, 0.25, 1)}
    assert restored.loras["tape"].strength == 0.5
    assert restored.path("timbre") is None  # was taken away
    assert restored.depth == 4


def test_what_the_settings_file_says_anew_counts() -> None:
    configured = Session([SetDepth(count=8), *CONFIGURED[1:], SetSource(path="/other.wav")])
    restored = KEPT.onto(configured)
    assert restored.depth == 8
    assert restored.source == SetSource(path="/other.wav")
    assert restored.prompt("a").text == "slow"


def test_knobs_of_another_version_are_left_out() -> None:
    kept = Kept(knobs={"denoise": 0.3, "flux": 1}, configured=(), settings=())
    assert kept.known_knobs() == {"denoise": 0.3}


class Recorder(StateFile):
    """A state file that says when it was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.saved: list[Kept] = []
        self.written = threading.Event()

    def save(self, kept: Kept) -> None:
        super().save(kept)
        self.saved.append(kept)
        self.written.set()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(state, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(state, "LONGEST_SECONDS", 0.3)
    return


def kept(value: float) -> Kept:
    return Kept(knobs={"denoise": value}, configured=(), settings=())


@pytest.mark.usefixtures("quick")
def test_the_file_is_written_once_after_a_burst_of_changes(tmp_path: Path) -> None:
    async def scene() -> None:
        file = Recorder(tmp_path / "state.json")
        present = [kept(0)]
        keeper = Keeper(file, lambda: present[0])
        for i in range(100):
            present[0] = kept(i)
            keeper.changed()
        assert await asyncio.to_thread(file.written.wait, 5)
        assert file.saved == [kept(99)]
        await keeper.close()
        assert file.saved == [kept(99)]

    asyncio.run(scene())


@pytest.mark.usefixtures("quick")
def test_changes_without_end_are_kept_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        file = Recorder(tmp_path / "state.json")
        keeper = Keeper(file, lambda: kept(1))
        async with asyncio.timeout(10):
            while not file.written.is_set():
                keeper.changed()
                await asyncio.sleep(0)
        await keeper.close()

    asyncio.run(scene())


def test_the_end_does_not_wait_for_the_calm(tmp_path: Path) -> None:
    async def scene() -> None:
        file = Recorder(tmp_path / "state.json")
        keeper = Keeper(file, lambda: kept(0.5))
        keeper.changed()
        await keeper.close()
        assert json.loads(file.path.read_text())["knobs"] == {"denoise": 0.5}

    asyncio.run(scene())


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()

    async def scene() -> None:
        keeper = Keeper(StateFile(tmp_path / "file/state.json"), lambda: kept(0.5))
        for _ in range(3):
            keeper.changed()
            await keeper.close()

    asyncio.run(scene())
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["what is set will not outlive demond"]
