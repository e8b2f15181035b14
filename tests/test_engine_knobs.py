"""The daemon's table of knobs and what the engine reads are one table."""

import dataclasses

import engine
from demond.engine_process import knobs_of
from demond.knob_table import KnobState
from demond.knobs import KNOBS, Kind


def test_every_knob_but_those_of_the_output_is_the_engines_with_the_same_default() -> None:
    table = {each.name: each.default for each in KNOBS if each.kind is not Kind.OUTPUT}
    ours = {f.name: f.default for f in dataclasses.fields(engine.Knobs) if f.name != "version"}
    assert table == ours


def test_a_table_of_defaults_reads_as_default_knobs() -> None:
    read = knobs_of(KnobState(8, tuple(each.default for each in KNOBS)))
    assert read == engine.Knobs(version=8)
    assert [type(value) for value in dataclasses.astuple(read)] == [
        type(value) for value in dataclasses.astuple(engine.Knobs())
    ]
