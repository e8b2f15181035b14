"""What is inside by name: the daemon's list is the engine's, and a name may stand wherever a file or a text may."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from demond import built_in
from demond.cli import app
from demond.commands.session import _clips, _prompts
from demond.config import Engine, load
from demond.control import RefusedError
from demond.engine_session import _clip
from demond.mapping.json_schema import json_schema
from demond.mapping.loader import load_mapping
from demond.roots import Roots
from demond.session import Session
from demond.setting import Prompt, SetCheckpoint, SetPrompt, SetSource, SetStructure, SetTarget, SetTimbre
from demond.strict_yaml import YamlError
from engine import embedded

CLIPS = (SetSource, SetTimbre, SetStructure, SetTarget)


def test_both_lists_are_one() -> None:
    assert list(built_in.CLIPS) == list(embedded.CLIPS)
    assert built_in.PROMPTS == embedded.PROMPTS
    assert embedded.CLIPS[next(iter(built_in.CLIPS))] == embedded.CLIP


@pytest.mark.parametrize("name", built_in.CLIPS)
def test_a_clip_is_as_long_as_its_bars_and_tempo_say(name: str) -> None:
    info, bpm = soundfile.info(embedded.CLIPS[name]), float(name.partition("-")[2])
    assert info.duration == pytest.approx(built_in.CLIPS[name].bars * 4 * 60 / bpm)


def test_a_settings_file_names_loops_and_prompts(tmp_path: Path) -> None:
    path = tmp_path / "demond.yaml"
    path.write_text(
        "engine: {source: lofi-75, structure: trap-150, target: beat.wav, prompt_a: {named: neon, bpm: 100}}\n"
    )
    config = load(path)
    session = config.engine.session()
    assert (session.source, session.path("structure")) == (SetSource(path="lofi-75"), "trap-150")
    assert session.path("target") == str(tmp_path / "beat.wav")
    assert session.prompt("a") == Prompt(text=built_in.PROMPTS["neon"], bpm=100)
    assert Roots.of(config).folders == (tmp_path, (Path.home() / "Music").resolve())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("engine: {prompt_a: {named: neno}}", r":1:28: no prompt is called 'neno'; did you mean 'neon'\?"),
        ("engine: {prompt_a: {named: x}}", "no prompt is called 'x'; there are warehouse, neon, .*cellar"),
        ("engine: {prompt_a: {named: neon, text: house}}", "a text or the name of one, not both"),
        ("engine: {prompt_a: {txet: house}}", "did you mean 'text'"),
    ],
)
def test_a_mistake_in_a_prompt_is_named_where_it_stands(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "demond.yaml"
    path.write_text(line)
    with pytest.raises(YamlError, match=words):
        load(path)


def test_a_scene_names_them_too(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("demond: 1\nscenes:\n  night: {source: trap-150, prompts: {a: {named: cloud}, b: attic}}\n")
    night = load_mapping([path]).performance.scenes["night"]
    assert night.settings == (
        SetPrompt(slot="a", prompt=Prompt(text=built_in.PROMPTS["cloud"])),
        SetPrompt(slot="b", prompt=Prompt(text="attic")),
        SetSource(path="trap-150"),
    )


def test_an_editor_is_told_the_names() -> None:
    schema = json_schema("mapping")["$defs"]["NamedPrompt"]["properties"]["named"]
    assert schema["enum"] == list(built_in.PROMPTS)


@pytest.mark.parametrize("kind", CLIPS)
def test_a_name_needs_no_root_and_leads_to_the_file_inside(kind: type[SetSource]) -> None:
    setting = kind(path="lofi-75")
    assert Roots([]).admitted(setting, Session()) == setting
    assert setting.files == ()
    assert _clip("lofi-75") == embedded.CLIPS["lofi-75"]
    assert _clip("lofi-76") == Path("lofi-76")


def test_a_misspelt_name_gets_the_nearest_with_and_without_roots(tmp_path: Path) -> None:
    for roots in (Roots([]), Roots([tmp_path])):
        with pytest.raises(RefusedError, match="there is no lofi75; did you mean 'lofi-75'") as caught:
            roots.admitted(SetSource(path="lofi75"), Session())
        assert caught.value.code == 404
    with pytest.raises(RefusedError) as caught:
        Roots([tmp_path]).admitted(SetCheckpoint(path="lofi75"), Session())
    assert "did you mean" not in str(caught.value)


def test_the_command_line_lists_them_without_a_daemon() -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["source", "--list"])
    assert (listed.exit_code, listed.stdout.splitlines()[2].split(maxsplit=1)) == (
        0,
        ["lofi-75", "lofi, 75 bpm, d dorian, 4 bars"],
    )
    assert runner.invoke(app, ["prompt", "--list"]).stdout.count("120 bpm") == 6
    for arguments, words in (
        (["prompt", "a", "--named", "neno"], "did you mean 'neon'"),
        (["prompt", "a", "house", "--named", "neon"], "not both"),
    ):
        refused = runner.invoke(app, arguments)
        assert (refused.exit_code, words in refused.output) == (2, True)


def test_the_shell_completes_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loops").mkdir()
    (tmp_path / "loops/one.wav").touch()
    assert _clips("lo") == ["lofi-75", "loops"]
    assert _clips("loops/") == ["loops/one.wav"]
    assert _clips("**[") == []
    assert _clips("") == [*built_in.CLIPS, "loops"]
    assert _prompts("c") == ["cloud", "cellar"]


def test_a_name_is_a_default_of_nobody() -> None:
    """Named, the first loop is remembered like any other; its own name tells it from a later default."""
    assert Engine().session().source == SetSource()
    assert not SetSource(path="house-120").is_default
