"""The table of what is implemented, in docs/osc.md, names a test for each line, and the examples there are right."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from demond.config import Config, load
from demond.osc.query import EXTENSIONS

PAGE = (Path(__file__).parents[2] / "docs/osc.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in PAGE.partition("## What is implemented")[2].splitlines()
    if line.startswith("| OSC")
]


def test_every_line_of_the_table_names_a_test_that_exists() -> None:
    assert {row[0] for row in ROWS} == {"OSC 1.0", "OSC 1.1", "OSCQuery"}
    for *_, test in ROWS:
        module, _, name = test.strip("`").partition("::")
        assert callable(getattr(import_module(f"tests.osc.{module}"), name)), test


def test_every_extension_that_oscquery_claims_has_a_line() -> None:
    features = " ".join(row[1] for row in ROWS)
    assert all(extension in features for extension in EXTENSIONS)


def test_the_settings_on_the_page_are_right(tmp_path: Path) -> None:
    files = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    query, access = [_loaded(tmp_path, text).osc for text in files]
    assert query.query is not None
    assert query.query.port == 9601
    assert [(each.network, each.may) for each in access.networks][-2:] == [
        ("192.168.2.17/32", "set"),
        ("192.168.1.20/32", "command"),
    ]


def test_every_error_of_the_code_is_on_the_page() -> None:
    slugs = set(re.findall(r"OscError\(\s*\d+,\s*\"(\w+)\"", _sources()))
    assert slugs >= {"bad_args", "unknown_address", "rate_limited"}
    assert all(f"`{slug}`" in PAGE for slug in slugs)


def _loaded(folder: Path, text: str) -> Config:
    path = folder / "demond.yaml"
    path.write_text(text)
    return load(path)


def _sources() -> str:
    return "".join(path.read_text() for path in (Path(__file__).parents[2] / "demond/osc").glob("*.py"))
