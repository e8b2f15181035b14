"""The files are what the programs that read them document, whatever names are in them."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.export import open_stage_control, reaper, touchosc
from demond.export.instrument import (
    Instrument,
    StrangeAnswerError,
    read_knobs,
    read_named,
    read_scenes,
)
from demond.export.surface import surface
from demond.export.widgets import LAYOUTS, TABLET, Layout, Page, Placed, Role, Section, Shape, Surface, Widget
from demond.knobs import KNOBS, described
from demond.mapping import SHIPPED
from demond.mapping.layout import formatted
from tests.export import open_stage_control_app, touchosc_app
from tests.export.jsfx import Effect

LIVE = Instrument(scenes=("drop", "007", "1e3", "false", "auto"), loras=("warm", "a&b<c>'\"^x"))
LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)


def one_page(text: str) -> Surface:
    """A page with a widget of every shape, all called `text`."""
    widgets = [
        Widget(shape, Role.SHARED, text, "" if shape is Shape.LABEL else f"/x/{shape.value}", unit=text)
        for shape in Shape
    ]
    choices = ((text, "one"), ("other", 2.0))
    placed = [
        Placed(replace(widget, sends="one", choices=choices if widget.shape is Shape.CHOICE else ()), i % 8, i // 8)
        for i, widget in enumerate(widgets)
    ]
    page = Page(text or "empty", tuple(placed))
    other = Page("2", (Placed(Widget(Shape.BUTTON, Role.SCENE, text, "/y"), 0, 0),))
    return Surface(TABLET, (Section(page.title, Role.SHARED, (page,)), Section("more", Role.SCENE, (other, other))))


@LAYOUT
def test_an_open_stage_control_session_is_what_its_documentation_says(layout: Layout) -> None:
    made = surface(LIVE, layout)
    widgets = open_stage_control_app.validate(open_stage_control.session(made))
    by_address = {widget["address"]: widget for widget in widgets if "address" in widget}
    assert {widget.address for widget in made.widgets()} <= by_address.keys()
    volume = next(w for w in widgets if w["type"] == "fader" and w["address"] == "/demond/knob/volume_db")
    assert volume["range"] == {"min": -60, "max": 6}
    assert by_address["/demond/knob/denoise/reset"]["mode"] == "momentary"
    assert by_address["/demond/prompt/a/text"]["type"] == "input"
    assert by_address["/demond/scene/drop"]["label"] == "drop"
    # Names that would be read as numbers, switches or the widget's id are shown as they are.
    for name in ("007", "1e3", "false", "auto"):
        label = by_address[f"/demond/scene/{name}"]["label"]
        assert label.lstrip("\u200b") == name
        assert label != name or name == "007"


def test_the_command_that_starts_open_stage_control_has_its_documented_options() -> None:
    command = open_stage_control.launch("my set.json", "my set.js", "192.168.1.5", 9600, 9001)
    assert dict(zip(command[1::2], command[2::2], strict=True)) == {
        "--load": "my set.json",
        "--custom-module": "my set.js",
        "--send": "192.168.1.5:9600",
        "--osc-port": "9001",
    }


def test_both_surfaces_subscribe_again_when_demond_was_restarted_and_not_before() -> None:
    made = surface(LIVE, TABLET)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as daemon:
        daemon.bind(("127.0.0.1", 0))
        port = daemon.getsockname()[1]
        page = open_stage_control_app.App(open_stage_control.session(made), open_stage_control.MODULE, port)
        tablet = touchosc_app.App(touchosc.layout(made, 9001), port)
        page.open()
        for uptime, hellos in ((100.0, 1), (105.0, 1), (2.5, 2), (7.5, 2)):
            for app in (page, tablet):
                app.take("/demond/pong", ["1.0", uptime, 1])
            page.pass_time()
            sent = [[address for address, _ in app.wire.sent] for app in (page, tablet)]
            assert sent[1].count("/demond/subscribe") == hellos
            assert sent[0].count("/demond/subscribe") == 1 + hellos, "once when it was opened"
        for app in (page, tablet):
            subscription = next(arguments for address, arguments in app.wire.sent if address == "/demond/subscribe")
            assert ("s", "text") in subscription
            app.wire.close()


@LAYOUT
def test_a_touchosc_layout_is_what_is_known_of_the_format(layout: Layout) -> None:
    file = touchosc.layout(surface(LIVE, layout), 9001)
    root = touchosc_app.load(file)
    assert file == touchosc.layout(surface(LIVE, layout), 9001), "the same surface is the same file"
    assert root.frame == (0, 0, layout.width, layout.height)
    pager, status = root.children
    assert (pager.kind, status.name) == ("PAGER", "status")
    sections = pager.children
    assert [section.properties["tabLabel"] for section in sections] == [
        section.title for section in surface(LIVE, layout).sections
    ]
    for section in sections:
        pages = section.children[0].children if section.children[0].kind == "PAGER" else [section]
        for page in pages:
            _, _, width, height = page.frame
            boxes = [node.frame for node in page.children]
            assert all(0 <= x < x + w <= width and 0 <= y < y + h <= height for x, y, w, h in boxes)
    names = {node.values["text"] for node in touchosc_app.every(root) if node.kind == "LABEL"}
    assert {*LIVE.scenes, *LIVE.loras} <= names


def test_a_reaper_effect_has_a_slider_for_each_knob_in_its_unit() -> None:
    effect = Effect(reaper.effect(Instrument()))
    assert [slider.label.split()[0] for slider in effect.sliders] == [knob.name for knob in KNOBS]
    for slider, knob in zip(effect.sliders, KNOBS, strict=True):
        assert (slider.low, slider.default) == (knob.minimum, knob.default)
        assert slider.high == (16_383 if knob.name == "seed" else knob.maximum)
        assert slider.words[: len(knob.choices)] == knob.choices


def test_a_reaper_effect_sends_what_moves_and_when_playing_starts_what_has_moved() -> None:
    effect = Effect(reaper.effect(Instrument()))
    assert effect.block() == []
    assert effect.block("903c40", "803c00") == ["903c40", "803c00"], "other MIDI goes through"
    effect.values[10] = 6.0
    top_of_volume = ["b06300", "b06209", "b0067f", "b0267f"]
    assert effect.block() == top_of_volume
    assert effect.block() == []
    effect.values[1] = 0.5
    assert effect.block() == ["b06300", "b06200", "b00640", "b02600"]
    assert effect.block(playing=True) == ["b06300", "b06200", "b00640", "b02600", *top_of_volume]
    assert effect.block(playing=True) == []


def test_the_ready_mapping_for_reaper_is_what_the_effect_sends() -> None:
    path = SHIPPED / "reaper.yaml"
    head = path.read_text().partition("maps:\n")[0] + "maps:\n"
    assert formatted((head + reaper.mapping(Instrument())).encode(), str(path)) == path.read_text()


def test_knobs_beyond_those_that_an_effect_can_have_are_left_out() -> None:
    many = tuple(replace(KNOBS[0], name=f"knob_{number}") for number in range(80))
    assert len(Effect(reaper.effect(Instrument(many))).sliders) == 64


NASTY = ["@{x}", "JS{{send('/x')}}", "#{1}", "^play", "]]>", "auto", "true", "[1]", '"', "<b>&amp;", "\\n", "\x00"]


@given(st.text(max_size=40) | st.sampled_from(NASTY))
@settings(max_examples=80, deadline=None)
def test_no_name_breaks_a_file_or_becomes_code(text: str) -> None:
    made = one_page(text)
    open_stage_control_app.validate(open_stage_control.session(made).encode().decode())
    root = touchosc_app.load(touchosc.layout(made, 9001))
    shown = {node.values["text"] for node in touchosc_app.every(root) if node.kind == "LABEL"}
    assert touchosc_app.as_xml_has_it(text) in shown
    strange = replace(KNOBS[17], unit=text, choices=(text, *KNOBS[17].choices[1:]))
    assert len(Effect(reaper.effect(Instrument((strange,), origin=text))).sliders) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(
        st.builds(
            lambda knob, changes: {**described(knob), **changes},
            st.sampled_from(KNOBS),
            st.dictionaries(st.sampled_from(sorted(described(KNOBS[0]))), JSON, max_size=2),
        )
        | JSON,
        max_size=4,
    )
    | JSON
)
@settings(max_examples=100, deadline=None)
def test_a_table_of_knobs_that_was_answered_is_refused_or_makes_files_that_are_right(rows: object) -> None:
    try:
        knobs = read_knobs(rows)
    except StrangeAnswerError:
        return
    assert all(re.fullmatch("[a-z][a-z0-9_]*", knob.name) for knob in knobs)
    made = surface(Instrument(knobs), TABLET)
    open_stage_control_app.validate(open_stage_control.session(made))
    touchosc_app.load(touchosc.layout(made, 9001))
    Effect(reaper.effect(Instrument(knobs)))


def test_the_knobs_that_a_daemon_describes_are_its_knobs() -> None:
    assert read_knobs(json.loads(json.dumps([described(knob) for knob in KNOBS]))) == KNOBS
    with pytest.raises(StrangeAnswerError, match="name"):
        read_knobs([{**described(KNOBS[0]), "name": "../x"}])
    with pytest.raises(StrangeAnswerError, match="range"):
        read_knobs([{**described(KNOBS[0]), "minimum": 1.0}])


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_whatever_is_answered_for_scenes_only_names_are_taken(rows: object) -> None:
    assert all(isinstance(name, str) for name in read_scenes(rows))


def test_only_what_may_be_a_name_is_taken_of_scenes_and_loras() -> None:
    assert read_scenes([{"name": "drop"}, {"name": "store"}, {"name": "a/b"}, {"name": 7}, 3]) == ("drop",)
    at = "/demond/lora"
    found = [f"{at}/warm/strength", f"{at}/a b/strength", "/demond/synced", f"{at}//strength", f"{at}/a/b/strength"]
    assert read_named(f"{at}/*/strength", found) == ("warm",)
    assert read_named("/demond/layer/*", ["/demond/error", "/demond/update", "/demond/layer/a/b"]) == ()
