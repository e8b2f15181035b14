"""Plots are drawn of every kind of report, the same for the same report, and without matplotlib that is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner

from demond.bench import plots, report
from demond.bench.report import Report
from tests.bench.reports import made

LATENCY = made(
    report.row("shared: first change", "ms", [300.0, 400.0, 500.0]),
    report.row("slot: first change", "ms", [600.0, 700.0]),
    report.row("shared: fresh audio", "ms", [900.0, 950.0, 990.0]),
    report.row("tick", "ms", [100.0, 110.0]),
    report.row("shared: lost", "count", [0]),
    bench="latency",
    details={"phases": 3},
)


def costs(*backends: str) -> Report:
    """What `demond bench engine` reports of them, at two lengths, two depths and two cases."""
    table = [
        {
            "backend": backend,
            "case": case,
            "depth": depth,
            "frames": frames,
            "tick_ms": depth * frames / 10,
            "tick_p95_ms": depth * frames / 9,
            "times_real_time": 8.0,
            "floor_ms": depth * frames / 30,
            "of_floor": 0.33,
            "memory_mib": 300.0,
        }
        for backend in backends
        for frames in (100, 250)
        for depth in (1, 4)
        for case in ("plain", "DCW")
    ]
    return made(bench="engine", details={"table": table})


ENGINE = costs("eager")
ADVISE = made(
    bench="advise",
    details={
        "knob_ms": 250.0,
        "contexts": [
            {"context_s": 4.0, "depth": 2, "choices": [{"depth": d, "tick": 10.0 * d, "knob": 90.0} for d in (1, 2)]}
        ],
    },
)
OTHER = made(report.row("midi", "ms", [1.0, 2.0]), report.row("callback", "µs", [1.0]), bench="control")


@pytest.mark.parametrize("one", [LATENCY, ENGINE, ADVISE, OTHER, made(bench="audio")], ids=lambda one: one.bench)
def test_a_report_is_drawn_as_png_and_as_svg(one: Report, tmp_path: Path) -> None:
    png, svg = plots.draw(one, tmp_path / "plot")
    with Image.open(png) as image:
        assert image.size[0] > 800
        assert len(image.convert("L").getcolors(256) or []) > 10  # something is drawn
    text = svg.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")  # noqa: S314 (our own file)
    assert "Some CPU" in text
    assert len(text) < 200_000


def test_the_same_report_gives_the_same_svg(tmp_path: Path) -> None:
    one, other = (plots.draw(LATENCY, tmp_path / name)[1].read_bytes() for name in ("a", "b"))
    assert one == other


def test_what_is_drawn_is_what_was_measured(tmp_path: Path) -> None:
    text = plots.draw(LATENCY, tmp_path / "plot")[1].read_text()
    assert {"shared", "slot", "heard first", "all of it heard"} <= set(_texts(text))


def test_every_backend_has_a_panel_of_its_own_with_a_line_for_each_depth(tmp_path: Path) -> None:
    text = plots.draw(costs("graph", "graph-fp8", "eager"), tmp_path / "plot")[1].read_text()
    told = _texts(text)
    assert {f"{backend}: o plain, x DCW, -- floor" for backend in ("graph", "graph-fp8", "eager")} <= set(told)
    assert told.count("depth 4") == 3 + 3  # in each backend's panel, and in those about all of them
    assert {"× real time", "memory at most, GiB", "the floor's share of a tick, %"} <= set(told)


def test_a_table_of_before_it_told_backends_and_tails_is_still_drawn(tmp_path: Path) -> None:
    lines: Any = ENGINE.details["table"]
    old = [{key: line[key] for key in line if key not in ("backend", "tick_p95_ms")} for line in lines]
    text = plots.draw(made(bench="engine", details={"table": old}), tmp_path / "plot")[1].read_text()
    assert "eager: o plain, x DCW, -- floor" in _texts(text)


def _texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("text")]  # noqa: S314


def test_a_folder_gets_the_plots_beside_the_report(tmp_path: Path) -> None:
    report.deliver(OTHER, None, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".png", ".svg"]


def test_without_matplotlib_the_report_is_written_and_the_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report.deliver(OTHER, None, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert "pip install 'demond[plots]'" in capsys.readouterr().err


def test_reports_of_another_machine_are_drawn_by_a_command(tmp_path: Path) -> None:
    report.save(ENGINE, tmp_path / "there.json")
    ended = CliRunner().invoke(plots.app, [str(tmp_path / "there.json"), "--output", str(tmp_path / "docs")])
    assert ended.exit_code == 0
    assert ended.stdout.split() == [str(tmp_path / "docs" / f"there.{suffix}") for suffix in ("png", "svg")]
    assert (tmp_path / "docs" / "there.svg").is_file()
    ended = CliRunner().invoke(plots.app, [str(tmp_path / "none.json")])
    assert ended.exit_code == 2
    assert "cannot be read" in ended.stderr
