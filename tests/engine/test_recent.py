"""What is kept for a while, and what leaves."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.recent import Recent, content_of


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=60))
def test_what_is_kept_never_exceeds_the_limit_and_is_what_was_used_last(asked: list[tuple[int, int]]) -> None:
    recent: Recent[list[int]] = Recent(100, lambda made: made[0])
    sizes: dict[int, int] = {}
    order: list[int] = []
    for key, size in asked:
        made: list[list[int]] = []

        def make(size: int = size, made: list[list[int]] = made) -> list[int]:
            made.append([size])
            return made[-1]

        got = recent.get(key, make)
        assert bool(made) == (key not in order)
        sizes[key] = got[0]
        order = [k for k in order if k != key] + [key]
        while sum(sizes[k] for k in order) > 100:
            order.pop(0)


def test_one_that_is_larger_than_the_limit_is_not_kept() -> None:
    recent: Recent[bytes] = Recent(10, len)
    assert recent.get("a", lambda: b"small") is recent.get("a", lambda: b"other")
    assert recent.get("b", lambda: bytes(11)) == bytes(11)
    assert recent.get("b", lambda: b"again") == b"again"


def test_one_thread_reads_while_another_makes() -> None:
    recent: Recent[bytes] = Recent(10, len)
    recent.get("there", lambda: b"there")
    begun, let = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert let.wait(10)
        return b"slow"

    worker = threading.Thread(target=recent.get, args=("slow", slow))
    worker.start()
    assert begun.wait(10)
    assert recent.get("there", lambda: b"") == b"there"
    assert recent.get("slow", lambda: b"fast") == b"fast"
    let.set()
    worker.join(10)
    assert recent.get("slow", lambda: b"") == b"fast"  # the one that was there first


def test_a_fault_while_making_leaves_nothing() -> None:
    recent: Recent[bytes] = Recent(10, len)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: bytes(1 // 0))
    assert recent.get("a", lambda: b"a") == b"a"


def test_content_is_told_apart_by_values_shape_and_kind() -> None:
    x = torch.arange(6.0)
    same = [x, x.clone(), x.repeat_interleave(2)[::2]]
    others = [x + 1, x.view(2, 3), x.to(torch.float16), x.to(torch.bfloat16), torch.zeros(0), torch.tensor(0.0)]
    assert len({content_of(t) for t in same}) == 1
    assert len({content_of(t) for t in (*same, *others)}) == 1 + len(others)
