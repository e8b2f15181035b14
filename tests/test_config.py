"""The settings file: everything has a safe default, every mistake a place and a remedy."""

from pathlib import Path

import pytest

from demond.config import Config, default_path, load
from demond.strict_yaml import YamlError


def written(folder: Path, text: str) -> Path:
    path = folder / "demond.yaml"
    path.write_text(text)
    return path


def test_without_a_file_nothing_is_open_to_the_network() -> None:
    config = load(None)
    assert config == Config()
    assert (config.osc.bind, config.osc.port, config.osc.allow) == ("127.0.0.1", 9600, [])


def test_what_is_said_counts_and_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    config = load(
        written(
            tmp_path,
            """
jack: {client: left, connect: [system:playback_3, system:playback_4]}
engine: {source: loops/one.wav, depth: 2}
mappings: [mine.yaml]
""",
        )
    )
    assert config.jack.connect == ["system:playback_3", "system:playback_4"]
    assert config.engine.source == tmp_path / "loops/one.wav"
    assert config.mappings == [tmp_path / "mine.yaml"]
    assert config.engine.steps == 8


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("jack:\n  cleint: left\n", ":2:3:", "client"),
        ("engine: {depth: 9}\n", ":1:17:", "8"),
        ("jack: {period: 100}\n", ":1:16:", "power of two"),
        ("osc: {bind: everywhere}\n", ":1:13:", "127.0.0.1"),
        ("osc: {allow: [tablet]}\n", ":1:14:", "192.168.1.0/24"),
        ("midi: {backend: coremidi}\n", ":1:17:", "jack"),
        ("engine: [\n", ":2:1:", ""),
    ],
)
def test_a_mistake_has_a_place_and_a_remedy(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(YamlError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}{place}")
    assert words in str(caught.value)
    assert "Input should" not in str(caught.value)


def test_the_users_own_file_comes_before_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "demond").mkdir()
    path = tmp_path / "demond/demond.yaml"
    path.write_text("{}\n")
    assert default_path() == path
