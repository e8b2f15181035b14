"""Builds demond the ways users get it, from a copy of the tree, and looks at what arrives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def run(command: list[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def build_wheel(tree: Path, target: Path) -> Path:
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(tree)], tree)
    (wheel,) = target.glob("demond-*.whl")
    return wheel


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources without anything built, so that nothing built can slip into the wheel."""
    target = tmp_path_factory.mktemp("packaging") / "tree"
    built = shutil.ignore_patterns(
        "*.so", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", ".venv"
    )
    shutil.copytree(ROOT, target, symlinks=True, ignore=lambda folder, names: {*built(folder, names), ".git"})
    return target


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tree, tmp_path_factory.mktemp("wheel"))


def relative(folder: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in folder.rglob(pattern)}


def test_the_wheel_carries_the_model_the_mappings_and_the_native_callback(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    model = {name for pattern in ("*.safetensors", "*.json", "*.flac") for name in relative(ROOT / "engine", pattern)}
    assert any(name.endswith(".safetensors") for name in model)
    assert model <= names
    mappings = relative(ROOT / "mappings", "*.yaml")
    assert mappings
    assert {f"demond/_{name}" for name in mappings} <= names
    modules = relative(ROOT / "demond", "*.py") | relative(ROOT / "engine", "*.py")
    assert modules <= names
    assert "demond/_native" + sysconfig.get_config_var("EXT_SUFFIX") in names


def test_the_wheel_carries_no_tests_and_no_caches(wheel: Path) -> None:
    for name in zipfile.ZipFile(wheel).namelist():
        assert name.split("/")[0] in {"demond", "engine"} or ".dist-info/" in name
        assert "__pycache__" not in name


def test_an_sdist_gives_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    code = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
    name = run([sys.executable, "-c", code, str(tmp_path)], tree).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build_wheel(tmp_path / name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it imports is lent by the environment that runs the tests."""
    target = tmp_path_factory.mktemp("installed") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", str(target)], target.parent)
    run(
        [*PIP, "--python", str(target / "bin/python"), "install", "--no-deps", "--no-index", str(wheel)],
        target.parent,
    )
    return target


def test_an_installed_demond_finds_its_mappings_and_its_callback(installed: Path) -> None:
    code = (
        "import demond, demond.native, demond.paths as p; print(demond.__file__); print(demond.native.available());"
        "print(p.mappings_dir()); print(len(list(p.mappings_dir().rglob('*.yaml'))))"
    )
    lent = sysconfig.get_path("purelib")
    lines = run([str(installed / "bin/python"), "-c", code], installed, PYTHONPATH=lent).split("\n")
    assert lines[0].startswith(str(installed))
    assert lines[1] == "True"
    assert lines[2].startswith(str(installed))
    assert int(lines[3]) == len(relative(ROOT / "mappings", "*.yaml"))


def test_the_command_of_an_installed_demond_works(installed: Path) -> None:
    lent = sysconfig.get_path("purelib")
    assert "denoise" in run([str(installed / "bin/demond"), "knobs"], installed, PYTHONPATH=lent)


def test_a_source_tree_finds_its_mappings() -> None:
    code = "from demond.paths import mappings_dir; print(mappings_dir())"
    assert run([sys.executable, "-c", code], ROOT).strip() == str(ROOT / "mappings")


def test_make_install_for_a_packager_puts_everything_under_destdir(tree: Path, tmp_path: Path) -> None:
    lent = sysconfig.get_path("purelib")
    run(
        ["systemd/install"],
        tree,
        DESTDIR=str(tmp_path),
        PREFIX="/usr/local/demond",
        PYTHON=sys.executable,
        PYTHONPATH=lent,
        PIP_NO_DEPS="1",
        PIP_NO_BUILD_ISOLATION="0",
        PIP_IGNORE_INSTALLED="1",
    )
    unit = (tmp_path / "usr/lib/systemd/system/demond.service").read_text()
    assert "ExecStart=/usr/local/demond/bin/demond run" in unit
    script = (tmp_path / "usr/local/demond/bin/demond").read_text()
    assert script.startswith("#!/usr/local/demond/bin/python")
    for name in ("usr/lib/sysusers.d/demond.conf", "etc/security/limits.d/95-demond.conf", "etc/default/jackd"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "etc/demond/demond.yaml").stat().st_mode & 0o777 == 0o644


def test_the_settings_that_the_unit_reads_are_valid() -> None:
    from demond import config

    assert config.load(ROOT / "systemd/demond.yaml").jack.start_server is False
