"""docs/sounds.md: its commands can be typed, and its pictures are of what they make with the model that ships."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from PIL import Image

from demond.reference import ROOT, generated
from demond.render.__main__ import app
from demond.render.pictures import weights
from demond.sounds import COVERS, FOLDER, SOURCES, Sound

PAGE = (ROOT / "docs/sounds.md").read_text()
SOUNDS = (*SOURCES, *COVERS)


def test_the_page_is_made_from_the_table() -> None:
    assert generated(PAGE) == PAGE
    commands = re.findall(r"```sh\n(.*?)\n```", PAGE)
    assert commands == [sound.command for sound in SOUNDS]
    assert re.findall(r"!\[.*?\]\((.*?)\)", PAGE) == [f"sounds/{sound.picture.name}" for sound in SOUNDS]


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name)
def test_a_command_on_the_page_is_one_that_render_takes(sound: Sound) -> None:
    program, name, *arguments = shlex.split(sound.command)
    assert (program, name) == ("demond", "render")
    context = typer.main.get_command(app).make_context(name, arguments)
    assert str(context.params["out"]) == f"{sound.name}.flac"
    assert (context.params["source"], context.params["seconds"]) == (sound.arguments[1], 8.0)


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name)
def test_a_picture_is_of_its_command_and_of_the_weights_that_ship(sound: Sound) -> None:
    with Image.open(sound.picture) as picture:
        assert picture.text == {"command": sound.command, "weights": weights()}, "run: make pictures"  # type: ignore[attr-defined]
        assert picture.width > 400


def test_the_pictures_are_small_and_none_is_left_over() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sizes.keys() == {sound.picture.name for sound in SOUNDS}
    assert max(sizes.values()) <= 60_000
    assert sum(sizes.values()) < 600_000
