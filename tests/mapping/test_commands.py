"""`demond fmt`, `demond schema` and `demond check`, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demond.cli import app

UNTIDY = "demond: 1\nmaps:\n- {to: denoise, from: 'osc:/x'}   # mine\n"


def demond(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_fmt_lays_a_file_out_once(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(UNTIDY)
    assert demond("fmt", "--check", path)[0] == 1
    assert path.read_text() == UNTIDY
    assert demond("fmt", path)[0] == 0
    assert path.read_text() == "demond: 1\nmaps:\n  - {from: 'osc:/x', to: denoise} # mine\n"
    assert demond("fmt", "--check", path) == (0, "")


def test_fmt_refuses_a_broken_file_with_its_place_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("demond: [1\n")
    status, said = demond("fmt", path)
    assert status == 2
    assert f"{path}:2:1:" in said
    assert path.read_text() == "demond: [1\n"


@pytest.mark.parametrize("kind", ["mapping", "profile"])
def test_schema_prints_a_json_schema(kind: str) -> None:
    status, said = demond("schema", kind)
    assert status == 0
    assert json.loads(said)["$schema"].startswith("https://json-schema.org/")


def test_check_warns_of_a_control_that_is_mapped_twice(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "demond: 1\nmaps:\n  - {from: 'osc:/x', to: denoise}\n  - {from: 'osc:/x', to: shift}\n",
    )
    status, said = demond("check", path)
    assert status == 0
    assert f"warning: {path}:4:12: osc:/x is already mapped in line 3" in said
