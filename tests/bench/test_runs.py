"""A very short real run of the benches that measure: real JACK, the real daemon, the real model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from rich.console import Console
from typer.testing import CliRunner

from demond.bench import advise, audio, engine, latency, machine, model, report, switches
from demond.bench.report import Report
from demond.config import Engine
from engine import embedded, pace
from engine.bench import stand


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """A bench is a process of its own; here its ways with floats and threads are taken back."""
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def one_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    audio, rate = soundfile.read(embedded.CLIP, frames=48_000)
    path = tmp_path_factory.mktemp("source") / "one-second.wav"
    soundfile.write(path, audio, rate)
    return path


def medians(made: Report) -> dict[str, float]:
    """Of the rows that have any; and all that are measured have as many samples as they say."""
    assert all(len(row.samples) == row.n for row in made.rows)
    return {row.name: row.p50 for row in made.rows if row.p50 is not None}


@pytest.mark.e2e
def test_a_knob_of_the_daemon_is_heard_at_its_port_and_the_model_knows_when(
    one_second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    options = ["--depth", "auto", "--source", str(one_second), "--device", "cpu", "--threads", "1", "--steps", "4"]
    made = latency.of_daemon(2, ["shared"], 256, 48_000, 1, options)
    found = medians(made)
    assert made.row("shared: first change").n == 2
    assert found["shared: lost"] == 0
    assert found["tick"] + found["decode"] < found["shared: first change"] <= found["shared: converged"] + 1
    # With the depth 1 they are of the same latent: heard by one, and reckoned from the trace by the other.
    assert found["shared: first change"] < found["shared: fresh audio"] + 20
    assert found["decode"] < found["write ahead"]
    assert 500 < found["first write"] < 120_000  # nobody loads torch in less
    assert found["generations"] == pytest.approx(1e3 / found["write gap"], rel=0.8)
    assert (made.setup.model, made.setup.frames, made.setup.steps) == ("built-in", 25, 4)
    assert made.setup.other["level"] == "daemon"
    [kept] = pace.read(tmp_path / "demond" / "paces.json").values()
    assert made.setup.depth == pace.advise(kept, 4, 1.0).depth
    status = json.loads(json.dumps(made.details["status"]))
    assert status["engine"]["advice"].startswith(f"depth {made.setup.depth} of 4 steps was chosen")
    assert status["session"]["depth"] == "auto"
    report.save(made, tmp_path / "report.json")
    assert report.load(tmp_path / "report.json") == made
    [prediction] = model.predictions(made)
    assert prediction.predicted == pytest.approx(found["shared: first change"], rel=0.6)  # other tests run beside


def test_a_session_alone_reacts_to_every_kind_of_change(one_second: Path) -> None:
    kinds = latency.KINDS["engine"]
    made = latency.of_engine(2, kinds, 256, 48_000, 1, Engine(source=one_second, device="cpu", threads=1, steps=4))
    found = medians(made)
    for kind in kinds:
        assert made.row(f"{kind}: first change").n == made.row(f"{kind}: fresh audio").n == 2
        assert 0 < found[f"{kind}: latent changed"] < found[f"{kind}: first change"]
        assert found[f"{kind}: latent changed"] <= found[f"{kind}: latent converged"] < found[f"{kind}: fresh audio"]
    assert found["lead"] < found["write ahead"]
    assert made.row("write gap").n > 2
    assert found["tick"] < found["first write"] < 60_000


def test_the_engine_bench_times_every_depth_context_and_case(tmp_path: Path) -> None:
    arguments = ["--shape", "tiny", "--random", "--device", "cpu", "--threads", "1", "--steps", "2", "--ticks", "4"]
    arguments += ["--depths", "1,2", "--contexts", "1,2", "--cases", "plain,guidance full"]
    ended = CliRunner().invoke(engine.app, [*arguments, "--json", str(tmp_path / "report.json")])
    assert ended.exit_code == 0, ended.output
    made = report.load(tmp_path / "report.json")
    lines = json.loads(json.dumps(made.details["table"]))
    assert [(each["frames"], each["depth"], each["case"]) for each in lines] == [
        (frames, depth, case) for frames in (25, 50) for depth in (1, 2) for case in ("plain", "guidance full")
    ]
    for line in lines:
        ticks = made.row(f"T {line['frames']}, depth {line['depth']}, {line['case']}: tick")
        assert ticks.n == 4
        assert line["latents_per_second"] == pytest.approx(line["depth"] / 2 * 1e3 / (ticks.mean or 0), rel=0.01)
        assert line["times_real_time"] == pytest.approx(line["latents_per_second"] * line["frames"] / 25)
        assert line["floor_ms"] > 0
        assert line["tick_p95_ms"] == ticks.p95
        assert line["backend"] == "eager"
    assert lines[1]["floor_ms"] == pytest.approx(2 * lines[0]["floor_ms"])
    assert lines[2]["floor_ms"] == pytest.approx(2 * lines[0]["floor_ms"])
    assert f"{lines[0]['times_real_time']:7.1f}" in ended.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--depths", "9"], "9 is not within 1 to 8"),
        (["--contexts", "a"], "numbers with commas"),
        (["--cases", "plian"], "did you mean 'plain'?"),
        (["--shape", "2b"], "go together"),
        (["--shape", "3b", "--random"], "choose among"),
        (["--backend", "eager,grpah"], "did you mean 'graph'?"),
        (["--backend", "graph", "--device", "cpu"], "captures CUDA graphs, and the device is the CPU"),
        (["--checkpoint", "/nowhere"], "no folder"),
    ],
)
def test_the_engine_bench_says_what_is_wrong_with_an_option(arguments: list[str], said: str) -> None:
    ended = CliRunner().invoke(engine.app, arguments, env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert said in ended.output


def test_several_backends_are_told_apart_and_one_that_comes_again_is_measured_once() -> None:
    sweep = engine.Sweep([1], [1.0], ["plain"], steps=2, ticks=2)
    one = engine.measure(stand.random(stand.SHAPES["tiny"], 25, torch.device("cpu")), sweep, Console(stderr=True))
    told = engine.result([one, replace(one, backend="other")], sweep, "tiny", "CPU", machine.here())
    assert told.setup.backend == "eager, other"
    names = [row.name for row in told.rows if row.name.endswith("tick")]
    assert names == ["eager, T 25, depth 1, plain: tick", "other, T 25, depth 1, plain: tick"]
    arguments = ["--shape", "tiny", "--random", "--device", "cpu", "--steps", "2", "--ticks", "2", "--depths", "1"]
    arguments += ["--contexts", "1", "--cases", "plain"]
    ended = CliRunner().invoke(engine.app, arguments, env={"DEMOND_BENCH_BACKEND": "auto,eager"})
    assert ended.output.count(" plain ") == 1


def test_the_engine_bench_needs_nothing_that_a_machine_for_computing_lacks(tmp_path: Path) -> None:
    """No JACK, no MIDI, no OSC, no plots: a GPU that is rented for an hour has none of them."""
    missing = ("jack", "rtmidi", "mido", "pythonosc", "yaml", "ruamel", "aiohttp", "zeroconf", "watchfiles", "ifaddr")
    path = tmp_path / "report.json"
    arguments = ["--shape", "tiny", "--random", "--device", "cpu", "--steps", "2", "--ticks", "2", "--depths", "1"]
    arguments += ["--contexts", "1", "--cases", "plain", "--json", str(path)]
    program = (
        "import sys\n"
        f"for name in {(*missing, 'matplotlib', 'diffusers', 'transformers')!r}:\n"
        "    sys.modules[name] = None\n"
        "from demond.bench.engine import app\n"
        "app()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert report.load(path).row("T 25, depth 1, plain: tick").n == 2


def test_advise_measures_and_keeps_what_the_depth_auto_finds(
    one_second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["--whole", "--source", str(one_second), "--device", "cpu", "--threads", "1", "--json"]
    arguments += ["--output", str(tmp_path / "reports")]
    ended = CliRunner().invoke(advise.app, arguments)
    assert ended.exit_code == 0, ended.output
    document = json.loads(ended.stdout)
    [whole] = document["contexts"]
    [(key, kept)] = pace.read(tmp_path / "demond" / "paces.json").items()
    assert "T 25" in key
    assert [each["tick"] for each in whole["choices"]] == list(kept.ticks)
    assert whole["depth"] == pace.advise(kept, 8, 1.0).depth
    assert kept.ticks[7] > kept.ticks[0]
    made = report.load(next((tmp_path / "reports").glob("advise-*.json")))
    assert [made.row(f"T 25, depth {depth}: tick").p50 for depth in (1, 8)] == pytest.approx(
        [kept.ticks[0], kept.ticks[7]], rel=1e-5
    )
    assert made.details["longest_context_s"] == document["longest_context_s"]


def test_advise_says_which_context_keeps_to_the_target() -> None:
    def found(knob_ms: float) -> advise.Survey:
        # Ticks of one H200 with ACE-Step 2B's sizes, over 60 and 10 s; a slower GPU would have these times three.
        paces = [
            pace.Pace("60 s", (4.7, 8.7, 12.7, 16.7, 20.7, 24.6, 28.6, 32.6), 1.8),
            pace.Pace("10 s", (2.2, 2.4, 2.8, 3.3, 3.9, 4.6, 5.3, 6.0), 1.8),
        ]
        advices = [
            (seconds, pace.advise(each, 8, 60.0, knob_ms)) for each, seconds in zip(paces, (60.0, 10.0), strict=True)
        ]
        return advise.Survey("2b", "graph", "H200", 8, 60.0, knob_ms, advices, [1500, 250])

    assert found(250.0).context == 60.0
    assert "the whole loop keeps to 250 ms" in found(250.0).words()
    assert found(30.0).context == 10.0
    depth = found(30.0).advices[1][1].depth
    assert found(30.0).words().endswith(f"10 s, at depth {depth} (demond context 10, demond depth {depth})")
    assert found(5.0).context is None
    assert "no context keeps to 5 ms" in found(5.0).words()


def test_a_kind_that_the_level_has_not_is_refused() -> None:
    for level, kind, near in (("daemon", "shard", "did you mean 'shared'?"), ("engine", "output", "choose among")):
        ended = CliRunner().invoke(
            latency.app, ["--level", level, "--kinds", kind], env={"COLUMNS": "300", "TERM": "dumb"}
        )
        assert ended.exit_code == 2
        assert near in ended.output


def test_options_come_before_the_environment_and_that_before_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Engine] = []

    def stop(*arguments: object) -> None:
        assert isinstance(arguments[-1], Engine)
        asked.append(arguments[-1])
        raise RuntimeError("seen")

    monkeypatch.setattr(latency, "of_engine", stop)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(switches.machine, "gpus", lambda: ())
    environment = {
        "DEMOND_BENCH_DEPTH": "2",
        "DEMOND_BENCH_STEPS": "6",
        "DEMOND_BENCH_GPU": "1",
        "DEMOND_BENCH_BACKEND": "graph",
    }
    options = ["--depth", "3", "--steps", "5", "--device", "cpu", "--backend", "eager"]
    for given, around in ((options, environment), ([], environment), ([], {})):
        CliRunner().invoke(latency.app, ["--level", "engine", *given], env=around)
    assert [(each.depth, each.steps, each.device, each.backend) for each in asked] == [
        (3, 5, "cpu", "eager"),
        (2, 6, "cuda:1", "graph"),
        (4, 8, "cpu", "auto"),
    ]


def test_what_a_bench_hands_to_the_daemon_follows_the_environment_until_it_is_overridden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(switches.machine, "gpus", lambda: ())
    assert switches.for_daemon({}) == ["--device", "cpu"]
    said = {
        "DEMOND_BENCH_GPU": "1",
        "DEMOND_BENCH_DEPTH": "2",
        "DEMOND_BENCH_STEPS": "",
        "DEMOND_BENCH_BACKEND": "graph",
    }
    assert switches.for_daemon(said) == ["--device", "cuda:1", "--depth", "2", "--backend", "graph"]
    handed: list[list[str]] = []

    def run(*arguments: Any) -> None:
        handed.append(arguments[-1])
        raise audio.BenchError("seen")

    monkeypatch.setattr(audio, "run", run)
    CliRunner().invoke(audio.app, ["--", "--depth", "5"], env={"DEMOND_BENCH_DEPTH": "2"})
    assert handed == [["--device", "cpu", "--depth", "2", "--depth", "5"]]  # the last one counts
