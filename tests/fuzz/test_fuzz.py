from __future__ import annotations

import asyncio

from tests.fuzz import ErrorLog, Tally, datagrams, files, streams


def check(tally: Tally, log: ErrorLog, count: int) -> None:
    assert tally.inputs == count
    assert sum(tally.outcomes.values()) == count
    assert tally.exceptions == []
    assert log.records == []


def test_no_datagram_raises_or_reaches_the_error_log() -> None:
    with ErrorLog() as log:
        tally = asyncio.run(datagrams.run(4_000, seed=7))
    check(tally, log, 4_000)
    assert min(tally.outcomes[outcome] for outcome in ("refused", "answered", "obeyed")) > 50


def test_no_tcp_stream_raises_or_reaches_the_error_log() -> None:
    with ErrorLog() as log:
        tally = asyncio.run(streams.run(800, seed=7))
    check(tally, log, 800)
    assert min(tally.outcomes[outcome] for outcome in ("ended", "refused", "answered")) > 5


def test_no_oscquery_request_raises_or_reaches_the_error_log() -> None:
    with ErrorLog() as log:
        tally = asyncio.run(streams.run_query(600, seed=7))
    check(tally, log, 600)
    assert min(tally.outcomes[outcome] for outcome in ("status 200", "refused", "obeyed")) > 5


def test_no_file_raises_or_reaches_the_error_log() -> None:
    with ErrorLog() as log:
        tally = files.run(400, seed=7)
    check(tally, log, 400)
    assert min(tally.outcomes[outcome] for outcome in ("refused", "loaded")) > 5


def test_no_midi_message_raises_or_reaches_the_error_log() -> None:
    with ErrorLog() as log:
        tally = files.run_midi(4_000, seed=7)
    check(tally, log, 4_000)
    assert tally.outcomes["obeyed"] > 50


def test_the_error_log_would_see_an_error() -> None:
    import logging

    with ErrorLog() as log:
        logging.getLogger("demond.anything").error("this")
    assert log.records == ["this"]


def test_a_tally_would_see_an_exception() -> None:
    tally = Tally("x")
    with tally.input():
        raise ValueError("this")
    assert tally.exceptions == ["ValueError: this"]


def test_no_part_of_a_longer_value_raises_and_every_kind_of_gesture_is_found() -> None:
    with ErrorLog() as log:
        tally = files.run_assembly(4_000, seed=7)
    check(tally, log, 4_000)
    assert set(tally.outcomes) == {"position", "steps", "press", "half", "selection", "nothing to do"}
