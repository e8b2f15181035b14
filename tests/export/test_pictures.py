"""The pictures and pages of the recipes show and say what the code does."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from demond.cli import app
from demond.config import load
from demond.export import open_stage_control, touchosc
from demond.mapping import load_mapping
from demond.pictures import BAR, FOLDER, PICTURES, SURFACES
from tests.export import touchosc_app

SUFFIXES = {"open-stage-control": ".json", "touchosc": ".tosc", "reaper": ".jsfx"}


def boxes(name: str) -> dict[str, list[tuple[float, float, float, float]]]:
    """What stands where in a picture, by what it is."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for rect in ET.fromstring((FOLDER / name).read_text()).iter("{http://www.w3.org/2000/svg}rect"):  # noqa: S314
        x, y, width, height = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
        found.setdefault(rect.get("data-is", ""), []).append((x, y, width, height))
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_no_picture_is_stale_or_large(name: str) -> None:
    drawn = PICTURES[name]()
    assert (FOLDER / name).read_text() == drawn, "run: python -m demond.pictures"
    assert len(drawn) < 30_000
    assert ET.fromstring(drawn).find("{http://www.w3.org/2000/svg}title") is not None  # noqa: S314


def test_widgets_stand_in_the_picture_where_the_session_has_them() -> None:
    made = SURFACES["tablet"]
    play = json.loads(open_stage_control.session(made))["content"]["tabs"][0]
    shown = boxes("open-stage-control.svg")
    seen = 0
    for widget in play["widgets"]:
        places = shown.get(widget.get("address", "?"), [])
        wanted = (
            [float(widget[key].removesuffix("%")) for key in ("left", "top", "width", "height")] if places else []
        )
        of = (made.layout.width, made.layout.height - BAR) * 2
        shares = [
            [100 * part / whole for part, whole in zip((x, y - BAR, w, h), of, strict=True)] for x, y, w, h in places
        ]
        assert not shares or pytest.approx(wanted, abs=0.01) in shares, widget
        seen += bool(shares)
    assert seen == sum(len(each) for name, each in shown.items() if name)


def test_controls_stand_in_the_picture_where_the_layout_has_them() -> None:
    root = touchosc_app.load(touchosc.layout(SURFACES["phone"], 9001))
    shown = boxes("touchosc.svg")
    slot = next(page for page in root.children[0].children if page.name == "slot")
    faders = [node for node in slot.children if node.kind == "FADER"]
    assert faders
    for node in faders:
        ((x, y, width, height),) = shown[node.messages[0].address.removesuffix("/norm")]
        left = 2 * (SURFACES["phone"].layout.width + 16)
        assert (x - left, y - slot.frame[1], width, height) == node.frame


def pages() -> list[Path]:
    return sorted(FOLDER.glob("*.md"))


def test_there_is_a_page_for_each_picture() -> None:
    assert {page.stem for page in pages()} == {Path(name).stem for name in PICTURES}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_shows_its_picture_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert f"]({page.stem}.svg)" in text
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).resolve().exists(), link


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_commands_and_mappings_on_a_page_are_right(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        (tmp_path / "mine.yaml").write_text(dedent(block))
        if dedent(block).startswith("osc:"):
            assert load(tmp_path / "mine.yaml").osc.allow == ["192.168.1.0/24"]
        else:
            assert load_mapping([tmp_path / "mine.yaml"]).warnings == ()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["demond", "export"]:
                file = tmp_path / f"file{SUFFIXES[words[2]]}"
                result = CliRunner().invoke(app, [*words[1:], "--offline", "--force", "-o", str(file)])
                assert result.exit_code == 0, result.output
                assert file.exists()
            elif words[:1] == ["demond"]:
                assert CliRunner().invoke(app, [words[1], "--help"]).exit_code == 0, line
