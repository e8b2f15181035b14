"""The pages about controllers and mappings say what the profiles and the code do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demond.mapping import load_mapping
from demond.mapping.pages import filled, pages

DOCS = Path(__file__).parents[2] / "docs"


def test_no_page_is_stale_or_left_over() -> None:
    made = pages(DOCS)
    assert {path for path, text in made.items() if not path.exists() or path.read_text() != text} == set(), (
        "run: python -m demond.mapping.pages docs"
    )
    assert set((DOCS / "controllers").glob("*.md")) == {path for path in made if path.parent.name == "controllers"}


def test_every_row_of_every_table_says_something() -> None:
    for line in (DOCS / "mapping.md").read_text().splitlines():
        if line.startswith("| `"):
            assert len(line.split("|")[2].strip()) > 5, line


def test_the_examples_on_the_page_are_right(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (DOCS / "mapping.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        (tmp_path / "mine.yaml").write_text(example)
        mapping = load_mapping([tmp_path / "mine.yaml"])
        assert mapping.warnings == ()
        assert mapping.devices


def test_a_page_that_has_lost_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="one place for the table line"):
        filled("nothing")
