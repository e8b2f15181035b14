"""The reckoning of `demond bench control`, on changes with known times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from demond.bench import diff, report
from demond.bench.devices import painted_after
from demond.bench.hands import KNOBS, latencies
from demond.bench.morphs import moves
from demond.bench.rows import below, row
from demond.bench.senders import SENT
from demond.bench.surfaces import typos
from demond.knobs import INDEX
from demond.trace import CHANGE

MS = 1_000_000
Measured = tuple["subprocess.CompletedProcess[str]", Path]
"""How a run of the bench ended, and the folder that it wrote its report and its plots into."""


def sent(*messages: tuple[float, int, float]) -> np.ndarray:
    return np.array([(int(ms * MS), fader, value) for ms, fader, value in messages], SENT)


def changes(*found: tuple[float, float, int, float]) -> np.ndarray:
    rows = [
        (i, INDEX[KNOBS[fader]], value, int(received * MS), int(stored * MS), b"")
        for i, (received, stored, fader, value) in enumerate(found)
    ]
    return np.array(rows, CHANGE)


def test_a_message_waits_until_its_value_is_set() -> None:
    waits, inside = latencies(sent((10, 0, 0.5)), changes((10.5, 12, 0, 0.5)))
    assert waits.tolist() == [2.0]
    assert inside.tolist() == [1.5]


def test_a_message_that_was_overtaken_waits_until_a_newer_value_is_set() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (11, 0, 0.6), (10, 1, 0.5)), changes((11, 13, 0, 0.6), (10, 11, 1, 0.5)))
    assert sorted(waits.tolist()) == [1.0, 2.0, 3.0]


def test_a_message_that_is_never_answered_is_left_to_the_question_for_lost_values() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (11, 0, 0.6)), changes((10, 10.5, 0, 0.5)))
    assert waits.tolist() == [0.5]


def test_a_value_that_comes_again_belongs_to_the_newest_message() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (200, 0, 0.5)), changes((10, 11, 0, 0.5), (200, 203, 0, 0.5)))
    assert sorted(waits.tolist()) == pytest.approx([1.0, 3.0])


def test_a_device_is_painted_when_the_last_of_its_messages_came_first() -> None:
    heard = [(2_000_000_000, "e00040"), (2_500_000_000, "90017f"), (9_000_000_000, "e00040")]
    assert painted_after(1_000_000_000, heard, {"e00040", "90017f"}) == 1.5
    assert painted_after(1_000_000_000, heard, {"e00040", "900200"}) is None


def test_moves_are_counted_in_steps_of_the_way() -> None:
    assert moves([0.12, 0.13, 0.09], 0.1, 0.9) == pytest.approx([2.5, 1.25, 5.0])


def test_a_row_without_figures_is_not_met() -> None:
    assert not row("G2", "a replug", "s", [], "all < 1 s", True).met
    assert not below([], 1.0)
    assert below([0.5] * 99 + [3.0], 2.0, 98)
    assert not below([0.5, 3.0], 2.0)


def test_every_typo_is_none_of_the_knobs() -> None:
    assert len(typos()) > 30
    assert not {typo for typo, _ in typos()} & set(INDEX)


def test_a_goal_has_one_name_in_every_report_and_keeps_its_samples() -> None:
    found = row("G6", "a dump of 266 parameters", "ms", [3.0, 1.0, 2.0], "all < 9 ms", True, name="a dump").reported
    assert (found.name, found.unit, found.n, found.p50) == ("G6: a dump", "ms", 3, 2.0)
    assert found.samples == (3.0, 1.0, 2.0)
    assert row("G2", "a replug", "s", [], "all < 1 s", True).reported.p50 is None


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A short run of the real bench."""
    folder = tmp_path_factory.mktemp("reports")
    command = [sys.executable, "-m", "demond.bench.control", "--turns", "1", "--goals", "G2,G3,G6,G7,G8"]
    environment = {**os.environ, "DEMOND_BENCH_DEPTH": "2"}
    done = subprocess.run(
        [*command, "--output", str(folder)], capture_output=True, text=True, timeout=150, check=False, env=environment
    )
    return done, folder


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_the_bench_measures_its_goals_on_the_real_daemon(measured: Measured) -> None:
    done, folder = measured
    assert done.returncode in (0, 1), done.stderr
    made = report.load(next(folder.glob("control-*.json")))
    assert [row.name.partition(":")[0] for row in made.rows] == ["G2", "G3", "G6", "G6", "G7", "G8"]
    assert all(row.n and 0 < (row.p50 or 0) <= (row.p99 or 0) <= (row.most or 0) for row in made.rows)
    goals: Any = made.details["goals"]
    right = {each["goal"]: each["notes"] for each in goals}
    # What is right or wrong does not depend on how busy the machine is; how soon it is does.
    assert "1 of 1 times the takeover was armed again" in right["G2"]
    assert "1 bad files changed nothing" in right["G3"]
    assert "a hint for each" in right["G7"]
    assert "0 jumps; touched knobs stay" in right["G8"]
    assert done.returncode == (0 if all(each["met"] for each in goals) else 1)
    printed = [line.split()[0] for line in done.stdout.splitlines() if line.strip().startswith("G")]
    assert printed == [each["goal"] for each in goals]


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_its_report_says_what_played_has_plots_beside_it_and_can_be_compared(measured: Measured) -> None:
    _, folder = measured
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".png", ".svg"]
    path = next(folder.glob("*.json"))
    made = report.load(path)
    assert (made.setup.model, made.setup.depth, made.setup.other["period"]) == ("built-in", 2, 256)
    told = CliRunner().invoke(diff.app, [str(path), str(path)])
    assert told.exit_code == 0
    assert "0 worse" in told.stdout


def test_an_unknown_goal_is_refused_in_words() -> None:
    command = [sys.executable, "-m", "demond.bench.control", "--goals", "G99"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "G99 is none of G1" in done.stderr
