"""What is on the pages, and where."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demond.export.instrument import Instrument
from demond.export.surface import surface
from demond.export.widgets import COLOURS, LAYOUTS, Layout, Placed, Role, Shape
from demond.knobs import KNOBS
from demond.osc.access import Role as May
from demond.osc.entry import Use
from demond.osc.namespace import TARGETS, target_of
from demond.osc.table import TABLE

LEFT_OUT = {
    "/demond/knob/{knob}/delta": "of the seed alone",
    "/demond/knob/{knob}/pickup": "for controllers that cannot move by themselves",
    "/demond/knob/{knob}/source": "one answer to a question",
    "/demond/prompt/blend": "another name of a knob",
    "/demond/curve/{curve}": "a curve is drawn",
    "/demond/lfo/{knob}": "takes seven arguments",
    "/demond/gesture/{knob}": "takes two",
    "/demond/transport/beat": "sent to those who spell it out",
    "/demond/transport/lead": "whether demond leads JACK's transport is set once, and not in a song",
    "/demond/log/line": "the log",
    "/demond/map/{line}/enable": "hundreds of lines",
    "/demond/midi/last": "a text for programs",
    "/demond/learn/target": "learning is for those who may command",
    "/demond/trigger/tap": "another name",
}
"""Rows of the table that have a value or fire, and no widget, with the reason."""
SETS = {"/demond/knob/{knob}/norm", "/demond/knob/{knob}/touch"}
"""Which widgets send on top of their own address."""


def overlap(a: Placed, b: Placed) -> bool:
    return (
        a.column < b.column + b.columns
        and b.column < a.column + a.columns
        and a.row < b.row + b.rows
        and b.row < a.row + a.rows
    )


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
@given(
    knobs=st.lists(st.sampled_from(KNOBS), unique=True),
    scenes=st.lists(st.from_regex(r"\A[A-Za-z0-9_.+~-]{1,64}\Z"), unique=True, max_size=60),
    loras=st.lists(st.text("abc&<>'\"é", min_size=1, max_size=20), unique=True, max_size=16),
)
@settings(max_examples=40, deadline=None)
def test_nothing_lies_on_anything_else_or_beyond_the_edge_whatever_there_is_to_show(
    layout: Layout, knobs: list[object], scenes: list[str], loras: list[str]
) -> None:
    made = surface(Instrument(tuple(knobs), tuple(scenes), tuple(loras)), layout)  # type: ignore[arg-type]
    assert len({section.title for section in made.sections}) == len(made.sections)
    for page in made.pages:
        for placed in page.placed:
            assert 0 <= placed.column < placed.column + placed.columns <= layout.columns
            assert 0 <= placed.row < placed.row + placed.rows <= layout.rows
        assert not any(overlap(a, b) for a, b in combinations(page.placed, 2)), page.title


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_each_knob_has_one_widget_in_its_range_and_the_colour_of_its_kind(layout: Layout) -> None:
    widgets = surface(Instrument(), layout).widgets()
    by_knob = Counter(widget.knob.name for widget in widgets if widget.knob is not None)
    assert by_knob == {knob.name: 1 for knob in KNOBS}
    for widget in widgets:
        if widget.knob is not None:
            assert (widget.minimum, widget.maximum) == (widget.knob.minimum, widget.knob.maximum)
            assert widget.role.value == widget.knob.kind.value
    assert len(set(COLOURS.values())) == len(Role)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_every_address_is_one_of_demond_and_every_value_and_trigger_has_a_widget(layout: Layout) -> None:
    widgets = surface(Instrument(scenes=("drop",), loras=("warm",), layers=("shift",)), layout).widgets()
    found = set()
    for widget in widgets:
        target = target_of(widget.address)
        assert target is not None, widget.address
        assert target.entry.role is not May.COMMAND, "not for the stage"
        assert widget.keeps == target.has_value, widget.address
        fires = widget.shape is Shape.BUTTON
        assert fires == (target.entry.use is Use.TRIGGER), widget.address
        found.add(target.entry.address)
    wanted = {
        entry.address
        for entry in TABLE
        if entry.use in (Use.VALUE, Use.SHOWN, Use.TRIGGER) and entry.role is not May.COMMAND
    }
    assert wanted - found - SETS <= LEFT_OUT.keys()
    assert found & LEFT_OUT.keys() == {"/demond/knob/{knob}/delta"}
    assert "/demond/knob/seed/delta" in {widget.address for widget in widgets}
    shown = {widget.address for widget in widgets}
    slots = {address for address in TARGETS if address.startswith("/demond/prompt/")} - {"/demond/prompt/blend"}
    assert slots <= shown


def test_scenes_that_do_not_fit_one_page_go_on_the_next() -> None:
    names = tuple(f"scene-{number}" for number in range(200))
    made = surface(Instrument(scenes=names), LAYOUTS["phone"])
    (scenes,) = [section for section in made.sections if section.title == "scenes"]
    assert [page.title for page in scenes.pages] == [str(number) for number in range(1, len(scenes.pages) + 1)]
    shown = [widget.label for widget in made.widgets() if widget.address.startswith("/demond/scene/scene-")]
    assert tuple(shown) == names
