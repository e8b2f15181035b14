"""Both levels of the latency bench, and the end-to-end tests, use what any user has, and nothing from inside.

That the benches of the daemon reach neither the engine nor the daemon's parts, by no detour, is a contract of
import-linter's in pyproject.toml.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every module that a file imports, wherever it does, and the names that it takes from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]


def test_a_session_is_timed_through_what_the_engine_s_package_offers() -> None:
    used = {module: names for module, names in imported(ROOT / "engine/bench/reaction.py") if "engine" in module}
    assert list(used) == ["engine"]
    assert set(used["engine"]) <= set(engine.__all__)


@pytest.mark.parametrize("path", sorted((ROOT / "tests/e2e").glob("*.py")), ids=lambda path: path.stem)
def test_an_end_to_end_test_knows_nothing_of_the_engine(path: Path) -> None:
    assert not [module for module, _ in imported(path) if module.partition(".")[0] in ("engine", "torch")]
