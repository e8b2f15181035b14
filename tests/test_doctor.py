from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from demond import _orphans, doctor
from demond.doctor import Check
from tests.jack import running_jackd


@pytest.fixture
def jack_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A server name of this test's own, so that nobody else's server is met."""
    name = f"doctor{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    return name


def found(name: str, among: list[Check]) -> Check:
    return next(check for check in among if check.name == name)


def probe(name: str, patience: float = 10) -> dict[str, object] | None:
    return doctor._finish_probe(doctor._start_probe(name), time.monotonic() + patience)


def test_a_whole_report_takes_less_than_five_seconds_and_leaves_torch_unloaded(jack_name: str) -> None:
    code = (
        "import sys, json, time; from demond.doctor import checks; began = time.monotonic(); found = checks();"
        "assert time.monotonic() - began < 5; assert 'torch' not in sys.modules;"
        "print(json.dumps([[c.name, c.ok, c.detail, c.fix] for c in found]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert {"Python", "audio callback", "JACK server", "MIDI", "real-time threads", "torch", "OSC port"} <= {
        line[0] for line in report
    }
    for name, ok, detail, fix in report:
        assert "\n" not in detail + fix
        assert ok is True or fix, f"{name} says nothing about what to do"


def test_no_server_is_a_remark_and_none_is_started(jack_name: str) -> None:
    (check,) = doctor._jack(probe("jack"))
    assert check.ok is None
    assert "none runs" in check.detail or "PipeWire" in check.detail
    assert subprocess.run(["jack_lsp", "-s", jack_name], capture_output=True, check=False).returncode != 0


def test_a_running_server_is_named_with_its_rate_and_period(jack_name: str) -> None:
    with running_jackd(44100, 1024, name=jack_name):
        checks = doctor._jack(probe("jack"))
    assert found("JACK server", checks).ok
    assert "44100 Hz, period 1024 (23.2 ms)" in found("JACK server", checks).detail
    assert "jack_bufsize" in found("JACK period", checks).fix


def test_a_frozen_server_is_told_apart_from_none(jack_name: str) -> None:
    with running_jackd(name=jack_name) as server:
        os.kill(server.pid, signal.SIGSTOP)
        (check,) = doctor._jack(probe("jack", patience=2))
        os.kill(server.pid, signal.SIGCONT)
    assert check.ok is False
    assert "frozen" in check.detail


def test_the_installed_torch_is_looked_at_in_another_process() -> None:
    facts = probe("torch", patience=60)
    assert facts is not None
    (check,) = doctor._torch(facts)
    assert str(facts["version"]) in check.detail


def test_a_cpu_build_beside_an_nvidia_driver_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    (check,) = doctor._torch({"version": "2.13.0+cpu", "cuda_build": None, "gpu": None})
    assert check.ok is False
    assert "CUDA build" in check.fix


def test_a_probe_that_breaks_down_says_so_and_does_not_break_the_doctor() -> None:
    facts = probe("nonsense")
    assert facts is not None
    assert "status 1" in str(facts["error"])


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="dropping a capability takes root")
@pytest.mark.parametrize(
    ("capability", "call", "limit"),
    [("sys_nice", "try_realtime", "--rtprio=0"), ("ipc_lock", "try_memlock", "--memlock=1048576")],
)
def test_what_the_kernel_refuses_is_noticed_by_trying(capability: str, call: str, limit: str) -> None:
    code = f"from demond._realtime import {call} as t; x = t(); print(x.granted, x.why, x.fix, sep='|')"
    python = [sys.executable, "-c", code]
    without = ["prlimit", limit, "setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"]
    refused = subprocess.run([*without, *python], capture_output=True, text=True, check=True).stdout.strip()
    granted, why, fix = refused.split("|")
    assert granted == "False"
    assert why
    assert fix


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for part in ("transformer", "vae", "condition_encoder"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
        save_file({"w": np.zeros((16, 16), np.float32)}, tmp_path / part / "model.safetensors")
    return tmp_path


def test_a_whole_model_is_accepted(model: Path) -> None:
    assert doctor._model("checkpoint", model).ok


def test_the_model_inside_is_whole() -> None:
    assert doctor._model("model inside", doctor._embedded_model()).ok


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_a_file_that_was_cut_off_is_named(model: Path, keep: int) -> None:
    path = model / "vae/model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    check = doctor._model("checkpoint", model)
    assert check.ok is False
    assert str(path) in check.detail


def test_a_file_that_is_no_safetensors_is_named(model: Path) -> None:
    path = model / "vae/model.safetensors"
    path.write_bytes((12).to_bytes(8, "little") + b'["no","map"]')
    assert str(path) in doctor._model("checkpoint", model).detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data_offsets", "w"]), inner),
    max_leaves=8,
)


@given(header=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40), size=st.integers(0, 60))
def test_no_file_however_wrong_stops_the_doctor(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + header)
    assert doctor._broken(path) is None or isinstance(doctor._broken(path), str)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert doctor._broken(path) is None or isinstance(doctor._broken(path), str)


def test_a_header_nested_too_deep_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)
    assert doctor._broken(path) == "has no safetensors header"


def test_a_missing_part_is_named(model: Path) -> None:
    (model / "transformer/config.json").unlink()
    assert "transformer/config.json is missing" in doctor._model("checkpoint", model).detail


def test_a_port_held_by_another_program_is_a_failure() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        check = doctor._osc(port)
    assert check.ok is False
    assert "--osc-port" in check.fix
    assert doctor._osc(port).ok


def test_a_frozen_server_or_a_slow_torch_is_given_up_in_time() -> None:
    began = time.monotonic()
    assert doctor._finish_probe(doctor._start_probe("torch"), began) is None
    assert time.monotonic() - began < 1


@pytest.fixture
def dead_segment() -> Iterator[Path]:
    """Shared memory named after a process that has ended."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = _orphans.SHM / f"demond-{gone.pid}-loop"
    path.write_bytes(bytes(4096))
    yield path
    path.unlink(missing_ok=True)


def test_memory_of_a_killed_daemon_is_found_and_that_of_a_living_one_is_not(dead_segment: Path) -> None:
    living = dead_segment.with_name(f"demond-{os.getpid()}-loop")
    living.write_bytes(bytes(4096))
    try:
        (check,) = doctor._leftovers()
        assert str(dead_segment) in check.fix
        assert str(living) not in check.fix
        subprocess.run([sys.executable, "-m", "demond._orphans"], check=True)
        assert living.exists()
        assert not dead_segment.exists()
    finally:
        living.unlink()
