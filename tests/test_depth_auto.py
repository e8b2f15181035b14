"""The depth `auto` on its way from whoever asks for it to the engine; `engine.pace` has what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from demond.cli import app
from demond.config import Engine, load
from demond.osc.codec import OscError
from demond.osc.namespace import target_of
from demond.osc.settings import setting_of, told
from demond.session import Session
from demond.setting import SetDepth
from demond.strict_yaml import YamlError


def test_the_settings_file_may_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "demond.yaml"
    path.write_text("engine: {depth: auto, knob_ms: 120}\n")
    engine = load(path).engine
    assert (engine.depth, engine.knob_ms) == ("auto", 120)
    assert engine.session().depth == "auto"


@pytest.mark.parametrize(
    ("device", "driver", "cores", "depth"),
    [
        ("auto", False, 2, 2),
        ("auto", False, 64, 4),
        ("auto", True, 2, 4),
        ("cuda:1", False, 2, 4),
        ("cpu", True, 1, 1),
        ("cpu", True, None, 1),
    ],
)
def test_where_nothing_is_said_there_are_no_more_slots_than_cores_unless_a_gpu_plays(
    device: str, driver: bool, cores: int | None, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("demond.config.NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    assert Engine(device=device).session().depth == depth
    assert Engine(device=device, depth=7).session().depth == 7
    assert Engine(device=device, depth="auto").session().depth == "auto"


@pytest.mark.parametrize("wrong", ["depth: most", "depth: 9", "depth: 0", "knob_ms: 0", "knob_ms: never"])
def test_what_is_no_depth_is_said_with_its_place(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "demond.yaml"
    path.write_text(f"engine: {{{wrong}}}\n")
    with pytest.raises(YamlError, match=r"demond.yaml:1:\d+: "):
        load(path)


def test_the_command_line_refuses_what_is_no_depth() -> None:
    for wrong in ("most", "9", "-1"):
        ended = CliRunner().invoke(app, ["run", f"--depth={wrong}"])
        assert ended.exit_code == 2
        assert "engine: 'depth' must be 1 to 8, or auto, not" in ended.stderr


def test_a_setting_of_it_outlives_the_daemon() -> None:
    setting = SetDepth(count="auto")
    assert SetDepth.model_validate_json(setting.model_dump_json()) == setting
    assert not setting.is_default
    assert Session([setting, SetDepth(count=3)]).depth == 3
    with pytest.raises(ValidationError):
        SetDepth(count="automatic")  # type: ignore[arg-type]


def test_osc_may_ask_for_it_and_is_told() -> None:
    target = target_of("/demond/depth")
    assert target is not None
    session = Session()
    assert setting_of(target, ("auto",), session) == SetDepth(count="auto")
    assert setting_of(target, (3,), session) == SetDepth(count=3)
    assert told(target, Session([SetDepth(count="auto")])) == ("auto",)
    for wrong in (("autp",), (9,), ("auto", 1)):
        with pytest.raises(OscError):
            setting_of(target, wrong, session)
