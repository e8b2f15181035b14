from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from demond import _yaml_nodes, strict_yaml
from demond.strict_yaml import YamlError, load, loads, validate


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Lamp(Section):
    colour: Literal["red", "green"] = "red"
    watts: Annotated[int, Field(ge=1, le=100)] = 60


class House(Section):
    name: str
    lamps: dict[str, Lamp] = {}
    doors: Literal["none"] | list[str | Lamp] = []
    size: tuple[float, float] | None = None
    even: int = 2
    open: bool = False

    @field_validator("even")
    @classmethod
    def _even(cls, even: int) -> int:
        if even % 2:
            raise ValueError("must be even, such as 2 or 4")
        return even


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(YamlError) as caught:
        loads(text, House, "house.yaml")
    return str(caught.value).splitlines()


def found_in(text: str | bytes) -> tuple[strict_yaml.Problem, ...]:
    try:
        loads(text, House, "f")
    except YamlError as error:
        return error.problems
    return ()


def test_a_right_file_becomes_the_model() -> None:
    house = loads("name: Ours\nlamps:\n  hall: {colour: green, watts: 7}\nsize: [1, 2.5]\nopen: true", House, "h")
    assert house == House(name="Ours", lamps={"hall": Lamp(colour="green", watts=7)}, size=(1, 2.5), open=True)


def test_on_off_yes_no_dates_and_times_are_text() -> None:
    for word in ("on", "off", "yes", "no", "2024-01-01", "12:30", "0x10", "1_000", "0..7"):
        assert loads(f"name: {word}", House, "h").name == word


def test_every_problem_is_reported_at_its_place_in_file_order() -> None:
    text = "nme: x\nlamps:\n  hall: {color: red}\n  attic: {watts: 500}\neven: 3\n"
    assert problems(text) == [
        "house.yaml:1:1: unknown key 'nme'; did you mean 'name'?",
        "house.yaml:3:10: unknown key 'color'; did you mean 'colour'?",
        "house.yaml:4:18: 'watts' must be at most 100, not 500",
        "house.yaml:5:7: 'even' must be even, such as 2 or 4",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "house.yaml:1:1: the file needs the key 'name'"),
        ("name: [x]", "house.yaml:1:7: 'name' must be text"),
        ("name: 5", "house.yaml:1:7: 'name' must be text, not 5; put quotes around it"),
        ("name: x\nlamps: 5", "house.yaml:2:8: 'lamps' must be a group of keys, not 5"),
        ("name: x\nlamps: {hall: 5}", "house.yaml:2:15: 'hall' must be a group of keys, not 5"),
        ("name: x\nlamps: {a: {watts: x}}", "house.yaml:2:20: 'watts' must be a whole number, not 'x'"),
        ("name: x\nlamps: {a: {zzz: x}}", "house.yaml:2:13: unknown key 'zzz'; known here: colour, watts"),
        ("name: x\nlamps: {a: {colour: gren}}", "must be red or green, not 'gren'; did you mean 'green'?"),
        ("name: x\nsize: [1]", "house.yaml:2:7: 'size' needs entry 2"),
        ("name: x\ndoors: [{wats: 1}]", "house.yaml:2:10: unknown key 'wats'; did you mean 'watts'?"),
        ("name: x\ndoors: [5]", "house.yaml:2:9: entry 1 of 'doors' must be text or a group of keys, not 5"),
        ("name: x\ndoors: some", "house.yaml:2:8: 'doors' must be none, not 'some'"),
        ("name: x\nopen: maybe", "house.yaml:2:7: 'open' must be true or false, not 'maybe'"),
        ("name: x\neven:", "house.yaml:2:6: 'even' must be a whole number, not nothing"),
        ("name: x\neven: .inf", "house.yaml:2:7: .inf is not a finite number"),
        ("name: x\neven: 1e999", "house.yaml:2:7: 1e999 is not a finite number"),
        ("name: x\neven: " + "9" * 5000, "house.yaml:2:7: this number is too large"),
        ("name: x\nname: y", "house.yaml:2:1: the key 'name' is already given in line 1"),
        ("name: &a x", "house.yaml:1:7: anchors such as &a are not allowed; write the value where it is used"),
        ("name: *a", "house.yaml:1:7: references such as *a are not allowed; write the value again"),
        ("name: !!str 5", "house.yaml:1:7: tags such as !!str are not allowed; leave it out"),
        ("1: x\nname: y", "house.yaml:1:1: the key 1 must be text; put quotes around it"),
        ("- x", "house.yaml:1:1: the file must consist of keys, as in `name: value`"),
        ("name: a: b", "house.yaml:1:8: a ':' with a value after it is not allowed in this context"),
        ("name: x\n\teven: 4", "house.yaml:2:1: a tab cannot indent; use spaces"),
        ("name: @x", "house.yaml:1:7: a value cannot start with '@'; put quotes around it"),
        ("name: x\x00", "house.yaml:1:8: the character U+0000 cannot be part of a text file"),
        (b"name: x\n\xff", "house.yaml:2:1: this is not UTF-8 text; save the file as UTF-8"),
        ("name: x\n---\nname: y", "house.yaml:2:1: a second document starts here; a file holds one"),
        ("name: " + "[" * 21, "house.yaml:1:26: maps and lists are nested deeper than 20 levels"),
        ("#" * (strict_yaml.SIZE_LIMIT + 1), "house.yaml:1:1: the file is larger than 1,048,576 bytes"),
    ],
)
def test_each_mistake_has_its_words(text: str | bytes, expected: str) -> None:
    assert any(expected in line for line in problems(text)), problems(text)


def test_no_message_speaks_of_classes_or_of_the_validator() -> None:
    texts = [
        "name: []\nlamps: {a: [], b: {watts: {}}}\ndoors: {x: 1}\nsize: x\neven: []\nopen: {}\nq: 1",
        "",
        "name:",
    ]
    for line in (line for text in texts for line in problems(text)):
        assert not any(
            word in line for word in ("Input", "House", "Lamp", "type=", "dictionary", "pydantic", "valid")
        )


def test_an_empty_file_is_a_file_without_keys() -> None:
    assert loads("# nothing yet\n", Lamp, "l") == Lamp()


def test_a_file_with_thousands_of_mistakes_reports_a_hundred_and_counts_the_rest() -> None:
    lines = problems("\n".join(f"k{i}: 1" for i in range(3000)))
    assert len(lines) == strict_yaml.PROBLEM_LIMIT + 1
    assert lines[-1].endswith("and 2901 more problems from here on")


def test_a_file_that_cannot_be_read_is_a_problem_in_words(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    for path, words in [
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (fifo, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
    ]:
        with pytest.raises(YamlError, match=words):
            load(path, House)


def test_data_from_a_command_line_gets_the_same_words_without_lines() -> None:
    with pytest.raises(YamlError) as caught:
        validate({"name": "x", "lamps": {"hall": {"watts": 0}}}, House, "the command line")
    assert str(caught.value) == "the command line: lamps.hall: 'watts' must be at least 1, not 0"


def test_a_document_knows_where_its_values_stand() -> None:
    document = strict_yaml.parse("a:\n  - x\n  - b: 1\n", "f")
    assert document.where(("a", 1, "b")) == (3, 8)
    assert document.where_key(("a", 1, "b")) == (3, 5)
    assert document.where(("a", 7)) == (2, 3)


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_model_or_in_problems(data: bytes) -> None:
    for problem in found_in(data):
        assert problem.message
        assert problem.line >= 1
        assert problem.column >= 1


@given(st.text(alphabet="ab:-[]{}\"'&*!|>%@#?, \n\t1.", max_size=60))
def test_any_yaml_like_text_ends_in_a_model_or_in_problems(text: str) -> None:
    assert all(str(problem).startswith("f:") for problem in found_in(text))


# No digits in texts: what is a number in YAML 1.2 may be text in the 1.1 of the writer, such as 0E0.
texts = st.text("aé€😀 :-#'\"[]{}\n", max_size=8)
values = st.recursive(
    st.integers(-(10**9), 10**9) | st.booleans() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), values, max_size=4))
def test_what_a_yaml_writer_writes_is_read_back(data: dict[str, object]) -> None:
    class Anything(BaseModel):
        model_config = ConfigDict(extra="allow")

    text = yaml.safe_dump(data, allow_unicode=True, default_style='"' if not data else None)
    document = strict_yaml.parse(text, "f")
    assert not document.problems
    model = document.validate(Anything)
    assert model is not None
    assert model.model_extra == data


def test_both_of_pyyamls_parsers_place_a_mistake_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name: é\nlamps:\n  hall: {watts: 500}\n"
    with_c = problems(text)
    monkeypatch.setattr(_yaml_nodes, "_Loader", yaml.SafeLoader)
    assert problems(text) == with_c
