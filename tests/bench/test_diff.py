"""Two reports differ where they do so by more than they wander, and some are not to be compared at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from demond.bench import diff, report
from demond.bench.diff import Difference, apart, compare
from tests.bench.reports import MACHINE, SETUP, made


def ticks(mean: float, seed: int, n: int = 200, sd: float = 5.0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(mean, sd, n)]


def only(before: list[float], after: list[float], better: str = "lower", unit: str = "ms") -> list[Difference]:
    one, other = (report.row("tick", unit, values, better) for values in (before, after))  # type: ignore[arg-type]
    return compare(made(one), made(other))


def test_noise_is_the_same() -> None:
    assert [each.verdict for each in only(ticks(100, 1), ticks(100, 2))] == ["same", "same"]


def test_a_regression_beyond_noise_is_worse_and_its_reverse_is_better() -> None:
    [median, tail] = only(ticks(100, 1), ticks(115, 2))
    assert (median.figure, median.verdict) == ("p50", "worse")
    assert (tail.figure, tail.verdict) == ("p95", "worse")
    assert median.ratio == pytest.approx(1.15, abs=0.02)
    assert None not in (median.low, median.ratio, median.high)
    assert (median.low or 0) < (median.ratio or 0) < (median.high or 0)
    assert only(ticks(115, 2), ticks(100, 1))[0].verdict == "better"


def test_where_more_is_better_less_is_worse() -> None:
    assert only(ticks(100, 1), ticks(80, 2), "higher")[0].verdict == "worse"
    assert only(ticks(80, 2), ticks(100, 1), "higher")[0].verdict == "better"


def test_a_difference_within_the_tolerance_is_none_however_sure_it_is() -> None:
    assert only(ticks(100, 1, sd=0.1), ticks(104, 2, sd=0.1))[0].verdict == "same"


def test_a_difference_that_the_spread_explains_is_none() -> None:
    assert only(ticks(100, 1, n=12, sd=60), ticks(120, 4, n=12, sd=60))[0].verdict == "same"


def test_what_a_repeat_differs_by_is_noise() -> None:
    one, worse, again = (
        made(report.row("tick", "ms", ticks(mean, seed))) for mean, seed in ((100, 1), (115, 2), (112, 3))
    )
    assert compare(one, worse)[0].verdict == "worse"
    assert compare(one, worse, repeat=again)[0].verdict == "same"
    assert compare(one, worse, repeat=made(report.row("tick", "ms", ticks(101, 3))))[0].verdict == "worse"


def test_slow_drift_widens_the_interval() -> None:
    drift = 100 + 20 * np.sin(np.linspace(0, 4 * np.pi, 200)) + np.array(ticks(0, 3, sd=2))
    shuffled = np.random.default_rng(1).permutation(drift)
    dice = np.random.default_rng(2)
    assert diff.resampled(drift, 50, dice).std() > 1.3 * diff.resampled(shuffled, 50, dice).std()


def test_few_samples_decide_nothing() -> None:
    assert [each.verdict for each in only([100.0] * 3, [500.0] * 3)] == ["undecided"]


def test_no_time_from_a_change_decides_by_fewer_than_fifty_phases() -> None:
    def heard(phases: int) -> list[str]:
        one, other = (
            made(report.row("shared: first change", "ms", ticks(mean, 1, phases)), bench="latency")
            for mean in (100, 200)
        )
        return [each.verdict for each in compare(one, other)]

    assert heard(49) == ["undecided"]
    assert heard(50) == ["worse"]
    assert heard(200) == ["worse", "worse"]


@pytest.mark.parametrize(
    ("before", "after", "verdict"), [(0, 3, "same"), (0, 10, "worse"), (10, 0, "better"), (100, 120, "same")]
)
def test_a_count_is_worse_when_chance_does_not_explain_it(before: int, after: int, verdict: str) -> None:
    [found] = only([before], [after], unit="count")
    assert (found.figure, found.verdict) == ("count", verdict)


def test_rows_that_only_one_has_or_that_are_empty_are_left_out() -> None:
    a, b = report.row("a", "ms", [1.0] * 9), report.row("b", "ms", [1.0] * 9)
    assert compare(made(a), made(b)) == []
    assert compare(made(a), made(report.row("a", "ms", []))) == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=80),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=80),
)
def test_any_two_rows_can_be_compared(before: list[float], after: list[float]) -> None:
    for each in only(before, after):
        assert each.verdict in ("same", "worse", "better", "undecided")
        json.dumps(each.__dict__, allow_nan=False)


def test_other_machines_models_and_settings_are_apart_and_other_sources_are_not() -> None:
    one = made()
    assert apart(one, made(day=2, commit="fedcba987654", torch="2.11", version="0.2.0")) == []
    assert apart(one, made(machine=MACHINE.model_copy(update={"load_1min": 3.0}))) == []
    assert apart(one, made(setup=SETUP.model_copy(update={"backend": "graph"}))) == []
    other = made(
        machine=MACHINE.model_copy(update={"cpu": "Another"}),
        setup=SETUP.model_copy(update={"model": "2b", "other": {"period": 128}}),
    )
    assert apart(one, other) == ["cpu: Some CPU and Another", "model: built-in and 2b", "period: None and 128"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A report, one that is worse, and one of another machine."""
    one, worse = made(report.row("tick", "ms", ticks(100, 1))), made(report.row("tick", "ms", ticks(130, 2)))
    elsewhere = one.model_copy(update={"machine": MACHINE.model_copy(update={"cpu": "Another"})})
    paths = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    for path, each in zip(paths, (one, worse, elsewhere), strict=True):
        report.save(each, path)
    return paths


def run(*arguments: str | Path) -> tuple[int, str, str]:
    ended = CliRunner().invoke(diff.app, [str(each) for each in arguments])
    return ended.exit_code, ended.stdout, ended.stderr


def test_the_command_says_what_is_worse_and_its_status_says_it_to_scripts(files: tuple[Path, Path, Path]) -> None:
    one, worse, _ = files
    status, out, _ = run(one, worse)
    assert status == 1
    assert "2 worse, 0 better, of 2 figures" in out
    assert run(one, one)[0] == 0
    assert run(worse, one)[0] == 0
    status, out, _ = run(one, worse, "--json")
    assert status == 1
    assert [row["verdict"] for row in json.loads(out)["rows"]] == ["worse", "worse"]
    assert run(one, worse, "--tolerance", "0.5")[0] == 0


def test_the_command_refuses_what_may_not_be_compared_until_it_is_told_to(files: tuple[Path, Path, Path]) -> None:
    one, _, elsewhere = files
    status, _, said = run(one, elsewhere)
    assert status == 2
    assert "cpu: Some CPU and Another" in said
    status, out, _ = run(one, elsewhere, "--anyway")
    assert status == 0
    assert "not the same: cpu" in out


def test_a_machine_that_was_busy_is_named(tmp_path: Path) -> None:
    busy = made(report.row("tick", "ms", [1.0]), machine=MACHINE.model_copy(update={"load_1min": 8.0}))
    report.save(busy, tmp_path / "busy.json")
    assert "had more to do than its cores can" in run(tmp_path / "busy.json", tmp_path / "busy.json")[1]


def test_a_file_that_is_no_report_ends_the_command(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("[]")
    assert run(files[0], files[1], "--repeat", files[1])[0] == 0
    status, _, said = run(files[0], tmp_path / "no.json")
    assert status == 2
    assert "no.json is no report" in said
