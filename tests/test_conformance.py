"""docs/conformance.md names a test for each line, and docs/osc.md, which it belongs to, is right."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from demond.config import Config, load
from demond.osc.query import EXTENSIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/osc.md").read_text()
CONFORMANCE = (ROOT / "docs/conformance.md").read_text()
HEADS = ("feature", "behaviour", "trap", "---")


def tables() -> dict[str, list[list[str]]]:
    """The lines of each table as cells, by the heading that they stand below."""
    found: dict[str, list[list[str]]] = {}
    for section in CONFORMANCE.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        lines = (line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("|"))
        found[heading] = [cells for cells in lines if cells[0] not in HEADS]
    return found


TABLES = tables()


def test_every_specification_has_its_table() -> None:
    specifications = ["OSC 1.0", "OSC 1.1", "OSCQuery", "MIDI 1.0", "JACK"]
    assert list(TABLES) == [*specifications, "Hands and controls", "Traps of real layouts"]
    assert all(len(cells) == 3 and all(cells) for rows in TABLES.values() for cells in rows)


@pytest.mark.parametrize("heading", TABLES)
def test_every_line_names_a_test_that_exists(heading: str) -> None:
    assert TABLES[heading]
    for *_, test in TABLES[heading]:
        module, _, name = test.strip("`").partition("::")
        assert name.startswith("test_")
        assert callable(getattr(import_module(f"tests.{module.replace('/', '.')}"), name, None)), test


def test_every_extension_that_oscquery_claims_has_a_line() -> None:
    features = " ".join(row[0] for row in TABLES["OSCQuery"])
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
    return "".join(path.read_text() for path in (ROOT / "demond/osc").glob("*.py"))
