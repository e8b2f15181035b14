"""Address patterns: what they match, and that no pattern takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demond.config import Osc
from demond.knobs import KNOBS
from demond.osc.codec import Message, encode, encode_bundle
from demond.osc.namespace import TARGETS
from demond.osc.pattern import PATTERN_LIMIT, AddressTree, PatternError, is_pattern
from tests.osc.surface import Surface, play

TREE = AddressTree(["/a", "/a/bc", "/a/bd", "/a/b-1", "/x/a/bc", "/x/y/z/bc", "/longer/name"])


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("/a", ["/a"]),
        ("/a/b?", ["/a/bc", "/a/bd"]),
        ("/a/b??", ["/a/b-1"]),
        ("/?/b*", ["/a/bc", "/a/bd", "/a/b-1"]),
        ("/a/*", ["/a/bc", "/a/bd", "/a/b-1"]),
        ("/a/*c", ["/a/bc"]),
        ("/a/*b*", ["/a/bc", "/a/bd", "/a/b-1"]),
        ("/a/b[a-c]", ["/a/bc"]),
        ("/a/b[c-a]", ["/a/bc"]),
        ("/a/b[cd]", ["/a/bc", "/a/bd"]),
        ("/a/b[!c]", ["/a/bd"]),
        ("/a/b[!a-c]", ["/a/bd"]),
        ("/a/b[c-]*", ["/a/bc", "/a/b-1"]),
        ("/a/b[c!]", ["/a/bc"]),
        ("/a/b{c,-1}", ["/a/bc", "/a/b-1"]),
        ("/a/{b,}{c,d}", ["/a/bc", "/a/bd"]),
        ("/a/{bc,bc}", ["/a/bc"]),
        ("/{longer,short}/n?m*", ["/longer/name"]),
        ("//bc", ["/a/bc", "/x/a/bc", "/x/y/z/bc"]),
        ("/x//bc", ["/x/a/bc", "/x/y/z/bc"]),
        ("/x//*//bc", ["/x/a/bc", "/x/y/z/bc"]),
        ("//a//bc", ["/a/bc", "/x/a/bc"]),
        ("///bc", ["/a/bc", "/x/a/bc", "/x/y/z/bc"]),
        ("//*", ["/a", "/a/bc", "/a/bd", "/a/b-1", "/x/a/bc", "/x/y/z/bc", "/longer/name"]),
        ("/*", ["/a"]),
        ("/b*", []),
        ("/a/bc/*", []),
        ("/a/B?", []),
    ],
)
def test_each_form_of_osc_1_0_and_any_depth_of_1_1(pattern: str, matches: list[str]) -> None:
    assert sorted(TREE.matching(pattern)) == sorted(matches)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("/a/[b", "closed by a ]"),
        ("/a/{b", "closed by a }"),
        ("/a/{b/c}", "closed by a }"),
        ("/a/b]", "a ] closes nothing"),
        ("/a/b}", "a } closes nothing"),
        ("/a/[]", "holds characters"),
        ("/a/[!]", "holds characters"),
        ("/a/[\x01-\u20ac]", "ASCII"),
        ("/a/{b*,c}", "plain words"),
        ("/a//", "ends with a name"),
        ("a/*", "begins with /"),
        ("/" + "*" * PATTERN_LIMIT, f"{PATTERN_LIMIT} characters"),
    ],
)
def test_what_is_not_well_formed_is_said_in_words(pattern: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        TREE.matching(pattern)
    assert words in str(caught.value)


def test_an_address_is_told_from_a_pattern() -> None:
    assert not is_pattern("/demond/knob/denoise")
    assert all(map(is_pattern, ("/a*", "/a?", "/[a]", "/{a}", "/a//b", "/a]")))


parts = st.lists(
    st.sampled_from(["a", "b", "ab", "*", "**", "?", "[a-c]", "[!a]", "[b]", "{a,bb}", "{,a}", "{ab,b,c}"]),
    min_size=1,
    max_size=8,
).map("".join)
names = st.text("abc", min_size=1, max_size=10)


@given(parts, st.lists(names, min_size=1, max_size=20, unique=True))
def test_a_part_matches_what_the_same_regular_expression_matches(part: str, among: list[str]) -> None:
    words = re.sub(r"\{([^}]*)\}", lambda m: "(" + m[1].replace(",", "|") + ")", part)
    same = re.compile(words.replace("[!", "[^").replace("*", ".*").replace("?", "."))
    found = AddressTree([f"/{name}" for name in among]).matching(f"/{part}")
    assert sorted(found) == sorted(f"/{name}" for name in among if same.fullmatch(name))


HOSTILE = [
    "/" + "*a" * 120 + "b",
    "/demond/knob/" + "*_" * 100,
    "/demond/knob/" + "*?" * 100,
    "/demond/knob/" + "{,a,b,c}" * 28,
    "/demond/knob/" + "{e,ee,eee,}" * 20,
    "/demond/knob/" + "[!x-z]*" * 30,
    "//*" * 80,
    "//" * 100 + "norm",
    "/" + "?" * 250,
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_no_pattern_takes_more_than_a_few_milliseconds(pattern: str) -> None:
    tree = AddressTree(TARGETS)
    took = []
    for _ in range(3):
        began = time.thread_time()
        tree.matching(pattern)
        took.append(time.thread_time() - began)
    assert min(took) < 0.004


@given(st.text("/*?[]{},!-ab", max_size=40))
def test_any_text_is_matched_or_refused(pattern: str) -> None:
    try:
        found = TREE.matching("/" + pattern)
    except PatternError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, this one has words
    else:
        assert len(set(found)) == len(found)


def test_a_near_miss_in_any_part_has_a_suggestion() -> None:
    assert TREE.nearest("/longr/nme") == "/longer/name"
    assert TREE.nearest("/longer") is None
    assert TREE.nearest("/q/bc") is None


# -- in messages --------------------------------------------------------------------------------------------------


def test_a_pattern_sets_all_that_it_matches_in_one_tick() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/demond/knob/{denoise,feedback}", 0.25) == []
        assert [changes for changes, _ in client.control.calls] == [{"denoise": 0.25, "feedback": 0.25}]
        assert await client.ask("//hint_strength/norm", 0.5) == []
        assert client.control.values["hint_strength"] == 0.5
        assert await client.ask("/demond/prompt/[ab]/text", "drums") != []
        assert client.control.session.prompt("b").text == "drums"

    play(scene)


def test_a_pattern_without_argument_asks_for_all_that_it_matches() -> None:
    async def scene(client: Surface) -> None:
        answers = await client.ask("/demond/knob/*")
        assert [answer.address for answer in answers] == [f"/demond/knob/{knob.name}" for knob in KNOBS]
        assert [a.address for a in await client.ask("/demond/stat[r-v]s")] == ["/demond/status.reply"]

    play(scene)


def test_a_pattern_reaches_mapped_addresses() -> None:
    async def scene(client: Surface) -> None:
        assert await client.ask("/1/fader[12]", 0.75) == []
        assert client.control.calls[-1][0] == {"denoise": 0.75, "prompt_blend": 0.75}

    play(scene)


def test_a_pattern_that_matches_nothing_or_is_wrong_for_one_changes_nothing_and_gets_one_error() -> None:
    async def scene(client: Surface) -> None:
        assert (await client.error("/demond/knob/q*", 1))[:3] == (404, "unknown_address", "/demond/knob/q*")
        assert (await client.error("/demond/knob/*", "much"))[:3] == (400, "bad_args", "/demond/knob/*")
        assert (await client.error("/demond/{knob/denoise", 1))[:2] == (400, "bad_args")
        # The first would be set, the second is not fit for a number.
        error = await client.error("/demond/{depth,timbre}", 2)
        assert error[:3] == (400, "bad_args", "/demond/{depth,timbre}")
        assert "/demond/timbre" in str(error[3])
        assert client.control.calls == []
        assert client.control.session.depth == 4

    play(scene)


def test_what_a_bundle_did_before_a_refused_pattern_stays() -> None:
    async def scene(client: Surface) -> None:
        messages = [
            encode("/demond/knob/denoise", 0.5),
            encode("/demond/knob/*", "x"),
            encode("/demond/knob/shift", 2),
        ]
        (error,) = await client.answers_to(encode_bundle(messages))
        assert error.arguments[0] == 400
        assert [changes for changes, _ in client.control.calls] == [{"denoise": 0.5, "shift": 2.0}]

    play(scene)


def test_a_refused_pattern_leaves_nothing_behind_in_its_bundle() -> None:
    async def scene(client: Surface) -> None:
        # The pattern would set texts and the depth, and fails at a clip; what came before and after it holds.
        bundle = [
            encode("/demond/knob/shift"),
            encode("/demond/{prompt/a/text,depth,timbre}", 2),
            encode("/demond/{depth,timbre}", 2),
            encode("/demond/prompt/a/lyrics", "la"),
        ]
        answers = await client.answers_to(encode_bundle(bundle))
        assert [a.address for a in answers] == ["/demond/error"] * 2 + ["/demond/knob/shift", "/demond/reply"]
        assert client.control.session.depth == 4
        assert client.control.session.prompt("a").text == "synthwave"
        assert client.control.session.prompt("a").lyrics == "la"

    play(scene)


def test_a_pattern_fires_triggers_only_where_that_is_allowed() -> None:
    async def refused(client: Surface) -> None:
        for pattern in ("/demond/knob/*/reset", "/demond/knob/denoise/*", "/demond/map/*"):
            error = await client.error(pattern)
            assert error[:3] == (403, "denied", pattern)
            assert "osc.allow_pattern_triggers" in str(error[3])
        assert client.control.calls == []

    async def allowed(client: Surface) -> None:
        client.control.values["denoise"] = 0.1
        assert await client.ask("/demond/knob/den*/reset") == [Message("/demond/knob/denoise", (pytest.approx(0.7),))]

    play(refused)
    play(allowed, Osc(port=0, allow_pattern_triggers=True))
