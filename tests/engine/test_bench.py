"""The engine's own measurements, on a tiny network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from engine.bench import audit, drawn, features, flip
from engine.bench.stand import SHAPES, Stand, random


@pytest.fixture(scope="module")
def stand() -> Stand:
    return random(SHAPES["tiny"], 10, torch.device("cpu"))


@pytest.mark.parametrize("kind", flip.KINDS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_change_takes_the_ticks_that_even_admission_predicts(stand: Stand, kind: str, depth: int) -> None:
    found = flip.measure(stand, kind, depth, flips=8, steps=4)
    assert (min(found.first), max(found.first)) == found.expected_first
    assert (min(found.converged), max(found.converged)) == found.expected_converged
    assert found.repeatable


def test_a_flip_that_changes_nothing_is_no_measurement(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flip.KINDS, "version", (flip.Knobs(version=1), flip.Knobs(version=2)))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="flipping the version changes nothing"):
        flip.measure(stand, "version", 2, flips=2, steps=4)


@torch.inference_mode()
def test_remembered_velocities_are_those_of_the_network(stand: Stand) -> None:
    remembering = flip.Remembering(stand.backend)
    a, b = (stand.guides.at(flip.Knobs(prompt_blend=w), stand.curves) for w in (0.3, 1.0))
    sides = [guide.side(guide.conditions[0]) for guide in (a, b, b)]
    x = torch.stack([stand.source, stand.source, 2 * stand.source])
    for times in ([0.5, 0.5, 0.5], [0.5, 0.25, 0.5]):
        for _ in range(2):
            assert torch.equal(remembering.velocity(x, times, sides), stand.backend.velocity(x, times, sides))


def test_the_flips_are_printed_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--shape", "tiny", "--flips", "4", "--steps", "4", "--frames", "6"]
    flip.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3 * 3
    flip.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [(each["kind"], each["depth"]) for each in found][:4] == [
        ("shared knob", 1),
        ("shared knob", 2),
        ("shared knob", 4),
        ("slot knob", 1),
    ]
    assert found[3]["expected_first"] == [3, 6]


def test_the_audit_counts_operators_and_finds_no_read_back(stand: Stand) -> None:
    plain = audit.audit(stand, "plain", depth=2, steps=4)
    guided = audit.audit(stand, "guidance full", depth=2, steps=4)
    assert plain.steady.reads == 0
    assert plain.steady.waits is None
    assert plain.changed.operators > plain.steady.operators > 100
    assert guided.steady.operators > 1.5 * plain.steady.operators
    assert plain.steady.most_called


def test_the_audit_sees_a_number_that_is_read_back_in_a_tick(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = stand.backend
    velocity = backend.velocity
    monkeypatch.setattr(backend, "velocity", lambda x, t, sides: velocity(x, t, sides) * x.sum().sign().item() ** 2)
    assert audit.audit(stand, "plain", depth=2, steps=4).steady.reads == 1


def test_the_audit_is_printed_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--frames", "6", "--steps", "2", "--depth", "1"]
    audit.main(arguments)
    out = capsys.readouterr().out
    assert "on the CPU, so without waits" in out
    assert len(out.splitlines()) == 2 + 2 * len(audit.CASES)
    audit.main([*arguments, "--json"])
    assert [each["case"] for each in json.loads(capsys.readouterr().out)] == list(audit.CASES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts calls of CUDA")
def test_on_a_gpu_the_audit_counts_launches_and_copies() -> None:
    stand = random(SHAPES["tiny"], 10, torch.device("cuda"))
    steady = audit.audit(stand, "plain", depth=2, steps=4).steady
    assert steady.launches is not None
    assert steady.launches > 10
    assert steady.waits == 0
    assert steady.to_host == 0


@pytest.mark.parametrize(
    ("name", "first"), [("denoise", 1), ("seed", 3), ("a new text", 1), ("LoRA", 1), ("initial_noise curve", 3)]
)
def test_a_feature_is_in_the_next_latent_or_in_the_next_with_three_steps_left(name: str, first: int) -> None:
    found = features.measure(name, depth=8, flips=2)
    assert (found.first, found.converged) == (first, 8)


def test_the_table_of_a_gpu_is_drawn_and_its_picture_is_not_stale(tmp_path: Path) -> None:
    """The picture of PERFORMANCE.md is what its command makes of the measurement beside it."""
    folder = Path(__file__).parents[2] / "docs" / "performance"
    drawn.main([str(folder / "h200.json"), str(tmp_path / "h200.svg")])
    words = [re.findall(r"<!-- (.*?) -->", (at / "h200.svg").read_text()) for at in (folder, tmp_path)]
    assert words[0] == words[1]
    with pytest.raises(SystemExit):
        drawn.main([str(tmp_path / "h200.svg"), str(tmp_path / "other.svg")])
