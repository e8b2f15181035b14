"""The way of a setting to the engine and, where it is refused, back."""

from __future__ import annotations

import pytest

from demond.control import Outcome, RefusedError
from demond.parts._requests import WAITING_LIMIT, Requests
from demond.session import Session
from demond.setting import Prompt, SetCurve, SetDepth, SetPrompt, SetTimbre, Setting

OK, REFUSED = Outcome(True, ""), Outcome(False, "no")


def text(words: str) -> SetPrompt:
    return SetPrompt(slot="a", prompt=Prompt(text=words))


class Asker:
    """Requests, and what was answered."""

    def __init__(self) -> None:
        self.requests = Requests(Session([text("first"), SetDepth(count=4)]))
        self.answers: list[tuple[Setting, Outcome]] = []

    def ask(self, setting: Setting) -> None:
        self.requests.add(setting, lambda outcome: self.answers.append((setting, outcome)))

    def send(self) -> dict[int, Setting]:
        return dict(self.requests.to_send())

    @property
    def prompt(self) -> tuple[str, str]:
        return self.requests.asked.prompt("a").text, self.requests.played.prompt("a").text


def test_what_is_asked_for_is_told_at_once_and_played_when_the_engine_says_so() -> None:
    asker = Asker()
    asker.ask(text("second"))
    assert asker.prompt == ("second", "first")
    ((number, setting),) = asker.send().items()
    assert setting == text("second")
    assert asker.send() == {}
    asker.requests.answered(number, OK)
    assert asker.prompt == ("second", "second")
    assert asker.answers == [(text("second"), OK)]
    assert asker.requests.idle


def test_what_it_begins_with_is_left_alone() -> None:
    begin = Session([text("first")])
    requests = Requests(begin)
    requests.add(text("second"), lambda outcome: None)
    requests.answered(requests.to_send()[0][0], OK)
    assert begin.prompt("a").text == "first"


def test_a_refusal_restores_what_was_played() -> None:
    asker = Asker()
    asker.ask(text("second"))
    asker.ask(SetCurve(name="protect", values=(1.0,)))
    for number in asker.send():
        asker.requests.answered(number, REFUSED)
    assert asker.prompt == ("first", "first")
    assert asker.requests.asked.curves == {}
    assert [outcome for _, outcome in asker.answers] == [REFUSED, REFUSED]


def test_a_newer_request_waits_for_the_one_under_way_and_takes_the_place_of_those_between() -> None:
    asker = Asker()
    for words in ("one", "two", "three", "four"):
        asker.ask(text(words))
    ((number, setting),) = asker.send().items()
    assert setting == text("one")
    asker.requests.answered(number, REFUSED)
    assert asker.prompt == ("four", "first")
    ((number, setting),) = asker.send().items()
    assert setting == text("four")
    asker.requests.answered(number, OK)
    assert asker.prompt == ("four", "four")
    assert [(setting.prompt.text, outcome.ok) for setting, outcome in asker.answers] == [
        ("one", False),
        ("two", True),
        ("three", True),
        ("four", True),
    ]


def test_a_refused_newer_request_goes_back_to_the_older_one_that_plays() -> None:
    asker = Asker()
    asker.ask(text("good"))
    asker.ask(text("bad"))
    asker.requests.answered(*asker.send(), OK)
    asker.requests.answered(*asker.send(), REFUSED)
    assert asker.prompt == ("good", "good")


def test_what_was_under_way_when_the_engine_died_is_sent_again_alone_and_refused_at_the_second_death() -> None:
    asker = Asker()
    asker.ask(SetDepth(count=8))
    asker.ask(text("second"))
    assert len(asker.send()) == 2
    asker.requests.engine_died()
    assert list(asker.send().values()) == [SetDepth(count=8)]
    assert asker.send() == {}
    asker.requests.engine_died()
    ((setting, outcome),) = asker.answers
    assert setting == SetDepth(count=8)
    assert not outcome.ok
    assert "ended 2 times" in outcome.message
    assert asker.requests.asked.depth == 4
    ((number, setting),) = asker.send().items()
    assert setting == text("second")
    asker.requests.answered(number, OK)
    assert asker.prompt == ("second", "second")


def test_what_had_not_been_sent_when_the_engine_died_is_not_suspected() -> None:
    asker = Asker()
    asker.ask(text("second"))
    for _ in range(5):
        asker.requests.engine_died()
    assert list(asker.send().values()) == [text("second")]


def test_an_answer_to_nothing_that_was_asked_changes_nothing() -> None:
    asker = Asker()
    asker.ask(text("second"))
    asker.send()
    asker.requests.engine_died()
    asker.requests.answered(1, OK)
    assert asker.prompt == ("second", "first")
    assert asker.answers == []


def test_no_more_than_64_may_wait() -> None:
    asker = Asker()
    for _ in range(WAITING_LIMIT):
        asker.ask(text("again"))
    with pytest.raises(RefusedError, match="64 requests wait") as refused:
        asker.ask(SetTimbre(path="/a"))
    assert (refused.value.code, refused.value.slug) == (429, "rate_limited")
    assert asker.requests.asked.path("timbre") is None


def test_what_the_engine_cannot_start_with_is_forgotten_unless_something_newer_is_asked_for() -> None:
    configured = Session([text("configured")])
    asker = Asker()
    asker.requests.forget("prompt/a", configured)
    assert asker.prompt == ("configured", "configured")
    asker.ask(text("newer"))
    asker.requests.forget("prompt/a", Session([text("other")]))
    assert asker.prompt == ("newer", "other")
