"""Knob values in shared memory: the daemon writes, another process reads, nobody waits."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from demond.knob_table import KnobTable, LayoutError
from demond.knobs import KNOBS
from demond.trace import Trace


@pytest.fixture
def table():
    table = KnobTable.create(f"demond-test-{os.getpid()}-knobs")
    yield table
    table.close()
    table.unlink()


def name() -> str:
    return f"demond-test-{os.getpid()}-knobs"


def test_a_new_table_holds_the_defaults(table: KnobTable) -> None:
    assert table.read().values == tuple(knob.default for knob in KNOBS)


def test_a_write_is_one_new_state_and_counts_its_knobs(table: KnobTable) -> None:
    before = table.read()
    version = table.write({"denoise": 0.25, "seed": 2**32 - 1})
    state = table.read()
    assert state.version == version == before.version + 2
    assert (state["denoise"], state["seed"], state["shift"]) == (0.25, 2**32 - 1, 3)
    assert (table.sequence("denoise"), table.sequence("shift")) == (1, 0)
    assert table.version == version


def _read_for(name: str, count: int, results) -> None:
    table = KnobTable.attach(name)
    torn = sum(state["denoise"] != state["feedback"] for state in (table.read() for _ in range(count)))
    table.close()
    results.put(torn)


def test_another_process_never_sees_half_a_write(table: KnobTable) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    table.write({"denoise": 0.0, "feedback": 0.0})
    reader = context.Process(target=_read_for, args=(name(), 20_000, results))
    reader.start()
    value = 0
    while reader.is_alive():
        value = (value + 1) % 1000
        table.write({"denoise": value / 1000, "feedback": value / 1000})
    assert results.get(timeout=10) == 0


def test_an_attached_process_leaves_the_table_behind_when_it_ends(table: KnobTable) -> None:
    code = f"from demond.knob_table import KnobTable; print(KnobTable.attach({name()!r}).read()['shift'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "3.0"
    assert run.stderr == ""
    KnobTable.attach(name()).close()


def test_memory_of_another_kind_is_refused(table: KnobTable) -> None:
    with pytest.raises(LayoutError, match="another version"):
        Trace.attach(name())
