"""Where blocks go, by properties: at the end of the band, of a region, and when the playhead was faster."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.placement import Loop, Placement, placed
from engine.stretches import Stretches

FADE, BEYOND = 12, 9


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    frames = draw(st.integers(200, 600))
    a = draw(st.integers(0, frames - 120))
    return Loop(frames, (a, draw(st.integers(a + 120, frames))), FADE, BEYOND)


def everything(position: int) -> int:
    return 10_000


def touched(placement: Placement, loop: Loop, inset: int = 0) -> list[int]:
    """The positions of all pieces, but for `inset` frames at their ends."""
    return [
        (piece.position + i) % loop.frames for piece in placement.pieces for i in range(inset, piece.frames - inset)
    ]


@given(loops(), st.integers(0, 1_000), st.integers(1, 1_000))
def test_a_block_is_new_music_wherever_it_is_heard_but_for_the_fades(loop: Loop, way: int, count: int) -> None:
    a, b = loop.band
    position, count = loop.position(a, way), min(count, b - a - 1)
    placement = placed(loop, position, count, everything)
    if placement is None:
        assert count < 4 * FADE
        return
    assert placement.skipped < 2 * FADE
    assert count - placement.skipped - placement.frames < 2 * FADE
    start = loop.position(position, placement.skipped)
    pure, inside = set(touched(placement, loop, FADE)), range(FADE, placement.frames - FADE)
    assert {loop.position(start, i) for i in inside} <= pure
    if placement.skipped:
        assert {loop.position(start, i) for i in range(FADE)} <= pure, "the beginning of the band is faded in"


@given(loops(), st.integers(0, 1_000), st.integers(1, 1_000))
def test_outside_of_the_band_only_the_fades_at_its_ends_are_written(loop: Loop, way: int, count: int) -> None:
    a, b = loop.band
    placement = placed(loop, loop.position(a, way), min(count, b - a - 1), everything)
    if placement is None:
        return
    at = touched(placement, loop)
    assert len(at) == len(set(at)), "two pieces write the same place"
    for position in at:
        if not a <= position < b:
            assert (position - b) % loop.frames < BEYOND + FADE or (a - position) % loop.frames <= FADE


@given(loops(), st.integers(0, 1_000), st.integers(1, 1_000))
def test_what_may_be_heard_beyond_the_end_is_new_when_the_end_is(loop: Loop, way: int, count: int) -> None:
    a, b = loop.band
    placement = placed(loop, loop.position(a, way), min(count, b - a - 1), everything)
    if placement is not None:
        pure = set(touched(placement, loop, FADE))
        if b - 1 in pure:
            assert {(b + i) % loop.frames for i in range(BEYOND)} <= pure or not loop.jumps


@given(loops(), st.integers(0, 1_000), st.integers(1, 1_000), st.integers(0, 1_000))
def test_a_late_block_loses_its_beginning_and_ends_where_it_did(loop: Loop, way: int, count: int, late: int) -> None:
    a, b = loop.band
    placement = placed(loop, loop.position(a, way), min(count, b - a - 1), everything)
    if placement is None:
        return
    start = loop.position(a, way + placement.skipped)
    rest = placed(loop, loop.position(start, late), placement.frames - late, everything)
    if rest is not None:
        for piece, before in zip(reversed(rest.pieces), reversed(placement.pieces), strict=False):
            ends = [(each.position + each.frames) % loop.frames for each in (piece, before)]
            assert ends[0] == ends[1]
            assert piece.frames <= before.frames
        assert len(rest.pieces) <= len(placement.pieces)


@given(loops(), st.integers(0, 1_000), st.integers(1, 1_000), st.integers(0, 600), st.integers(0, 600))
def test_nothing_is_written_that_is_not_available(loop: Loop, way: int, count: int, first: int, region: int) -> None:
    a, b = loop.band
    region = min(region, loop.frames - 1)

    def available(position: int) -> int:
        return max(0, region - (position - first) % loop.frames)

    placement = placed(loop, loop.position(a, way), min(count, b - a - 1), available)
    if placement is not None:
        assert all((position - first) % loop.frames < region for position in touched(placement, loop))


@given(st.integers(100, 500), st.lists(st.tuples(st.integers(0, 499), st.integers(0, 500)), max_size=8))
def test_stretches_are_sets_of_positions(frames: int, added: list[tuple[int, int]]) -> None:
    stretches, fresh = Stretches(frames), set()
    for position, count in added:
        stretches.add(position % frames, count)
        fresh |= {(position + i) % frames for i in range(count)}
    for a, b, at in ((0, frames, frames // 2), (frames // 4, frames // 2, frames // 3)):
        played = [a + (at - a + i) % (b - a) for i in range(b - a)]
        stale = next((i for i, position in enumerate(played) if position not in fresh), None)
        assert stretches.way_to_stale(at, (a, b)) == stale
    stretches.clear()
    assert stretches.way_to_stale(0, (0, frames)) == 0
