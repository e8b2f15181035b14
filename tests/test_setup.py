"""What `make run` says when it cannot go on. The way it goes when it can is what put these tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A checkout with nothing set up, readable by everybody, and a folder `bin` that comes first in PATH."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        tree.chmod(0o755)
        shutil.copytree(ROOT / ".ci", tree / ".ci")
        shutil.copy(ROOT / "pyproject.toml", tree)
        (tree / "bin").mkdir()
        yield tree


def answer(tree: Path, program: str, text: str) -> None:
    """Makes `program` say `text`, whatever it is asked: here dpkg-query, whose answers a test cannot bring about."""
    path = tree / "bin" / program
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def setup(tree: Path, *before: str, purpose: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{tree / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [*before, str(tree / ".ci/setup"), purpose],
        env=os.environ | {"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_missing_packages_are_named_with_the_command_that_installs_them(checkout: Path) -> None:
    answer(checkout, "dpkg-query", "exit 1")
    done = setup(checkout, DEMOND_APT="no")
    assert done.returncode == 1
    assert "apt-get install -y --no-install-recommends jackd2 liblo-tools" in done.stderr
    assert "systemd-container" in setup(checkout, purpose="test", DEMOND_APT="no").stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("sudo") is not None, reason="takes root, and no sudo")
def test_somebody_without_root_is_given_the_command_for_root(checkout: Path) -> None:
    answer(checkout, "dpkg-query", "exit 1")
    done = setup(checkout, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", HOME="/nonexistent")
    assert done.returncode == 1
    assert "neither root nor have sudo" in done.stderr
    assert "apt-get install -y" in done.stderr


def test_an_interpreter_that_is_too_old_is_refused_in_words(checkout: Path) -> None:
    answer(checkout, "dpkg-query", "printf installed")
    answer(checkout, "oldpython", "exit 1")
    done = setup(checkout, PYTHON="oldpython")
    assert done.returncode == 1
    assert "Python 3.11 or later is missing (PYTHON=oldpython is older or absent)" in done.stderr


def test_the_packages_alone_make_no_environment(checkout: Path) -> None:
    answer(checkout, "dpkg-query", "printf installed")
    done = setup(checkout, purpose="system")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (checkout / ".venv").exists()


def test_the_purpose_must_be_a_known_one(checkout: Path) -> None:
    done = setup(checkout, purpose="play")
    assert done.returncode == 2
    assert "usage: .ci/setup run|test|system" in done.stderr
