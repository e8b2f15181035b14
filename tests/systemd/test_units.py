from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ("demond.service", "demond@.service", "jackd.service")

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with our units, the targets they name and the programs they start, and nothing else."""
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(UNITS / name, units)
    shutil.copy(UNITS / "demond@.service", units / "demond@0.service")
    host = next(path for path in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if path.is_dir())
    for target in ("basic", "multi-user", "network", "shutdown", "sound", "sysinit"):
        shutil.copy(host / f"{target}.target", units)
    for program in ("opt/demond/bin/demond", "opt/demond/bin/python", "usr/bin/jackd"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def verify(root: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", "demond.service", "demond@0.service"]
    return subprocess.run(
        [*command, "jackd.service"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )


def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    done = verify(root)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_misspelt_setting_would_be_noticed(root: Path) -> None:
    unit = root / "usr/lib/systemd/system/demond.service"
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "Unknown key" in verify(root).stdout


@pytest.mark.parametrize("name", ["demond.service", "jackd.service"])
def test_the_units_are_hardened_to_an_exposure_below_3(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_user_and_its_group_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\naudio:x:29:\n")
    command = ["systemd-sysusers", f"--root={tmp_path}", "-"]
    text = (UNITS / "sysusers.conf").read_text()
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "demond:" in (tmp_path / "etc/passwd").read_text()
    assert re.search(r"^audio:x:29:demond$", (tmp_path / "etc/group").read_text(), re.MULTILINE)


def settings(name: str) -> list[str]:
    lines = (UNITS / name).read_text().splitlines()
    return [line for line in lines if line and line[0] not in "#["]


def test_the_unit_per_gpu_differs_only_in_what_belongs_to_the_gpu() -> None:
    one, many = set(settings("demond.service")), set(settings("demond@.service"))
    own = {line.split("=", 1)[0] for line in one ^ many}
    assert own == {
        "Conflicts",
        "Description",
        "ExecStart",
        "Environment",
        "StateDirectory",
        "CacheDirectory",
        "RuntimeDirectory",
    }
    assert "Environment=CUDA_VISIBLE_DEVICES=%i" in many


def test_demond_does_not_fall_with_jackd() -> None:
    for name in ("demond.service", "demond@.service"):
        assert "Wants=jackd.service" in settings(name)
        assert not any(line.startswith(("Requires=", "BindsTo=", "PartOf=")) for line in settings(name))


def test_torch_threads_do_not_inherit_real_time_and_may_compile() -> None:
    """FIFO on the unit would reach OpenMP's threads; torch's convolutions fail without executable memory."""
    names = {line.split("=", 1)[0] for line in settings("demond.service")}
    assert not names & {"CPUSchedulingPolicy", "CPUSchedulingPriority", "MemoryDenyWriteExecute", "RestrictRealtime"}
