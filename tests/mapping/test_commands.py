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


@pytest.mark.parametrize("kind", ["mapping", "profile", "settings"])
def test_schema_prints_a_json_schema(kind: str) -> None:
    status, said = demond("schema", kind)
    assert status == 0
    assert json.loads(said)["$schema"].startswith("https://json-schema.org/")


def test_fmt_is_a_filter_for_editors() -> None:
    piped = CliRunner().invoke(app, ["fmt", "-"], input=UNTIDY)
    assert (piped.exit_code, piped.output) == (0, "demond: 1\nmaps:\n  - {from: 'osc:/x', to: denoise} # mine\n")
    broken = CliRunner().invoke(app, ["fmt", "-"], input="demond: [1\n")
    assert broken.exit_code == 2
    assert "stdin:2:1:" in broken.output
    assert CliRunner().invoke(app, ["fmt", "--check", "-"], input=UNTIDY).exit_code == 1


def test_check_tells_an_editor_each_mistake_and_warning_with_its_place(tmp_path: Path) -> None:
    path, right = tmp_path / "m.yaml", tmp_path / "right.yaml"
    path.write_text("demond: 1\nmaps:\n  - {from: 'osc:/x', to: denoize}\n  - {from: 'osc:/y', to: shft}\n")
    right.write_text("demond: 1\nmaps:\n  - {from: 'osc:/x', to: shift}\n  - {from: 'osc:/x', to: denoise}\n")
    status, said = demond("check", "--json", path, right, tmp_path / "none.yaml")
    assert status == 1
    found = json.loads(said)
    places = [(Path(each["file"]).name, each["line"], each["column"], each["severity"]) for each in found]
    assert places == [
        ("m.yaml", 3, 26, "error"),
        ("m.yaml", 4, 26, "error"),
        ("right.yaml", 4, 12, "warning"),
        ("none.yaml", 1, 1, "error"),
    ]
    assert "'denoise'" in found[0]["message"]
    assert demond("check", "--json", right)[0] == 0


def test_check_warns_of_a_control_that_is_mapped_twice(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "demond: 1\nmaps:\n  - {from: 'osc:/x', to: denoise}\n  - {from: 'osc:/x', to: shift}\n",
    )
    status, said = demond("check", path)
    assert status == 0
    assert f"warning: {path}:4:12: osc:/x is already mapped in line 3" in said
