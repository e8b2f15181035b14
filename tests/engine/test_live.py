"""Everything that can be changed while it plays, on real sessions over one to two seconds of music."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine import CheckpointError, Knobs, PromptError, Session, SourceError, embedded, rig
from engine.changes import OVERTAKEN
from engine.conditioning import Prompt
from engine.offline import VirtualPort
from engine.performance import Step
from engine.rig import Silence
from tests.engine import tiny_ace_step
from tests.listening import clicks, longest_silence

KNOBS = Knobs(denoise=0.8, version=1)
STEP = 1_920
DEADLINE = 60.0


class Player:
    """A session that plays into a port, 40 ms a step, and everything that was heard."""

    def __init__(self, session: Session) -> None:
        self.session, self.port, self.knobs = session, VirtualPort(), KNOBS
        self.heard: list[NDArray[np.float32]] = []
        self.steps: list[Step] = []
        session.attach(self.port)

    def step(self) -> Step:
        self.steps.append(self.session.step(self.knobs))
        self.heard.append(self.port.play(STEP))
        return self.steps[-1]

    def until(self, reached: Callable[[], object], asked: Future[str] | None = None) -> None:
        deadline = time.monotonic() + DEADLINE
        while not reached():
            assert time.monotonic() < deadline
            if self.step().idle and asked:
                wait([asked], timeout=0.01)  # leaves the processor to the workers

    def after(self, asked: Future[str]) -> str:
        """Plays until the answer is there; what was heard from then on is heard anew."""
        self.until(asked.done, asked)
        return asked.result()

    def settled(self) -> str:
        """Plays until nothing changes any more; the digest of the latent that it came to."""
        quiet = 0
        for _ in range(600):
            step = self.step()
            quiet = quiet + 1 if step.idle and not step.writes else 0
            if quiet > 2 * self.session.frames:
                return digest(self.session)
        raise AssertionError("it did not come to rest")

    def sounds_whole(self) -> None:
        """No click and no hole in anything that was heard."""
        audio = np.concatenate(self.heard)
        assert clicks(audio, 48_000) == []
        assert longest_silence(audio, 48_000) < 0.02


def digest(session: Session) -> str:
    performance = session._performance
    assert performance is not None
    assert performance.result is not None
    return performance.result.digest()


def fresh(knobs: Knobs = KNOBS, curves: dict[str, list[float]] | None = None, **asked: object) -> str:
    """The digest of a session that was started in this way."""
    session = Session(device="cpu", threads=1, **asked)  # type: ignore[arg-type]
    try:
        player = Player(session)
        player.knobs = knobs
        for name, values in (curves or {}).items():
            session.set_curve(name, values)
        return player.settled()
    finally:
        session.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another part of the built-in clip, and shorter: a second and a half."""
    audio, rate = soundfile.read(embedded.CLIP, start=240_000, frames=72_000, dtype="float32")
    path = tmp_path_factory.mktemp("other") / "part.wav"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ace_step.write(tmp_path_factory.mktemp("checkpoint") / "tiny-turbo")


@pytest.fixture
def player(two_seconds: Path) -> Iterator[Player]:
    session = Session(source=two_seconds, device="cpu", threads=1)
    yield Player(session)
    session.close()


class Gate:
    """Holds a checkpoint's loading in its middle until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        load = rig.load_vae

        def held(*arguments: object) -> object:
            self.reached.set()
            assert self.open.wait(DEADLINE)
            return load(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(rig, "load_vae", held)


@pytest.fixture
def gate(player: Player, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def test_depth_goes_up_and_down_without_a_trace_in_the_music(player: Player) -> None:
    before = player.settled()
    for depth in (6, 1, 3):
        assert player.after(player.session.request_depth(depth)) == ""
        assert player.session.setup.depth == depth
        assert player.step().idle
        player.knobs = replace(KNOBS, seed=depth, version=depth)
        assert player.step().ticked
        player.settled()
    player.knobs = KNOBS
    assert player.settled() == before
    player.sounds_whole()


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_results_come_as_often_as_the_depth_says(player: Player, depth: int) -> None:
    player.settled()
    player.after(player.session.request_depth(depth))
    results = []
    for i in range(48):
        player.knobs = Knobs(denoise=0.5 + i / 100, version=i)
        step = player.step()
        if i >= 8:  # what was in flight has finished
            results += [write.result for write in step.writes]
    assert results[-1] - results[0] == pytest.approx(39 * depth / 8, abs=max(1, depth / 8))


def test_steps_change_to_the_music_of_a_session_with_so_many(player: Player, two_seconds: Path) -> None:
    player.settled()
    assert player.after(player.session.request_steps(5)) == ""
    assert player.steps[-1].writes  # the swap came with its first write
    assert player.settled() == fresh(source=two_seconds, steps=5)
    player.sounds_whole()


def test_a_prompt_changes_to_the_music_of_a_session_with_it(player: Player, two_seconds: Path) -> None:
    player.settled()
    assert player.after(player.session.request_prompt("a", "ambient, 90 bpm, c minor")) == ""
    assert player.steps[-1].ticked
    assert player.settled() == fresh(source=two_seconds, prompt_a="ambient, 90 bpm, c minor")
    player.sounds_whole()


def test_a_negative_prompt_is_what_guidance_leads_away_from(player: Player, two_seconds: Path) -> None:
    player.knobs = replace(KNOBS, guidance_mode=1, guidance_scale=3.0)
    before = player.settled()
    player.after(player.session.request_prompt("negative", Prompt("techno, busy", bpm=140)))
    after = player.settled()
    assert after != before
    assert after == fresh(player.knobs, source=two_seconds, negative=Prompt("techno, busy", bpm=140))
    player.after(player.session.request_prompt("negative", ""))
    assert player.settled() == before


def test_the_structure_of_a_clip_is_followed_until_it_is_taken_away(
    player: Player, two_seconds: Path, other: Path
) -> None:
    before = player.settled()
    player.after(player.session.request_structure(other))
    after = player.settled()
    assert after != before
    assert after == fresh(source=two_seconds, structure=other)
    player.after(player.session.request_structure(None))
    assert player.settled() == before
    player.sounds_whole()


def test_the_built_in_model_says_that_it_hears_no_timbre(player: Player, other: Path) -> None:
    before = player.settled()
    assert "timbre" in player.after(player.session.request_timbre(other))
    assert player.settled() == before


def test_another_source_takes_the_place_of_the_old_one_with_its_new_music(
    player: Player, two_seconds: Path, other: Path
) -> None:
    player.settled()
    player.after(player.session.request_source(other))
    assert (player.session.frames, player.port.frames) == (35, 67_200)
    assert player.steps[-1].writes
    swapped = player.port.loop.copy()
    assert player.settled() == fresh(source=other)
    assert np.square(player.port.loop - swapped).mean() < 1e-3 * np.square(swapped).mean()  # it was there at once
    player.after(player.session.request_source(two_seconds))
    assert player.settled() == fresh(source=two_seconds)


def test_music_from_text_alone_is_a_silent_source(player: Player) -> None:
    player.knobs = replace(KNOBS, denoise=1.0)
    player.after(player.session.request_source(Silence(1.5)))
    assert player.session.loop_seconds == 1.4  # whole frames of structure
    assert player.settled() == fresh(player.knobs, source=Silence(1.5))
    assert np.square(player.port.loop).mean() ** 0.5 > 0.01


def test_another_checkpoint_plays_on_where_the_old_one_was(player: Player, two_seconds: Path, tiny: Path) -> None:
    before = player.settled()
    old = player.port.loop.copy()
    player.after(player.session.request_checkpoint(tiny))
    assert player.session.model_name == "tiny-turbo"
    assert player.steps[-1].writes
    assert player.steps[-1].writes[0].start_playhead > player.port.place()[0] - STEP
    assert np.mean(np.any(player.port.loop != old, axis=1)) < 0.9  # only what comes next has been overwritten
    assert player.settled() == fresh(source=two_seconds, checkpoint=tiny)
    player.after(player.session.request_checkpoint(None))
    assert player.session.model_name == "built-in"
    assert player.settled() == before


def test_knobs_and_curves_are_kept_over_every_swap(player: Player, two_seconds: Path, other: Path) -> None:
    player.knobs = replace(KNOBS, denoise=0.6, seed=7, version=9)
    curve = {"velocity_scale": [0.5, 1.0, 1.2, 0.8]}
    player.session.set_curve("velocity_scale", curve["velocity_scale"])
    player.after(player.session.request_source(other))
    player.after(player.session.request_steps(6))
    assert player.settled() == fresh(player.knobs, curve, source=other, steps=6)
    player.after(player.session.request_source(two_seconds))
    assert player.settled() == fresh(player.knobs, curve, source=two_seconds, steps=6)
    player.session.set_curve("velocity_scale", None)
    assert player.step().ticked
    assert player.settled() == fresh(player.knobs, source=two_seconds, steps=6)


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


class FullPort(VirtualPort):
    """A port that has no room for another loop once it is `full`."""

    full = False

    def replace(self, rate: int, content: NDArray[np.float32]) -> None:
        if self.full:
            raise OSError("/dev/shm is full")
        super().replace(rate, content)


def test_a_port_that_refuses_the_loop_leaves_the_old_one_and_later_changes_stand(
    player: Player, two_seconds: Path, other: Path
) -> None:
    player.port = port = FullPort()
    player.session.attach(port)
    before = player.settled()
    port.full = True
    source = player.session.request_source(other)
    deadline = time.monotonic() + DEADLINE
    while player.session._changes._ready.empty():
        assert time.monotonic() < deadline
    prompt = player.session.request_prompt("b", "ambient")  # built upon a rig that will not be played
    while player.session._changes._ready.qsize() < 2:
        assert time.monotonic() < deadline
    with pytest.raises(OSError, match="/dev/shm is full"):
        player.after(source)
    assert player.after(prompt) == ""
    assert player.session.frames == 50
    assert player.settled() == before
    port.full = False
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
    session = Session(source=two_seconds, device="cpu", threads=1)
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
