"""A report says where its figures are from, comes back as it was written, and a file that says less is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from demond.bench import machine, report
from demond.bench.report import ReportError
from tests.bench.reports import MACHINE, SETUP, made


def test_a_row_has_the_percentiles_of_its_samples() -> None:
    row = report.row("tick", "ms", list(range(101)))
    assert (row.n, row.p50, row.p95, row.p99, row.least, row.most) == (101, 50, 95, 99, 0, 100)
    assert row.mean == 50
    assert row.sd == pytest.approx(np.std(range(101), ddof=1), rel=1e-5)
    assert row.samples == tuple(range(101))


def test_a_row_without_samples_has_no_figures() -> None:
    row = report.row("lost", "ms", [])
    assert (row.n, row.p50, row.sd, row.samples) == (0, None, None, ())


def test_a_long_row_keeps_samples_in_their_order_and_figures_of_all() -> None:
    values = np.random.default_rng(1).normal(10, 1, 60_000)
    row = report.row("message", "ms", values)
    assert row.n == 60_000
    assert len(row.samples) <= report.SAMPLES_MOST
    assert row.samples[1] == pytest.approx(values[30], rel=1e-5)
    assert row.p99 == pytest.approx(np.percentile(values, 99), rel=1e-5)


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = made(report.row("a", "ms", [1, 2, 3]), report.row("b", "1/s", [], better="higher"))
    path = tmp_path / "new" / "folder" / "report.json"
    report.save(written, path)
    assert report.load(path) == written
    assert stat.S_ISREG(path.stat().st_mode)
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_a_report_of_now_knows_the_machine_and_the_sources() -> None:
    found = report.report("engine", SETUP, [])
    assert found.machine.cores >= 1
    assert found.machine.kernel
    assert found.version == "0.1.0"
    assert found.commit is None or len(found.commit.rstrip("+")) == 12


def test_a_row_is_one_line_of_the_file() -> None:
    text = report.text(made(report.row("a", "ms", range(500)), report.row("b", "ms", range(500))))
    assert len([line for line in text.splitlines() if '"samples"' in line]) == 2


@pytest.mark.parametrize(
    "part",
    ["machine", "setup", "date", "commit", "rows", "command", "version"],
)
def test_a_file_that_does_not_say_all_is_refused(part: str, tmp_path: Path) -> None:
    document = json.loads(report.text(made(report.row("a", "ms", [1]))))
    del document[part]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ReportError, match=rf"report.json is no report of `demond bench`: {part}: Field required"):
        report.load(path)


@pytest.mark.parametrize("missing", ["model", "backend", "device", "depth", "steps", "frames", "mode"])
def test_the_setup_says_what_played(missing: str, tmp_path: Path) -> None:
    document = json.loads(report.text(made()))
    del document["setup"][missing]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ReportError, match=rf"setup\.{missing}: Field required"):
        report.load(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"none.json cannot be read: No such file"):
        report.load(tmp_path / "none.json")


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_is_no_report_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match="is no report"):
        report.load(path)


def test_a_report_goes_where_the_user_asked_for_it(tmp_path: Path) -> None:
    one = made(report.row("a", "ms", [1.5]))
    report.deliver(one, tmp_path / "one.json", tmp_path / "all")
    assert report.load(tmp_path / "one.json") == one
    assert report.load(tmp_path / "all" / "engine-20260101-000000.json") == one


def test_a_place_that_cannot_be_written_ends_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(typer.Exit) as ended:
        report.deliver(made(), tmp_path / "file" / "report.json", None)
    assert ended.value.exit_code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_what_nvidia_smi_prints_is_read() -> None:
    text = "NVIDIA H200, 580.159, 143771, 141000\nNVIDIA X, Y, 12, [N/A]\n\nno devices\n"
    assert machine.read_gpus(text) == (
        machine.Gpu(name="NVIDIA H200", driver="580.159", memory_mib=143771, free_mib=141000),
    )


def test_the_machine_is_told_in_one_line() -> None:
    gpu = machine.Gpu(name="H200", driver="580", memory_mib=100, free_mib=90)
    told = MACHINE.model_copy(update={"gpus": (gpu,)}).told()
    assert told == "Some CPU, 2 cores, H200 (driver 580, 90 of 100 MiB free), load 0.5, kernel 6.1, Python 3.11.7"


def test_auto_takes_the_gpu_with_the_most_free_memory_and_the_cpu_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    busy, free = (machine.Gpu(name="A", driver="1", memory_mib=100, free_mib=free) for free in (10, 90))
    assert machine.device("auto", [busy, free]) == "cuda:1"
    assert machine.device("auto", []) == "cpu"
    assert machine.device("0", [busy, free]) == "cuda:0"
    assert machine.device("cpu", [busy, free]) == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert machine.device("auto", [busy, free]) == "auto"
