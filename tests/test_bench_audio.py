"""The audio bench: its yardstick plays, its verdicts follow the figures, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from demond.bench import audio
from tests.jack import running_jackd


def player(skipped: int = 0, p999: float = 10.0) -> audio.Player:
    return audio.Player(cycles=1000, skipped=skipped, xruns=0, p50=2.0, p99=5.0, p999=p999, max=20.0)


def joins(broken: int = 0, gaps: int = 0) -> audio.Joins:
    return audio.Joins(seconds=10.0, cycles=1000, gaps=gaps, broken=broken, elsewhere=0)


def test_all_promises_kept() -> None:
    found = audio.verdicts([(player(3), player(16))], joins(), rate=48000, period=256)
    assert [verdict.kept for verdict in found] == [True, True, True]


@pytest.mark.parametrize(
    ("pairs", "heard", "broken"),
    [
        ([(player(3), player(9)), (player(0), player(8))], joins(), 0),  # 17 of at most 2 * 3 + 10
        ([(player(), player(p999=20.0)), (player(), player(p999=107.0))], joins(), 1),  # 2 % are 106.7 µs
        ([(player(), player())], joins(broken=1), 2),
        ([(player(), player())], joins(gaps=1), 2),
    ],
)
def test_a_broken_promise_is_said(
    pairs: list[tuple[audio.Player, audio.Player]], heard: audio.Joins, broken: int
) -> None:
    found = audio.verdicts(pairs, heard, rate=48000, period=256)
    assert [index for index, verdict in enumerate(found) if not verdict.kept] == [broken]


def test_the_c_client_plays_and_counts(tmp_path: Path) -> None:
    program, loop = audio._compiled(tmp_path), audio._stored_loop(tmp_path, 48000)
    with running_jackd() as server:
        found = audio._bare(program, server.name or "", loop, 1.0)
    assert 150 < found.cycles < 230
    assert found.skipped == 0
    assert 0 < found.p50 <= found.p99 <= found.p999 <= found.max


def test_a_missing_compiler_or_server_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, loop = audio._compiled(tmp_path), audio._stored_loop(tmp_path, 8000)
    with pytest.raises(audio.BenchError, match="no JACK server"):
        audio._bare(program, "demond-nobody", loop, 1.0)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(audio.BenchError, match="apt install gcc"):
        audio._compiled(tmp_path)
