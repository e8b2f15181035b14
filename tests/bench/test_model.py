"""The model beside reports with known figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demond.bench import model, report
from demond.bench.report import Report, ReportError
from tests.bench.reports import SETUP, made


def latency(shared: float, moving: float = 0.0, level: str = "daemon", missing: str = "", phases: int = 50) -> Report:
    """A tick of 100 ms, 30 ms written ahead, period 480 at 48 kHz, depth 4 of 8."""
    rows = {"shared: first change": shared, "moving: first change": moving, "tick": 100.0, "write ahead": 30.0}
    other = {"period": 480, "rate": 48_000, "level": level}
    return made(
        *(report.row(name, "ms", [value] * phases) for name, value in rows.items() if value and name != missing),
        bench="latency",
        setup=SETUP.model_copy(update={"other": other}),
    )


def test_the_way_that_follows_from_the_report_is_held_against_the_one_that_was_heard() -> None:
    [rest, work] = model.predictions(latency(shared=250.0, moving=200.0, level="engine"))
    assert (rest.kind, rest.predicted, rest.measured) == ("shared", 230.0, 250.0)
    assert rest.error == pytest.approx(-0.08)
    assert (work.kind, work.predicted) == ("moving", 230.0)
    assert work.error == pytest.approx(0.15)


def test_a_report_that_cannot_be_held_against_the_model_is_refused() -> None:
    with pytest.raises(ReportError, match="not of engine"):
        model.predictions(made())
    with pytest.raises(ReportError, match="says nothing about the model"):
        model.predictions(latency(250.0, missing="tick"))


def test_the_command_prints_both_and_its_status_says_when_they_are_too_far_apart(tmp_path: Path) -> None:
    report.save(latency(240.0), tmp_path / "near.json")
    report.save(latency(400.0), tmp_path / "far.json")
    near = CliRunner().invoke(model.app, [str(tmp_path / "near.json")])
    assert near.exit_code == 0
    assert "235.0" in near.stdout
    assert "-2.1%" in near.stdout
    far = CliRunner().invoke(model.app, [str(tmp_path / "near.json"), str(tmp_path / "far.json"), "--json"])
    assert far.exit_code == 1
    assert [round(each["error"], 3) for each in json.loads(far.stdout)] == [-0.021, -0.412]
    assert CliRunner().invoke(model.app, [str(tmp_path / "none.json")]).exit_code == 2


def test_a_few_phases_are_shown_and_decide_nothing(tmp_path: Path) -> None:
    report.save(latency(400.0, phases=49), tmp_path / "far.json")
    ended = CliRunner().invoke(model.app, [str(tmp_path / "far.json")])
    assert ended.exit_code == 0
    assert "-41.2%" in ended.stdout
    assert "fewer than 50 phases decide nothing" in ended.stdout
