from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from demond.midi.outputs import BURST, QUEUE_LIMIT, RATE, Queue


def test_a_newer_message_about_the_same_lamp_takes_the_place_of_an_older_one() -> None:
    queue = Queue()
    for value in range(100):
        queue.put(bytes((0xB0, 7, value)))
        queue.put(bytes((0xE0, value, 0)))
        queue.put(bytes((0x90, 7, value)))
    assert queue.take(1.0) == [bytes((0xB0, 7, 99)), bytes((0xE0, 99, 0)), bytes((0x90, 7, 99))]
    assert queue.take(2.0) == []


def test_every_system_exclusive_message_counts() -> None:
    queue = Queue()
    for _ in range(3):
        queue.put(b"\xf0\x01\xf7")
    assert len(queue.take(1.0)) == 3


@given(st.lists(st.integers(1, 20), min_size=1, max_size=200))
def test_no_more_than_the_rate_and_one_burst_leave_in_any_time(waits_ms: list[int]) -> None:
    queue, now, sent = Queue(), 1.0, 0
    for wait in waits_ms:
        for i in range(128):
            queue.put(bytes((0xB0, i, 1)))
        now += wait / 1000
        sent += len(queue.take(now))
    assert sent <= BURST + RATE * sum(waits_ms) / 1000 + 1


def test_a_flood_of_different_messages_is_bounded() -> None:
    queue = Queue()
    for i in range(2 * QUEUE_LIMIT):
        queue.put(b"\xf0" + i.to_bytes(3, "big") + b"\xf7")
    assert len(queue._waiting) == QUEUE_LIMIT
