"""`demond bench inside`: what counts as kept, a short run, and the first sound of a real start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demond.bench import inside, report
from demond.bench.inside import Promise
from tests.jack import running_jackd


def test_the_median_decides() -> None:
    assert Promise("a", "ms", 150.0, False, (100.0, 150.0, 900.0)).kept
    assert not Promise("a", "ms", 150.0, False, (100.0, 151.0, 152.0)).kept
    assert Promise("a", "times", 10.0, True, (9.0, 10.0, 11.0)).kept
    assert not Promise("a", "times", 10.0, True, (9.0, 9.9, 99.0)).kept


def test_a_short_run_prints_and_reports_every_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "FRAMES", 50)
    path = tmp_path / "report.json"
    ran = CliRunner().invoke(inside.app, ["--times", "2", "--starts", "0", "--json", str(path)])
    made = report.load(path)
    assert [(row.n, row.unit, row.better) for row in made.rows] == [(2, "x", "higher"), (2, "ms", "lower")]
    assert (made.setup.frames, made.setup.depth, made.machine.cores > 0) == (50, inside.DEPTH, True)
    promises: Any = made.details["promises"]
    assert all(0 < (row.least or 0) <= (row.p50 or 0) <= (row.most or 0) for row in made.rows)
    assert [row.p50 for row in made.rows] == pytest.approx([each["median"] for each in promises], rel=1e-5)
    assert ran.exit_code == int(not all(each["kept"] for each in promises))
    assert ran.stdout.count("MISSED") == sum(not each["kept"] for each in promises)
    assert all(row.name in ran.stdout for row in made.rows)


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_the_first_sound_of_a_start_is_heard_and_a_start_that_fails_is_told() -> None:
    with running_jackd() as server:
        assert 0.5 < inside._started(server.name or "", ["--device", "cpu"]) < 90
        with pytest.raises(RuntimeError, match="depth"):
            inside._started(server.name or "", ["--depth", "99"])
