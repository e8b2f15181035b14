from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from demond.control import Outcome
from demond.mapping import MappingSource
from demond.strict_yaml import YamlError
from tests.memory_control import MemoryControl

HEAD = "demond: 1\ndevices:\n  nk2: {profile: korg/nanokontrol2, match: {name: '*'}}\nmaps:\n"
DENOISE = HEAD + "  - {from: nk2/fader1, to: denoise, takeover: off}\n"
FEEDBACK = HEAD + "  - {from: nk2/fader1, to: feedback, takeover: off}\n"
BROKEN = HEAD + "  - {from: nk2/fadr1, to: feedback}\n"


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


class Watched:
    """A mapping source that watches its files, with what it reported."""

    def __init__(self, path: Path) -> None:
        self.control = MemoryControl()
        self.reports: list[YamlError | None] = []
        self.source = MappingSource([path], self.control, self.reports.append)

    async def __aenter__(self) -> Watched:
        assert self.source.load() is None
        self.task = asyncio.create_task(self.source.watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def moves(self) -> str:
        """The knob that fader 1 moves now."""
        before = len(self.control.calls)
        self.source.midi("x", [b"\xb0\x00\x10"], time.monotonic_ns())
        return next(iter(self.control.calls[before][0]))


def replace(path: Path, text: str) -> None:
    """As editors save: a new file takes the old one's name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_a_saved_file_is_in_use_within_100_ms(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(DENOISE)

    async def play() -> list[float]:
        taken = []
        async with Watched(path) as watched:
            await asyncio.sleep(0.1)
            for text, knob in [(FEEDBACK, "feedback"), (DENOISE, "denoise")] * 3:
                saved = time.monotonic()
                replace(path, text)
                await until(lambda knob=knob: watched.moves() == knob)  # type: ignore[misc]
                taken.append(time.monotonic() - saved)
                await asyncio.sleep(0.05)
        return taken

    taken = sorted(asyncio.run(play()))
    assert taken[len(taken) // 2] < 0.1, taken


def test_a_broken_file_leaves_the_old_mapping_playing_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(DENOISE)

    async def play() -> None:
        async with Watched(path) as watched:
            path.write_text(BROKEN)
            await until(lambda: watched.reports)
            assert f"{path}:5:12: korg/nanokontrol2 has no control 'fadr1'" in str(watched.reports[0])
            assert watched.source.error == str(watched.reports[0])
            assert watched.moves() == "denoise"
            path.write_text(FEEDBACK)
            await until(lambda: watched.reports[-1] is None)
            assert watched.source.error is None
            assert watched.moves() == "feedback"

    asyncio.run(play())


def test_included_files_are_watched_even_those_that_come_with_a_reload(tmp_path: Path) -> None:
    path, other = tmp_path / "m.yaml", tmp_path / "sub" / "other.yaml"
    path.write_text(DENOISE)
    other.parent.mkdir()
    other.write_text(DENOISE)

    async def play() -> None:
        async with Watched(path) as watched:
            path.write_text("demond: 1\ninclude: [sub/other.yaml]\n")
            await until(lambda: other in watched.source.files)
            other.write_text(FEEDBACK)
            await until(lambda: watched.moves() == "feedback")

    asyncio.run(play())


def test_a_missing_file_that_appears_heals_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(DENOISE)

    async def play() -> None:
        async with Watched(path) as watched:
            path.write_text("demond: 1\ninclude: [later.yaml]\n")
            await until(lambda: watched.source.error)
            (tmp_path / "later.yaml").write_text(FEEDBACK)
            await until(lambda: watched.source.error is None)
            assert watched.moves() == "feedback"

    asyncio.run(play())


def test_a_reload_on_request_answers_how_it_went(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(DENOISE)

    async def play() -> list[Outcome]:
        source = MappingSource([path], MemoryControl())
        assert source.load() is None
        outcomes: list[Outcome] = []
        source.reload(outcomes.append)
        await until(lambda: outcomes)
        path.write_text(BROKEN)
        source.reload(outcomes.append)
        await until(lambda: len(outcomes) == 2)
        return outcomes

    good, bad = asyncio.run(play())
    assert good.ok
    assert not bad.ok
    assert "5:12" in bad.message


def test_a_mistake_at_the_start_is_returned_and_nothing_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(BROKEN)
    source = MappingSource([path], MemoryControl())
    error = source.load()
    assert error is not None
    assert source.error == str(error)
    assert source.mapping.devices == ()


def test_without_files_the_ready_mapping_is_loaded() -> None:
    source = MappingSource(None, MemoryControl())
    assert source.load() is None
    assert {path.name for path in source.files} >= {"default.yaml", "nanokontrol2.yaml", "touchosc.yaml"}


def test_the_messages_that_are_told_at_once_fit_into_a_packet(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + f"  - {{from: nk2/fader1, to: denoise, takeover: off, id: {'x' * 190}}}\n")
    source = MappingSource([path], MemoryControl())
    assert source.load() is None
    source.midi("p" * 200, [bytes((0xB0, 0, value % 128)) for value in range(1_000)], 1)
    told = source.messages(0)
    assert told["count"] == 1_000
    messages = told["messages"]
    assert isinstance(messages, list)
    assert messages[-1]["number"] == 1_000
    assert 10_000 < len(json.dumps(told)) < 60_000
    assert source.messages(999)["messages"] == messages[-1:]
