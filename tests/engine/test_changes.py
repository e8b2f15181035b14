"""How changes meet: in order, overtaken, refused, and in the middle of a load; on real sessions."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import OVERTAKEN, CheckpointError, PromptError, RoomError, Silence, SourceError, rig
from tests.engine.playing import DEADLINE, KNOBS, Gate, Player, digest, fresh, session_of
from tests.listening import longest_silence


@pytest.fixture
def gate(player: Player, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def test_rapid_moves_of_a_lora_come_to_the_newest(player: Player, two_seconds: Path, lora: Path) -> None:
    player.settled()
    moves = [player.session.request_lora(lora, strength / 100) for strength in range(60)]
    answers = [player.after(move) for move in moves]
    assert answers[-1] != OVERTAKEN
    assert answers.count(OVERTAKEN) > 40
    assert player.session.setup.loras == ((lora, 0.59),)
    assert player.settled() == fresh(source=two_seconds, loras=[(lora, 0.59)])


def test_the_old_music_plays_on_until_the_swap(player: Player, gate: Gate, tiny: Path) -> None:
    before = player.settled()
    old = player.port.loop.copy()
    asked = player.session.request_checkpoint(tiny)
    assert gate.reached.wait(DEADLINE)
    for _ in range(60):
        assert player.step().idle
    assert np.array_equal(player.port.loop, old)
    assert digest(player.session) == before
    assert not asked.done()
    gate.open.set()
    player.after(asked)
    assert digest(player.session) != before


def test_the_lead_is_raised_while_something_loads(player: Player, gate: Gate, tiny: Path) -> None:
    player.settled()
    for i in range(20):
        player.knobs = replace(KNOBS, seed=i)
        player.step()
    before = player.session.lead
    asked = player.session.request_checkpoint(tiny)
    assert gate.reached.wait(DEADLINE)
    player.step()
    assert player.session.lead.reserve > before.reserve
    gate.open.set()
    player.after(asked)


def test_a_prompt_is_neither_lost_nor_late_while_a_checkpoint_loads(
    player: Player, gate: Gate, two_seconds: Path, tiny: Path
) -> None:
    player.settled()
    swap = player.session.request_checkpoint(tiny)
    assert gate.reached.wait(DEADLINE)
    player.after(player.session.request_prompt("a", "techno, 140 bpm"))
    assert player.session.model_name == "built-in"
    played = player.settled()
    player.session.request_prompt("b", "ambient")
    gate.open.set()
    player.after(swap)
    assert player.session.model_name == "tiny-turbo"
    asked = {"source": two_seconds, "prompt_a": "techno, 140 bpm", "prompt_b": "ambient"}
    assert player.settled() == fresh(checkpoint=tiny, **asked)
    player.knobs = replace(KNOBS, prompt_blend=1.0)
    assert player.settled() == fresh(player.knobs, checkpoint=tiny, **asked)
    assert played == fresh(**asked)


def test_a_later_source_overtakes_one_that_is_not_ready(
    player: Player, gate: Gate, two_seconds: Path, other: Path, tiny: Path
) -> None:
    """Queued behind a checkpoint, only the newest of three sources is played; steps wait their turn beside them."""
    swap = player.session.request_checkpoint(tiny)
    assert gate.reached.wait(DEADLINE)
    sources = [player.session.request_source(path) for path in (other, two_seconds, other)]
    steps = [player.session.request_steps(count) for count in (3, 4)]
    gate.open.set()
    assert player.after(swap) == ""
    assert [player.after(asked) for asked in (*sources, *steps)] == [OVERTAKEN, OVERTAKEN, "", OVERTAKEN, ""]
    assert player.settled() == fresh(checkpoint=tiny, source=other, steps=4)


def test_a_checkpoint_that_is_being_read_is_overtaken_by_the_next(player: Player, gate: Gate, tiny: Path) -> None:
    before = player.settled()
    first = player.session.request_checkpoint(tiny)
    assert gate.reached.wait(DEADLINE)
    second = player.session.request_checkpoint(None)
    gate.open.set()
    assert player.after(second) == ""
    assert first.result() == OVERTAKEN
    assert player.settled() == before


def test_what_cannot_be_played_changes_nothing(player: Player, tiny: Path, tmp_path: Path) -> None:
    before = player.settled()
    setup, loop = player.session.setup, player.port.loop.copy()
    (tmp_path / "noise.wav").write_bytes(b"no audio")
    session = player.session
    refused: list[tuple[Future[str], type[Exception], str]] = [
        (session.request_source(tmp_path / "none.wav"), SourceError, "there is no such file"),
        (session.request_timbre(tmp_path / "none.wav"), SourceError, "there is no such file"),
        (session.request_structure(tmp_path / "noise.wav"), SourceError, "cannot be read as audio"),
        (session.request_checkpoint(tmp_path), CheckpointError, r"config\.json is missing"),
        (session.request_prompt("a", "x" * 3_000), PromptError, "3000 characters"),
        (session.request_prompt("negative", "\0"), PromptError, "NUL"),
        (session.request_steps(0), ValueError, "0 steps cannot be played; 1 to 64 can"),
        (session.request_depth(9), ValueError, "a depth of 9 cannot be played; 1 to 8 can"),
        (session.request_context(0.5), ValueError, r"a context of 0\.5 s cannot be played; at least 4 s can"),
    ]
    for asked, kind, words in refused:
        with pytest.raises(kind, match=words):
            asked.result(timeout=DEADLINE)
        assert player.step().idle
    with pytest.raises(SourceError, match=r"a loop of 0\.5 s"):
        Silence(0.5)
    with pytest.raises(ValueError, match="cannot be drawn"):
        session.set_curve("seed", [1.0])
    assert session.setup is setup
    assert np.array_equal(player.port.loop, loop)
    assert digest(session) == before


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_no_room_for_a_second_model_is_said_in_words(
    player: Player, tiny: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    before = player.settled()

    def full(*arguments: object) -> None:
        raise kind

    monkeypatch.setattr(rig, "load_vae", full)
    with pytest.raises(RoomError, match="there is not enough memory for that beside what plays now"):
        player.after(player.session.request_checkpoint(tiny))
    assert player.settled() == before


def test_a_port_that_refuses_the_loop_leaves_the_old_one_and_later_changes_stand(
    player: Player, two_seconds: Path, other: Path
) -> None:
    before = player.settled()
    player.port.full = True
    source = player.session.request_source(other)
    deadline = time.monotonic() + DEADLINE
    while player.session._changes._ready.empty():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    prompt = player.session.request_prompt("b", "ambient")  # built upon a rig that will not be played
    while player.session._changes._ready.qsize() < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with pytest.raises(OSError, match="/dev/shm is full"):
        player.after(source)
    assert player.after(prompt) == ""
    assert player.session.frames == 50
    assert player.settled() == before
    player.port.full = False
    player.after(player.session.request_source(other))
    player.knobs = replace(KNOBS, prompt_blend=1.0)
    assert player.settled() == fresh(player.knobs, source=other, prompt_b="ambient")


def test_the_old_model_is_let_go(player: Player, tiny: Path) -> None:
    player.settled()
    old = weakref.ref(player.session._changes.rig.model.backend)
    player.after(player.session.request_checkpoint(tiny))
    player.after(player.session.request_prompt("a", "techno"))  # the worker has done with what was before
    gc.collect()
    assert old() is None


def test_closing_in_the_middle_of_a_load_ends_all_threads(
    two_seconds: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    session = session_of(source=two_seconds)
    player = Player(session)
    player.step()
    gate = Gate(monkeypatch)
    asked = [
        session.request_checkpoint(tiny),
        session.request_steps(4),
        session.request_prompt("a", "techno"),
        session.request_source(None),
    ]
    assert gate.reached.wait(DEADLINE)
    closing = threading.Thread(target=session.close)
    closing.start()
    gate.open.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    for future in asked:
        with pytest.raises(CancelledError):
            future.result(timeout=0)
    session.close()
    assert set(threading.enumerate()) <= before


CHANGES = st.one_of(
    st.tuples(st.just("prompt"), st.sampled_from(["a", "b", "negative"]), st.sampled_from(["", "techno", "ambient"])),
    st.tuples(st.just("source"), st.sampled_from(["two_seconds", "other", "silence", "none"])),
    st.tuples(st.just("structure"), st.sampled_from(["other", "none", None])),
    st.tuples(st.just("lora"), st.sampled_from([0.0, 0.5, 1.0, None])),
    st.tuples(st.just("steps"), st.integers(0, 6)),
    st.tuples(st.just("depth"), st.integers(1, 9)),
    st.tuples(st.just("checkpoint"), st.sampled_from(["none", None])),
    st.tuples(st.just("play"), st.integers(1, 12)),
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGES, min_size=3, max_size=10), st.randoms())
def test_any_changes_in_any_order_come_to_the_music_that_was_asked_for(
    two_seconds: Path, other: Path, lora: Path, tmp_path: Path, changes: list[tuple[Any, ...]], chance: Random
) -> None:
    """Whatever is asked for while other things are being prepared: the music goes on, every request is answered, and
    in the end it is that of a session which was started with all that was not refused.
    """
    named = {"two_seconds": two_seconds, "other": other, "none": tmp_path / "none", "silence": Silence(1.0)}
    session = session_of(source=two_seconds)
    try:
        player, asked = Player(session), []
        for kind, *what in changes:
            if kind == "play":
                for _ in range(what[0]):
                    player.knobs = replace(player.knobs, denoise=chance.uniform(0.5, 1.0))
                    player.step()
            elif kind == "prompt":
                asked.append(session.request_prompt(what[0], what[1]))
            elif kind == "lora":
                asked.append(session.request_lora(lora, what[0]))
            else:
                value = what[0] if kind in ("steps", "depth") else named.get(what[0])
                asked.append(getattr(session, f"request_{kind}")(value))
        for future in asked:
            player.until(future.done, future)
            assert isinstance(future.exception(), CheckpointError | SourceError | ValueError | None)
        setup = session.setup
        assert player.settled() == fresh(
            player.knobs,
            source=setup.source,
            structure=setup.structure,
            loras=setup.loras,
            steps=setup.steps,
            prompt_a=setup.prompts["a"],
            prompt_b=setup.prompts["b"],
            negative=setup.prompts["negative"] or "",
        )
        assert longest_silence(np.concatenate(player.heard), 48_000) < 0.02
    finally:
        session.close()
