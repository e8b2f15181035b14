"""`demond bench inside`: what counts as kept, a short run, and the first sound of a real start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demond.bench import inside
from demond.bench.inside import Promise
from tests.jack import running_jackd


def test_the_median_decides() -> None:
    assert Promise("a", "ms", 150.0, False, (100.0, 150.0, 900.0)).kept
    assert not Promise("a", "ms", 150.0, False, (100.0, 151.0, 152.0)).kept
    assert Promise("a", "times", 10.0, True, (9.0, 10.0, 11.0)).kept
    assert not Promise("a", "times", 10.0, True, (9.0, 9.9, 99.0)).kept


def test_a_short_run_prints_and_reports_every_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "FRAMES", 50)
    report = tmp_path / "report.json"
    ran = CliRunner().invoke(inside.app, ["--times", "2", "--starts", "0", "--json", str(report)])
    found = json.loads(report.read_text())
    assert [len(each["values"]) for each in found["results"]] == [2, 2]
    assert all(0 < min(each["values"]) <= each["median"] <= max(each["values"]) for each in found["results"])
    assert ran.exit_code == int(not all(each["kept"] for each in found["results"]))
    assert ran.stdout.count("MISSED") == sum(not each["kept"] for each in found["results"])
    assert all(each["name"] in ran.stdout for each in found["results"])
    assert found["machine"]["cores"] > 0


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_the_first_sound_of_a_start_is_heard_and_a_start_that_fails_is_told() -> None:
    with running_jackd() as server:
        assert 0.5 < inside._started(server.name or "", ["--device", "cpu"]) < 90
        with pytest.raises(RuntimeError, match="depth"):
            inside._started(server.name or "", ["--depth", "99"])
