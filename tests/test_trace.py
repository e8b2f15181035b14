"""The way of a change to the ear, joined from what the daemon and the engine wrote."""

import os

import pytest

from demond.knobs import INDEX
from demond.trace import WRITE, Trace


@pytest.fixture
def trace():
    trace = Trace.create(f"demond-test-{os.getpid()}-trace")
    yield trace
    trace.close()
    trace.unlink()


def write(trace: Trace, **fields: int) -> None:
    trace.wrote(**(dict.fromkeys(WRITE.names or (), 0) | fields))


def test_a_shared_knob_is_heard_in_the_first_result_that_stepped_with_it(trace: Trace) -> None:
    trace.changed(10, INDEX["denoise"], 0.5, 1_000_000, 1_200_000, "127.0.0.1:5000")
    write(trace, knob_version=8, written_ns=2_000_000)
    write(
        trace,
        knob_version=10,
        tick_started_ns=2_000_000,
        latent_ns=4_000_000,
        written_ns=5_000_000,
        heard_ns=25_000_000,
    )
    [journey] = trace.journeys(5)
    assert journey["knob"] == "denoise"
    assert journey["origin"] == "127.0.0.1:5000"
    assert (journey["stored_ms"], journey["tick_ms"], journey["latent_ms"], journey["written_ms"]) == (0.2, 1, 3, 4)
    assert journey["heard_ms"] == 24


def test_a_slot_knob_is_heard_in_the_first_result_born_with_it(trace: Trace) -> None:
    trace.changed(10, INDEX["seed"], 7, 0, 0, "x")
    write(trace, knob_version=12, admitted_version=8, written_ns=1_000_000)
    write(trace, knob_version=12, admitted_version=10, written_ns=9_000_000)
    assert trace.journeys(1)[0]["written_ms"] == 9


def test_an_output_knob_ends_where_it_is_stored(trace: Trace) -> None:
    trace.changed(10, INDEX["mute"], 1, 0, 0, "x")
    write(trace, knob_version=12, admitted_version=12, written_ns=1_000_000)
    assert "heard_ms" not in trace.journeys(1)[0]


def test_the_oldest_are_forgotten_and_the_newest_come_last(trace: Trace) -> None:
    for i in range(5000):
        trace.changed(i, INDEX["denoise"], i, 0, 0, "a name that is much longer than a record holds")
    journeys = trace.journeys(3)
    assert [journey["version"] for journey in journeys] == [4997, 4998, 4999]
    assert len(trace.journeys(10**6)) == 2047


def test_another_end_sees_the_same_rings(trace: Trace) -> None:
    engine = Trace.attach(f"demond-test-{os.getpid()}-trace")
    trace.changed(2, INDEX["denoise"], 0.5, 0, 0, "x")
    write(engine, knob_version=2, written_ns=3_000_000)
    assert trace.journeys(1)[0]["written_ms"] == 3
    engine.close()
