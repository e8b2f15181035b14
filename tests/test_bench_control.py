"""The reckoning of `demond bench control`, on changes with known times."""

from __future__ import annotations

import numpy as np
import pytest

from demond.bench.control import KNOBS, latencies
from demond.bench.senders import SENT
from demond.knobs import INDEX
from demond.trace import CHANGE

MS = 1_000_000


def sent(*messages: tuple[float, int, float]) -> np.ndarray:
    return np.array([(int(ms * MS), fader, value) for ms, fader, value in messages], SENT)


def changes(*found: tuple[float, float, int, float]) -> np.ndarray:
    rows = [
        (i, INDEX[KNOBS[fader]], value, int(received * MS), int(stored * MS), b"")
        for i, (received, stored, fader, value) in enumerate(found)
    ]
    return np.array(rows, CHANGE)


def test_a_message_waits_until_its_value_is_set() -> None:
    waits, inside = latencies(sent((10, 0, 0.5)), changes((10.5, 12, 0, 0.5)))
    assert waits.tolist() == [2.0]
    assert inside.tolist() == [1.5]


def test_a_message_that_was_overtaken_waits_until_a_newer_value_is_set() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (11, 0, 0.6), (10, 1, 0.5)), changes((11, 13, 0, 0.6), (10, 11, 1, 0.5)))
    assert sorted(waits.tolist()) == [1.0, 2.0, 3.0]


def test_a_message_that_is_never_answered_is_left_to_the_question_for_lost_values() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (11, 0, 0.6)), changes((10, 10.5, 0, 0.5)))
    assert waits.tolist() == [0.5]


def test_a_value_that_comes_again_belongs_to_the_newest_message() -> None:
    waits, _ = latencies(sent((10, 0, 0.5), (200, 0, 0.5)), changes((10, 11, 0, 0.5), (200, 203, 0, 0.5)))
    assert sorted(waits.tolist()) == pytest.approx([1.0, 3.0])
