"""Scenes, LFOs and lines that play on the stage, from YAML; and the file of stored scenes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.knobs import KNOBS, knob
from demond.mapping import MappingSource
from demond.mapping.loader import MappingError, load_mapping
from demond.scenes.modulate import Lfo, RateUnit, Shape
from demond.scenes.scene import Curve, Discrete, Scene, Span, Unit, read_span
from demond.scenes.store import Store
from demond.setting import Prompt, SetCurve, SetPrompt, SetSource, SetSteps
from tests.memory_control import MemoryControl
from tests.scenes.stand import Stand

SKETCH = """
demond: 1
scenes:
  intro: {program: 0, set: {denoise: 0.4}, morph: {time: 4 bars, curve: smooth, skip: [volume_db]}}
  drop:
    program: 1
    set: {denoise: 0.9, seed: 7, guidance_mode: full, sde: on}
    prompts: {a: "house, bright", b: {text: techno, bpm: 130}}
    source: loops/one.wav
    steps: 4
    curves: {protect: [0, 1, 0], sde_amp: off}
    discrete: at_end
    quantize: 2 bars
recall_safe: [mute]
lfos:
  feedback: {shape: triangle, every: 2 bars, depth: 0.1, centre: 0.5}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "set.yaml"
    path.write_text(text)
    return path


def test_scenes_and_lfos_are_read_from_a_mapping_file(tmp_path: Path) -> None:
    found = load_mapping([written(tmp_path, SKETCH)]).performance
    assert found.scenes["intro"] == Scene(
        "intro", {"denoise": 0.4}, program=0, time=Span(4, Unit.BARS), skip=frozenset({"volume_db"})
    )
    assert found.scenes["drop"] == Scene(
        "drop",
        {"denoise": 0.9, "seed": 7.0, "guidance_mode": 1.0, "sde": 1.0},
        (
            SetPrompt(slot="a", prompt=Prompt(text="house, bright")),
            SetPrompt(slot="b", prompt=Prompt(text="techno", bpm=130)),
            SetSource(path="loops/one.wav"),
            SetSteps(count=4),
            SetCurve(name="protect", values=(0, 1, 0)),
            SetCurve(name="sde_amp", values=None),
        ),
        program=1,
        discrete=Discrete.AT_END,
        quantize=Span(2, Unit.BARS),
    )
    assert found.safe == {"mute"}
    assert found.lfos == {"feedback": Lfo(Shape.TRIANGLE, 8.0, RateUnit.BEATS, 0.1, 0.5)}


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("  x: {set: {denoize: 1}}", "3:12", "did you mean 'denoise'"),
        ("  x: {set: {denoise: 2}}", "3:21", "denoise goes from 0 to 1; 2 is outside"),
        ("  x: {set: {guidance_mode: ful}}", "3:27", "did you mean 'full'"),
        ("  x: {morph: {time: 4 bear}}", "3:21", "4 bars"),
        ("  x: {morph: {tmie: 4 bars}}", "3:15", "did you mean 'time'"),
        ("  x: {morph: {skip: [volume]}}", "3:22", "did you mean 'volume_db'"),
        ("  x: {discrete: at_ent}", "3:17", "at_end"),
        ("  x: {quantize: 3 s}", "3:16", "beat, bar"),
        ("  x: {source: a.wav, silence: 3}", "3:31", "not both"),
        ("  x: {program: 128}", "3:15", "127"),
        ("  morph: {}", "3:10", "means something else"),
        ("  a: {program: 2}\n  b: {program: 2}", "4:16", "program 2 is the scene a already"),
    ],
)
def test_a_mistake_in_a_scene_is_said_with_its_place(tmp_path: Path, line: str, place: str, words: str) -> None:
    with pytest.raises(MappingError) as error:
        load_mapping([written(tmp_path, f"demond: 1\nscenes:\n{line}\n")])
    [problem] = error.value.problems
    assert words in problem.message
    assert place.partition(":")[0] == str(problem.line)


def test_buttons_and_faders_play_on_the_stage(tmp_path: Path) -> None:
    text = """
demond: 1
devices: {nk2: {profile: korg/nanokontrol2}}
maps:
  - {from: nk2/solo1, to: scene/drop, mode: trigger}
  - {from: nk2/fader1, to: scene/morph}
  - {from: nk2/rec1, to: scene/undo}
  - {from: "osc:/tap", to: transport/tap}
scenes:
  drop: {set: {denoise: 0.1}}
"""
    control = MemoryControl()
    source = MappingSource([written(tmp_path, text)], control)
    assert source.load() is None
    assert source.mapping.warnings == ()
    before = control.value("denoise")
    source.midi("nanoKONTROL2", [bytes([0xB0, 32, 127])], 0)
    assert control.value("denoise") == 0.1
    source.midi("nanoKONTROL2", [bytes([0xB0, 0, 127])], 0)
    source.midi("nanoKONTROL2", [bytes([0xB0, 64, 127])], 0)
    assert control.value("denoise") == before
    assert source.journal.since(0, 10)[-1].outcome.endswith("scene/undo")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{from: nk2/fader1, to: scene/drop}", "played by a button"),
        ("{from: nk2/solo1, to: scene/morph}", "takes the position of a fader"),
        ("{from: nk2/solo1, to: transport/tab}", "did you mean 'transport/tap'"),
        ("{from: nk2/solo1, to: scene/drop, value: 3}", "takes no value"),
        ("{from: nk2/fader1, to: denoise, quantize: bar}", "quantize goes with a scene"),
    ],
)
def test_a_line_that_cannot_play_on_the_stage_is_refused(tmp_path: Path, line: str, words: str) -> None:
    text = f"demond: 1\ndevices: {{nk2: {{profile: korg/nanokontrol2}}}}\nmaps:\n  - {line}\n"
    with pytest.raises(MappingError, match=words):
        load_mapping([written(tmp_path, text)])


def test_a_line_for_a_scene_that_no_file_has_is_warned_of(tmp_path: Path) -> None:
    text = 'demond: 1\nmaps: [{from: "osc:/go", to: scene/dorp}]\nscenes: {drop: {}}\n'
    [warning] = load_mapping([written(tmp_path, text)]).warnings
    assert "did you mean 'drop'" in warning.message


def test_midi_clock_from_a_port_says_the_tempo(tmp_path: Path) -> None:
    control = MemoryControl()
    source = MappingSource([written(tmp_path, "demond: 1\n")], control)
    source.hear_clock(lambda port, clock, t: control.stage.midi_clock(port, clock.kind, clock.sixteenths, t))
    assert source.load() is None
    now = control.clock()
    source.midi("drum machine", [b"\xfa"], now)
    for i in range(96):
        source.midi("drum machine", [b"\xf8"], now + round(i * 60e9 / 140 / 24))
    assert control.stage.transport.bpm == pytest.approx(140, rel=1e-6)
    assert control.stage.transport.follows(now + 2_000_000_000) == "midi drum machine"


def test_the_example_of_the_page_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/scenes.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert load_mapping([written(tmp_path, example)]).warnings == ()


def test_a_reload_begins_and_ends_the_lfos_of_the_files(tmp_path: Path) -> None:
    control = MemoryControl()
    source = MappingSource([written(tmp_path, SKETCH)], control)
    assert source.load() is None
    assert control.stage.modulators.lfo("feedback") is not None
    written(tmp_path, "demond: 1\n")
    assert source.load() is None
    assert control.stage.modulators.lfo("feedback") is None


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)
_SETTINGS = st.tuples(
    _TEXT.map(lambda text: SetPrompt(slot="a", prompt=Prompt(text=text))),
    st.one_of(st.none(), st.floats(1, 240)).map(lambda s: SetSource(silence=s)),
    st.integers(1, 64).map(lambda n: SetSteps(count=n)),
    st.one_of(st.none(), st.lists(st.floats(0, 1), min_size=1, max_size=5).map(tuple)).map(
        lambda values: SetCurve(name="protect", values=values)
    ),
)
_SCENES = st.builds(
    Scene,
    st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True).map("s{}".format),
    st.dictionaries(st.sampled_from([one.name for one in KNOBS]), st.floats(0, 1)).map(
        lambda travels: {name: knob(name).from_norm(travel) for name, travel in travels.items()}
    ),
    _SETTINGS,
    st.one_of(st.none(), st.integers(0, 127)),
    st.builds(Span, st.integers(0, 64).map(float), st.sampled_from(list(Unit))),
    st.sampled_from(list(Curve)),
    st.sampled_from(list(Discrete)),
    st.frozensets(st.sampled_from([one.name for one in KNOBS]), max_size=3),
    st.one_of(st.none(), st.builds(Span, st.integers(1, 8).map(float), st.sampled_from([Unit.BEATS, Unit.BARS]))),
    st.just(True),
)


@settings(max_examples=60, deadline=None)
@given(scene=_SCENES)
def test_what_is_stored_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> None:
    store = Store(tmp_path_factory.mktemp("state") / "scenes.yaml")
    store.save({scene.name: scene})
    assert store.load() == ({scene.name: scene}, "")


def test_a_snapshot_of_everything_survives_the_file(tmp_path: Path) -> None:
    stand = Stand()
    stand.hand(denoise=0.123, seed=4_294_967_295)
    stand.stage.library.store("mine", 9)
    store = Store(tmp_path / "deep/scenes.yaml")
    store.save(stand.stage.library.stored)
    assert store.load() == (stand.stage.library.stored, "")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["scenes.yaml"]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "scenes.yaml"
    path.write_text("demond: 1\nscenes: {x: {set: {denoise: 9}}}\n")
    scenes, remark = Store(path).load()
    assert scenes == {}
    assert "scenes.damaged.yaml" in remark
    assert not path.exists()
    assert Store(path).load() == ({}, "")


@pytest.mark.parametrize("text", ["4 bars", "1 bar", "2 beats", "1.5 s", "0 s"])
def test_a_span_is_written_as_it_is_read(text: str) -> None:
    assert str(read_span(text)) == text
