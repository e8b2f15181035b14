"""Which files OSC may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from demond.config import Config, Engine, Lora
from demond.control import RefusedError
from demond.roots import Roots
from demond.session import Session
from demond.setting import SetCurve, SetLora, SetSource, SetTimbre


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("loops/one.wav", "loops/deep/two.wav", "more/three.wav", "loras/tape.safetensors", "secret/key.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.fixture
def roots(tree: Path) -> Roots:
    return Roots([tree / "loops", tree / "more"], tree / "loras")


def refusal(roots: Roots, named: str) -> tuple[int, str]:
    with pytest.raises(RefusedError) as refused:
        roots.find(named)
    return refused.value.code, str(refused.value)


def test_files_below_the_roots_are_found_by_whole_and_by_relative_paths(roots: Roots, tree: Path) -> None:
    assert roots.find(str(tree / "loops/deep/two.wav")) == tree / "loops/deep/two.wav"
    assert roots.find("deep/two.wav") == tree / "loops/deep/two.wav"
    assert roots.find("three.wav") == tree / "more/three.wav"
    assert roots.find("../more/three.wav") == tree / "more/three.wav"
    assert roots.find("tape.safetensors") == tree / "loras/tape.safetensors"


@pytest.mark.parametrize("name", ["secret/key.wav", "secret/nothing.wav"])
def test_a_path_outside_is_denied_whether_it_exists_or_not(roots: Roots, tree: Path, name: str) -> None:
    for named in (str(tree / name), f"../{name}", f"deep/../../{name}"):
        code, words = refusal(roots, named)
        assert code == 403
        assert str(tree / "loops") in words


def test_a_link_out_of_a_root_leads_nowhere(roots: Roots, tree: Path) -> None:
    (tree / "loops/link.wav").symlink_to(tree / "secret/key.wav")
    (tree / "loops/folder").symlink_to(tree / "secret")
    for name in ("link.wav", "folder/key.wav"):
        assert refusal(roots, str(tree / "loops" / name))[0] == 403
        assert refusal(roots, name)[0] == 404
    (tree / "loops/inner.wav").symlink_to(tree / "more/three.wav")
    assert roots.find("inner.wav") == tree / "more/three.wav"


def test_a_misspelt_file_gets_the_nearest(roots: Roots) -> None:
    assert refusal(roots, "onne.wav") == (404, "there is no onne.wav; did you mean 'one.wav'?")
    assert refusal(roots, "deep/tow.wav") == (404, "there is no deep/tow.wav; did you mean 'two.wav'?")


@pytest.mark.parametrize("named", ["a\0b", "x" * 5000, "~nobody-is-called-so/x.wav"])
def test_what_is_no_path_is_refused(roots: Roots, named: str) -> None:
    code, words = refusal(roots, named)
    assert code in (400, 404)
    assert len(words) < 300


def test_a_loop_of_links_is_refused(roots: Roots, tree: Path) -> None:
    (tree / "loops/a").symlink_to("b")
    (tree / "loops/b").symlink_to("a")
    assert refusal(roots, "a")[0] in (400, 404)


def test_settings_get_whole_paths_and_those_without_paths_pass(roots: Roots, tree: Path) -> None:
    session = Session()
    assert roots.admitted(SetTimbre(path="one.wav"), session) == SetTimbre(path=str(tree / "loops/one.wav"))
    assert roots.admitted(SetTimbre(path=None), session) == SetTimbre(path=None)
    assert roots.admitted(SetSource(silence=3), session) == SetSource(silence=3)
    curve = SetCurve(name="protect", values=(1.0,))
    assert roots.admitted(curve, session) == curve


def test_a_lora_is_found_by_its_name_loaded_or_in_its_folder(roots: Roots, tree: Path) -> None:
    named = SetLora(name="tape", strength=0.5)
    assert roots.admitted(named, Session()) == SetLora(
        name="tape", path=str(tree / "loras/tape.safetensors"), strength=0.5
    )
    loaded = Session([SetLora(name="tape", path=str(tree / "more/tape.safetensors"), strength=1)])
    (tree / "more/tape.safetensors").touch()
    assert roots.admitted(named, loaded) == SetLora(
        name="tape", path=str(tree / "more/tape.safetensors"), strength=0.5
    )
    (tree / "more/tape.safetensors").unlink()
    taken_off = roots.admitted(SetLora(name="tape", strength=None), loaded)
    assert taken_off == SetLora(name="tape", path=str(tree / "more/tape.safetensors"), strength=None)
    with pytest.raises(RefusedError, match=r"no LoRA called 'tapes' .*did you mean 'tape'") as refused:
        roots.admitted(SetLora(name="tapes", strength=1), Session())
    assert refused.value.code == 404


def test_two_loras_of_one_name_are_one_too_many(roots: Roots, tree: Path) -> None:
    (tree / "more/tape.safetensors").touch()
    loaded = Session([SetLora(name="tape", path=str(tree / "loras/tape.safetensors"), strength=1)])
    other = SetLora(name="tape", path=str(tree / "more/tape.safetensors"), strength=1)
    with pytest.raises(RefusedError, match="take it off first") as refused:
        roots.admitted(other, loaded)
    assert refused.value.code == 409


def test_without_a_word_only_the_folders_of_what_is_configured_and_the_music_folder_are_open(tree: Path) -> None:
    assert Roots.of(Config()).folders == (Path.home().resolve() / "Music",)
    engine = Engine(
        source=tree / "loops/one.wav", checkpoint=tree / "more", loras=[Lora(file=tree / "loras/tape.safetensors")]
    )
    assert Roots.of(Config(engine=engine)).folders == (
        tree / "loops",
        tree / "loras",
        tree / "more",
        Path.home().resolve() / "Music",
    )
    assert Roots.of(Config(engine=engine, roots=[tree / "secret"])).folders == (tree / "secret",)
    assert Roots.of(Config(roots=[])).folders == ()
    assert refusal(Roots.of(Config(roots=[])), "one.wav")[0] == 403
