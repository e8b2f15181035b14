"""Engines are really built here, for three generations of cards; none can run here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.trt.build import build, installed_tensorrt
from engine.trt.files import GRAPH, Built, EngineFileError, Exported, Library, check_sizes, read_engine, record_of
from engine.trt.graphs import Graph
from tests.engine.trt.conftest import CAPABILITIES, engine_command

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has a wheel for Linux on x86-64 alone")


@pytest.fixture
def engine(engines: dict[str, tuple[Path, Built]], tmp_path: Path) -> Path:
    """A copy of one, to be damaged."""
    source, _ = engines["8.9"]
    shutil.copy(record_of(source), tmp_path)
    return Path(shutil.copy(source, tmp_path))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_network_is_built_for_each_generation(
    engines: dict[str, tuple[Path, Built]], dit: Graph, capability: str
) -> None:
    path, built = engines[capability]
    data, again = read_engine(
        path,
        tensorrt=installed_tensorrt(),
        capability=capability,
        weights=dit.weights,
        sizes={"batch": 8, "frames": 250, "length": 300},
    )
    assert again == built
    assert len(data) == built.size
    assert built.profile["x"] == ([1, 250, 64], [4, 250, 64], [8, 250, 64])
    assert built.profile["kv"][1] == [2, 2, 4, 1, 300, 32]
    assert {name: (value.shape, value.dtype) for name, value in (built.inputs | built.outputs).items()} == {
        "x": ([-1, -1, 64], "float"),
        "rows": ([-1, 7, 64], "float"),
        "context": ([-1, -1, 128], "float"),
        "kv": ([2, 2, -1, 1, -1, 32], "half"),
        "mask": ([-1, -1], "float"),
        "velocity": ([-1, -1, 64], "float"),
    }


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_decoder_is_built_for_each_generation(exported_decoder: tuple[Path, Exported], capability: str) -> None:
    _, built = build(exported_decoder[0], capability, {"frames": (1, 28, 64)})
    assert built.profile == {"latents": ([1, 1, 64], [1, 28, 64], [1, 64, 64])}
    assert (built.inputs["latents"].shape, built.outputs["audio"].shape) == ([-1, -1, 64], [-1, 2, -1])


def test_engines_for_different_cards_differ(engines: dict[str, tuple[Path, Built]]) -> None:
    assert len({built.engine for _, built in engines.values()}) == len(CAPABILITIES)
    assert len({path for path, _ in engines.values()}) == len(CAPABILITIES)


def test_a_build_tells_how_far_it_is(exported_decoder: tuple[Path, Exported]) -> None:
    told: list[tuple[str, float]] = []
    build(exported_decoder[0], "8.9", progress=lambda stage, share: told.append((stage, share)))
    shares = [share for _, share in told]
    assert {stage for stage, _ in told} == {"building decoder for 8.9"}
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len(shares) > 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tensorrt": "tensorrt_rtx 9.9"}, "was built by tensorrt_rtx .*, and here is tensorrt_rtx 9.9"),
        ({"capability": "8.6"}, "capability 8.9, and here is 8.6"),
        ({"weights": "00"}, "was built of other weights"),
        ({"sizes": {"frames": 252}}, "takes 250 to 250 latent frames, not 252"),
        ({"sizes": {"batch": 9}}, "takes 1 to 8 rows in a batch, not 9"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(engine: Path, asked: dict[str, object], words: str) -> None:
    with pytest.raises(EngineFileError, match=words):
        read_engine(engine, **asked)  # type: ignore[arg-type]


def test_an_engine_of_the_network_takes_frames_in_pairs(engines: dict[str, tuple[Path, Built]]) -> None:
    path, built = engines["8.9"]
    wide = built.model_copy(update={"ranges": {"frames": (2, 250, 500)}})
    check_sizes(path, wide, {"frames": 252})
    with pytest.raises(EngineFileError, match="in multiples of 2, not 251"):
        check_sizes(path, wide, {"frames": 251})


def test_a_damaged_engine_is_refused(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(EngineFileError, match="is not the file that was built"):
        read_engine(engine)


def test_metadata_that_is_missing_or_none_is_refused(engine: Path) -> None:
    record_of(engine).write_text("{}")
    with pytest.raises(EngineFileError, match="does not say what demond writes there"):
        read_engine(engine)
    record_of(engine).unlink()
    with pytest.raises(EngineFileError, match="is missing"):
        read_engine(engine)


@pytest.mark.parametrize(
    ("capability", "ranges", "words"),
    [
        ("9.0", {}, "builds for compute capability .*8.9.*, not 9.0"),
        ("8.9", {"frames": (251, 251, 251)}, "latent frames in multiples of 2, not 251"),
        ("8.9", {"batch": (2, 1, 4)}, "rise from 1 on"),
    ],
)
def test_what_cannot_be_built_is_said_and_leaves_nothing(
    exported_dit: tuple[Path, Exported], capability: str, ranges: dict[str, tuple[int, int, int]], words: str
) -> None:
    folder, _ = exported_dit
    before = sorted(os.listdir(folder))
    with pytest.raises(EngineFileError, match=words):
        build(folder, capability, ranges)
    assert sorted(os.listdir(folder)) == before


def test_a_graph_that_was_changed_is_not_built(exported_decoder: tuple[Path, Exported], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_decoder[0], tmp_path / "graph"))
    with (folder / GRAPH).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(EngineFileError, match="is not the graph that was exported"):
        build(folder, "8.9")


def test_tensorrt_proper_is_asked_for_and_needs_the_gpu_it_builds_for(
    exported_dit: tuple[Path, Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineFileError, match="TensorRT proper is not here"):
        build(exported_dit[0], "9.0", library=Library.PROPER)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(EngineFileError, match=r"the GPU that is there, of none, not for 9\.0"):
        build(exported_dit[0], "9.0", library=Library.PROPER)


def test_an_engine_for_loras_needs_a_gpu_to_be_built(exported_dit: tuple[Path, Exported]) -> None:
    with pytest.raises(EngineFileError, match="that LoRAs can be played with is built on a machine with such a GPU"):
        build(exported_dit[0], "8.9", refit=True)


def demond(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "demond.cli", "engine", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def test_the_commands_list_and_verify_what_was_built(engines: dict[str, tuple[Path, Built]]) -> None:
    path, built = engines["8.9"]
    (known,) = json.loads(engine_command("list", "--folder", str(path.parent), "--json"))
    assert {"file": path.name, **built.model_dump(mode="json")} in known["engines"]
    assert "fits" in engine_command("verify", str(path), "--capability", "8.9", "--frames", "250")
    assert "was built of other weights" in engine_command("verify", str(path), "--checkpoint", "built-in", status=1)


def test_a_command_that_finds_no_graph_says_how_to_make_one(tmp_path: Path) -> None:
    assert "no exported graph" in demond("build", str(tmp_path), "--capability", "8.9", status=1)
