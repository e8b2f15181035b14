"""`demond fmt` and the JSON Schema: what editors and their users rely on."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond._yaml_nodes import plain
from demond.mapping import SHIPPED
from demond.mapping.json_schema import json_schema
from demond.mapping.layout import formatted
from demond.strict_yaml import YamlError, parse

FILES = sorted(SHIPPED.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_that_ships_is_laid_out_as_fmt_does_it(path) -> None:  # type: ignore[no-untyped-def]
    assert formatted(path.read_bytes(), str(path)) == path.read_text(), f"run: demond fmt {path}"


def test_comments_stay_keys_are_put_in_order_and_nothing_else_changes() -> None:
    untidy = (
        "# mine\n\ndemond:   1\nmaps:\n- {to: denoise,  from: nk2/fader1}   # the main one\n"
        "# and\n- from: 'nk2/fader2'\n  to: [feedback, {knob: shift,range: [1,3]}]\n"
    )
    tidy = formatted(untidy.encode(), "m.yaml")
    assert tidy == (
        "# mine\n\ndemond: 1\nmaps:\n  - {from: nk2/fader1, to: denoise}  # the main one\n"
        "# and\n  - from: 'nk2/fader2'\n    to: [feedback, {knob: shift, range: [1, 3]}]\n"
    )
    assert formatted(tidy.encode(), "m.yaml") == tidy
    assert plain(parse(tidy, "m.yaml").root) == plain(parse(untidy, "m.yaml").root)


def test_a_file_that_demond_does_not_read_is_not_touched_but_refused_in_words() -> None:
    with pytest.raises(YamlError, match=r"m.yaml:1:9: .*not allowed"):
        formatted(b"demond: &a 1\n", "m.yaml")


words = st.sampled_from(["a", "on", "1", "-", "# x", "'y'", "null", "0x1", "1_0", "~", "é", "1:2", "yes"])
values = st.recursive(words, lambda inner: st.lists(inner, max_size=3).map(lambda v: "[" + ", ".join(v) + "]"))


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), values), max_size=6, unique_by=lambda pair: pair[0]))
def test_fmt_never_changes_what_a_file_means(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in pairs)
    try:
        tidy = formatted(text.encode(), "x")
    except YamlError:
        return
    assert plain(parse(tidy, "x").root) == plain(parse(text, "x").root)
    assert formatted(tidy.encode(), "x") == tidy


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_that_ships_fits_the_json_schema(path) -> None:  # type: ignore[no-untyped-def]
    data = plain(parse(path.read_bytes(), path).root)
    assert isinstance(data, dict)
    jsonschema.validate(data, json_schema("profile" if "controls" in data else "mapping"))


@pytest.mark.parametrize(
    "text",
    [
        "{demond: 1, maps: [{from: nk2/fader1, to: denoise, takover: off}]}",
        "{demond: 1, maps: [{from: nk2/fader1}]}",
        "{demond: 2}",
        "{demond: 1, maps: [{from: a/b, to: denoise, mode: latch}]}",
    ],
)
def test_an_editor_finds_the_mistakes_that_demond_finds(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain(parse(text, "x").root), json_schema("mapping"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{tempo: {sync: jack, bpm: 124}, osc: {port: 9700, allow: [10.0.0.0/8]}, engine: {prompt_a: house}}", True),
        ("{tempo: {sync: link}}", False),
        ("{osc: {porrt: 9700}}", False),
        ("{engine: {depth: 9}}", False),
    ],
)
def test_an_editor_finds_the_mistakes_in_settings(text: str, right: bool) -> None:
    data = plain(parse(text, "x").root)
    assert jsonschema.Draft202012Validator(json_schema("settings")).is_valid(data) is right


def test_an_editor_can_offer_the_knobs_and_explain_the_keys() -> None:
    schema = json_schema("mapping")
    assert "denoise" in str(schema["$defs"]["MapEntry"]["properties"]["to"])
    line = schema["$defs"]["MapEntry"]["properties"]
    assert all("description" in key for key in line.values())
