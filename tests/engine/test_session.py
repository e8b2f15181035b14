"""The whole engine with the embedded model, over two seconds of music."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import engine
from engine import CheckpointError, DeviceError, Knobs, PromptError, RateError, Session, SourceError, Step, embedded
from engine.device import find
from engine.offline import VirtualPort
from engine.rig import model_name

KNOBS = Knobs(version=1)


class Player:
    """A session and a port; every step plays 40 ms."""

    def __init__(self, session: Session) -> None:
        self.session, self.port = session, VirtualPort()
        session.attach(self.port)

    def step(self, knobs: Knobs = KNOBS) -> Step:
        step = self.session.step(knobs)
        self.port.play(1_920)
        return step

    def until(self, reached: Callable[[Step], bool], knobs: Knobs = KNOBS, most: int = 200) -> Step:
        for _ in range(most):
            if reached(step := self.step(knobs)):
                return step
        raise AssertionError(f"not reached within {most} steps")

    def until_quiet(self, knobs: Knobs = KNOBS) -> Step:
        """Until nothing was done for longer than the loop lasts."""
        quiet = 0
        for _ in range(400):
            step = self.step(knobs)
            quiet = quiet + 1 if step.idle and not step.writes else 0
            if quiet > 60:
                return step
        raise AssertionError("it did not come to rest")


@pytest.fixture
def player(session: Session) -> Player:
    return Player(session)


def test_it_says_what_it_runs(session: Session) -> None:
    assert (session.model_name, session.backend_name) == ("built-in", "eager")
    assert session.device_name.startswith("CPU, ")
    assert (session.frames, session.loop_seconds) == (50, 2.0)


def test_loading_tells_its_progress(two_seconds: Path) -> None:
    seen: list[tuple[str, float]] = []
    session = Session(source=two_seconds, threads=1, progress=lambda stage, share: seen.append((stage, share)))
    session.close()
    assert list(dict.fromkeys(stage for stage, _ in seen)) == [
        "transformer",
        "vae",
        "conditioner",
        "source",
        "prompts",
        "warm-up",
    ]
    assert all(0 <= share <= 1 for _, share in seen)


def test_the_first_new_music_is_written_ahead_of_the_playhead_and_moves_on(player: Player) -> None:
    first = player.until(lambda step: bool(step.writes))
    assert first.tick == 8
    (write,) = first.writes
    assert write.start_playhead >= 7 * 1_920
    assert write.knob_version == 1


def test_it_comes_to_rest_when_nothing_changes_and_resumes_at_once(player: Player) -> None:
    quiet = player.until_quiet()
    assert not quiet.ticked
    assert quiet.tick == 8  # the first result was settled
    loop = player.port.loop.copy()
    assert not any(player.step().ticked for _ in range(5))
    assert player.step(replace(KNOBS, version=2)).idle  # a version is no change
    assert np.array_equal(player.port.loop, loop)
    assert player.step(replace(KNOBS, denoise=0.4)).ticked


def test_a_shared_knob_is_written_with_the_next_latent(player: Player) -> None:
    player.until_quiet()
    steps = [player.step(Knobs(denoise=0.65, version=2)) for _ in range(3)]
    writes = [write for step in steps for write in step.writes if write.knob_version == 2]
    assert writes
    assert writes[0].admitted_version == 1
    assert all(step.ticked for step in steps)


def test_strength_0_brings_the_source_back(player: Player) -> None:
    player.until_quiet()
    knobs = Knobs(denoise=0.0, version=2)
    player.until_quiet(knobs)
    source = VirtualPort()
    player.session.attach(source)
    music, error = source.loop, player.port.loop - source.loop
    assert (error**2).mean() < 0.25 * (music**2).mean()  # what its way through the VAE leaves of it


def test_a_prompt_is_committed_between_two_steps(player: Player) -> None:
    player.until_quiet()
    done = player.session.request_prompt("a", "techo, 140 bpm")
    player.until(lambda step: done.done())
    assert done.result() == "'techo' was read as 'techno'"
    assert player.until(lambda step: step.idle).tick > 8
    player.session.request_prompt("a", embedded.PROMPT_A)
    player.until(lambda step: step.ticked)


def test_a_refused_prompt_changes_nothing(player: Player) -> None:
    player.until_quiet()
    done = player.session.request_prompt("b", "x" * 3_000)
    with pytest.raises(PromptError, match="3000 characters"):
        done.result(timeout=10)
    assert player.step().idle
    with pytest.raises(ValueError, match="prompts a, b and negative"):
        player.session.request_prompt("c", "house")  # type: ignore[arg-type]


def test_the_playhead_never_runs_into_a_click(player: Player) -> None:
    """Knobs jump all the time; the largest second difference stays that of music whose knobs rest."""
    session, port = player.session, player.port
    heard = []
    for i in range(60):
        session.step(Knobs(denoise=(0.2, 0.9, 0.5)[i // 7 % 3], seed=1 + i // 20, version=i))
        heard.append(port.play(1_920))

    def steepest(audio: NDArray[np.float32]) -> float:
        return float(np.abs(np.diff(audio, n=2, axis=0)).max())

    steady = max(steepest(session.render(2.0, Knobs(denoise=0.9, seed=seed))) for seed in (1, 2, 3))
    assert steepest(np.concatenate(heard)) < 1.2 * steady


def test_rendering_is_bit_equal_and_leaves_the_live_loop_alone(player: Player) -> None:
    player.until_quiet()
    loop = player.port.loop.copy()

    def turn(seconds: float) -> Knobs:
        return Knobs(denoise=0.3 if seconds < 1 else 0.8, seed=5)

    first, second = player.session.render(2.5, turn), player.session.render(2.5, turn)
    assert first.shape == (120_000, 2)
    assert first.dtype == np.float32
    assert np.array_equal(first, second)
    assert not np.array_equal(first, player.session.render(2.5, lambda s: replace(turn(s), seed=6)))
    assert np.array_equal(player.port.loop, loop)
    assert player.step().idle


def test_rendering_at_another_rate(session: Session) -> None:
    assert session.render(1.0, KNOBS, rate=44_100).shape == (44_100, 2)
    with pytest.raises(RateError):
        session.render(1.0, KNOBS, rate=44_101)


def test_the_lead_is_made_of_what_was_measured(player: Player) -> None:
    for i in range(16):
        player.step(Knobs(denoise=0.5 + i / 100))
    lead = player.session.lead
    assert lead.write_ahead % 256 == 0
    assert lead.lead > lead.write_ahead >= 256 + lead.decode_p99_ms * 48
    assert 0 < lead.tick_p50_ms <= lead.tick_p95_ms <= lead.tick_p99_ms


def test_steps_before_a_port_is_attached_are_a_mistake_of_the_program(two_seconds: Path) -> None:
    session = Session(source=two_seconds, threads=1)
    with pytest.raises(RuntimeError, match="attach"):
        session.step(KNOBS)
    with pytest.raises(RuntimeError, match="attach"):
        _ = session.lead
    session.close()
    session.close()


def test_mistakes_at_the_start_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder"):
        Session(checkpoint=tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        Session(checkpoint=tmp_path)
    with pytest.raises(SourceError, match="there is no such file"):
        Session(source=tmp_path / "none.wav")
    with pytest.raises(DeviceError, match="auto, cpu, cuda and cuda:N"):
        Session(device="tpu")


def test_a_cuda_device_is_chosen_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as two_of_them:
        two_of_them.setattr(torch.cuda, "is_available", lambda: True)
        two_of_them.setattr(torch.cuda, "device_count", lambda: 2)
        assert find("cuda:1") == torch.device("cuda", 1)
        assert find("cuda") == find("auto") == torch.device("cuda", 0)
        assert find("cpu") == torch.device("cpu")
        with pytest.raises(DeviceError, match="there is no cuda:2; the CUDA devices are cuda:0 to cuda:1"):
            find("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA device was found for 'cuda:1'"):
        Session(device="cuda:1")
    for name in ("cuda:", "cuda:-1", "cuda:x", "CUDA", "mps", ""):
        with pytest.raises(DeviceError, match="auto, cpu, cuda and cuda:N"):
            find(name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("models/acestep-v15-turbo", "acestep-v15-turbo"),
        ("models/acestep-v15-turbo/../mine/", "mine"),
        ("hub/models--ACE-Step--acestep-v15-xl-turbo-diffusers/snapshots/0a1b2c", "acestep-v15-xl-turbo-diffusers"),
    ],
)
def test_a_checkpoint_is_called_what_a_performer_calls_it(folder: str, name: str) -> None:
    assert model_name(Path(folder)) == name


def test_the_folder_one_is_in_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "turbo").mkdir()
    monkeypatch.chdir(tmp_path / "turbo")
    assert model_name(Path()) == "turbo"


def test_the_example_of_the_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(engine).failed == 0
    audio, rate = soundfile.read("heard.wav")
    assert (audio.shape, rate) == ((96_000, 2), 48_000)
    assert 0.05 < np.sqrt((audio**2).mean()) < 0.4
