"""The settings file: everything has a safe default, every mistake a place and a remedy."""

from pathlib import Path

import pytest

from demond.config import Config, default_path, load, usual_depth
from demond.setting import Prompt, SetSource
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
        ("engine: {backend: turbo}\n", ":1:19:", "graph"),
        ("jack: {period: 100}\n", ":1:16:", "power of two"),
        ("osc: {bind: everywhere}\n", ":1:13:", "127.0.0.1"),
        ("osc: {allow: [{network: 10.0.0.0/8, may: everything}]}\n", ":1:", "command"),
        ("osc: {clients: [{name: a, host: tablet, port: 9001}]}\n", ":1:33:", "127.0.0.1"),
        ("osc: {clients: [{name: a, host: 10.0.0.1}]}\n", ":1:17:", "port"),
        ("osc: {query: {port: 70000}}\n", ":1:21:", "65535"),
        ("osc: {allow: [tablet]}\n", ":1:15:", "192.168.1.0/24"),
        ("midi: {backend: coremidi}\n", ":1:17:", "jack"),
        ("tempo: {sync: link}\n", ":1:15:", "jack"),
        ("tempo: {bpm: 10}\n", ":1:14:", "20"),
        ("tempo: {sync: jack, lead: true}\n", ":1:27:", "other than jack"),
        ("engine: [\n", ":2:1:", ""),
        ("engine: {prompt_a: {text: house, bmp: 120}}\n", ":1:34:", "'bpm'"),
        ("engine: {prompt_a: {bpm: 900}}\n", ":1:26:", "400"),
        ("engine: {prompt_a: {time_signature: waltz}}\n", ":1:37:", "4/4"),
        ("engine: {source: {silence: 900}}\n", ":1:28:", "240"),
        ("engine: {curves: {protekt: [1]}}\n", ":1:18:", "'protect'"),
        ("engine: {loras: [{strength: 1}]}\n", ":1:18:", "file"),
        ("engine: {loras: [{file: a, strength: 9}]}\n", ":1:38:", "4"),
        ("state: kept\n", ":1:8:", "keep"),
        ("roots: loops\n", ":1:8:", "list"),
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


def test_everything_that_a_performer_can_set_can_be_configured(tmp_path: Path) -> None:
    engine = load(
        written(
            tmp_path,
            """
roots: [loops, ~/elsewhere]
state: forget
engine:
  source: {silence: 30}
  timbre: horn.flac
  structure: beat.wav
  context: 20
  prompt_a: {text: house, lyrics: la la, language: de, bpm: 124, key: a minor, time_signature: 4/4}
  prompt_b: ambient
  negative: vocals
  loras: [{file: loras/old tape.safetensors, strength: 0.5}]
  lora_folder: loras
  backend: eager
  engine_folder: engines
  curves: {protect: [0, 0.5, 7]}
  cache: /var/cache/demond
""",
        )
    )
    assert (engine.roots, engine.state) == ([tmp_path / "loops", Path.home() / "elsewhere"], "forget")
    session = engine.engine.session()
    assert (engine.engine.backend, engine.engine.engine_folder) == ("eager", tmp_path / "engines")
    assert session.source == SetSource(silence=30)
    assert (session.path("timbre"), session.path("structure")) == (f"{tmp_path}/horn.flac", f"{tmp_path}/beat.wav")
    assert session.prompt("a") == Prompt(
        text="house", lyrics="la la", language="de", bpm=124, key="a minor", time_signature="4/4"
    )
    assert (session.prompt("b").text, session.prompt("negative").text) == ("ambient", "vocals")
    assert session.loras["old_tape"].strength == 0.5
    assert session.curves == {"protect": (0, 0.5, 1)}
    assert (session.context, session.steps, session.depth) == (20, 8, usual_depth("auto"))
