"""The music does not change by accident. See `tests.engine.golden` for how it is changed on purpose."""

from __future__ import annotations

import pytest

from tests.engine import golden
from tests.engine.scenarios import SCENARIOS

GOLDEN = golden.load()


def test_every_scenario_has_a_golden_value_and_none_is_left_over() -> None:
    assert sorted(GOLDEN["scenarios"]) == sorted(SCENARIOS)
    assert all(GOLDEN["reasons"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_sounds_as_it_did(name: str) -> None:
    """Bit for bit where the machine is known, else within rounding."""
    kept, result = GOLDEN["scenarios"][name], golden.played(SCENARIOS[name])
    assert golden.probe(result.latent) == pytest.approx(kept["probe"], rel=golden.TOLERANCE, abs=golden.TOLERANCE)
    if golden.machine() in kept["hashes"]:
        assert result.digest() == kept["hashes"][golden.machine()]
