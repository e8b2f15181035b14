"""The shared loop's layout: C and Python agree, and writers do not share cache lines."""

from __future__ import annotations

import pytest

from demond import native, shm
from demond.audio import layout
from demond.audio.loop import LoopError, SharedLoop


def test_c_and_python_agree_on_every_field() -> None:
    assert native.layout() == (layout.VERSION, layout.OFFSETS)


def test_every_writer_has_cache_lines_of_its_own() -> None:
    ends = 0
    for group in layout.GROUPS:
        begins = layout.OFFSETS[group[0][0]]
        assert begins % layout.LINE == 0
        assert begins >= ends
        ends = begins + 8 * sum(words for _, words in group)


def test_no_two_fields_overlap() -> None:
    words = [
        layout.OFFSETS[name] + 8 * word for group in layout.GROUPS for name, count in group for word in range(count)
    ]
    assert len(words) == len(set(words))


def test_another_layout_is_refused_in_words() -> None:
    loop = SharedLoop.create(shm.unique_name("loop"), 100)
    try:
        native.store_u64(loop.address("version"), layout.VERSION + 1)
        with pytest.raises(LoopError, match="different versions of demond"):
            SharedLoop.attach(loop.name)
        native.store_u64(loop.address("magic"), 0)
        with pytest.raises(LoopError, match="is no playback loop"):
            SharedLoop.attach(loop.name)
    finally:
        loop.close()
        loop.unlink()


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = SharedLoop.create(shm.unique_name("loop"), 100)
    try:
        monkeypatch.setattr(native, "layout", lambda: (layout.VERSION, {"magic": 0}))
        with pytest.raises(LoopError, match="reinstall demond"):
            SharedLoop.attach(loop.name)
    finally:
        loop.close()
        loop.unlink()


def test_a_short_segment_is_no_loop() -> None:
    memory = shm.create(shm.unique_name("short"), 4096)
    try:
        with pytest.raises(LoopError, match="is no playback loop"):
            SharedLoop.attach(memory.name)
    finally:
        memory.close()
        memory.unlink()
